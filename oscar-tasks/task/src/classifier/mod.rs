//! Tasks whose model is a classifier: they are asked, scored and trained in the same way.
//!
//! | a [`Classify`] task defines | for example NLVR2 |
//! |---|---|
//! | its head | a pair of images, two classes |
//! | the names of its classes | `False`, `True` |
//! | what an example is, by its [`ClassData`] | two sequences and a class |
//! | how logits are scored | accuracy, consistency, a CSV of predictions |

mod logits;
mod predict;
#[cfg(feature = "train")]
mod source;
#[cfg(feature = "train")]
mod train;

#[cfg(feature = "train")]
use std::path::Path;
#[cfg(feature = "train")]
use std::sync::Arc;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
#[cfg(feature = "train")]
use oscar_core::config::ConfigError;
use oscar_core::input::{EncodedSequence, ExampleSeed, SourceError};
use oscar_core::model::ClassTargets;
#[cfg(feature = "train")]
use oscar_core::model::OscarClassifier;
use oscar_core::ops::OscarBackend;
#[cfg(feature = "train")]
use oscar_train::BeforeEpoch;

pub use logits::{Logits, predict_logits};
pub use predict::Classifier;
#[cfg(feature = "train")]
pub use source::{ClassBatch, FinetuneSource};
#[cfg(feature = "train")]
pub use train::FinetuneModel;

use crate::{EvaluateOptions, Evaluation, Opened, Oscar, Task, TaskData};

/// Mean score of the best class: 1 or 0 where one class is right, a soft score otherwise.
pub const ACCURACY: &str = "Accuracy";

/// A task whose model is one of Oscar's classifiers.
pub trait Classify: Task<Family = Oscar, Data: ClassData> {
    /// Whether a decision joins several sequences, one for each image.
    fn is_pair(&self) -> bool {
        false
    }

    /// How many images a decision may be about that joins no sequences.
    fn most_images(&self) -> usize {
        1
    }

    /// The names of the classes, in their order.
    ///
    /// # Errors
    ///
    /// If an answer vocabulary cannot be read.
    fn class_names(&self) -> Result<Vec<String>, SourceError>;

    /// The names of the [statistics](Self::statistics), each the better the higher; the best weights
    /// are those with the highest last one in a validation.
    fn metrics(&self) -> &'static [&'static str] {
        &[ACCURACY]
    }

    /// Statistics of a batch beside its loss, under the names of [`metrics`](Self::metrics).
    fn statistics<B: Backend>(&self, decided: &Decided<B>) -> Vec<Statistic<B>> {
        vec![decided.accuracy()]
    }

    /// Checks the section's values that depend on `[train]`.
    ///
    /// # Errors
    ///
    /// The first key whose value is out of range.
    #[cfg(feature = "train")]
    fn validate_training(&self, _train: &oscar_train::TrainConfig) -> Result<(), ConfigError> {
        Ok(())
    }

    /// What is done with the weights before each epoch of training; nothing by default.
    #[cfg(feature = "train")]
    fn before_epoch<B: OscarBackend>(
        &self,
        _training: &Training<'_, Self::Data>,
    ) -> Option<BeforeEpoch<OscarClassifier<B>>> {
        None
    }

    /// Scores the opened weights on `data`. By default every example is one decision, and
    /// [`ClassData::evaluate`] scores all logits.
    ///
    /// # Errors
    ///
    /// If an example cannot be read or a file cannot be written.
    fn evaluate<B: OscarBackend>(
        opened: &Opened<Self, B>,
        data: &Self::Data,
        options: &EvaluateOptions<'_>,
    ) -> Result<Evaluation, SourceError> {
        let (logits, throughput) = predict_logits(opened, data, options)?;
        Ok(Evaluation {
            throughput: Some(throughput),
            ..data.evaluate(&logits)?
        })
    }
}

