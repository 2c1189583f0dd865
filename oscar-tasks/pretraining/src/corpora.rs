//! Opens what a recipe learns from and is validated on.

use std::sync::Arc;

use oscar_core::input::{AnswerLabels, ExampleSource, InputError, Tokenizer};
use oscar_datasets::answers::AnswerVocabulary;
use oscar_datasets::{JoinedCorpus, OpenedCorpus, open_corpus};
use oscar_train::Portion;

use crate::config::{CorpusConfig, DataConfig, PretrainError};
use crate::objective::{Objective, Objectives};

/// Shares of a mix are multiples of 1 in this many.
const WEIGHT_SCALE: f64 = (1u64 << 48) as f64;

/// Opened and checked data of a run.
pub(crate) struct Corpora {
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) train: Arc<dyn ExampleSource>,
    /// The corpora that `train` is made of, and their shares.
    pub(crate) portions: Vec<Portion>,
    pub(crate) extra: Option<Arc<dyn ExampleSource>>,
    pub(crate) validation: Arc<dyn ExampleSource>,
    pub(crate) out_of_domain: Option<Arc<dyn ExampleSource>>,
    pub(crate) region_dim: usize,
    /// The answers to predict, if an objective predicts some.
    pub(crate) answers: Option<Arc<dyn AnswerLabels>>,
}

impl Corpora {
    /// Opens the corpora of `[data]`.
    ///
    /// # Errors
    ///
    /// If one is not set or cannot be opened, or their regions differ in size; if answers are to be
    /// predicted, and there is no vocabulary of them.
    pub(crate) fn open(data: &DataConfig, objectives: &Objectives) -> Result<Self, PretrainError> {
        let answers = match objectives.contain(Objective::Answers) {
            true => Some(open_answers(data)?),
            false => None,
        };
        let parts = training_parts(data)?;
        let validation = validation_of(data)?;
        let mut region_dim = None;
        let (train, portions) = open_training(&parts, &mut region_dim)?;
        let validation = open(validation, "data.validation", &mut region_dim)?;
        let extra = match &data.extra {
            Some(extra) => Some(open(&extra.source, "data.extra", &mut region_dim)?),
            None => None,
        };
        let out_of_domain = match &data.out_of_domain {
            Some(other) => Some(open(other, "data.out_of_domain", &mut region_dim)?),
            None => None,
        };
        let learned: Vec<&dyn ExampleSource> =
            std::iter::once(&*train).chain(extra.as_deref()).collect();
        let tokenizer = Arc::new(open_vocabulary(data.vocab.as_deref(), &learned)?);
        Ok(Self {
            tokenizer,
            train,
            portions,
            extra,
            validation,
            out_of_domain,
            region_dim: region_dim.unwrap_or(0),
            answers,
        })
    }
}

impl Corpora {
    /// Checks that the classes of regions have the same numbers everywhere, if an objective predicts them.
    ///
    /// # Errors
    ///
    /// The first corpus with others, or a row that cannot be read.
    pub(crate) fn check_classes(&self, objectives: &Objectives) -> Result<(), PretrainError> {
        let predicted = [Objective::RegionObjects, Objective::RegionAttributes];
        if !predicted.into_iter().any(|one| objectives.contain(one)) {
            return Ok(());
        }
        let names = |corpus: &dyn ExampleSource, row: usize| {
            let example = corpus.get(row);
            let example = example.map_err(|source| InputError::Row { row, source })?;
            Ok::<_, PretrainError>(example.regions.label_names())
        };
        let own = names(&*self.train, 0)?;
        // The first row of each corpus that the training data is made of.
        let mut first = 0;
        let mut others = Vec::new();
        for (at, portion) in self.portions.iter().enumerate() {
            others.push((format!("data.mix[{at}]"), &*self.train, first));
            first += portion.examples;
        }
        others.push(("data.validation".into(), &*self.validation, 0));
        others.extend(
            self.extra
                .iter()
                .map(|extra| ("data.extra".into(), &**extra, 0)),
        );
        for (key, corpus, row) in others {
            if names(corpus, row)? != own {
                return Err(PretrainError::OtherClasses { key });
            }
        }
        Ok(())
    }
}

