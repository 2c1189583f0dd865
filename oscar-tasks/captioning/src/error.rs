//! What can be wrong with the files of a captioning split.

use std::path::{Path, PathBuf};

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptioningError {
    /// A file is there but cannot be what it should be.
    #[error("{}: {found}; {fix}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What was found, and at which row or key.
        found: String,
        /// What to do.
        fix: &'static str,
    },
    /// The operating system refused a file operation.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A split needs a file that it does not name.
    #[error("`{key}` is not set: {what}")]
    Unset {
        /// The key.
        key: &'static str,
        /// What it is for.
        what: &'static str,
    },
}

impl CaptioningError {
    pub(crate) fn wrong(path: &Path, found: impl Into<String>, fix: &'static str) -> Self {
        Self::Wrong {
            path: path.to_path_buf(),
            found: found.into(),
            fix,
        }
    }

    /// Wraps a system error: `.map_err(CaptioningError::io(path))`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}
