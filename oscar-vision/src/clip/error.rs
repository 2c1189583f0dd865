//! Why a CLIP cannot be opened.

use std::path::PathBuf;

use oscar_core::checkpoint::CheckpointError;

/// Why a CLIP cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClipError {
    /// The file of weights cannot be read.
    #[error(transparent)]
    Weights(#[from] CheckpointError),
    /// A file is not one of a CLIP that is implemented.
    #[error("{}: {found}; {fix}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What to do.
        fix: &'static str,
    },
}
