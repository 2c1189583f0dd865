//! What can be wrong with a checkpoint.

use std::fmt;
use std::path::{Path, PathBuf};

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
            "{}: file has {:?}, model wants {:?}",
            self.name, self.file, self.model
        )
    }
}

/// An error of reading or writing a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be opened, read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted: `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a safetensors file, or is cut short.
    #[error("{} is not a complete safetensors file: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// A tensor has a type that no weight has.
    #[error("{}: {name} has type {dtype}; weights are F32, F16, BF16 or F64", path.display())]
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
        /// Where in the flattened tensor.
        index: usize,
    },
    /// Sizes differ: the file belongs to a model of another configuration.
    #[error(
        "{} is of another model: {}{}; give the configuration it was saved with",
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
    /// Parts of the model are not in the file and would stay random.
    #[error(
        "{} lacks {} parameters of the model, which would stay random: {}{}; \
         name the parts that may start random (for example --init-random {}), or --init-random all",
        path.display(),
        names.len(),
        list(names, 6),
        plural(names.len(), 6),
        part(&names[0])
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// All missing names; at least one.
        names: Vec<String>,
    },
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
fn part(name: &str) -> &str {
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
