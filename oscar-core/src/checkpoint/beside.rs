//! The `config.json` beside weights, and what it says of the model they are of.

use std::path::{Path, PathBuf};

use oscar_files::{SMALL_FILE, inside, parse_json, read_text};
use serde_json::{Map, Value as Json};

use super::CheckpointError;

/// Name of the configuration next to weights.
pub(super) const CONFIG_FILE: &str = "config.json";

/// A model configuration, as far as it says what kind of model it is; empty if there is none.
pub(super) struct Beside {
    path: PathBuf,
    keys: Map<String, Json>,
}

impl Beside {
    /// Reads the configuration in the directory of the weights `weights`.
    pub fn read(weights: &Path) -> Result<Self, CheckpointError> {
        let directory = weights.parent().unwrap_or(Path::new(""));
        match inside(directory, CONFIG_FILE)? {
            Some(path) => Self::open(&path),
            None => Ok(Self {
                path: directory.join(CONFIG_FILE),
                keys: Map::new(),
            }),
        }
    }

    /// Reads the configuration `path`.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let text = read_text(path, SMALL_FILE)?;
        let keys = parse_json(&text).map_err(|error| CheckpointError::Config {
            path: path.into(),
            reason: format!("it is not a model configuration: {error}"),
        })?;
        Ok(Self {
            path: path.into(),
            keys,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its keys.
    pub fn into_keys(self) -> Map<String, Json> {
        self.keys
    }

    /// Whether the output matrix is the word embedding, as HuggingFace's default is.
    pub fn ties(&self) -> bool {
        self.keys.get("tie_word_embeddings") != Some(&Json::Bool(false))
    }

    /// What the model is if it is not BERT, or a BERT that computes something else.
    pub fn other_family(&self) -> Option<String> {
        let text = |key: &str| self.keys.get(key).and_then(Json::as_str);
        let is_true = |key: &str| self.keys.get(key) == Some(&Json::Bool(true));
        let number = |key: &str| self.keys.get(key).and_then(Json::as_u64);
        let own = ["bert", "oscar", "oscarplus", "vinvl", "rosita"];
        if let Some(kind) = text("model_type").filter(|kind| !own.contains(kind)) {
            return Some(format!("{kind:?} (its model_type)"));
        }
        if let Some(kind) = text("position_embedding_type").filter(|kind| *kind != "absolute") {
            return Some(format!("BERT with position embeddings of type {kind:?}"));
        }
        if is_true("is_decoder") || is_true("add_cross_attention") {
            return Some("BERT as a decoder (its is_decoder or add_cross_attention)".into());
        }
        let (embedding, hidden) = (number("embedding_size"), number("hidden_size"));
        if embedding.is_some() && hidden.is_some() && embedding != hidden {
            return Some("BERT with embeddings of another size (its embedding_size)".into());
        }
        None
    }
}
