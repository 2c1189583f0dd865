//! A pre-training recipe.

use std::path::PathBuf;

use oscar_core::config::{ConfigError, ModelConfig, require};
use oscar_core::input::{InputError, PaddingConfig, PretrainEncoderConfig};
use oscar_train::{OptimizerConfig, TrainConfig, TrainError};
use serde::{Deserialize, Serialize};

use crate::grounding::GroundingConfig;

/// Everything that decides a pre-training run. The defaults are Oscar base as published.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PretrainConfig {
    /// The model. `vocab_size`, `img_feature_dim` and `num_contrast_classes` follow the data and
    /// the objective.
    pub model: ModelConfig,
    /// What to learn from.
    pub data: DataConfig,
    /// How a row becomes an example: lengths, masks, pollution.
    pub encoder: PretrainEncoderConfig,
    /// How rows become a batch.
    pub padding: PaddingConfig,
    /// The optimiser and its schedule.
    pub optimizer: OptimizerConfig,
    /// Length and rhythm of the run.
    pub train: TrainConfig,
    /// Where the weights start.
    pub init: InitConfig,
    /// What the last measurement looks at.
    pub grounding: GroundingConfig,
}

/// `[data]` of a recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Vocabulary: `bert-base-uncased`, a `vocab.txt`, or `corpus` to make one of the words of the
    /// training corpora.
    pub vocab: Option<String>,
    /// Training corpus.
    pub train: Option<CorpusConfig>,
    /// Second training corpus; every step takes a batch of it too.
    pub extra: Option<ExtraConfig>,
    /// Validation corpus.
    pub validation: Option<CorpusConfig>,
}

/// A corpus and the store of its images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CorpusConfig {
    /// JSONL of `{"image", "text"}` or `{"image", "question", "answer"}`.
    pub corpus: PathBuf,
    /// Region store.
    pub regions: PathBuf,
}

/// The second corpus of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExtraConfig {
    /// JSONL of `{"image", "text"}` or `{"image", "question", "answer"}`.
    pub corpus: PathBuf,
    /// Region store.
    pub regions: PathBuf,
    /// Its share of the loss, between 0 and 1; the first corpus has the rest.
    pub weight: f64,
    /// How its pollution is drawn; officially `textb_sample_mode` is `text_b` here.
    pub contrast: oscar_core::input::ContrastConfig,
}

/// `[init]` of a recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InitConfig {
    /// A safetensors or PyTorch file, or a directory with `model.safetensors` or
    /// `pytorch_model.bin`; without one all weights are random.
    pub checkpoint: Option<PathBuf>,
    /// Official names, or starts of them, that may stay random if the checkpoint lacks them;
    /// `all` allows any.
    pub random: Vec<String>,
}

/// What can be wrong with a run before it starts, or end it.
#[derive(Debug, thiserror::Error)]
pub enum PretrainError {
    /// A key has no value although the recipe needs one.
    #[error("{key} is not set: {what}")]
    Unset {
        /// The key.
        key: &'static str,
        /// What it is for.
        what: &'static str,
    },
    /// A value is out of range.
    #[error(transparent)]
    Value(ConfigError),
    /// The regions of two corpora differ in size.
    #[error("{key}: its regions have {found} values, those of data.train {expected}")]
    RegionDim {
        /// The corpus.
        key: &'static str,
        /// Its region size.
        found: usize,
        /// The other's.
        expected: usize,
    },
    /// The `[model]` section.
    #[error("in [model]: {0}")]
    Model(ConfigError),
    /// Vocabulary, encoder or padding.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Corpus or region store.
    #[error(transparent)]
    Dataset(#[from] oscar_datasets::DatasetError),
    /// A word to probe.
    #[error(transparent)]
    Word(#[from] crate::grounding::UnknownWord),
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
}

impl PretrainConfig {
    /// Checks what can be checked without opening a file.
    ///
    /// # Errors
    ///
    /// The first key whose value is out of range.
    pub fn validate(&self) -> Result<(), PretrainError> {
        self.model.validate().map_err(PretrainError::Model)?;
        self.encoder.validate()?;
        self.padding.validate()?;
        if let Some(extra) = &self.data.extra {
            self.encoder_for(extra.contrast).validate()?;
        }
        self.train.validate().map_err(PretrainError::Value)?;
        self.optimizer
            .validate(self.train.steps)
            .map_err(PretrainError::Value)?;
        self.validate_together().map_err(PretrainError::Value)
    }

    /// What depends on more than one section, or on a section without a check of its own.
    fn validate_together(&self) -> Result<(), ConfigError> {
        let longest = self.model.max_position_embeddings;
        require(
            self.encoder.max_seq_length <= longest,
            "encoder.max_seq_length",
            self.encoder.max_seq_length,
            &format!("must be at most model.max_position_embeddings = {longest}"),
        )?;
        let share = |key, value: f64| {
            require(
                (0.0..=1.0).contains(&value),
                key,
                value,
                "must be between 0 and 1",
            )
        };
        if let Some(extra) = &self.data.extra {
            share("data.extra.weight", extra.weight)?;
        }
        share("grounding.rate", self.grounding.rate)
    }

    /// The encoder's recipe with another contrast.
    pub(crate) fn encoder_for(
        &self,
        contrast: oscar_core::input::ContrastConfig,
    ) -> PretrainEncoderConfig {
        PretrainEncoderConfig {
            contrast,
            ..self.encoder.clone()
        }
    }
}