/// A training that is about to start, as its task sees it.
#[cfg(feature = "train")]
pub struct Training<'a, D> {
    /// The data.
    pub data: &'a Arc<D>,
    /// The directory of the run for what takes long to compute.
    pub cache: &'a Path,
    /// Decisions that a device computes at a time.
    pub batch_size: usize,
    /// The run's seed.
    pub seed: u64,
}

/// A name, a sum over a batch, and the weight to divide it by, `[1]` each.
pub type Statistic<B> = (&'static str, Tensor<B, 1>, Tensor<B, 1>);

/// A batch of decisions, made.
#[derive(Clone, Debug)]
pub struct Decided<B: Backend> {
    /// `[decisions, labels]`.
    pub logits: Tensor<B, 2>,
    /// The right classes.
    pub targets: ClassTargets<B>,
    /// Examples, each with as many decisions.
    pub examples: usize,
}

impl<B: Backend> Decided<B> {
    /// [`ACCURACY`]; a regression decides at one half.
    pub fn accuracy(&self) -> Statistic<B> {
        let logits = self.logits.clone();
        let [rows, labels] = logits.dims();
        let right = match (self.targets.clone(), labels) {
            (ClassTargets::Class(classes), 1) => {
                let decided = logits.reshape([rows]).greater_equal_elem(0.5).int();
                decided.equal(classes).float().sum()
            }
            (ClassTargets::Soft(scores) | ClassTargets::Shares(scores), 1) => {
                let decided = logits.greater_equal_elem(0.5).float();
                let right = scores.greater_equal_elem(0.5).float();
                decided.equal(right).float().sum()
            }
            (ClassTargets::Class(classes), _) => {
                let best = logits.argmax(1).reshape([rows]);
                best.equal(classes).float().sum()
            }
            (ClassTargets::Soft(scores) | ClassTargets::Shares(scores), _) => {
                scores.gather(1, logits.argmax(1)).sum()
            }
        };
        (ACCURACY, right, self.weight(rows))
    }

    /// A count as the weight of a statistic.
    pub fn weight(&self, count: usize) -> Tensor<B, 1> {
        Tensor::full([1], count as f32, &self.logits.device())
    }
}

/// An opened split of a [`Classify`] task.
pub trait ClassData: TaskData {
    /// Decisions of an example, the same for all: more than one where candidates compete.
    fn rows_per_example(&self) -> usize {
        1
    }

    /// Weights of the decisions of an example in the loss, which is then their weighted sum, averaged over the
    /// examples; the mean over all decisions without.
    fn row_weights(&self) -> Option<&[f32]> {
        None
    }

    /// Example `index`; what is random (negatives) follows `seed`.
    ///
    /// # Errors
    ///
    /// If it cannot be read or encoded; the error names file and row.
    fn example(&self, index: usize, seed: ExampleSeed) -> Result<Vec<EncodedRow>, SourceError>;

    /// Scores `logits`, one row per example in order.
    ///
    /// # Errors
    ///
    /// If a target cannot be read.
    fn evaluate(&self, logits: &Logits) -> Result<Evaluation, SourceError>;
}

/// One decision: its sequences (one; two for a pair), and the right answer.
#[derive(Clone, Debug)]
pub struct EncodedRow {
    /// The sequences, in the order the head joins them.
    pub sequences: Vec<EncodedSequence>,
    /// The target; rows without one can be scored but not trained on.
    pub target: Option<Target>,
}

impl EncodedRow {
    /// Tokens and regions.
    fn num_positions(&self) -> usize {
        self.sequences.iter().map(EncodedSequence::len).sum()
    }
}

/// The sequences of some rows, one after the other.
fn sequences(rows: &[EncodedRow]) -> Vec<EncodedSequence> {
    let sequences = rows.iter().flat_map(|row| &row.sequences);
    sequences.cloned().collect()
}

/// The right answer to a decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// One class.
    Class(u32),
    /// Scores of some classes, the others having 0; dense only in the batch.
    Scores(Vec<(u32, f32)>),
    /// Probabilities of some classes, as [`Scores`](Self::Scores), which are learned as a distribution
    /// whatever the model's loss.
    Shares(Vec<(u32, f32)>),
}
