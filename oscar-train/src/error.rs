//! What can end a training run.

use std::any::Any;
use std::path::PathBuf;

use burn::tensor::backend::ExecutionError;
use oscar_core::checkpoint::CheckpointError;
use oscar_core::config::ConfigError;
use oscar_files::FileError;

/// A worker is gone or does not respond; the others cannot continue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WorkerLost(pub String);

/// An error of the training engine.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A file or directory of the run cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another process trains in this run directory.
    #[error(
        "{} is in use by another process; wait for it, or use another run directory",
        path.display()
    )]
    Locked {
        /// The run directory.
        path: PathBuf,
    },
    /// A new run would be written into the directory of an older one.
    #[error(
        "{} has checkpoints; resume the run, or use another run directory",
        path.display()
    )]
    HasCheckpoints {
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
    /// The checkpoint to resume from is damaged, and an earlier one is whole.
    #[error(
        "the checkpoint of step {step} is damaged, and the one of step {whole} before it is whole; \
         resume from step {whole}: {source}"
    )]
    Damaged {
        /// The step of the damaged one.
        step: usize,
        /// The step of the newest one before it that is whole.
        whole: usize,
        /// What is damaged.
        #[source]
        source: Box<TrainError>,
    },
    /// The run has no checkpoint of the step to resume from.
    #[error(
        "{} has no checkpoint of step {step}; it has those of {steps:?}", path.display()
    )]
    NoCheckpoint {
        /// The run directory.
        path: PathBuf,
        /// The step.
        step: usize,
        /// The steps whose checkpoints it has.
        steps: Vec<usize>,
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
    /// A thread that loads batches is gone.
    #[error("a data-loading thread panicked; see the panic message above")]
    LoaderPanicked,
    /// The data has fewer examples than one step needs.
    #[error(
        "{what} has {found} examples, but one step takes {needed}; \
         lower train.batch_size or add data"
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
        /// Its error.
        message: String,
    },
    /// Another worker is gone.
    #[error("training cannot continue: {0}")]
    Lost(#[from] WorkerLost),
    /// The training loop panicked.
    #[error("the training loop panicked: {0}")]
    Panicked(String),
    /// A device failed: it is out of memory, or a kernel could not be run.
    #[error("the device failed: {0}")]
    Device(String),
    /// The loss or the gradients of a step are NaN or infinite. The update was not applied.
    #[error(
        "the {what} is not a finite number at step {step}, whose examples ({examples}) are in {}. \
         The update was not applied; saved checkpoints predate it. If nothing is wrong with the \
         examples, lower optimizer.learning_rate, lengthen optimizer.warmup_steps, or set \
         optimizer.max_grad_norm, and resume; train.non_finite=skip skips single steps",
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

impl TrainError {
    /// The error of a caught panic.
    pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Self::Panicked(text.unwrap_or_else(|| "no reason was given".into()))
    }
}

impl From<ExecutionError> for TrainError {
    fn from(error: ExecutionError) -> Self {
        Self::Device(error.to_string())
    }
}
