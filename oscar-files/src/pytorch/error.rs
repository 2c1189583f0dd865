//! Errors of PyTorch files.

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
    /// The file is neither a PyTorch file nor a pickle, or is truncated.
    #[error("{} is not a complete PyTorch file: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The pickle in the file cannot be read or is refused.
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
    /// Its elements do not convert to f32.
    #[error("it has type {dtype:?}, which cannot be converted to f32")]
    Type {
        /// The type in the file.
        dtype: Dtype,
    },
    /// Its storage is damaged.
    #[error("{reason}")]
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// Its elements are outside its storage: the file changed while it was open.
    #[error("its elements are outside its storage; the file changed while it was open")]
    Outside,
    /// There is not enough memory.
    #[error("not enough memory for its {bytes} bytes")]
    Memory {
        /// What was needed.
        bytes: usize,
    },
}
