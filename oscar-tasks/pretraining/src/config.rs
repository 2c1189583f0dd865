//! A pre-training recipe.

use std::path::PathBuf;

use oscar_core::config::{ConfigError, ModelConfig, require};
use oscar_core::input::{InputError, PaddingConfig, PretrainEncoderConfig};
use oscar_datasets::OfficialCorpusOptions;
use oscar_train::{InitConfig, OptimizerConfig, TrainConfig, TrainError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::grounding::GroundingConfig;
use crate::objective::{Objective, Objectives};

/// Everything that decides a pre-training run. The defaults are Oscar base as published.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PretrainConfig {
    /// The model. `vocab_size`, `img_feature_dim` and `num_contrast_classes` follow the data and
    /// the objective.
    pub model: ModelConfig,
    /// What to learn from.
    pub data: DataConfig,
    /// What is predicted, and with which weight: `[[objective]]`.
    pub objective: Objectives,
    /// How a row becomes an example: lengths, masks, replaced tags and texts.
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// A held-out corpus of another kind than the training data, on which the final weights are
    /// measured too: images of a source that training has none of, for example.
    pub out_of_domain: Option<CorpusConfig>,
    /// Training corpora that the batches are mixed of, in the place of `train`.
    pub mix: Vec<MixConfig>,
    /// Answer vocabulary of the objective `answers`: the list of answers or the labels by answer, JSON,
    /// pickle or text.
    pub answers: Option<PathBuf>,
}

impl DataConfig {
    /// The path of every file and folder.
    pub fn paths_mut(&mut self) -> Vec<&mut PathBuf> {
        let mix = self.mix.iter_mut().map(|part| &mut part.source);
        let extra = self.extra.iter_mut().map(|extra| &mut extra.source);
        let held_out = self.validation.iter_mut().chain(&mut self.out_of_domain);
        let corpora = self.train.iter_mut().chain(held_out);
        corpora
            .chain(extra)
            .chain(mix)
            .flat_map(|corpus| [&mut corpus.corpus, &mut corpus.regions])
            .chain(&mut self.answers)
            .collect()
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let mix = self.mix.iter().map(|part| &part.source);
        let extra = self.extra.iter().map(|extra| &extra.source);
        let held_out = self.validation.iter().chain(&self.out_of_domain);
        self.train
            .iter()
            .chain(held_out)
            .chain(extra)
            .chain(mix)
            .try_for_each(CorpusConfig::validate)?;
        let weights: Vec<f64> = self.mix.iter().filter_map(|part| part.weight).collect();
        require(
            weights.is_empty() || weights.len() == self.mix.len(),
            "data.mix",
            format!("{} weights for {} corpora", weights.len(), self.mix.len()),
            "give every corpus a weight, or none",
        )?;
        match weights
            .iter()
            .find(|weight| !(**weight > 0.0 && weight.is_finite()))
        {
            None => Ok(()),
            Some(weight) => require(false, "data.mix.weight", weight, "must be above 0"),
        }
    }
}

/// A corpus and the regions of its images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CorpusConfig {
    /// JSONL of `{"image", "text"}` or `{"image", "question", "answer"}`, or the YAML file of an
    /// official pre-training corpus.
    pub corpus: PathBuf,
    /// Region store, or folder of official feature files; of an official corpus, the data directory
    /// that its `image_feature_path` is relative to.
    pub regions: PathBuf,
    /// Official corpus: whether the classes that people annotated, where an image has some, are its
    /// tags instead of the detected ones.
    pub use_gtlabels: bool,
    /// Official corpus: the first chunk of chunked data sets to read, and the one to stop before.
    pub chunks: Option<[u32; 2]>,
    /// Official corpus: whether rows whose image has no regions are left out instead of refused.
    pub skip_missing_images: bool,
    /// Official corpus: whether it may name paths outside of its folder and of `regions`.
    pub outside_paths: bool,
}

