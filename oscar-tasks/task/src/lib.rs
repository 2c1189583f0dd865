//! Fine-tuning: what the understanding tasks share.
//!
//! A task says how an example becomes sequences and a target, and what its logits are worth; this
//! module trains, validates, picks the best weights, scores a split and writes its predictions.
//!
//! | a [`Task`] says | for example NLVR2 |
//! |---|---|
//! | its name and its section of the recipe | `nlvr2`, `[task] …` |
//! | how to open a split | a JSON file and a region store |
//! | the head | a pair of images, two classes |
//! | what an example is | two sequences and a class |
//! | what logits are worth | accuracy, consistency, a CSV of predictions |

mod checkpoint;
mod classify;
mod config;
mod evaluate;
pub mod exhibit;
mod job;
mod model;
mod run;
mod source;
mod task;

use std::collections::BTreeMap;
use std::path::PathBuf;

use oscar_core::config::{ConfigError, ModelConfig};
use oscar_core::input::{EncodedSequence, ExampleSeed, SequenceEncoder, SourceError};
use oscar_core::model::OscarClassifier;
use oscar_core::ops::OscarBackend;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use checkpoint::{TaskCheckpoint, open_checkpoint};
pub use config::{DataConfig, FinetuneConfig};
pub use evaluate::{EvaluateOptions, Logits, Throughput, predict_logits};
pub use job::{Job, Parts, Trained};
pub use model::{ACCURACY, FinetuneModel, RECALL_AT_1};
pub use run::{FinetuneError, FinetuneReport, finetune, write_predictions};
pub use source::{ClassBatch, FinetuneSource};
pub use task::{AnyTask, Question};

/// What Burn has no word for: a task and its section of the recipe, `[task]`. Its model is a
/// classifier; see [`AnyTask`] for others.
pub trait Task:
    Clone + Default + std::fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// `--task NAME`.
    const NAME: &'static str;

    /// Where a split lies: `[data.train]`, `[data.validation]`, `[data.test]`.
    type Split: Split;

    /// An opened split.
    type Data: TaskData;

    /// Checks the section's values, and what depends on other sections.
    ///
    /// # Errors
    ///
    /// The first key whose value is out of range.
    fn validate(&self, config: &FinetuneConfig<Self>) -> Result<(), ConfigError>;

    /// Opens and checks a split.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or a row is wrong; the error names file and row.
    fn open(
        &self,
        split: &Self::Split,
        role: Role,
        encoder: &SequenceEncoder,
    ) -> Result<Self::Data, SourceError>;

    /// Sets the keys of the model that follow the task: labels, loss, shape of the head.
    ///
    /// # Errors
    ///
    /// If what they depend on (an answer vocabulary) cannot be read.
    fn shape(&self, model: &mut ModelConfig) -> Result<(), SourceError>;

    /// Whether a decision joins several sequences.
    fn is_pair(&self) -> bool {
        false
    }

    /// What the classes are called, in their order: answers, or what a statement is.
    ///
    /// # Errors
    ///
    /// If an answer vocabulary cannot be read.
    fn class_names(&self) -> Result<Vec<String>, SourceError>;

    /// Files that the section names (an answer vocabulary): a checkpoint keeps copies of them, so
    /// that it can be scored alone. Changed in place when a checkpoint is opened.
    fn files(&mut self) -> Vec<&mut PathBuf> {
        Vec::new()
    }

    /// The statistic of validations by which the best weights are chosen: [`ACCURACY`], or
    /// [`RECALL_AT_1`] where the decisions of an example compete.
    fn judged_by(&self) -> &'static str {
        ACCURACY
    }

    /// Scores `model` on `data`. By default every example is one decision, and
    /// [`TaskData::evaluate`] judges all logits.
    ///
    /// # Errors
    ///
    /// If an example cannot be read or a file cannot be written.
    fn evaluate<B: OscarBackend>(
        &self,
        model: &OscarClassifier<B>,
        data: &Self::Data,
        options: &EvaluateOptions<'_>,
        device: &B::Device,
    ) -> Result<Evaluation, SourceError> {
        let (logits, throughput) = predict_logits(model, data, options, device)?;
        let mut evaluation = data.evaluate(&logits)?;
        evaluation.throughput = Some(throughput);
        Ok(evaluation)
    }
}

