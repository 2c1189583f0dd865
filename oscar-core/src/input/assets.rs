//! The tokenizer in a directory of weights.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oscar_files::{FileError, SMALL_FILE, inside, read_text};
use serde::Deserialize;

use super::error::InputError;
use super::tokenizer::Tokenizer;

/// The official vocabulary.
const VOCAB_FILE: &str = "vocab.txt";

/// What newer versions of HuggingFace's library write in its place.
const TOKENIZER_FILE: &str = "tokenizer.json";

/// Vocabularies of other tokenizers, and what these are.
const OTHERS: [(&str, &str); 5] = [
    ("merges.txt", "byte-level BPE (GPT-2, RoBERTa)"),
    ("vocab.json", "byte-level BPE (GPT-2, RoBERTa)"),
    ("spiece.model", "SentencePiece (ALBERT, T5)"),
    ("sentencepiece.bpe.model", "SentencePiece (XLM-RoBERTa)"),
    ("spm.model", "SentencePiece (DeBERTa)"),
];

/// What is needed of a `tokenizer.json`.
#[derive(Deserialize)]
struct Description {
    model: Model,
    normalizer: Option<Normalizer>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    vocab: serde_json::Value,
}

#[derive(Deserialize)]
struct Normalizer {
    lowercase: Option<bool>,
}

impl Tokenizer {
    /// The tokenizer whose vocabulary is in `directory`: its `vocab.txt`, else the WordPiece of its
    /// `tokenizer.json`; none if it has no vocabulary at all.
    ///
    /// # Errors
    ///
    /// If the vocabulary cannot be read, or is another tokenizer's.
    pub fn in_directory(directory: impl AsRef<Path>) -> Result<Option<Self>, InputError> {
        let directory = directory.as_ref();
        let find = |name: &str| inside(directory, name).map_err(InputError::Assets);
        if let Some(path) = find(VOCAB_FILE)? {
            return Self::from_vocab_file(path).map(Some);
        }
        if let Some(path) = find(TOKENIZER_FILE)? {
            return Self::from_description(&path).map(Some);
        }
        for (name, kind) in OTHERS {
            if let Some(path) = find(name)? {
                return Err(other(path, kind));
            }
        }
        Ok(None)
    }

    /// The WordPiece of a `tokenizer.json`.
    fn from_description(path: &Path) -> Result<Self, InputError> {
        let malformed = |found: String| {
            let fix = "give the vocab.txt of the model";
            InputError::Assets(FileError::malformed(path, found, fix))
        };
        let text = read_text(path, SMALL_FILE).map_err(InputError::Assets)?;
        let description: Description = serde_json::from_str(&text)
            .map_err(|error| malformed(format!("it does not describe a tokenizer: {error}")))?;
        let kind = description.model.kind.unwrap_or_default();
        if kind != "WordPiece" {
            return Err(other(path.into(), &format!("{kind:?}")));
        }
        let ids: BTreeMap<String, usize> = serde_json::from_value(description.model.vocab)
            .map_err(|error| malformed(format!("model.vocab: {error}")))?;
        let mut vocab = vec![String::new(); ids.len()];
        for (token, id) in ids {
            let place = vocab.get_mut(id).filter(|place| place.is_empty());
            let place = place.ok_or_else(|| {
                malformed(format!(
                    "model.vocab: {id} is not the only number of a token in order"
                ))
            })?;
            *place = token;
        }
        let lower_case = description
            .normalizer
            .and_then(|normalizer| normalizer.lowercase);
        Self::build(vocab, &path.display().to_string(), lower_case)
    }
}

fn other(path: PathBuf, kind: &str) -> InputError {
    InputError::OtherTokenizer {
        path,
        kind: kind.into(),
    }
}
