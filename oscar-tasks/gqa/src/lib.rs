//! GQA: one answer of a vocabulary to a compositional question about an image.
//!
//! One answer is right, and is learned as a class. The published models learn from all questions
//! first and from the balanced ones after; each stage is a recipe of its own.

mod data;

use std::path::{Path, PathBuf};

use oscar_core::config::{Classifier, ConfigError, ModelConfig, require};
use oscar_core::input::{SequenceEncoder, SourceError};
use oscar_datasets::answers::AnswerVocabulary;
use oscar_task::{FinetuneConfig, Role, Task};
use serde::{Deserialize, Serialize};

pub use data::GqaData;

/// `[task]` of a GQA recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gqa {
    /// Answer vocabulary: the list of answers or the labels by answer, JSON or pickle.
    pub answers: PathBuf,
    /// Shape of the head.
    pub classifier: Classifier,
    /// Width of the hidden layer of an `mlp` head, in hidden sizes.
    pub hidden_scale: usize,
}

impl Default for Gqa {
    /// As published.
    fn default() -> Self {
        Self {
            answers: PathBuf::new(),
            classifier: Classifier::Linear,
            hidden_scale: 2,
        }
    }
}

/// A split: questions with their answers, and the images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Split {
    /// Questions in any form; see [`oscar_datasets::questions`].
    pub questions: PathBuf,
    /// Region store; empty to ask the questions without their images.
    pub regions: PathBuf,
}

impl oscar_task::Split for Split {
    fn new(data: PathBuf, store: PathBuf) -> Self {
        Self {
            questions: data,
            regions: store,
        }
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.questions, &mut self.regions]
    }
}

/// A path that may be unset.
fn given(path: &Path) -> Option<&Path> {
    (!path.as_os_str().is_empty()).then_some(path)
}

impl Gqa {
    fn vocabulary(&self) -> Result<AnswerVocabulary, SourceError> {
        match given(&self.answers) {
            Some(path) => Ok(AnswerVocabulary::open(path)?),
            None => Err("task.answers is not set: name the answer vocabulary \
                         (`oscar-bin data build answers` makes one)"
                .into()),
        }
    }
}

impl Task for Gqa {
    const NAME: &'static str = "gqa";
    type Split = Split;
    type Data = GqaData;

    fn validate(&self, _: &FinetuneConfig<Self>) -> Result<(), ConfigError> {
        let scale = self.hidden_scale;
        require(scale > 0, "task.hidden_scale", scale, "must be at least 1")
    }

    fn open(
        &self,
        split: &Split,
        role: Role,
        encoder: &SequenceEncoder,
    ) -> Result<GqaData, SourceError> {
        GqaData::open(split, role, self.vocabulary()?, encoder.clone())
    }

    fn shape(&self, model: &mut ModelConfig) -> Result<(), SourceError> {
        model.num_labels = self.vocabulary()?.len();
        model.loss_type = "ce".into();
        model.classifier = self.classifier;
        model.cls_hidden_scale = self.hidden_scale;
        Ok(())
    }

    fn class_names(&self) -> Result<Vec<String>, SourceError> {
        Ok(self.vocabulary()?.answers().to_vec())
    }

    fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.answers]
    }
}