/// Where a split lies.
pub trait Split:
    Clone + Default + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The split whose annotations are in `data` and whose images are in `store`, an empty path if
    /// it has texts alone.
    fn new(data: PathBuf, store: PathBuf) -> Self;

    /// Adds a file of annotations to one of texts, for data that is published in two; whether the
    /// task's data is.
    fn add_annotations(&mut self, _file: PathBuf) -> bool {
        false
    }

    /// Its files and directories; unset ones are empty paths.
    fn paths(&mut self) -> Vec<&mut PathBuf>;
}

/// What a split is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Training: every row needs a target; negatives may be drawn.
    Train,
    /// Validation while training: targets, no drawing.
    Validate,
    /// Scoring or predicting: targets where there are any.
    Evaluate,
}

/// An opened split of a task, shared by the loader's threads.
pub trait TaskData: Send + Sync + 'static {
    /// Number of examples.
    fn len(&self) -> usize;

    /// Whether there is no example.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values per region; 0 if the split has texts alone.
    fn region_dim(&self) -> usize;

    /// Decisions of an example, the same for all: more than one where candidates compete.
    fn rows_per_example(&self) -> usize {
        1
    }

    /// Example `index`; what is drawn at random (negatives) follows `seed`.
    ///
    /// # Errors
    ///
    /// If it cannot be read or encoded; the error names file and row.
    fn example(&self, index: usize, seed: ExampleSeed) -> Result<Vec<EncodedRow>, SourceError>;

    /// What `logits`, one row per example in order, are worth.
    ///
    /// # Errors
    ///
    /// If a target cannot be read.
    fn evaluate(&self, logits: &Logits) -> Result<Evaluation, SourceError>;
}

/// One decision: its sequences (one; two for a pair), and what is right.
#[derive(Clone, Debug)]
pub struct EncodedRow {
    /// The sequences, in the order the head joins them.
    pub sequences: Vec<EncodedSequence>,
    /// The target; rows without one can be scored but not trained on.
    pub target: Option<Target>,
}

/// What is right.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// One class.
    Class(u32),
    /// Scores of some classes, the others having 0; dense only in the batch.
    Scores(Vec<(u32, f32)>),
}

/// What a model is worth on a split.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Evaluation {
    /// Scores by the field's names: `accuracy`, `consistency`; the first one is the headline.
    pub scores: Vec<(String, f64)>,
    /// Breakdowns: title, and a score with its count per group.
    pub tables: Vec<ScoreTable>,
    /// What was not computed, and why.
    pub notes: Vec<String>,
    /// Examples judged.
    pub examples: usize,
    /// The official prediction file.
    #[serde(skip)]
    pub predictions: Option<Predictions>,
    /// The same in other forms.
    #[serde(skip)]
    pub more_predictions: Vec<Predictions>,
    /// How fast it went.
    pub throughput: Option<Throughput>,
}

/// Scores by group: answer types, for instance.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ScoreTable {
    /// What the groups are.
    pub title: String,
    /// Group, score, examples.
    pub rows: Vec<(String, f64, usize)>,
}

impl ScoreTable {
    /// Mean score of each group, in the groups' alphabetical order; none without a group.
    pub fn by_group<'a>(title: &str, scored: impl Iterator<Item = (&'a str, f64)>) -> Option<Self> {
        let mut groups: BTreeMap<&str, (f64, usize)> = BTreeMap::new();
        for (group, score) in scored {
            let (sum, count) = groups.entry(group).or_default();
            *sum += score;
            *count += 1;
        }
        let row = |(group, (sum, count)): (&str, (f64, usize))| {
            (group.to_owned(), sum / count as f64, count)
        };
        (!groups.is_empty()).then(|| Self {
            title: title.to_owned(),
            rows: groups.into_iter().map(row).collect(),
        })
    }
}

/// A prediction file in the form its test server takes.
#[derive(Clone, Debug)]
pub struct Predictions {
    /// `json`, `csv`, `tsv`: what its name ends in.
    pub extension: &'static str,
    /// The file.
    pub content: Vec<u8>,
}
