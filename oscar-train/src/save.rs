//! Checkpoints on request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asks a run for a checkpoint after its current step; the run continues. Clones ask the same run.
#[derive(Clone, Debug, Default)]
pub struct SaveRequest(Arc<AtomicBool>);

impl SaveRequest {
    /// A request that nobody has made yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is set to make the request: all that the handler of a signal may do.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }

    /// Whether the request was made since this was last called.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}
