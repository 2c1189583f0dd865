//! GQA: one answer of a vocabulary to a compositional question about an image.
//!
//! One answer is right, and is learned as a class. The published models learn from all questions
//! first and from the balanced ones after; each stage is a recipe of its own.

mod data;

use std::path::PathBuf;

use oscar_core::config::{Classifier, ConfigError, ModelConfig};
use oscar_core::input::{SequenceConfig, SequenceEncoder, SourceError};
use oscar_task::answers::{AnswerHead, find_vocabulary};
use oscar_task::{Classify, Oscar, PublishedModel, Role, Task, TaskError, optional_path, split};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use data::GqaData;

/// `[task]` of a GQA recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Gqa {
    /// Answer vocabulary: the list of answers or the labels by answer, JSON or pickle.
    #[serde(with = "optional_path")]
    #[schemars(with = "Option<PathBuf>")]
    pub answers: Option<PathBuf>,
    /// Shape of the head.
    pub classifier: Classifier,
    /// Width of the hidden layer of an `mlp` head, in hidden sizes.
    pub hidden_scale: usize,
}

impl Default for Gqa {
    /// As published.
    fn default() -> Self {
        Self {
            answers: None,
            classifier: Classifier::Linear,
            hidden_scale: 2,
        }
    }
}

split! {
    /// A split: questions with their answers, and the images.
    pub struct Split {
        /// Questions in any form; see [`oscar_datasets::questions`].
        pub questions,
        /// Region store; not set to ask the questions without their images.
        pub regions,
    }
}

impl Gqa {
    fn head(&self) -> AnswerHead<'_> {
        AnswerHead {
            answers: self.answers.as_deref(),
            classifier: self.classifier,
            hidden_scale: self.hidden_scale,
        }
    }
}

impl Task for Gqa {
    const NAME: &'static str = "gqa";
    type Family = Oscar;
    type Split = Split;
    type Data = GqaData;

    fn validate(&self, _: &ModelConfig, _: &SequenceConfig) -> Result<(), ConfigError> {
        self.head().validate()
    }

    fn open(
        &self,
        split: &Split,
        role: Role,
        encoder: &SequenceEncoder,
    ) -> Result<GqaData, SourceError> {
        GqaData::open(split, role, self.head().vocabulary()?, encoder.clone())
    }

    fn configure(&self, model: &mut ModelConfig) -> Result<(), SourceError> {
        self.head().configure(model, "ce")
    }

    fn adopt(
        &mut self,
        encoder: &mut SequenceConfig,
        published: &PublishedModel<ModelConfig>,
    ) -> Result<(), TaskError> {
        published.set_lengths(encoder);
        self.classifier = published.config.classifier;
        self.hidden_scale = published.config.cls_hidden_scale;
        self.answers = find_vocabulary(published).or(self.answers.take());
        Ok(())
    }

    fn files(&mut self) -> Vec<&mut PathBuf> {
        self.answers.iter_mut().collect()
    }
}

impl Classify for Gqa {
    fn class_names(&self) -> Result<Vec<String>, SourceError> {
        Ok(self.head().vocabulary()?.answers().to_vec())
    }
}
