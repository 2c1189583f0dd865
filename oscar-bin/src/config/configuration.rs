//! What the configurations of pre-training and of every task have in common.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use oscar_core::config::ModelConfig;
use oscar_pretraining::{CorpusConfig, ExtraConfig, MixConfig, PretrainConfig};
use oscar_task::{AnyTask, FinetuneConfig, Split};
use oscar_train::{InitConfig, OptimizerConfig, TrainConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a recipe of a command configures.
pub trait Configuration: Serialize + DeserializeOwned {
    /// The defaults, around this model.
    fn defaults(model: ModelConfig) -> Self;

    /// One with every optional table, for the keys there are.
    fn complete() -> Self;

    /// The model.
    fn model(&mut self) -> &mut ModelConfig;

    /// Paths that may stand for the shipped sample.
    fn data_paths(&mut self) -> Vec<&mut PathBuf>;

    /// The vocabulary, which may be a file of the shipped sample.
    fn vocab(&mut self) -> &mut Option<String>;

    /// Where the weights start.
    fn init(&mut self) -> &mut InitConfig;

    /// What is divided where several devices train.
    fn training(&mut self) -> (&mut TrainConfig, &mut OptimizerConfig);

    /// Checks what can be checked without opening a file.
    ///
    /// # Errors
    /// The first key whose value is out of range.
    fn validate(&self) -> Result<()>;

    /// Sets what follows from other keys, so that it is shown as it will be.
    fn settle(&mut self) {}
}

impl Configuration for PretrainConfig {
    fn defaults(model: ModelConfig) -> Self {
        Self {
            model,
            ..Self::default()
        }
    }

    fn complete() -> Self {
        let mut all = Self::default();
        all.data.train = Some(CorpusConfig::default());
        all.data.validation = Some(CorpusConfig::default());
        all.data.extra = Some(ExtraConfig::default());
        all.data.mix = vec![MixConfig::default()];
        all
    }

    fn model(&mut self) -> &mut ModelConfig {
        &mut self.model
    }

    fn data_paths(&mut self) -> Vec<&mut PathBuf> {
        let corpora = self.data.corpora_mut();
        corpora
            .flat_map(|corpus| [&mut corpus.corpus, &mut corpus.regions])
            .collect()
    }

    fn vocab(&mut self) -> &mut Option<String> {
        &mut self.data.vocab
    }

    fn init(&mut self) -> &mut InitConfig {
        &mut self.init
    }

    fn training(&mut self) -> (&mut TrainConfig, &mut OptimizerConfig) {
        (&mut self.train, &mut self.optimizer)
    }

    fn validate(&self) -> Result<()> {
        self.validate().map_err(|error| anyhow!(error))
    }

    fn settle(&mut self) {
        self.model.num_contrast_classes = self.encoder.num_contrast_classes();
    }
}

impl<T: AnyTask> Configuration for FinetuneConfig<T> {
    fn defaults(model: ModelConfig) -> Self {
        Self {
            model,
            ..Self::default()
        }
    }

    fn complete() -> Self {
        let mut all = Self::default();
        all.data.train = Some(T::Split::default());
        all.data.validation = Some(T::Split::default());
        all.data.test = Some(T::Split::default());
        all
    }

    fn model(&mut self) -> &mut ModelConfig {
        &mut self.model
    }

    fn data_paths(&mut self) -> Vec<&mut PathBuf> {
        let data = &mut self.data;
        let splits = [&mut data.train, &mut data.validation, &mut data.test];
        let mut paths: Vec<&mut PathBuf> = splits
            .into_iter()
            .flatten()
            .flat_map(Split::paths)
            .collect();
        paths.extend(self.task.files());
        paths.extend(&mut self.init.checkpoint);
        paths
    }

    fn vocab(&mut self) -> &mut Option<String> {
        &mut self.data.vocab
    }

    fn init(&mut self) -> &mut InitConfig {
        &mut self.init
    }

    fn training(&mut self) -> (&mut TrainConfig, &mut OptimizerConfig) {
        (&mut self.train, &mut self.optimizer)
    }

    fn validate(&self) -> Result<()> {
        self.validate().map_err(|error| anyhow!(error))
    }
}