impl Default for CorpusConfig {
    fn default() -> Self {
        let official = OfficialCorpusOptions::default();
        Self {
            corpus: PathBuf::new(),
            regions: PathBuf::new(),
            use_gtlabels: official.use_gtlabels,
            chunks: None,
            skip_missing_images: official.skip_missing_images,
            outside_paths: official.outside_paths,
        }
    }
}

impl CorpusConfig {
    /// The options of an official corpus.
    pub(crate) fn official(&self) -> OfficialCorpusOptions {
        OfficialCorpusOptions {
            use_gtlabels: self.use_gtlabels,
            chunks: self.chunks.map(|[from, to]| from..to),
            skip_missing_images: self.skip_missing_images,
            outside_paths: self.outside_paths,
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let Some([from, to]) = self.chunks else {
            return Ok(());
        };
        require(
            from < to,
            "chunks",
            format!("[{from}, {to}]"),
            "must be the first chunk and the one to stop before, as in [0, 4]",
        )
    }
}

/// The second corpus of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExtraConfig {
    /// The corpus.
    #[serde(flatten)]
    pub source: CorpusConfig,
    /// Its share of the loss, between 0 and 1; the first corpus has the rest.
    pub weight: f64,
    /// How its pollution is drawn; officially `textb_sample_mode` is `text_b` here.
    pub contrast: oscar_core::input::ContrastConfig,
}

/// One of the corpora that batches are mixed of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MixConfig {
    /// The corpus.
    #[serde(flatten)]
    pub source: CorpusConfig,
    /// Its share of the examples, relative to the other weights; without weights, each corpus has
    /// the share of its size.
    pub weight: Option<f64>,
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
    #[error("{key}: its regions have {found} values, those of the training data {expected}")]
    RegionDim {
        /// The corpus.
        key: String,
        /// Its region size.
        found: usize,
        /// The other's.
        expected: usize,
    },
    /// An objective asks for classes that the regions do not have.
    #[error(
        "the regions of data.train have no {kind} classes, which the objective {objective} predicts; \
         build the region store with classes, or remove the objective"
    )]
    NoClasses {
        /// `object` or `attribute`.
        kind: &'static str,
        /// The objective.
        objective: &'static str,
    },
    /// The classes of regions have other numbers in two stores.
    #[error(
        "{key}: its regions have other classes than those of the training data; build both region stores \
         with the same detector"
    )]
    OtherClasses {
        /// The corpus.
        key: String,
    },
    /// Two answers to what to learn from.
    #[error("both data.train and data.mix are set: remove one, or make data.train one of the mix")]
    TrainAndMix,
    /// The corpora of a mix are too large together.
    #[error("data.mix has more than 4,294,967,295 rows: leave some out")]
    TooManyRows,
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
        let within =
            |section| move |error: ConfigError| PretrainError::Value(error.in_section(section));
        self.encoder.validate().map_err(within("encoder"))?;
        self.padding.validate().map_err(within("padding"))?;
        self.objective.validate().map_err(PretrainError::Value)?;
        if let Some(extra) = &self.data.extra {
            let encoder = self.encoder_for(extra.contrast);
            encoder.validate().map_err(within("data.extra"))?;
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
        let predicted = self.objective.contain(Objective::Answers);
        require(
            !(predicted && self.encoder.needs_answers()),
            "encoder.contrast.textb_sample_mode",
            "answer",
            "must be another one with the objective answers, which takes answers from the input",
        )?;
        self.data.validate()?;
        share("grounding.rate", self.grounding.rate)
    }

    /// Classes of the head of the contrastive relation or of matching.
    pub fn num_contrast_classes(&self) -> usize {
        match self.objective.contain(Objective::Contrastive) {
            true => self.encoder.num_contrast_classes(),
            false if self.objective.contain(Objective::Matching) => 2,
            false => self.encoder.num_contrast_classes(),
        }
    }

    /// What the objectives need of the encoder, with this contrast.
    pub(crate) fn encoder_for(
        &self,
        contrast: oscar_core::input::ContrastConfig,
    ) -> PretrainEncoderConfig {
        self.objective.needed(PretrainEncoderConfig {
            contrast,
            ..self.encoder.clone()
        })
    }
}
