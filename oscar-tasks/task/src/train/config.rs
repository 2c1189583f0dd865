//! A fine-tuning recipe.

use oscar_core::input::PaddingConfig;
use oscar_train::{InitConfig, OptimizerConfig, TrainConfig};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{FinetuneError, Learn};
use crate::{Config, EncoderConfig, Family, Task, TaskError};

/// Everything that decides a fine-tuning run.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, bound = "T: Task")]
#[schemars(bound = "T: Task")]
pub struct FinetuneConfig<T: Task> {
    /// The model. Sizes are those of the start checkpoint; labels and head follow `[task]`.
    pub model: Config<T>,
    /// The task's own section.
    pub task: T,
    /// Data for training, validation and scoring.
    pub data: DataConfig<T::Split>,
    /// How texts and regions become sequences.
    pub encoder: EncoderConfig<T>,
    /// How sequences become a batch.
    pub padding: PaddingConfig,
    /// The optimiser and its schedule.
    pub optimizer: OptimizerConfig,
    /// Length and rhythm of the run.
    pub train: TrainConfig,
    /// Passes over the training data; `train.steps` counts if it is 0.
    pub epochs: usize,
    /// Where the weights start.
    pub init: InitConfig,
}

/// `[data]` of a recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    default,
    deny_unknown_fields,
    bound = "S: Serialize + DeserializeOwned + Default"
)]
#[schemars(bound = "S: JsonSchema + Serialize + Default")]
pub struct DataConfig<S> {
    /// Vocabulary: `bert-base-uncased` or a `vocab.txt`; by default the one beside the start
    /// checkpoint.
    pub vocab: Option<String>,
    /// Training data.
    pub train: Option<S>,
    /// Validation data: the best weights are those that do best on it.
    pub validation: Option<S>,
    /// Data to score after training; the validation data if it is not set.
    pub test: Option<S>,
}

impl<T: Learn> FinetuneConfig<T> {
    /// Checks what can be checked without opening a file.
    ///
    /// # Errors
    ///
    /// The first key whose value is out of range.
    pub fn validate(&self) -> Result<(), FinetuneError> {
        T::Family::validate(&self.model, &self.encoder)?;
        let padding = self.padding.validate();
        padding.map_err(|error| TaskError::from(error.in_section("padding")))?;
        self.train.validate().map_err(TaskError::from)?;
        let steps = match self.epochs {
            0 => self.train.steps,
            _ => usize::MAX,
        };
        self.optimizer.validate(steps).map_err(TaskError::from)?;
        let task = self.task.validate(&self.model, &self.encoder);
        task.map_err(TaskError::from)?;
        Ok(self
            .task
            .validate_training(&self.train)
            .map_err(TaskError::from)?)
    }

    /// The recipe with `train.steps` counted for `examples` training examples.
    ///
    /// As the official scripts count: batches per epoch, the last one of what is left, times epochs.
    pub fn with_steps(mut self, examples: usize) -> Self {
        if self.epochs > 0 {
            let per_epoch = examples.div_ceil(self.train.batch_size);
            self.train.steps = self.epochs.saturating_mul(per_epoch);
            self.shorten_warmup();
        }
        self
    }

    /// Shortens a warm-up that is longer than the run, whose length only the data tells.
    fn shorten_warmup(&mut self) {
        let (steps, warmup) = (self.train.steps, self.optimizer.warmup_steps);
        if warmup > steps {
            let shorter = steps / 10;
            tracing::warn!(
                "optimizer.warmup_steps = {warmup} is longer than the run, which has {steps} steps: it \
                 is shortened to {shorter}"
            );
            self.optimizer.warmup_steps = shorter;
        }
    }
}
