//! The error type of this crate.

use std::error::Error;

/// Why a picture gives no regions.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VisionError {
    /// A picture cannot be decoded, or is not one that the extractor reads. Other pictures are not
    /// affected.
    #[error("{picture}: {found}; {fix}")]
    Picture {
        /// The picture's file or key.
        picture: String,
        /// What was found.
        found: String,
        /// What to do.
        fix: &'static str,
    },
    /// The extractor itself failed, on its device for example: no picture can be read any more.
    #[error("the extractor {extractor} failed")]
    Extractor {
        /// Name of the extractor.
        extractor: String,
        /// The reason.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl VisionError {
    pub(crate) fn picture(
        picture: impl Into<String>,
        found: impl Into<String>,
        fix: &'static str,
    ) -> Self {
        Self::Picture {
            picture: picture.into(),
            found: found.into(),
            fix,
        }
    }
}
