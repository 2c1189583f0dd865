//! A CLIP of any file as a directory with safetensors.

use std::path::Path;

use oscar_core::checkpoint::{CheckpointError, NamedTensor, write_tensors};
use oscar_files::{FileError, SMALL_FILE, read_file, write_file};

use super::ClipError;
use super::file::ClipFile;

const WEIGHTS: &str = "model.safetensors";

/// Files that may be beside the weights: what they do not say of themselves, and the tokens of texts.
const BESIDE: [&str; 5] = [
    "config.json",
    "merges.txt",
    "vocab.json",
    "bpe_simple_vocab_16e6.txt.gz",
    "bpe_simple_vocab_16e6.txt",
];

/// Writes the weights of `source`, a file or directory that [`ClipVision::open`](super::ClipVision::open)
/// reads, as f32 to `out/model.safetensors`, under the names that they have, and what is beside them. The
/// names of the files that were written.
///
/// # Errors
///
/// If the source cannot be read or is not a CLIP; `out` that holds weights already, unless `overwrite`.
pub fn convert(source: &Path, out: &Path, overwrite: bool) -> Result<Vec<&'static str>, ClipError> {
    let target = out.join(WEIGHTS);
    if target.exists() && !overwrite {
        return Err(FileError::AlreadyExists { path: target }.into());
    }
    let file = ClipFile::open(source)?;
    let tensors = file.floats().map(|weight| {
        Ok(NamedTensor {
            name: weight.name.clone(),
            shape: weight.tensor.shape().to_vec(),
            data: file.weights().f32_of(weight)?,
        })
    });
    let tensors: Vec<NamedTensor> = tensors.collect::<Result<_, CheckpointError>>()?;
    std::fs::create_dir_all(out).map_err(FileError::io("create", out))?;
    let directory = file.path().parent().unwrap_or(Path::new("."));
    let mut written = Vec::new();
    for name in BESIDE {
        let path = directory.join(name);
        if path.is_file() {
            write_file(&out.join(name), &read_file(&path, SMALL_FILE)?)?;
            written.push(name);
        }
    }
    // Last: a directory with weights is complete.
    write_tensors(&target, &tensors)?;
    written.push(WEIGHTS);
    Ok(written)
}
