//! Why a detector cannot be opened.

use std::path::PathBuf;

use oscar_core::checkpoint::CheckpointError;
use oscar_files::FileError;

/// Why a detector cannot be opened or converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DetectorError {
    /// A file cannot be read or written, or is damaged.
    #[error(transparent)]
    File(#[from] FileError),
    /// The weights cannot be read, or have other shapes than the configuration says.
    #[error(transparent)]
    Weights(#[from] CheckpointError),
    /// The folder has no weights, or several files that may be them.
    #[error("{}: {found}; {fix}", path.display())]
    NoWeights {
        /// The folder.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What to do.
        fix: &'static str,
    },
    /// A value of the configuration cannot be used.
    #[error("{}: {found}; correct it, or take the published file", path.display())]
    Config {
        /// The file, or the folder whose configuration it is.
        path: PathBuf,
        /// The key, what it is and what it may be.
        found: String,
    },
    /// The weights are of another model than the configuration is about.
    #[error("{}: {found}; put the weights and the configuration of one detector together", path.display())]
    OtherModel {
        /// The weight file.
        path: PathBuf,
        /// What it holds, and what was expected.
        found: String,
    },
    /// The names of classes or attributes are missing, or are not those of the weights.
    #[error("{}: {found}; {fix}", path.display())]
    Labels {
        /// The file, or the folder that should hold it.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What to do.
        fix: &'static str,
    },
}
