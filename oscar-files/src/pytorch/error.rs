//! What can be wrong with a PyTorch file.

use std::path::PathBuf;

use safetensors::Dtype;

use super::pickle::PickleError;
use crate::FileError;

/// A file that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum TorchError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is neither PyTorch's nor a pickle, or is cut short.
    #[error("{} is not a complete PyTorch file: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// What the file holds cannot be read, or will not be.
    #[error("{}: {source}", path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: PickleError,
    },
}

/// A tensor or array that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Its elements are of a type that does not fit.
    #[error("it has type {dtype:?}, which cannot be read as {wanted}")]
    Type {
        /// The type in the file.
        dtype: Dtype,
        /// What was asked for.
        wanted: &'static str,
    },
    /// Its storage is damaged.
    #[error("{reason}")]
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// Its elements lie outside its storage: the file changed while it was open.
    #[error("its elements lie outside its storage")]
    Outside,
    /// There is not enough memory.
    #[error("there is no memory for its {bytes} bytes")]
    Memory {
        /// What was needed.
        bytes: usize,
    },
}
