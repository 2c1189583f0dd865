//! Visual question answering: one answer of a vocabulary to a question about an image.
//!
//! Answers are learned from as people agree on them (soft scores), and judged in the two ways of
//! the field: by the soft score of the best answer, and by VQA's accuracy against what ten people
//! said.

mod accuracy;
mod data;

use std::path::{Path, PathBuf};

use oscar_core::config::{Classifier, ConfigError, ModelConfig, require};
use oscar_core::input::{SequenceEncoder, SourceError};
use oscar_datasets::answers::AnswerVocabulary;
use oscar_task::{FinetuneConfig, Role, Task};
use serde::{Deserialize, Serialize};

pub use accuracy::{leave_one_out, vqa_accuracy};
pub use data::VqaData;

/// `[task]` of a VQA recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vqa {
    /// Answer vocabulary: the list of answers or the labels by answer, JSON or pickle.
    pub answers: PathBuf,
    /// What is learned from scores of answers.
    pub loss: Loss,
    /// Shape of the head.
    pub classifier: Classifier,
    /// Width of the hidden layer of an `mlp` head, in hidden sizes.
    pub hidden_scale: usize,
}

/// What is learned from scores of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Loss {
    /// Each answer by itself, yes or no: binary cross entropy.
    #[default]
    Bce,
    /// The scores as a distribution: Kullback-Leibler divergence.
    Kl,
    /// The most agreed answer alone: cross entropy.
    Ce,
}

impl Default for Vqa {
    /// As published.
    fn default() -> Self {
        Self {
            answers: PathBuf::new(),
            loss: Loss::default(),
            classifier: Classifier::Linear,
            hidden_scale: 2,
        }
    }
}

/// A split: questions, what people answered, and the images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Split {
    /// Questions in any form; see [`oscar_datasets::questions`].
    pub questions: PathBuf,
    /// Annotations of VQA v2, as published; empty if the questions bring their answers, or have
    /// none.
    pub annotations: PathBuf,
    /// Region store; empty to ask the questions without their images.
    pub regions: PathBuf,
}

impl oscar_task::Split for Split {
    fn new(data: PathBuf, store: PathBuf) -> Self {
        Self {
            questions: data,
            annotations: PathBuf::new(),
            regions: store,
        }
    }

    fn add_annotations(&mut self, file: PathBuf) -> bool {
        self.annotations = file;
        true
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        vec![
            &mut self.questions,
            &mut self.annotations,
            &mut self.regions,
        ]
    }
}

/// A path that may be unset.
fn given(path: &Path) -> Option<&Path> {
    (!path.as_os_str().is_empty()).then_some(path)
}

impl Vqa {
    fn vocabulary(&self) -> Result<AnswerVocabulary, SourceError> {
        match given(&self.answers) {
            Some(path) => Ok(AnswerVocabulary::open(path)?),
            None => Err("task.answers is not set: name the answer vocabulary \
                         (`oscar-bin data build answers` makes one)"
                .into()),
        }
    }
}

impl Task for Vqa {
    const NAME: &'static str = "vqa";
    type Split = Split;
    type Data = VqaData;

    fn validate(&self, _: &FinetuneConfig<Self>) -> Result<(), ConfigError> {
        let scale = self.hidden_scale;
        require(scale > 0, "task.hidden_scale", scale, "must be at least 1")
    }

    fn open(
        &self,
        split: &Split,
        role: Role,
        encoder: &SequenceEncoder,
    ) -> Result<VqaData, SourceError> {
        VqaData::open(split, role, self.vocabulary()?, self.loss, encoder.clone())
    }

    fn shape(&self, model: &mut ModelConfig) -> Result<(), SourceError> {
        model.num_labels = self.vocabulary()?.len();
        model.loss_type = match self.loss {
            Loss::Bce => "bce",
            Loss::Kl => "kl",
            Loss::Ce => "ce",
        }
        .into();
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
