//! What the engine needs of any task, whatever its model.

use std::path::PathBuf;

use oscar_core::config::{ConfigError, ModelConfig};
use oscar_core::input::{RegionHandle, SequenceEncoder, SourceError};
use oscar_core::ops::{OscarBackend, TrainBackend};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::exhibit::{Choice, Exhibit};
use crate::job::{Job, Trained};
use crate::{
    EvaluateOptions, Evaluation, FinetuneConfig, FinetuneError, Role, Split, TaskCheckpoint,
};

/// A task that can be fine-tuned, and its section of the recipe, `[task]`.
///
/// Tasks whose model is a classifier implement [`Task`](crate::Task), which is all of this for them.
/// Others (captioning, which generates) say themselves how their model is trained and judged.
pub trait AnyTask:
    Clone + Default + std::fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// `--task NAME`.
    const NAME: &'static str;

    /// What its answers are called where one image is asked about: `classes`, `captions`.
    const ANSWERS: &'static str;

    /// Where a split lies.
    type Split: Split;

    /// An opened split.
    type Data: Send + Sync + 'static;

    /// Checks the section's values, and what depends on other sections.
    ///
    /// # Errors
    ///
    /// The first key whose value is out of range.
    fn validate(&self, config: &FinetuneConfig<Self>) -> Result<(), ConfigError>;

    /// Opens and checks a split.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or a row is wrong; the error names file and row.
    fn open(
        &self,
        split: &Self::Split,
        role: Role,
        encoder: &SequenceEncoder,
    ) -> Result<Self::Data, SourceError>;

    /// Examples of an opened split, and values per region (0 if it has texts alone).
    fn size(data: &Self::Data) -> (usize, usize);

    /// Sets the keys of the model that follow the task.
    ///
    /// # Errors
    ///
    /// If what they depend on (an answer vocabulary) cannot be read.
    fn shape(&self, model: &mut ModelConfig) -> Result<(), SourceError>;

    /// Files that the section names: see [`Task::files`](crate::Task::files).
    fn files(&mut self) -> Vec<&mut PathBuf>;

    /// Trains; [`Job::fit`] does all but making the model and its batches.
    ///
    /// # Errors
    ///
    /// If data cannot be read, a checkpoint cannot be read or written, or the loss is not finite.
    fn train<B: TrainBackend>(job: Job<B, Self>) -> Result<Trained, FinetuneError>;

    /// Judges the weights of `checkpoint` on `data`.
    ///
    /// # Errors
    ///
    /// If the weights or an example cannot be read or a file cannot be written.
    fn judge<B: OscarBackend>(
        &self,
        checkpoint: &TaskCheckpoint<Self>,
        data: &Self::Data,
        options: &EvaluateOptions<'_>,
        device: &B::Device,
    ) -> Result<Evaluation, FinetuneError>;

    /// What the weights of `checkpoint` answer, with a probability each, the best first.
    ///
    /// # Errors
    ///
    /// If the weights cannot be read, or the question is not one for this task.
    fn answer<B: OscarBackend>(
        checkpoint: &TaskCheckpoint<Self>,
        question: &Question,
        device: &B::Device,
    ) -> Result<Vec<(String, f32)>, FinetuneError>;

    /// Examples of `data` as the weights of `checkpoint` see them, and what they make of them.
    ///
    /// # Errors
    ///
    /// If the weights or an example cannot be read.
    fn exhibit<B: OscarBackend>(
        checkpoint: &TaskCheckpoint<Self>,
        data: &Self::Data,
        choice: &Choice,
        device: &B::Device,
    ) -> Result<Vec<Exhibit>, FinetuneError>;
}

/// Something to ask about images.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Question, statement or caption, where the task has one.
    pub text: Option<String>,
    /// Object tags and regions of each image.
    pub images: Vec<(String, RegionHandle)>,
    /// Object tags where there is no image.
    pub tags: Option<String>,
    /// How many answers to give.
    pub top: usize,
}
