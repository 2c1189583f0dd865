//! What every task shares: recipe, checkpoint, training, scoring, asking.
//!
//! ```text
//! Family ◀── Task ◀── Predict ◀── Explain, Score      an opened checkpoint: Opened, dyn Predictor
//!              ▲                                      a program that only asks needs no more
//!              └───── Learn                           feature `train`: recipe, training loop
//! ```
//!
//! Weights are opened once and asked often:
//!
//! ```no_run
//! # use std::path::Path;
//! # use oscar_core::ops::OscarBackend;
//! # use oscar_task::{Ask, Explain, Opened, Predictor};
//! # fn ask<T: Explain, B: OscarBackend>(device: B::Device) -> Result<(), oscar_task::TaskError> {
//! let model = Opened::<T, B>::open(Path::new("runs/vqa-scenes/best"), &device)?;
//! for question in ["is it red?", "how many are there?"] {
//!     let ask = Ask {
//!         text: Some(question.into()),
//!         top: 3,
//!         ..Ask::default()
//!     };
//!     let answers = model.ask(&[ask])?;
//! }
//! # Ok(()) }
//! ```

pub mod answers;
pub mod batches;
mod captioned;
mod checkpoint;
mod classifier;
pub mod cross_encoder;
mod error;
pub mod explain;
mod family;
mod predictor;
mod published;
pub mod ranks;
mod score;
mod split;
mod task;
#[cfg(feature = "train")]
mod train;

pub use captioned::CaptionedSplit;
pub use checkpoint::{TaskCheckpoint, is_described, task_name};
pub use classifier::{
    ACCURACY, ClassData, Classifier, Classify, Decided, EncodedRow, Logits, Statistic, Target,
    predict_logits,
};
#[cfg(feature = "train")]
pub use classifier::{ClassBatch, FinetuneModel, FinetuneSource, Training};
pub use cross_encoder::CrossEncoder;
pub use error::TaskError;
pub use explain::Explain;
pub use family::{Family, Oscar, Section, open_vocabulary};
pub use predictor::{Answer, Ask, Opened, Opener, Predict, Predictor, Seen, open_predictor};
pub use published::{PublishedModel, Recipe, open_published};
pub use score::{
    EvaluateOptions, Evaluation, Predictions, Score, ScoreTable, Throughput, write_predictions,
};
pub use split::{Split, optional_path, required};
pub use task::{Config, Encoder, EncoderConfig, Role, Task, TaskData};
#[cfg(feature = "train")]
pub use train::{
    DataConfig, FinetuneConfig, FinetuneError, FinetuneReport, Job, Learn, Parts, Trained, finetune,
};
