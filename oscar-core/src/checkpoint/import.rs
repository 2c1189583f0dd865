//! From a checkpoint as it was published to a directory of this project.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::aside::write_aside;
use super::export::{collect, write_safetensors};
use super::fit::fit;
use super::inspect::{Inspection, describe};
use super::official::DECODER;
use super::{CheckpointError, WeightFile};
use crate::config::ModelConfig;
use oscar_files::pytorch::{TorchFile, Value};

/// Name of the configuration beside weights.
const CONFIG_FILE: &str = "config.json";
/// Name of the vocabulary beside weights.
const VOCAB_FILE: &str = "vocab.txt";
/// The weights that an import writes.
const MODEL_FILE: &str = "model.safetensors";
/// Settings that the official scripts leave beside weights.
const TRAINING_ARGS: &str = "training_args.bin";

/// What [`import`] may do.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The configuration, instead of the `config.json` beside the weights.
    pub model_config: Option<PathBuf>,
    /// Replace a model that is in the directory already.
    pub overwrite: bool,
}

/// What [`import`] did.
#[derive(Clone, Debug, Serialize)]
pub struct Imported {
    /// The weights as they were found.
    pub source: Inspection,
    /// The directory written.
    pub directory: PathBuf,
    /// The configuration that was read.
    pub config: PathBuf,
    /// Keys that the configuration lacked, filled in from the weights.
    pub filled: Map<String, Json>,
    /// Whether a vocabulary lay beside the weights and was copied.
    pub vocab: bool,
    /// The settings the model was trained with, where the official scripts left them.
    pub training_args: Option<TrainingArgs>,
    /// What else the user should know.
    pub notes: Vec<String>,
}

/// Settings of the official scripts: a pickle, of which the plain fields were read.
#[derive(Clone, Debug, Serialize)]
pub struct TrainingArgs {
    /// The file.
    pub file: PathBuf,
    /// Fields by name; those that are no plain values are left out.
    pub fields: Map<String, Json>,
}

/// Writes the weights of `source`, a file or a directory, to `out/model.safetensors` under
/// official names and in their own types, with `config.json` and, if it lies beside the source,
/// `vocab.txt`.
///
/// The configuration is held against the weights: what it lacks and they tell is filled in.
///
/// # Errors
///
/// If the source cannot be read or holds what is no weight, has no configuration or one of
/// another model, or the directory cannot be written or holds a model already.
pub fn import(
    source: impl AsRef<Path>,
    out: impl AsRef<Path>,
    options: &ImportOptions,
) -> Result<Imported, CheckpointError> {
    let out = out.as_ref();
    let model_file = out.join(MODEL_FILE);
    if model_file.exists() && !options.overwrite {
        return Err(CheckpointError::Io {
            action: "write",
            path: model_file,
            source: std::io::Error::new(
                std::io::ErrorKind::AlreadyExists,
                "it is there already; --overwrite replaces it",
            ),
        });
    }
    let file = WeightFile::open_official(source)?;
    let described = describe(&file)?;
    let beside = file.path().parent().unwrap_or(Path::new(""));
    let config_path = match &options.model_config {
        Some(path) => path.clone(),
        None => beside.join(CONFIG_FILE),
    };
    let tied_output = described.tied.iter().flatten().any(|name| name == DECODER);
    let mut config = read_config(&config_path, file.path(), options)?;
    let config_error = |reason: String| CheckpointError::Config {
        path: config_path.clone(),
        reason,
    };
    let filled = fit(&mut config, &described.shapes(), tied_output).map_err(config_error)?;
    let model: ModelConfig = serde_json::from_value(Json::Object(config.clone()))
        .map_err(|error| config_error(error.to_string()))?;
    model
        .validate()
        .map_err(|error| config_error(error.to_string()))?;

    let mut notes = Vec::new();
    let training_args = read_training_args(&beside.join(TRAINING_ARGS), &mut notes);
    if model.tie_weights && !tied_output && file.get(DECODER).is_some() {
        notes.push(format!(
            "tie_weights is set, so {DECODER}, which differs from the word embedding, is not used"
        ));
    }
    let vocab = read_vocab(&beside.join(VOCAB_FILE))?;
    match vocab.as_deref().map(entries) {
        None => notes.push(format!(
            "no {VOCAB_FILE} lies beside the weights; commands will need the vocabulary named"
        )),
        Some(entries) if entries != model.vocab_size => notes.push(format!(
            "{VOCAB_FILE} has {entries} entries, the model {}",
            model.vocab_size
        )),
        Some(_) => {}
    }

    let tensors = collect(&file)?;
    std::fs::create_dir_all(out).map_err(|source| CheckpointError::Io {
        action: "write",
        path: out.into(),
        source,
    })?;
    if let Some(vocab) = &vocab {
        write_aside(&out.join(VOCAB_FILE), |aside| std::fs::write(aside, vocab))?;
    }
    let text = format!("{:#}\n", Json::Object(config));
    write_aside(&out.join(CONFIG_FILE), |aside| std::fs::write(aside, text))?;
    // Last: a directory with weights is complete.
    write_safetensors(&model_file, &tensors)?;
    Ok(Imported {
        directory: out.into(),
        config: config_path,
        filled: filled
            .into_iter()
            .map(|filled| (filled.key.to_string(), filled.value))
            .collect(),
        vocab: vocab.is_some(),
        training_args,
        notes,
        source: described,
    })
}

fn read_config(
    path: &Path,
    weights: &Path,
    options: &ImportOptions,
) -> Result<Map<String, Json>, CheckpointError> {
    if options.model_config.is_none() && !path.exists() {
        return Err(CheckpointError::Config {
            path: weights.into(),
            reason: format!(
                "no {CONFIG_FILE} lies beside it; name the model's configuration with \
                 --model-config"
            ),
        });
    }
    let text = std::fs::read_to_string(path).map_err(|source| CheckpointError::Io {
        action: "read",
        path: path.into(),
        source,
    })?;
    serde_json::from_str(&text).map_err(|error| CheckpointError::Config {
        path: path.into(),
        reason: format!("it is not a model configuration: {error}"),
    })
}

/// The vocabulary's bytes, if there is one.
fn read_vocab(path: &Path) -> Result<Option<Vec<u8>>, CheckpointError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CheckpointError::Io {
            action: "read",
            path: path.into(),
            source,
        }),
    }
}

/// Lines of a vocabulary.
fn entries(vocab: &[u8]) -> usize {
    let ended = vocab.ends_with(b"\n");
    let breaks = vocab.iter().filter(|byte| **byte == b'\n').count();
    breaks + usize::from(!ended && !vocab.is_empty())
}

/// The plain fields; a file that cannot be read is no reason not to import the weights.
fn read_training_args(path: &Path, notes: &mut Vec<String>) -> Option<TrainingArgs> {
    if !path.exists() {
        return None;
    }
    let file = match TorchFile::open(path) {
        Ok(file) => file,
        Err(error) => {
            notes.push(format!("the training settings are not read: {error}"));
            return None;
        }
    };
    let fields = match file.value() {
        Value::Object(object) => &object.fields,
        Value::Dict(dict) => dict,
        other => {
            notes.push(format!(
                "the training settings are not read: {} holds a {}",
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
    if fields.get("do_lower_case") == Some(&Json::Bool(false)) {
        notes.push(
            "do_lower_case is false in the training settings: the model was trained on cased \
             text, which the tokenizer here lower-cases"
                .into(),
        );
    }
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
