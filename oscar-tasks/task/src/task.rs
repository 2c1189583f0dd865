//! What a task is: its section of the recipe, its splits, its data.

use std::path::PathBuf;

use oscar_core::config::ConfigError;
use oscar_core::input::SourceError;

use crate::{Family, PublishedModel, Section, Split, TaskError};

/// The configuration of a task's network.
pub type Config<T> = <<T as Task>::Family as Family>::Config;

/// The settings of a task's encoder.
pub type EncoderConfig<T> = <<T as Task>::Family as Family>::EncoderConfig;

/// What encodes a task's texts and images.
pub type Encoder<T> = <<T as Task>::Family as Family>::Encoder;

/// A task, and its section of the recipe, `[task]`.
///
/// What can be done with a task is divided into small traits:
///
/// | trait | does |
/// |---|---|
/// | [`Predict`](crate::Predict) | opens weights and answers questions |
/// | [`Explain`](crate::Explain) | shows what the weights attend to |
/// | [`Score`](crate::Score) | scores the weights on a split |
/// | `Learn` (feature `train`) | trains |
///
/// A task whose model is a classifier implements [`Classify`](crate::Classify), from which all four
/// follow.
pub trait Task: Section {
    /// Its name: in recipes, checkpoints and on the command line.
    const NAME: &'static str;

    /// What its answers are called in a document of answers: `classes`, `captions`.
    const ANSWERS: &'static str = "classes";

    /// What its models are made of.
    type Family: Family;

    /// Where a split is located: `[data.train]`, `[data.validation]`, `[data.test]`.
    type Split: Split;

    /// An opened split.
    type Data: TaskData;

    /// Checks the section's values, and those of other sections that they depend on.
    ///
    /// # Errors
    ///
    /// The first key whose value is out of range.
    fn validate(
        &self,
        _model: &Config<Self>,
        _encoder: &EncoderConfig<Self>,
    ) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Opens and checks a split.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or a row is wrong; the error names file and row.
    fn open(
        &self,
        split: &Self::Split,
        role: Role,
        encoder: &Encoder<Self>,
    ) -> Result<Self::Data, SourceError>;

    /// Sets the keys of the model that follow the task: labels, loss, shape of the head.
    ///
    /// # Errors
    ///
    /// If what they depend on (an answer vocabulary) cannot be read.
    fn configure(&self, model: &mut Config<Self>) -> Result<(), SourceError>;

    /// Takes over what published weights say of themselves: of the task in this section, of the
    /// sequences in `encoder`.
    ///
    /// # Errors
    ///
    /// If the weights are another task's.
    fn adopt(
        &mut self,
        _encoder: &mut EncoderConfig<Self>,
        _published: &PublishedModel<Config<Self>>,
    ) -> Result<(), TaskError> {
        Ok(())
    }

    /// The files that the section names (an answer vocabulary). A checkpoint keeps copies of them, so
    /// that it is complete; the paths are changed in place when it is written and opened.
    fn files(&mut self) -> Vec<&mut PathBuf> {
        Vec::new()
    }

    /// The [files](Self::files), and what else the section names for training alone (a teacher), which a
    /// checkpoint does without.
    fn paths(&mut self) -> Vec<&mut PathBuf> {
        self.files()
    }
}

/// What a split is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Training: every row needs a target; negatives may be sampled.
    Train,
    /// Validation while training: targets, nothing random.
    Validate,
    /// Scoring or predicting: targets where there are any.
    Evaluate,
}

/// An opened split, shared by the loader's threads.
pub trait TaskData: Send + Sync + 'static {
    /// Number of examples.
    fn len(&self) -> usize;

    /// Whether there is no example.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values per region; 0 if the split has texts alone.
    fn region_dim(&self) -> usize;

    /// Name of the extractor that made the regions, where their store names it.
    fn extractor(&self) -> Option<String> {
        None
    }
}
