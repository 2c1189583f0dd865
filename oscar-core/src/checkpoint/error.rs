//! Errors of reading and writing checkpoints.

use std::fmt;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use oscar_files::FileError;
use oscar_files::pytorch::TorchError;
use safetensors::Dtype;

use crate::input::InputError;

/// A tensor whose shape in the file is not the model's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeMismatch {
    /// Official name.
    pub name: String,
    /// Shape in the file.
    pub file: Vec<usize>,
    /// Shape the model has.
    pub model: Vec<usize>,
}

impl fmt::Display for ShapeMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {:?} in the file, {:?} in the model",
            self.name, self.file, self.model
        )
    }
}

/// An error of reading or writing a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be opened, read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file does not hold weights, or is truncated.
    #[error("{} is not a complete weight file: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is not a PyTorch file, is damaged, or asks for code to be run.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// The tokenizer beside the weights cannot be read.
    #[error(transparent)]
    Tokenizer(#[from] InputError),
    /// A tensor cannot be read or written.
    #[error("{}: {name}: {reason}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The model's configuration is missing or does not match its tensors.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The configuration, or the weight file that has none.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The weights are of another family of models, whose names or shapes may look alike.
    #[error(
        "{}: the model is {family}, not BERT or Oscar, and its weights would compute something else; \
         give weights of BERT or Oscar", path.display()
    )]
    Family {
        /// The weights, or the configuration beside them that says so.
        path: PathBuf,
        /// What the model is.
        family: String,
    },
    /// A tensor does not have a floating-point type.
    #[error("{}: {name} has type {dtype}; weights must be F32, F16, BF16 or F64", path.display())]
    DType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        dtype: String,
    },
    /// A weight is NaN or infinite.
    #[error("{}: {name} holds {value} at element {index}", path.display())]
    NonFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The value.
        value: f32,
        /// Index in the flattened tensor.
        index: usize,
    },
    /// Shapes differ: the file belongs to a model with another configuration.
    #[error(
        "{} belongs to another model: {}{}; use the configuration it was saved with",
        path.display(),
        list(mismatched, 4),
        plural(mismatched.len(), 4)
    )]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// All tensors that differ.
        mismatched: Vec<ShapeMismatch>,
    },
    /// Parameters of the model are not in the file and would be initialised randomly.
    #[error(
        "{} lacks {} parameters of the model: {}{}; if these may be initialised randomly, allow it \
         for their module (for example {}) or for all",
        path.display(),
        names.len(),
        list(names, 6),
        plural(names.len(), 6),
        module(&names[0])
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The missing names, at least one.
        names: Vec<String>,
    },
}

/// The first value that is NaN or infinite, and its place.
pub(super) fn non_finite(dtype: Dtype, bytes: &[u8]) -> Option<(usize, f32)> {
    fn first<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f64) -> Option<(usize, f32)> {
        let (chunks, _) = bytes.as_chunks::<N>();
        let found = chunks.iter().position(|chunk| !value(*chunk).is_finite())?;
        Some((found, value(*chunks.get(found)?) as f32))
    }
    match dtype {
        Dtype::F32 => first(bytes, |value| f32::from_le_bytes(value).into()),
        Dtype::F16 => first(bytes, |value| f16::from_le_bytes(value).to_f64()),
        Dtype::BF16 => first(bytes, |value| bf16::from_le_bytes(value).to_f64()),
        Dtype::F64 => first(bytes, f64::from_le_bytes),
        _ => None,
    }
}

/// The first bytes of a file, for a message.
pub(super) fn printable_start(bytes: &[u8]) -> String {
    let start = bytes.get(..8).unwrap_or(bytes);
    let hex: Vec<_> = start.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.join(" ")
}

/// Refuses NaN and infinite values.
pub(super) fn require_finite(
    path: &Path,
    name: &str,
    values: &[f32],
) -> Result<(), CheckpointError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(CheckpointError::NonFinite {
            path: path.into(),
            name: name.into(),
            value: values[index],
            index,
        }),
    }
}

/// The module a parameter belongs to: its name without the last part.
fn module(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(module, _)| module)
}

fn list<T: fmt::Display>(items: &[T], most: usize) -> String {
    items
        .iter()
        .take(most)
        .map(|item| item.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

fn plural(count: usize, most: usize) -> String {
    match count.checked_sub(most) {
        None | Some(0) => String::new(),
        Some(more) => format!(" and {more} more"),
    }
}
