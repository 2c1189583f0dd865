//! What the configurations of pre-training and of all tasks have in common.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use oscar_core::config::ModelConfig;
use oscar_pretraining::{
    CorpusConfig, ExtraConfig, MixConfig, Objective, ObjectiveConfig, Objectives, PretrainConfig,
};
use oscar_task::{Config, Family, FinetuneConfig, Oscar, Split};
use oscar_train::{InitConfig, OptimizerConfig, TrainConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::tasks::AnyTask;

/// A configuration that a recipe sets.
pub trait Configuration: Serialize + DeserializeOwned {
    /// What its models are made of.
    type Family: Family;

    /// The defaults, with this model.
    fn defaults(model: <Self::Family as Family>::Config) -> Self;

    /// Its model.
    fn model(&mut self) -> &mut <Self::Family as Family>::Config;

    /// A configuration with every optional table, which has all keys.
    fn complete() -> Self;

    /// The sections that all configurations have.
    fn sections(&mut self) -> Sections<'_>;

    /// Paths that may be in the shipped sample.
    fn data_paths(&mut self) -> Vec<&mut PathBuf>;

    /// Checks what can be checked without opening a file.
    ///
    /// # Errors
    /// The first key whose value is out of range.
    fn validate(&self) -> Result<()>;

    /// Sets the keys that follow from others, so that they are shown as they will be used.
    fn settle(&mut self) {}
}

/// Sections of a configuration.
pub struct Sections<'a> {
    /// The vocabulary, which may be in the shipped sample.
    pub vocab: &'a mut Option<String>,
    pub init: &'a mut InitConfig,
    pub train: &'a mut TrainConfig,
    pub optimizer: &'a mut OptimizerConfig,
    /// Passes over the training data, where a recipe may count them.
    pub epochs: Option<&'a mut usize>,
}

impl Configuration for PretrainConfig {
    type Family = Oscar;

    fn defaults(model: ModelConfig) -> Self {
        Self {
            model,
            ..Self::default()
        }
    }

    fn model(&mut self) -> &mut ModelConfig {
        &mut self.model
    }

    fn complete() -> Self {
        let mut all = Self::default();
        all.data.train = Some(CorpusConfig::default());
        all.data.validation = Some(CorpusConfig::default());
        all.data.extra = Some(ExtraConfig::default());
        all.data.mix = vec![MixConfig::default()];
        all.objective = Objectives::new(vec![ObjectiveConfig {
            name: Objective::MaskedTokens,
            weight: 1.0,
        }]);
        all
    }

    fn sections(&mut self) -> Sections<'_> {
        Sections {
            vocab: &mut self.data.vocab,
            init: &mut self.init,
            train: &mut self.train,
            optimizer: &mut self.optimizer,
            epochs: None,
        }
    }

    fn data_paths(&mut self) -> Vec<&mut PathBuf> {
        let masking = &mut self.encoder.masking;
        let knowledge = masking.priors.iter_mut().chain(&mut masking.vectors);
        let paths = self.data.paths_mut().into_iter().chain(knowledge);
        paths.chain(&mut self.init.checkpoint).collect()
    }

    fn validate(&self) -> Result<()> {
        self.validate().map_err(|error| anyhow!(error))
    }

    fn settle(&mut self) {
        self.model.num_contrast_classes = self.num_contrast_classes();
        // The classes follow the regions.
        self.model.region_head = self.objective.mask_regions();
        if !self.model.region_head {
            (
                self.model.num_object_classes,
                self.model.num_attribute_classes,
            ) = (0, 0);
        }
    }
}

impl<T: AnyTask> Configuration for FinetuneConfig<T> {
    type Family = T::Family;

    fn defaults(model: Config<T>) -> Self {
        Self {
            model,
            ..Self::default()
        }
    }

    fn model(&mut self) -> &mut Config<T> {
        &mut self.model
    }

    fn complete() -> Self {
        let mut all = Self::default();
        all.data.train = Some(T::Split::default());
        all.data.validation = Some(T::Split::default());
        all.data.test = Some(T::Split::default());
        all
    }

    fn sections(&mut self) -> Sections<'_> {
        Sections {
            vocab: &mut self.data.vocab,
            init: &mut self.init,
            train: &mut self.train,
            optimizer: &mut self.optimizer,
            epochs: Some(&mut self.epochs),
        }
    }

    fn data_paths(&mut self) -> Vec<&mut PathBuf> {
        let data = &mut self.data;
        let splits = [&mut data.train, &mut data.validation, &mut data.test];
        let mut paths: Vec<&mut PathBuf> = splits
            .into_iter()
            .flatten()
            .flat_map(Split::paths)
            .collect();
        paths.extend(self.task.paths());
        paths.extend(&mut self.init.checkpoint);
        paths
    }

    fn validate(&self) -> Result<()> {
        self.validate().map_err(|error| anyhow!(error))
    }
}
