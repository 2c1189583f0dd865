//! A fine-tuning recipe.

use oscar_core::config::{ConfigError, require};
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
    /// Epochs of warm-up; `optimizer.warmup_steps` counts if it is 0.
    pub warmup_epochs: usize,
    /// Epochs, counted from 0, at whose start `optimizer.decay = "steps"` multiplies the learning rate;
    /// `optimizer.decay_steps` counts if there are none.
    pub decay_epochs: Vec<usize>,
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
        self.validate_decay().map_err(TaskError::from)?;
        let schedule = self.optimizer_of(1);
        schedule.validate(steps).map_err(TaskError::from)?;
        let task = self.task.validate(&self.model, &self.encoder);
        task.map_err(TaskError::from)?;
        Ok(self
            .task
            .validate_training(&self.train)
            .map_err(TaskError::from)?)
    }

    /// Checks the epochs at which the rate decays.
    fn validate_decay(&self) -> Result<(), ConfigError> {
        let rising = self.decay_epochs.is_sorted_by(|a, b| a < b);
        require(
            rising,
            "decay_epochs",
            format!("{:?}", self.decay_epochs),
            "must rise, as in [4, 6]",
        )?;
        let both = !self.decay_epochs.is_empty() && !self.optimizer.decay_steps.is_empty();
        require(
            !both,
            "decay_epochs",
            format!("{:?}", self.decay_epochs),
            "cannot be set beside optimizer.decay_steps",
        )
    }

    /// The recipe with `train.steps` counted for `examples` training examples, and what its schedule counts
    /// in epochs.
    ///
    /// As the official scripts count: batches per epoch, the last one of what is left, times epochs.
    pub fn with_steps(mut self, examples: usize) -> Self {
        let per_epoch = examples.div_ceil(self.train.batch_size);
        self.optimizer = self.optimizer_of(per_epoch);
        if self.epochs > 0 {
            self.train.steps = self.epochs.saturating_mul(per_epoch);
        }
        if self.epochs > 0 || self.warmup_epochs > 0 {
            self.shorten_warmup();
        }
        self
    }

    /// `[optimizer]` where an epoch has so many steps.
    fn optimizer_of(&self, per_epoch: usize) -> OptimizerConfig {
        let mut optimizer = self.optimizer.clone();
        if self.warmup_epochs > 0 {
            optimizer.warmup_steps = self.warmup_epochs.saturating_mul(per_epoch);
        }
        if !self.decay_epochs.is_empty() {
            let epochs = self.decay_epochs.iter();
            let steps = epochs.map(|epoch| epoch.saturating_mul(per_epoch));
            optimizer.decay_steps = steps.collect();
        }
        optimizer
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
