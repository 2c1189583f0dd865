//! Which file holds the weights of a directory.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use oscar_files::FileError;

use super::CheckpointError;

/// File names of weights in a directory, in order of preference: whole files, and the indices of
/// weights in parts.
pub const WEIGHT_FILES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// The end of an index's name.
const INDEX: &str = ".index.json";

/// Endings of weights that a directory may hold under other names.
const ENDINGS: [&str; 7] = ["safetensors", "bin", "pt", "pth", "ckpt", "th", "pkl"];

/// How files of other frameworks are named at their end, and what they are.
const OTHERS: [(&str, &str); 7] = [
    ("tf_model.h5", "TensorFlow"),
    ("flax_model.msgpack", "Flax"),
    ("model.ckpt.index", "TensorFlow"),
    ("adapter_model.safetensors", "an adapter alone (LoRA)"),
    (".gguf", "llama.cpp"),
    (".onnx", "ONNX"),
    (
        ".distcp",
        "a checkpoint that PyTorch divided among devices (FSDP)",
    ),
];

/// How the folders of DeepSpeed's checkpoints are called, and the file of the weights in them.
const DEEPSPEED: (&str, &str) = ("global_step", "mp_rank_00_model_states.pt");

/// The weight file at `path`, or in the directory `path`.
///
/// # Errors
///
/// If a directory holds none; the error says what it holds instead.
pub fn locate(path: &Path) -> Result<PathBuf, CheckpointError> {
    if !path.is_dir() {
        return Ok(path.into());
    }
    // Whatever has the name: that it is no regular file is found when it is opened.
    let found = WEIGHT_FILES.iter().map(|name| path.join(name));
    found
        .into_iter()
        .find(|file| file.symlink_metadata().is_ok())
        .ok_or_else(|| FileError::io("read", path)(lacking(path)).into())
}

/// Whether `path` is the index of weights in parts.
pub(super) fn is_index(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().ends_with(INDEX)
}

/// Why the directory `path` has no weights that can be read.
fn lacking(path: &Path) -> Error {
    let entries = path.read_dir().into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    let mut found =
        "the directory holds neither model.safetensors nor pytorch_model.bin".to_string();
    let other = OTHERS.iter().find_map(|(end, framework)| {
        let name = names.iter().find(|name| name.ends_with(end))?;
        Some((name, framework))
    });
    let weights: Vec<&str> = names
        .iter()
        .filter(|name| ENDINGS.iter().any(|end| has_extension(name, end)))
        .filter(|name| !name.starts_with("training_args"))
        .map(String::as_str)
        .collect();
    if let Some((part, index)) = weights
        .iter()
        .find_map(|name| Some((name, index_of(name)?)))
    {
        found += &format!(
            ", but a part of weights, {part:?}, without the index {index:?} of its parts; download \
             the index into the same directory"
        );
    } else if let Some((file, framework)) = other {
        found += &format!(
            ", but {file} of {framework}, which is not supported; get model.safetensors or \
             pytorch_model.bin of the same model"
        );
    } else if !weights.is_empty() {
        let listed: Vec<_> = weights
            .iter()
            .take(4)
            .map(|name| format!("{name:?}"))
            .collect();
        found += &format!(", but {}; give the file itself", listed.join(", "));
    } else if let Some(inner) = inner(path, &names) {
        found += &format!(", but {inner:?} has weights; give its path");
    }
    Error::new(ErrorKind::NotFound, found)
}

/// What has weights in the folders `names` of `path`: the first folder that does, or DeepSpeed's file in it.
fn inner(path: &Path, names: &[String]) -> Option<String> {
    let (folder, file) = DEEPSPEED;
    names.iter().find_map(|name| {
        let has = |file: &str| path.join(name).join(file).is_file();
        if name.starts_with(folder) && has(file) {
            return Some(format!("{name}/{file}"));
        }
        WEIGHT_FILES.into_iter().any(has).then(|| name.clone())
    })
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|found| found == extension)
}

/// The name of the index to which a part such as `model-00001-of-00002.safetensors` belongs.
pub(super) fn index_of(part: &str) -> Option<String> {
    let (stem, extension) = part.rsplit_once('.')?;
    let (before, total) = stem.rsplit_once("-of-")?;
    let (model, number) = before.rsplit_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(total) && digits(number)).then(|| format!("{model}.{extension}{INDEX}"))
}
