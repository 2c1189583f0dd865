//! Importing published checkpoints.

use std::path::{Path, PathBuf};

use oscar_files::{FileError, write_file};
use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::export::{collect, write_safetensors};
use super::inspect::Inspection;
use super::published::{CONFIG_FILE, Published, TrainingArgs};
use super::{CheckpointError, WeightFile};

/// Name of the vocabulary next to weights.
const VOCAB_FILE: &str = "vocab.txt";
/// The weights that an import writes.
const MODEL_FILE: &str = "model.safetensors";

/// Options of [`import`].
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The configuration, instead of the `config.json` next to the weights.
    pub model_config: Option<PathBuf>,
    /// Replace a model that is already in the directory.
    pub overwrite: bool,
}

/// Result of [`import`].
#[derive(Clone, Debug, Serialize)]
pub struct Imported {
    /// The weights as they were found.
    pub source: Inspection,
    /// The directory written.
    pub directory: PathBuf,
    /// The configuration that was read.
    pub config: PathBuf,
    /// Keys missing in the configuration, filled in from the weights.
    pub filled: Map<String, Json>,
    /// Whether a vocabulary was found next to the weights and copied.
    pub vocab: bool,
    /// The settings the model was trained with, where the official scripts left them.
    pub training_args: Option<TrainingArgs>,
    /// Notes for the user.
    pub notes: Vec<String>,
}

/// Writes the weights of `source`, a file or a directory, to `out/model.safetensors` under
/// official names and in their own types, with `config.json` and, if there is one next to the
/// source, `vocab.txt`.
///
/// The configuration is compared with the weights: missing sizes are filled in from their shapes.
///
/// # Errors
///
/// If the source cannot be read or holds other data than weights, has no configuration or that of
/// another model, or the directory cannot be written or already holds a model.
pub fn import(
    source: impl AsRef<Path>,
    out: impl AsRef<Path>,
    options: &ImportOptions,
) -> Result<Imported, CheckpointError> {
    let out = out.as_ref();
    let model_file = out.join(MODEL_FILE);
    if model_file.exists() && !options.overwrite {
        return Err(FileError::AlreadyExists { path: model_file }.into());
    }
    let file = WeightFile::open_official(source)?;
    let Published {
        source,
        directory: beside,
        config,
        model,
        filled,
        training_args,
        mut notes,
        keys,
    } = Published::of(&file, options.model_config.as_deref())?;
    let vocab = read_vocab(&beside.join(VOCAB_FILE))?;
    match vocab.as_deref().map(entries) {
        None => notes.push(format!(
            "there is no {VOCAB_FILE} next to the weights; commands need the vocabulary to be given"
        )),
        Some(entries) if entries != model.vocab_size => notes.push(format!(
            "{VOCAB_FILE} has {entries} entries, but the model has {}",
            model.vocab_size
        )),
        Some(_) => {}
    }

    let tensors = collect(&file)?;
    std::fs::create_dir_all(out).map_err(FileError::io("create", out))?;
    if let Some(vocab) = &vocab {
        write_file(&out.join(VOCAB_FILE), vocab)?;
    }
    let text = format!("{:#}\n", Json::Object(keys));
    write_file(&out.join(CONFIG_FILE), text.as_bytes())?;
    // Last: a directory with weights is complete.
    write_safetensors(&model_file, &tensors)?;
    Ok(Imported {
        directory: out.into(),
        config,
        filled,
        vocab: vocab.is_some(),
        training_args,
        notes,
        source,
    })
}

/// The vocabulary's bytes, if there is one.
fn read_vocab(path: &Path) -> Result<Option<Vec<u8>>, CheckpointError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::io("read", path)(error).into()),
    }
}

/// Lines of a vocabulary.
fn entries(vocab: &[u8]) -> usize {
    let ended = vocab.ends_with(b"\n");
    let breaks = vocab.iter().filter(|byte| **byte == b'\n').count();
    breaks + usize::from(!ended && !vocab.is_empty())
}
