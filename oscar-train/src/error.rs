//! What can end a training run.

use std::path::PathBuf;

use oscar_core::checkpoint::CheckpointError;
use oscar_core::config::ConfigError;
use oscar_files::FileError;

use crate::parallel::WorkerLost;

/// An error of the training engine.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A file or directory of the run cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another process trains in this run directory.
    #[error(
        "{} is in use by another process; wait for it, or give this run another --name",
        path.display()
    )]
    Locked {
        /// The run directory.
        path: PathBuf,
    },
    /// A checkpoint's description cannot be read.
    #[error("{} is not a checkpoint of this version: {reason}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A checkpoint of the run was made with other settings.
    #[error(
        "the checkpoint at {} was made with {key} = {found}, this run has {expected}; \
         resume with the run's own configuration, or start another run",
        path.display()
    )]
    OtherSettings {
        /// The checkpoint.
        path: PathBuf,
        /// The setting.
        key: &'static str,
        /// Its value in the checkpoint.
        found: String,
        /// Its value now.
        expected: String,
    },
    /// Optimiser state that does not belong to the model.
    #[error("the optimiser state does not fit the model: {reason}")]
    OptimizerState {
        /// What differs.
        reason: String,
    },
    /// Weights cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// An example cannot be made.
    #[error("cannot prepare a batch: {0}")]
    Data(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A thread that prepares batches is gone.
    #[error("a data worker stopped without a word; the message above says why it panicked")]
    Worker,
    /// The data has fewer examples than one step needs.
    #[error(
        "{what} has {found} examples, but one step takes {needed}; \
         lower train.batch_size or give it more data"
    )]
    TooFewExamples {
        /// Which data.
        what: &'static str,
        /// How many it has.
        found: usize,
        /// How many a step takes.
        needed: usize,
    },
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Another worker failed.
    #[error("worker {worker} failed: {message}")]
    Peer {
        /// Its number, from 0.
        worker: usize,
        /// What it said.
        message: String,
    },
    /// Another worker is gone.
    #[error("training cannot go on: {0}")]
    WorkerLost(#[from] WorkerLost),
    /// The computation of a step panicked.
    #[error("the computation of a step stopped: {0}")]
    Panicked(String),
    /// The loss or the gradients of a step are NaN or infinite. The step was not made.
    #[error(
        "the {what} is not a finite number at step {step}, whose examples ({examples}) are in {}. \
         The step was not made, and checkpoints are from before it. If nothing is wrong with the examples, lower \
         optimizer.learning_rate, lengthen optimizer.warmup_steps, or set \
         optimizer.max_grad_norm, and resume; train.non_finite=skip leaves out single steps",
        file.display()
    )]
    NonFinite {
        /// Loss or gradients.
        what: &'static str,
        /// Optimiser step, from 1.
        step: usize,
        /// Some of its examples.
        examples: String,
        /// Where all of them are named.
        file: PathBuf,
    },
}
