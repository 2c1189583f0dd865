//! An open weight file of any format.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use oscar_files::pytorch::{ReadError, TorchFormat, TorchTensor};
use safetensors::tensor::Dtype;

use super::beside::Beside;
use super::content::{Content, format};
use super::error::{non_finite, require_finite};
use super::family;
use super::locate::{is_index, locate};
use super::official::{self, Change};
use super::{CheckpointError, shards};

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
    /// The file that it is in: of weights in parts, the part.
    pub file: Arc<Path>,
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
    /// Opens a file of weights, an index of weights in parts, or that of a directory, under the
    /// names that the file has.
    ///
    /// The format is detected from the file's structure. In a PyTorch file that holds other things
    /// too, the weights are those under `model`, `state_dict` or the like.
    ///
    /// # Errors
    ///
    /// If the file or a part of it cannot be read, does not hold weights, or is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = locate(path.as_ref())?;
        let content = match is_index(&path) {
            true => shards::read(&path)?,
            false => Content::read(&path)?,
        };
        Ok(Self {
            path,
            format: content.format,
            weights: content.weights,
            changes: content.changes,
        })
    }

    /// As [`open`](Self::open), under official names; [`changes`](Self::changes) lists what was
    /// renamed, filled in or left out.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and if two tensors would have the same name.
    pub fn open_official(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let mut file = Self::open(path)?;
        let renamed = official::rename(&mut file.weights);
        file.changes
            .extend(renamed.map_err(|reason| format(&file.path, reason))?);
        if Beside::read(&file.path).is_ok_and(|beside| beside.ties()) {
            file.changes.extend(official::tie(&mut file.weights));
        }
        Ok(file)
    }

    /// Refuses the weights of a model that is not BERT, by their names and by the `config.json`
    /// beside them: some are named alike and compute something else.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Family`], or the `config.json` is there and cannot be read.
    pub(super) fn require_bert(&self) -> Result<(), CheckpointError> {
        let other = |path: &Path, family: String| CheckpointError::Family {
            path: path.into(),
            family,
        };
        if let Some(family) = family::of(&self.weights) {
            return Err(other(&self.path, family.into()));
        }
        let beside = Beside::read(&self.path)?;
        match beside.other_family() {
            Some(family) => Err(other(beside.path(), family)),
            None => Ok(()),
        }
    }

    /// The file; of weights in parts, their index.
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
        require_float(weight)?;
        let bytes = weight.tensor.to_bytes();
        let bytes = bytes.map_err(|error| unreadable(weight, &error))?;
        match non_finite(weight.tensor.dtype(), &bytes) {
            None => Ok(bytes),
            Some((index, value)) => Err(CheckpointError::NonFinite {
                path: weight.file.to_path_buf(),
                name: weight.name.clone(),
                value,
                index,
            }),
        }
    }

    /// A weight as f32, row-major.
    ///
    /// # Errors
    ///
    /// If it cannot be read, has no floating-point type, or holds a value that is not finite.
    pub fn f32_of(&self, weight: &Weight) -> Result<Vec<f32>, CheckpointError> {
        require_float(weight)?;
        let values = weight.tensor.to_f32();
        let values = values.map_err(|error| unreadable(weight, &error))?;
        require_finite(&weight.file, &weight.name, &values)?;
        Ok(values)
    }

    /// Whether two weights of the file have the same type, shape and bytes.
    pub(super) fn same_values(&self, a: &Weight, b: &Weight) -> Result<bool, CheckpointError> {
        let bytes = |weight: &Weight| {
            let bytes = weight.tensor.to_bytes();
            bytes.map_err(|error| unreadable(weight, &error))
        };
        let alike = (a.tensor.dtype(), a.tensor.shape()) == (b.tensor.dtype(), b.tensor.shape());
        Ok(alike && bytes(a)? == bytes(b)?)
    }
}

/// Whether weights are of this type.
pub(super) fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64)
}

fn require_float(weight: &Weight) -> Result<(), CheckpointError> {
    match is_float(weight.tensor.dtype()) {
        true => Ok(()),
        false => Err(CheckpointError::DType {
            path: weight.file.to_path_buf(),
            name: weight.name.clone(),
            dtype: format!("{:?}", weight.tensor.dtype()),
        }),
    }
}

fn unreadable(weight: &Weight, error: &ReadError) -> CheckpointError {
    CheckpointError::Tensor {
        path: weight.file.to_path_buf(),
        name: weight.name.clone(),
        reason: error.to_string(),
    }
}
