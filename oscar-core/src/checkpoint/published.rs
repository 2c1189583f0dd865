//! Published weights: a directory as the official scripts leave it.
//!
//! | file | |
//! |---|---|
//! | `pytorch_model.bin` or `model.safetensors` | the weights |
//! | `config.json` | sizes and switches; official ones omit keys for which the code has defaults |
//! | `vocab.txt` | the vocabulary; absent where it is BERT's own |
//! | `training_args.bin` | arguments of the training script, a pickle that is read and never executed |

use std::path::{Path, PathBuf};

use oscar_files::inside;
use oscar_files::pytorch::pickle::printable;
use oscar_files::pytorch::{TorchFile, Value};
use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::beside::{Beside, CONFIG_FILE};
use super::content::format;
use super::fit::fit;
use super::inspect::{Inspection, describe};
use super::kind::others;
use super::official::DECODER;
use super::rosita;
use super::{Change, CheckpointError, WeightFile};
use crate::config::{ModelConfig, missing_sizes};

/// Training settings that the official scripts save next to weights.
const TRAINING_ARGS: &str = "training_args.bin";

/// What the files beside published weights say of them. The weights themselves are not loaded.
#[derive(Clone, Debug)]
pub struct Published {
    /// The weights: their format, their model, their sizes.
    pub source: Inspection,
    /// The directory of the weights.
    pub directory: PathBuf,
    /// The configuration that was read.
    pub config: PathBuf,
    /// Sizes and switches, what the configuration lacks filled in from the weights.
    pub model: ModelConfig,
    /// The keys that were filled in.
    pub filled: Map<String, Json>,
    /// The settings the model was trained with, where the official scripts left them.
    pub training_args: Option<TrainingArgs>,
    /// Notes for the user.
    pub notes: Vec<String>,
    /// The configuration's keys, with those that were filled in.
    pub(super) keys: Map<String, Json>,
}

/// Settings of the official scripts: a pickle, of which the plain fields were read.
#[derive(Clone, Debug, Serialize)]
pub struct TrainingArgs {
    /// The file.
    #[serde(serialize_with = "oscar_files::serialize_shown")]
    pub file: PathBuf,
    /// Fields by name, as far as they are plain values.
    pub fields: Map<String, Json>,
}

impl Published {
    /// Reads what describes the weights at `source`, a file or the directory that has one; the
    /// configuration is `model_config`, else the `config.json` beside the weights.
    ///
    /// # Errors
    ///
    /// If the weights cannot be opened, or the configuration is missing, wrong, or another model's.
    pub fn open(source: &Path, model_config: Option<&Path>) -> Result<Self, CheckpointError> {
        Self::of(&WeightFile::open_official(source)?, model_config)
    }

    pub(super) fn of(
        file: &WeightFile,
        model_config: Option<&Path>,
    ) -> Result<Self, CheckpointError> {
        file.require_bert()?;
        let source = describe(file)?;
        require_backbone(file, &source)?;
        let directory = file.path().parent().unwrap_or(Path::new("")).to_path_buf();
        let config = match model_config {
            Some(path) => path.to_path_buf(),
            None => directory.join(CONFIG_FILE),
        };
        let mut notes = Vec::new();
        let rosita = file.changes().contains(&Change::Rosita);
        let mut keys = match rosita && model_config.is_none() && !exists(&config) {
            // Its released files come without one.
            true => Map::new(),
            false => read_config(&config, file.path(), model_config.is_some())?,
        };
        if rosita {
            rosita::complete(&mut keys, &source.sizes, &mut notes);
        }
        let wrong = |reason: String| CheckpointError::Config {
            path: config.clone(),
            reason,
        };
        let tied_output = source.tied.iter().flatten().any(|name| name == DECODER);
        let filled = fit(&mut keys, &source.shapes(), tied_output).map_err(wrong)?;
        let missing = missing_sizes(|key| keys.contains_key(key));
        if !missing.is_empty() {
            return Err(wrong(format!(
                "it has no {}, which the weights do not tell; use the configuration of this model, or \
                 add the keys",
                missing.join(", ")
            )));
        }
        let model: ModelConfig = serde_json::from_value(Json::Object(keys.clone()))
            .map_err(|error| wrong(error.to_string()))?;
        model.validate().map_err(|error| wrong(error.to_string()))?;

        let training_args = inside(&directory, TRAINING_ARGS)?;
        let training_args = training_args.and_then(|path| read_training_args(&path, &mut notes));
        if model.tie_weights && !tied_output && file.get(DECODER).is_some() {
            notes.push(format!(
                "tie_weights is set, so {DECODER}, which differs from the word embedding, is not \
                 used"
            ));
        }
        let shapes = source.shapes();
        let others = others(&shapes);
        if let [first, ..] = others[..] {
            notes.push(format!(
                "{} tensors are of no part of the model and not used: {first}{}",
                others.len(),
                if others.len() > 1 { ", …" } else { "" }
            ));
        }
        let filled = filled.into_iter();
        Ok(Self {
            filled: filled
                .map(|filled| (filled.key.to_string(), filled.value))
                .collect(),
            source,
            directory,
            config,
            model,
            training_args,
            notes,
            keys,
        })
    }
}

