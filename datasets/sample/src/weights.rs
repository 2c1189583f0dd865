//! The sample's start weights: what the quickstart learned, in half the bytes.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use half::f16;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use oscar_datasets::mapped::{map_file, read_file};
use oscar_datasets::{DatasetError, Result};
use oscar_files::{StagedDir, write_file};

const MODEL_FILE: &str = "model.safetensors";
/// What describes the model beside its weights; copied as it is.
const BESIDE: [&str; 2] = ["config.json", "vocab.txt"];
/// What describes the task of fine-tuned weights.
const TASK_FILE: &str = "task.json";

/// All files, as they lie in the sample.
pub(crate) const FILES: [&str; 3] = [MODEL_FILE, BESIDE[0], BESIDE[1]];

/// Writes the weights in `from` (the `best` directory of a run) to `out`, f32 as f16: a tenth of a
/// percent of a weight is less than training moves it in a step. Loading converts them back. Of
/// fine-tuned weights everything that describes them is copied too.
///
/// # Errors
/// A missing or damaged file, weights of another type, or a value that f16 cannot hold; `out` that
/// is there, unless it holds weights and `overwrite` is on.
pub fn write_weights(from: &Path, out: &Path, overwrite: bool) -> Result<u64> {
    let path = from.join(MODEL_FILE);
    let hint = "give the `best` or `last` directory of a run";
    let map = map_file(&path, hint)?;
    let wrong = |found: String| DatasetError::malformed(&path, found, hint);
    let tensors = SafeTensors::deserialize(&map).map_err(|error| wrong(error.to_string()))?;
    let mut converted = Vec::new();
    for (name, tensor) in tensors.iter() {
        if tensor.dtype() != Dtype::F32 {
            return Err(wrong(format!("{name} is {:?}, not F32", tensor.dtype())));
        }
        let mut bytes = Vec::with_capacity(tensor.data().len() / 2);
        for value in tensor.data().chunks_exact(4) {
            let value = f32::from_le_bytes([value[0], value[1], value[2], value[3]]);
            let half = f16::from_f32(value);
            if !half.is_finite() {
                return Err(wrong(format!("{name} holds {value}, too much for F16")));
            }
            bytes.extend(half.to_le_bytes());
        }
        converted.push((name, tensor.shape().to_vec(), bytes));
    }
    // By name, so that the same weights give the same bytes.
    converted.sort_by(|a, b| a.0.cmp(b.0));
    let views = converted
        .iter()
        .map(|(name, shape, bytes)| Ok((*name, TensorView::new(Dtype::F16, shape.clone(), bytes)?)))
        .collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|error| wrong(error.to_string()))?;
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    let bytes = safetensors::serialize(views, Some(metadata));
    let bytes = bytes.map_err(|error| wrong(error.to_string()))?;

    let staged = StagedDir::create(out, MODEL_FILE, overwrite)?;
    write_file(&staged.path().join(MODEL_FILE), &bytes)?;
    for name in beside(from)? {
        let content = read_file(&from.join(&name), hint)?;
        write_file(&staged.path().join(&name), &content)?;
    }
    staged.commit()?;
    Ok(bytes.len() as u64)
}

/// Names of the files that describe the weights in `from`: of fine-tuned ones every file.
fn beside(from: &Path) -> Result<Vec<OsString>> {
    if !from.join(TASK_FILE).is_file() {
        return Ok(BESIDE.map(OsString::from).to_vec());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(from).map_err(DatasetError::io("list", from))? {
        let path = entry.map_err(DatasetError::io("list", from))?.path();
        names.extend(
            path.file_name()
                .filter(|_| path.is_file())
                .map(OsString::from),
        );
    }
    names.retain(|name| name != MODEL_FILE);
    Ok(names)
}

/// Copies the weights in the sample `from` to `out`, if it has any: one just made has none yet.
pub(crate) fn copy(from: &Path, out: &Path, hint: &'static str) -> Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    fs::create_dir(out).map_err(|error: io::Error| DatasetError::io("create", out)(error))?;
    FILES.into_iter().try_for_each(|name| {
        let bytes = read_file(&from.join(name), hint)?;
        Ok(write_file(&out.join(name), &bytes)?)
    })
}
