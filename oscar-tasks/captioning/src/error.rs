//! What can be wrong with a captioning split.

/// A split that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptioningError {
    /// The split needs a file that it does not name.
    #[error("`{key}` is not set: {what}")]
    Unset {
        /// The key.
        key: &'static str,
        /// What it is for.
        what: &'static str,
    },
}
