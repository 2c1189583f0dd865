//! What can be wrong with captions, their files and the jars.

use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T, E = MetricsError> = std::result::Result<T, E>;

/// Why captions cannot be scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// A file is there but cannot be what it should be.
    #[error("{}: {found}; {fix}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was found, and where.
        found: String,
        /// What to do.
        fix: &'static str,
    },
    /// The operating system refused a file operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The operation, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Candidates and references do not fit each other.
    #[error("{found}; {fix}")]
    Images {
        /// How many images, and the first of them.
        found: String,
        /// What to do.
        fix: &'static str,
    },
    /// A metric that a jar computes could not be computed.
    #[error("{metric}: {found}; {fix}")]
    Jar {
        /// The metric.
        metric: &'static str,
        /// What happened.
        found: String,
        /// What to do.
        fix: &'static str,
    },
}

impl MetricsError {
    pub(crate) fn file(path: &Path, found: impl Into<String>, fix: &'static str) -> Self {
        Self::File {
            path: path.to_path_buf(),
            found: found.into(),
            fix,
        }
    }

    /// Wraps a system error: `.map_err(MetricsError::io("open", path))`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn images(found: impl Into<String>, fix: &'static str) -> Self {
        Self::Images {
            found: found.into(),
            fix,
        }
    }
}
