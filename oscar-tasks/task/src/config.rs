//! A fine-tuning recipe.

use oscar_core::config::{ConfigError, ModelConfig, require};
use oscar_core::input::{PaddingConfig, SequenceConfig};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::AnyTask;
use crate::run::FinetuneError;
use oscar_train::InitConfig;
use oscar_train::{OptimizerConfig, TrainConfig};

/// Everything that decides a fine-tuning run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, bound = "T: Serialize + DeserializeOwned + Default")]
pub struct FinetuneConfig<T: AnyTask> {
    /// The model. Sizes are those of the start checkpoint; labels and head follow `[task]`.
    pub model: ModelConfig,
    /// The task's own section.
    pub task: T,
    /// What to learn from, to validate on and to score.
    pub data: DataConfig<T::Split>,
    /// How texts and regions become sequences.
    pub encoder: SequenceConfig,
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    bound = "S: Serialize + DeserializeOwned + Default"
)]
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

impl<T: AnyTask> FinetuneConfig<T> {
    /// Checks what can be checked without opening a file.
    ///
    /// # Errors
    ///
    /// The first key whose value is out of range.
    pub fn validate(&self) -> Result<(), FinetuneError> {
        self.model.validate().map_err(FinetuneError::Model)?;
        let within =
            |section| move |error: ConfigError| FinetuneError::Value(error.in_section(section));
        self.encoder.validate().map_err(within("encoder"))?;
        self.padding.validate().map_err(within("padding"))?;
        self.train.validate().map_err(FinetuneError::Value)?;
        self.optimizer
            .validate(match self.epochs {
                0 => self.train.steps,
                _ => usize::MAX,
            })
            .map_err(FinetuneError::Value)?;
        self.validate_together().map_err(FinetuneError::Value)
    }

    fn validate_together(&self) -> Result<(), ConfigError> {
        let longest = self.model.max_position_embeddings;
        require(
            self.encoder.max_seq_length <= longest,
            "encoder.max_seq_length",
            self.encoder.max_seq_length,
            &format!("must be at most model.max_position_embeddings = {longest}"),
        )?;
        self.task.validate(self)
    }

    /// The recipe with `train.steps` counted for `examples` training examples.
    ///
    /// As the official scripts count: batches per epoch, the last one of what is left, times epochs.
    pub fn with_steps(mut self, examples: usize) -> Self {
        if self.epochs > 0 {
            let per_epoch = examples.div_ceil(self.train.batch_size);
            self.train.steps = self.epochs * per_epoch;
        }
        self
    }
}