/// Refuses weights without values, and those of which none has a name of BERT.
fn require_backbone(file: &WeightFile, source: &Inspection) -> Result<(), CheckpointError> {
    let mut weights = file.weights().iter();
    // DeepSpeed leaves its parameters empty while they are divided among devices (ZeRO, stage 3).
    if let Some(empty) = weights.clone().find(|weight| weight.tensor.is_empty()) {
        let (name, shape) = (printable(&empty.name), empty.tensor.shape());
        let reason = format!(
            "{name} has the shape {shape:?} and no value, as DeepSpeed saves parameters that are \
             divided among devices; join them with its zero_to_fp32.py"
        );
        return Err(format(&empty.file, reason));
    }
    if source.sizes.vocab_size.is_none() && source.sizes.num_hidden_layers == 0 {
        let first = weights.next().map(|weight| printable(&weight.name));
        let reason = format!(
            "none of its tensors has a name of BERT, such as \
             `bert.embeddings.word_embeddings.weight`, but the first is `{}`; give weights of BERT or \
             Oscar under the names of its code",
            first.unwrap_or_default()
        );
        return Err(format(file.path(), reason));
    }
    Ok(())
}

/// Whether there is something at `path`, if only a broken link.
fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn read_config(
    path: &Path,
    weights: &Path,
    named: bool,
) -> Result<Map<String, Json>, CheckpointError> {
    if !named && !exists(path) {
        return Err(CheckpointError::Config {
            path: weights.into(),
            reason: format!(
                "there is no {CONFIG_FILE} next to it; give the model's configuration explicitly"
            ),
        });
    }
    let config = match named {
        // What the user names is read wherever it leads; what is beside weights of others is not.
        true => Beside::open(path)?,
        false => Beside::read(weights)?,
    };
    match config.other_family() {
        None => Ok(config.into_keys()),
        Some(family) => Err(CheckpointError::Family {
            path: path.into(),
            family,
        }),
    }
}

/// The plain fields. A file that cannot be read does not prevent using the weights.
fn read_training_args(path: &Path, notes: &mut Vec<String>) -> Option<TrainingArgs> {
    let file = match TorchFile::open(path) {
        Ok(file) => file,
        Err(error) => {
            notes.push(format!("the training settings cannot be read: {error}"));
            return None;
        }
    };
    let fields = match file.value() {
        Value::Object(object) => &object.fields,
        Value::Dict(dict) => dict,
        other => {
            notes.push(format!(
                "the training settings cannot be read: {} holds a {}",
                path.display(),
                other.type_name()
            ));
            return None;
        }
    };
    let fields: Map<String, Json> = fields
        .iter()
        .filter_map(|(key, value)| Some((key.as_str()?.to_string(), plain(value)?)))
        .collect();
    Some(TrainingArgs {
        file: path.into(),
        fields,
    })
}

/// A value as JSON, if it is made of plain ones; recursion is bounded as the pickle's depth is.
fn plain(value: &Value) -> Option<Json> {
    Some(match value {
        Value::None => Json::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Float(value) => serde_json::Number::from_f64(*value)?.into(),
        Value::Str(text) => Json::String(text.to_string()),
        Value::List(items) | Value::Tuple(items) => {
            Json::Array(items.iter().map(plain).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}
