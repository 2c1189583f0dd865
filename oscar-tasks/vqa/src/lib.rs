//! Visual question answering: one answer of a vocabulary to a question about an image.
//!
//! Answers are learned as far as people agree on them (soft scores), and scored in the two ways of
//! the field: by the soft score of the best answer, and by VQA's accuracy against the answers of ten
//! people.

mod accuracy;
mod data;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

#[cfg(feature = "train")]
use oscar_core::config::require;
use oscar_core::config::{Classifier, ConfigError, ModelConfig};
use oscar_core::input::{SequenceConfig, SequenceEncoder, SourceError};
use oscar_task::answers::{AnswerHead, find_vocabulary};
use oscar_task::{Classify, Oscar, PublishedModel, Role, Task, TaskError, optional_path, split};
#[cfg(feature = "train")]
use oscar_train::TrainConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use accuracy::{leave_one_out, vqa_accuracy};
pub use data::VqaData;

/// `[task]` of a VQA recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Vqa {
    /// Answer vocabulary: the list of answers or the labels by answer, JSON or pickle.
    #[serde(with = "optional_path")]
    #[schemars(with = "Option<PathBuf>")]
    pub answers: Option<PathBuf>,
    /// How scores of answers become a loss.
    pub loss: Loss,
    /// Epochs of the divergence before the cross entropy of the loss `kl_then_bce`.
    pub kl_epochs: u64,
    /// Shape of the head.
    pub classifier: Classifier,
    /// Width of the hidden layer of an `mlp` head, in hidden sizes.
    pub hidden_scale: usize,
}

/// How scores of answers become a loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Each answer by itself, yes or no: binary cross entropy.
    #[default]
    Bce,
    /// The scores as a distribution: Kullback-Leibler divergence.
    Kl,
    /// The most agreed answer alone: cross entropy.
    Ce,
    /// ROSITA's: first the divergence from the shares of people who gave each answer, then binary cross
    /// entropy of the scores; what people answered is normalised as in the VQA evaluation.
    KlThenBce,
}

impl Default for Vqa {
    /// As published.
    fn default() -> Self {
        Self {
            answers: None,
            loss: Loss::default(),
            kl_epochs: 3,
            classifier: Classifier::Linear,
            hidden_scale: 2,
        }
    }
}

split! {
    /// A split: questions, the answers of people, and the images.
    pub struct Split {
        /// Questions in any form; see [`oscar_datasets::questions`].
        pub questions,
        /// Annotations of VQA v2, as published; not set if the questions bring their answers, or have
        /// none.
        pub annotations,
        /// Region store; not set to ask the questions without their images.
        pub regions,
    }
    with annotations
}

impl Vqa {
    fn head(&self) -> AnswerHead<'_> {
        AnswerHead {
            answers: self.answers.as_deref(),
            classifier: self.classifier,
            hidden_scale: self.hidden_scale,
        }
    }
}

impl Task for Vqa {
    const NAME: &'static str = "vqa";
    type Family = Oscar;
    type Split = Split;
    type Data = VqaData;

    fn validate(&self, _: &ModelConfig, _: &SequenceConfig) -> Result<(), ConfigError> {
        self.head().validate()
    }

    fn open(
        &self,
        split: &Split,
        role: Role,
        encoder: &SequenceEncoder,
    ) -> Result<VqaData, SourceError> {
        let vocabulary = self.head().vocabulary()?;
        VqaData::open(split, role, vocabulary, self, encoder.clone())
    }

    fn configure(&self, model: &mut ModelConfig) -> Result<(), SourceError> {
        let loss = match self.loss {
            Loss::Bce | Loss::KlThenBce => "bce",
            Loss::Kl => "kl",
            Loss::Ce => "ce",
        };
        self.head().configure(model, loss)
    }

    fn adopt(
        &mut self,
        encoder: &mut SequenceConfig,
        published: &PublishedModel<ModelConfig>,
    ) -> Result<(), TaskError> {
        published.set_lengths(encoder);
        let model = &published.config;
        self.classifier = model.classifier;
        self.hidden_scale = model.cls_hidden_scale;
        self.loss = match model.loss_type.as_str() {
            "bce" => Loss::Bce,
            "kl" => Loss::Kl,
            _ => Loss::Ce,
        };
        self.answers = find_vocabulary(published).or(self.answers.take());
        Ok(())
    }

    fn files(&mut self) -> Vec<&mut PathBuf> {
        self.answers.iter_mut().collect()
    }
}

impl Classify for Vqa {
    #[cfg(feature = "train")]
    fn validate_training(&self, train: &TrainConfig) -> Result<(), ConfigError> {
        let mixed = self.loss == Loss::KlThenBce && train.shuffle_window > 0;
        require(
            !mixed,
            "train.shuffle_window",
            train.shuffle_window,
            "must be 0 with task.loss = \"kl_then_bce\": a batch must not span two epochs",
        )
    }

    fn class_names(&self) -> Result<Vec<String>, SourceError> {
        Ok(self.head().vocabulary()?.answers().to_vec())
    }
}
