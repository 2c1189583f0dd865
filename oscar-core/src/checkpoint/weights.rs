//! An open weight file of any format.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use oscar_files::map_file;
use oscar_files::pytorch::pickle::{Limits, printable};
use oscar_files::pytorch::{Dict, ReadError, Storage, TorchFile, TorchFormat, TorchTensor, Value};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use super::CheckpointError;
use super::error::{non_finite, printable_start};
use super::official::{self, Change};
use super::sniff::{Sniffed, locate, sniff};

/// Names under which training scripts put the weights among other things.
const WRAPPERS: [&str; 4] = ["model", "state_dict", "model_state_dict", "module"];

/// Most wrappers around the weights.
const MAX_WRAPPERS: usize = 4;

/// Most times that the tensors of a file may hold its bytes; tied ones hold them twice.
const MAX_SHARING: usize = 16;

/// Format of a weight file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightFormat {
    /// safetensors
    Safetensors,
    /// A file of `torch.save`.
    Torch(TorchFormat),
}

impl WeightFormat {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Torch(format) => format.name(),
        }
    }
}

/// A tensor by name, still in its file.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Its name.
    pub name: String,
    /// Its elements.
    pub tensor: TorchTensor,
}

/// An open weight file; no tensor is read yet.
#[derive(Debug)]
pub struct WeightFile {
    path: PathBuf,
    format: WeightFormat,
    weights: Vec<Weight>,
    changes: Vec<Change>,
}

