//! What structural masking knows beside the scene graphs: priors and word vectors, from files or from the
//! training corpus.

use std::collections::HashSet;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use oscar_core::input::{
    ExampleSource, InputError, MaskingConfig, PretrainEncoder, Priors, SceneGraph, WordVectors,
};
use oscar_files::{SMALL_FILE, open_regular, read_text};

/// What [`PretrainEncoder::with_knowledge`] takes.
#[derive(Clone, Default)]
pub(crate) struct Knowledge {
    priors: Arc<Priors>,
    vectors: Option<Arc<WordVectors>>,
}

impl Knowledge {
    /// Of a recipe with this masking. Where it names no priors, those of the scene graphs of `train` are
    /// counted; of its word vectors, those of words in the graphs of `corpora` and in the names of classes
    /// are kept.
    ///
    /// # Errors
    ///
    /// A file cannot be used, or a row has no scene graph.
    pub(crate) fn open(
        masking: &MaskingConfig,
        encoder: &PretrainEncoder,
        train: &dyn ExampleSource,
        corpora: &[&dyn ExampleSource],
    ) -> Result<Self, InputError> {
        if !masking.is_structural() {
            return Ok(Self::default());
        }
        let priors = match &masking.priors {
            Some(path) => read_priors(path)?,
            None if masking.text.is_structural() => Priors::count(graphs(encoder, train))?,
            None => Priors::default(),
        };
        let vectors = match &masking.vectors {
            None => None,
            Some(path) => {
                let mut words = HashSet::new();
                for corpus in corpora {
                    for graph in graphs(encoder, *corpus) {
                        let graph = graph?;
                        words.extend(graph.objects.iter().map(|word| graph.lemmas[*word].clone()));
                    }
                    words.extend(class_words(*corpus)?);
                }
                Some(Arc::new(read_vectors(path, &words)?))
            }
        };
        Ok(Self {
            priors: Arc::new(priors),
            vectors,
        })
    }

    /// `encoder` with it.
    pub(crate) fn given_to(&self, encoder: PretrainEncoder) -> PretrainEncoder {
        encoder.with_knowledge(self.priors.clone(), self.vectors.clone())
    }
}

/// The scene graph of each row.
fn graphs<'a>(
    encoder: &'a PretrainEncoder,
    corpus: &'a dyn ExampleSource,
) -> impl Iterator<Item = Result<SceneGraph, InputError>> + 'a {
    (0..corpus.len()).map(move |row| encoder.graph(corpus, row))
}

/// The words of the names of the classes of a corpus' regions.
fn class_words(corpus: &dyn ExampleSource) -> Result<Vec<String>, InputError> {
    let first = corpus
        .get(0)
        .map_err(|source| InputError::Row { row: 0, source })?;
    let names = first.regions.label_names();
    let names = names.iter().flat_map(|names| names.objects.iter());
    let words = names.flat_map(|name| name.split([',', ' ']));
    Ok(words
        .filter(|word| !word.is_empty())
        .map(String::from)
        .collect())
}

fn read_priors(path: &Path) -> Result<Priors, InputError> {
    let wrong = |reason: String| InputError::Knowledge {
        path: path.into(),
        reason,
    };
    let text = read_text(path, SMALL_FILE).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| {
        wrong(format!(
            "not a file of priors, {{\"attr_count\": …, \"rel_count\": …}}: {error}"
        ))
    })
}

fn read_vectors(path: &Path, words: &HashSet<String>) -> Result<WordVectors, InputError> {
    let wrong = |reason: String| InputError::Knowledge {
        path: path.into(),
        reason,
    };
    let (file, _) = open_regular(path).map_err(|error| wrong(error.to_string()))?;
    WordVectors::read(BufReader::new(file), |word| words.contains(word))
        .map_err(|error| wrong(error.to_string()))
}