fn open_answers(data: &DataConfig) -> Result<Arc<dyn AnswerLabels>, PretrainError> {
    let path = data.answers.as_ref().ok_or(PretrainError::Unset {
        key: "data.answers",
        what: "the answer vocabulary, which the objective answers predicts",
    })?;
    Ok(Arc::new(AnswerVocabulary::open(path)?))
}

fn validation_of(data: &DataConfig) -> Result<&CorpusConfig, PretrainError> {
    data.validation.as_ref().ok_or(PretrainError::Unset {
        key: "data.validation",
        what: "the corpus and the regions to validate on",
    })
}

/// Opens the validation corpus alone; gives the size of its regions too.
///
/// # Errors
///
/// If it is not set or cannot be opened.
pub(crate) fn open_validation(
    data: &DataConfig,
) -> Result<(Arc<dyn ExampleSource>, usize), PretrainError> {
    let mut region_dim = None;
    let corpus = open(validation_of(data)?, "data.validation", &mut region_dim)?;
    Ok((corpus, region_dim.unwrap_or(0)))
}

/// Opens one corpus, whose regions must have `region_dim` values if that is known by now.
fn open(
    config: &CorpusConfig,
    key: &str,
    region_dim: &mut Option<usize>,
) -> Result<Arc<dyn ExampleSource>, PretrainError> {
    let OpenedCorpus {
        rows,
        region_dim: found,
    } = open_corpus(&config.corpus, &config.regions, config.official())?;
    let expected = *region_dim.get_or_insert(found);
    if found != expected {
        return Err(PretrainError::RegionDim {
            key: key.into(),
            found,
            expected,
        });
    }
    Ok(rows)
}

/// A corpus to learn from: its key, where it lies, and its weight, if it has one.
type Part<'a> = (String, &'a CorpusConfig, Option<f64>);

/// The corpora that the batches are mixed of: one, as a rule.
fn training_parts(data: &DataConfig) -> Result<Vec<Part<'_>>, PretrainError> {
    match (&data.train, data.mix.as_slice()) {
        (Some(train), []) => Ok(vec![("data.train".into(), train, None)]),
        (None, mix @ [_, ..]) => {
            let parts = mix.iter().enumerate();
            Ok(parts
                .map(|(at, part)| (format!("data.mix[{at}]"), &part.source, part.weight))
                .collect())
        }
        (Some(_), [_, ..]) => Err(PretrainError::TrainAndMix),
        (None, []) => Err(PretrainError::Unset {
            key: "data.train",
            what: "the corpus and the regions to learn from; or several, as [[data.mix]]",
        }),
    }
}

/// Opens the corpora to learn from, joins them, and gives each its share of the examples.
fn open_training(
    parts: &[Part<'_>],
    region_dim: &mut Option<usize>,
) -> Result<(Arc<dyn ExampleSource>, Vec<Portion>), PretrainError> {
    let (mut corpora, mut portions) = (Vec::new(), Vec::new());
    // Weights are all set, or none is.
    let total: f64 = parts.iter().filter_map(|(_, _, weight)| *weight).sum();
    for (key, config, weight) in parts {
        let corpus = open(config, key, region_dim)?;
        let weight = match weight {
            None => corpus.len() as u64,
            Some(weight) => (weight / total * WEIGHT_SCALE).round().max(1.0) as u64,
        };
        portions.push(Portion {
            examples: corpus.len(),
            weight,
        });
        corpora.push(corpus);
    }
    if let [corpus] = corpora.as_slice() {
        return Ok((corpus.clone(), portions));
    }
    tracing::info!("data.mix: {}", Portion::describe(&portions));
    let joined = JoinedCorpus::new(corpora).ok_or(PretrainError::TooManyRows)?;
    Ok((Arc::new(joined), portions))
}

fn open_vocabulary(
    vocab: Option<&str>,
    corpora: &[&dyn ExampleSource],
) -> Result<Tokenizer, PretrainError> {
    Ok(match vocab {
        Some("corpus") => Tokenizer::from_corpora(corpora)?,
        vocab => oscar_task::open_vocabulary(vocab, None)?,
    })
}
