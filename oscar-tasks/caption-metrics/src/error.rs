//! Errors of captions, their files and the jars.

use oscar_files::FileError;

/// Result of this crate.
pub type Result<T, E = MetricsError> = std::result::Result<T, E>;

/// Why captions cannot be scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// A file cannot be read, or its content is wrong.
    #[error(transparent)]
    File(#[from] FileError),
    /// Candidates and references do not match.
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
    pub(crate) fn images(found: impl Into<String>, fix: &'static str) -> Self {
        Self::Images {
            found: found.into(),
            fix,
        }
    }
}
