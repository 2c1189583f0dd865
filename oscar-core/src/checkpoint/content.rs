//! The weights in one file, of any format.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use oscar_files::map_file;
use oscar_files::pytorch::pickle::Limits;
use oscar_files::pytorch::{Storage, TORCH_SCRIPT, TorchFile, TorchTensor, Value};
use safetensors::SafeTensors;

use super::error::printable_start;
use super::official::Change;
use super::rosita;
use super::sniff::{Sniffed, sniff};
use super::unwrap::{self, described};
use super::{CheckpointError, Weight, WeightFormat};

/// Most times that the tensors of a file may hold its bytes; tied ones hold them twice.
const MAX_SHARING: usize = 16;

const OPTIMISER: &str =
    "this is the state of an optimiser: give the file of the weights, which is saved beside it";

/// What one file holds.
pub(super) struct Content {
    pub format: WeightFormat,
    pub weights: Vec<Weight>,
    pub changes: Vec<Change>,
}

impl Content {
    /// Reads the directory of the file `path`; its tensors stay in it.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = map_file(path)?;
        let mut content = match sniff(&bytes) {
            Some(Sniffed::Safetensors) => Self::of_safetensors(path, &bytes),
            Some(Sniffed::Torch) => Self::of_torch(path, bytes),
            Some(Sniffed::Other(other)) => Err(format(
                path,
                format_args!("it is {}; {}", other.found, other.fix),
            )),
            None => Err(format(
                path,
                format_args!(
                    "it begins with {}, unlike a safetensors or a PyTorch file",
                    printable_start(&bytes)
                ),
            )),
        }?;
        for weight in &mut content.weights {
            if let Some(escaped) = escaped(&weight.name) {
                weight.name = escaped;
            }
        }
        Ok(content)
    }

    fn of_safetensors(path: &Path, bytes: &Bytes) -> Result<Self, CheckpointError> {
        let declared = bytes.first_chunk().map_or(0, |n| u64::from_le_bytes(*n));
        let left = bytes.len().saturating_sub(8) as u64;
        if declared > left {
            return Err(format(
                path,
                format_args!("its header should have {declared} bytes, but only {left} follow"),
            ));
        }
        let invalid = |error| format(path, format_args!("safetensors: {error}"));
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(invalid)?;
        let file = SafeTensors::deserialize(bytes).map_err(invalid)?;
        let source: Arc<Path> = path.into();
        let mut weights = Vec::with_capacity(file.len());
        for (name, view) in file.iter() {
            if !view.dtype().bitsize().is_multiple_of(8) {
                return Err(CheckpointError::DType {
                    path: path.into(),
                    name: name.into(),
                    dtype: format!("{:?}", view.dtype()),
                });
            }
            let data = bytes.slice_ref(view.data());
            let storage = Arc::new(Storage::of_bytes(name.into(), data));
            let tensor = TorchTensor::contiguous(view.dtype(), view.shape().to_vec(), storage);
            weights.push(Weight {
                name: name.into(),
                tensor: tensor.map_err(|reason| CheckpointError::Tensor {
                    path: path.into(),
                    name: name.into(),
                    reason,
                })?,
                file: source.clone(),
            });
        }
        // The format holds no tensor twice: a writer that leaves out the other names of a shared one
        // keeps them in the metadata, as `name: name that is there`.
        for (alias, name) in metadata.metadata().iter().flatten() {
            let shared = weights.iter().find(|weight| weight.name == *name);
            if let Some(shared) = shared
                && weights.iter().all(|weight| weight.name != *alias)
            {
                let name = alias.clone();
                weights.push(Weight {
                    name,
                    ..shared.clone()
                });
            }
        }
        // The header of such a file is a table without an order.
        weights.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            format: WeightFormat::Safetensors,
            weights,
            changes: Vec::new(),
        })
    }

    fn of_torch(path: &Path, bytes: Bytes) -> Result<Self, CheckpointError> {
        let length = bytes.len();
        let file = TorchFile::from_bytes(bytes, path, &Limits::default())?;
        let mut changes = Vec::new();
        let source: Arc<Path> = path.into();
        let (value, weights) = match rosita::nested(file.value()) {
            Some(nested) => (
                file.value(),
                unwrap::tensors_of_modules(&nested, &source, &mut changes),
            ),
            None => {
                let value = unwrap::unwrap(file.value(), &mut changes);
                (value, tensors(value, &source, &mut changes))
            }
        };
        if weights.is_empty() {
            let advice = match unwrap::is_optimiser(value) {
                true => OPTIMISER.to_string(),
                false => format!(
                    "weights are a dictionary of tensors, possibly under a key such as {}",
                    unwrap::WRAPPERS.join(", ")
                ),
            };
            let reason = format!(
                "it holds {} and no named tensors; {advice}",
                described(value)
            );
            return Err(format(path, reason));
        }
        let total = weights.iter().fold(0usize, |total, weight| {
            let bits = weight
                .tensor
                .len()
                .saturating_mul(weight.tensor.dtype().bitsize());
            total.saturating_add(bits / 8)
        });
        if total > length.saturating_mul(MAX_SHARING).max(1 << 20) {
            return Err(format(
                path,
                format_args!(
                    "it has {length} bytes, but its tensors share them so often that they would \
                     expand to {total} bytes"
                ),
            ));
        }
        Ok(Self {
            format: WeightFormat::Torch(file.format()),
            weights,
            changes,
        })
    }
}

/// The named tensors of a dictionary or of a TorchScript module.
fn tensors(value: &Value, source: &Arc<Path>, changes: &mut Vec<Change>) -> Vec<Weight> {
    match value {
        Value::Object(module) if module.class == TORCH_SCRIPT => {
            changes.push(Change::TorchScript);
            unwrap::tensors_of_module(&module.fields, source)
        }
        value => {
            let dict = value.as_dict();
            dict.map_or_else(Vec::new, |dict| unwrap::tensors(dict, source))
        }
    }
}

/// An error about the whole file.
pub(super) fn format(path: &Path, reason: impl ToString) -> CheckpointError {
    CheckpointError::Format {
        path: path.into(),
        reason: reason.to_string(),
    }
}

/// A name without the characters that a terminal would obey, if it has any: no weight of a model
/// does.
fn escaped(name: &str) -> Option<String> {
    let hostile = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    name.contains(hostile).then(|| {
        name.chars()
            .flat_map(|c| match hostile(c) {
                true => c.escape_unicode().collect::<Vec<_>>(),
                false => vec![c],
            })
            .collect()
    })
}
