//! Fine-tuning: recipe, training, choice of the best weights, scores and predictions.

mod config;
mod job;
mod run;

use oscar_core::config::ConfigError;
use oscar_core::ops::TrainBackend;
use oscar_train::TrainConfig;

pub use config::{DataConfig, FinetuneConfig};
pub use job::{Job, Parts, Trained};
pub(crate) use run::CACHE;
pub use run::{FinetuneError, FinetuneReport, finetune};

use crate::Task;

/// A task that can be trained.
pub trait Learn: Task {
    /// Checks the section's values that depend on `[train]`.
    ///
    /// # Errors
    ///
    /// The first key whose value is out of range.
    fn validate_training(&self, _train: &TrainConfig) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Trains; [`Job::fit`] does all but making the model and its batches.
    ///
    /// # Errors
    ///
    /// If data cannot be read, a checkpoint cannot be read or written, or the loss is not finite.
    fn train<B: TrainBackend>(job: Job<B, Self>) -> Result<Trained, FinetuneError>;
}