impl WeightFile {
    /// Opens a file of weights, or that of a directory, under the names that the file has.
    ///
    /// The format is detected from the file's first bytes. In a PyTorch file that holds other
    /// things too, the weights are those under `model` or `state_dict`.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, does not hold weights, or is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = locate(path.as_ref())?;
        let bytes = map_file(&path)?;
        match sniff(&bytes) {
            Some(Sniffed::Safetensors) => Self::of_safetensors(path, &bytes),
            Some(Sniffed::Torch) => Self::of_torch(path, bytes),
            Some(Sniffed::Other(what)) => Err(format(&path, what)),
            None => Err(format(
                &path,
                format_args!(
                    "it begins with {}, unlike a safetensors or a PyTorch file",
                    printable_start(&bytes)
                ),
            )),
        }
    }

    /// As [`open`](Self::open), under official names; [`changes`](Self::changes) lists what was
    /// renamed or left out.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and if two tensors would have the same name.
    pub fn open_official(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let mut file = Self::open(path)?;
        let renamed = official::rename(&mut file.weights);
        file.changes
            .extend(renamed.map_err(|reason| format(&file.path, reason))?);
        Ok(file)
    }

    fn of_safetensors(path: PathBuf, bytes: &Bytes) -> Result<Self, CheckpointError> {
        let declared = bytes.first_chunk().map_or(0, |n| u64::from_le_bytes(*n));
        let left = bytes.len().saturating_sub(8) as u64;
        if declared > left {
            return Err(format(
                &path,
                format_args!("its header should have {declared} bytes, but only {left} follow"),
            ));
        }
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| format(&path, format_args!("safetensors: {error}")))?;
        let mut weights = Vec::with_capacity(file.len());
        for (name, view) in file.iter() {
            if !view.dtype().bitsize().is_multiple_of(8) {
                return Err(CheckpointError::DType {
                    path,
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
                    path: path.clone(),
                    name: name.into(),
                    reason,
                })?,
            });
        }
        // The header of such a file is a table without an order.
        weights.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            path,
            format: WeightFormat::Safetensors,
            weights,
            changes: Vec::new(),
        })
    }

    fn of_torch(path: PathBuf, bytes: Bytes) -> Result<Self, CheckpointError> {
        let length = bytes.len();
        let file = TorchFile::from_bytes(bytes, &path, &Limits::default())?;
        let mut changes = Vec::new();
        let mut value = file.value();
        for _ in 0..MAX_WRAPPERS {
            let Some(dict) = value.as_dict() else { break };
            if dict.iter().any(|(_, value)| value.as_tensor().is_some()) {
                break;
            }
            let inner = WRAPPERS
                .iter()
                .find_map(|name| Some((name, dict.get(name)?)))
                .filter(|(_, inner)| inner.as_dict().is_some());
            let Some((name, inner)) = inner else { break };
            changes.push(Change::Unwrapped(name));
            value = inner;
        }
        let weights = value.as_dict().map_or_else(Vec::new, tensors_of);
        if weights.is_empty() {
            return Err(format(
                &path,
                format_args!(
                    "it holds {} and no named tensors; weights are a dictionary of tensors, possibly \
                     under the key {}",
                    described(value),
                    WRAPPERS.join(", ")
                ),
            ));
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
                &path,
                format_args!(
                    "it has {length} bytes, but its tensors share them so often that they would \
                     expand to {total} bytes"
                ),
            ));
        }
        Ok(Self {
            path,
            format: WeightFormat::Torch(file.format()),
            weights,
            changes,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its format.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// The weights in the file's order.
    pub fn weights(&self) -> &[Weight] {
        &self.weights
    }

    /// The weight called `name`.
    pub fn get(&self, name: &str) -> Option<&Weight> {
        self.weights.iter().find(|weight| weight.name == name)
    }

    /// What was renamed, added or left out to get from the file's names to official ones.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The weights as bytes of their own type, row-major, all finite.
    pub(super) fn bytes_of(&self, weight: &Weight) -> Result<Bytes, CheckpointError> {
        let (name, tensor) = (&weight.name, &weight.tensor);
        if !is_float(tensor.dtype()) {
            return Err(self.not_float(weight));
        }
        let bytes = tensor
            .to_bytes()
            .map_err(|error| self.unreadable(name, error))?;
        match non_finite(tensor.dtype(), &bytes) {
            None => Ok(bytes),
            Some((index, value)) => Err(CheckpointError::NonFinite {
                path: self.path.clone(),
                name: name.clone(),
                value,
                index,
            }),
        }
    }

    /// The weights as f32, all finite.
    pub(super) fn f32_of(&self, weight: &Weight) -> Result<Vec<f32>, CheckpointError> {
        if !is_float(weight.tensor.dtype()) {
            return Err(self.not_float(weight));
        }
        let values = weight.tensor.to_f32();
        let values = values.map_err(|error| self.unreadable(&weight.name, error))?;
        super::error::require_finite(&self.path, &weight.name, &values)?;
        Ok(values)
    }

    /// Whether two weights of the file have the same type, shape and bytes.
    pub(super) fn same_values(&self, a: &Weight, b: &Weight) -> Result<bool, CheckpointError> {
        let bytes = |weight: &Weight| {
            let bytes = weight.tensor.to_bytes();
            bytes.map_err(|error| self.unreadable(&weight.name, error))
        };
        let alike = (a.tensor.dtype(), a.tensor.shape()) == (b.tensor.dtype(), b.tensor.shape());
        Ok(alike && bytes(a)? == bytes(b)?)
    }

    fn not_float(&self, weight: &Weight) -> CheckpointError {
        CheckpointError::DType {
            path: self.path.clone(),
            name: weight.name.clone(),
            dtype: format!("{:?}", weight.tensor.dtype()),
        }
    }

    fn unreadable(&self, name: &str, error: ReadError) -> CheckpointError {
        CheckpointError::Tensor {
            path: self.path.clone(),
            name: name.into(),
            reason: error.to_string(),
        }
    }
}

/// Whether weights are of this type.
pub(super) fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64)
}

fn tensors_of(dict: &Dict) -> Vec<Weight> {
    let weights = dict.iter().filter_map(|(name, value)| match (name, value) {
        (Value::Str(name), Value::Tensor(tensor)) => Some(Weight {
            name: name.to_string(),
            tensor: TorchTensor::clone(tensor),
        }),
        _ => None,
    });
    weights.collect()
}

/// A value for a message: its type, and the first keys of a dictionary.
fn described(value: &Value) -> String {
    let Some(dict) = value.as_dict() else {
        return format!("a {}", value.type_name());
    };
    let keys: Vec<_> = dict
        .iter()
        .filter_map(|(key, _)| key.as_str())
        .take(5)
        .map(|key| format!("\"{}\"", printable(key)))
        .collect();
    match keys.is_empty() {
        true => "a dictionary".into(),
        false => format!("a dictionary of {}", keys.join(", ")),
    }
}

fn format(path: &Path, reason: impl ToString) -> CheckpointError {
    CheckpointError::Format {
        path: path.into(),
        reason: reason.to_string(),
    }
}
