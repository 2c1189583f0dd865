//! Importing published checkpoints.

use std::path::{Path, PathBuf};

use oscar_files::{FileError, SMALL_FILE, inside, read_text, write_file};
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use super::backbone::lacking;
use super::beside::CONFIG_FILE;
use super::content::format;
use super::export::{collect, write_safetensors};
use super::inspect::Inspection;
use super::locate::index_of;
use super::published::{Published, TrainingArgs};
use super::{CheckpointError, WeightFile};
use crate::input::{Tokenizer, do_lower_case, is_cased};

/// Name of the vocabulary next to weights.
const VOCAB_FILE: &str = "vocab.txt";
/// Settings of the tokenizer next to a vocabulary.
const SETTINGS_FILE: &str = "tokenizer_config.json";
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
    #[serde(serialize_with = "oscar_files::serialize_shown")]
    pub directory: PathBuf,
    /// The configuration that was read.
    #[serde(serialize_with = "oscar_files::serialize_shown")]
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
    let name = file.path().file_name().unwrap_or_default();
    if let Some(index) = index_of(&name.to_string_lossy()) {
        let reason =
            format!("it is one part of the weights; give the index {index:?} of all parts");
        return Err(format(file.path(), reason));
    }
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
    let cased = training_args
        .as_ref()
        .and_then(|settings| settings.fields.get("do_lower_case")?.as_bool());
    let vocab = Vocabulary::beside(&beside, cased, &mut notes)?;
    match vocab.as_ref().map(|vocab| entries(&vocab.lines)) {
        None => notes.push(format!(
            "there is no {VOCAB_FILE} next to the weights; commands need the vocabulary to be given"
        )),
        Some(entries) if entries != model.vocab_size => notes.push(format!(
            "{VOCAB_FILE} has {entries} entries, but the model has {}",
            model.vocab_size
        )),
        Some(_) => {}
    }

    let names = file.weights().iter().map(|weight| weight.name.as_str());
    if let Some(note) = incomplete(&lacking(names, model.num_hidden_layers)) {
        notes.push(note);
    }
    let tensors = collect(&file)?;
    std::fs::create_dir_all(out).map_err(FileError::io("create", out))?;
    if let Some(vocab) = &vocab {
        write_file(&out.join(VOCAB_FILE), &vocab.lines)?;
        if let Some(lower_case) = vocab.lower_case {
            let settings = json!({"do_lower_case": lower_case});
            let text = format!("{settings}\n");
            write_file(&out.join(SETTINGS_FILE), text.as_bytes())?;
        }
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

/// What a user is told of parameters that the weights lack.
fn incomplete(lacking: &[String]) -> Option<String> {
    const SHOWN: usize = 3;
    let first = lacking.iter().take(SHOWN).map(String::as_str);
    let first: Vec<&str> = first.collect();
    let more = match lacking.len() > SHOWN {
        true => ", …",
        false => "",
    };
    (!lacking.is_empty()).then(|| {
        format!(
            "the weights lack {} parameters of the backbone, which are not filled in: {}{more}; get the \
             whole file, or name them as random where a run starts from it",
            lacking.len(),
            first.join(", ")
        )
    })
}

/// The vocabulary next to weights.
struct Vocabulary {
    /// A token per line.
    lines: Vec<u8>,
    /// Whether texts are lower-cased, if the vocabulary does not say so by itself.
    lower_case: Option<bool>,
}

impl Vocabulary {
    /// The `vocab.txt` in `directory`, or that of its `tokenizer.json`; `trained` is what the training
    /// settings say of lower-casing.
    fn beside(
        directory: &Path,
        trained: Option<bool>,
        notes: &mut Vec<String>,
    ) -> Result<Option<Self>, CheckpointError> {
        let lower_case = do_lower_case(directory)?.or(trained);
        let (lines, lower_case) = match inside(directory, VOCAB_FILE)? {
            Some(path) => (read_text(&path, SMALL_FILE)?, lower_case),
            None => match Tokenizer::in_directory(directory)? {
                None => return Ok(None),
                Some(tokenizer) => {
                    let lines = tokenizer.vocab().join("\n") + "\n";
                    let lower_case = lower_case.or(Some(tokenizer.lower_case()));
                    (lines, lower_case)
                }
            },
        };
        let words: Vec<String> = lines.lines().map(String::from).collect();
        let cased = is_cased(&words);
        if !lower_case.unwrap_or(!cased) {
            notes.push(format!(
                "{VOCAB_FILE} is of cased text: texts keep their case"
            ));
        }
        Ok(Some(Self {
            lines: lines.into_bytes(),
            lower_case: lower_case.filter(|lower_case| !lower_case || cased),
        }))
    }
}

/// Lines of a vocabulary, but for blank ones at its end.
fn entries(vocab: &[u8]) -> usize {
    let vocab = vocab.trim_ascii_end();
    let breaks = vocab.iter().filter(|byte| **byte == b'\n').count();
    breaks + usize::from(!vocab.is_empty())
}
