//! A model that reads a text and an image together and says how well they match: what re-ranks the
//! findings of a search, and teaches the model that makes them.

use std::fmt;
use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use oscar_core::checkpoint::{self, RandomInit};
use oscar_core::config::ModelConfig;
use oscar_core::input::{EncodedSequence, RegionHandle, SequenceConfig, SequenceEncoder};
use oscar_core::model::OscarClassifier;
use oscar_core::ops::OscarBackend;
use serde_json::Value;

use crate::batches::run_sorted;
use crate::checkpoint::{Description, TASK_FILE, open_family};
use crate::{Classify, Family, Opened, Oscar, TaskError, task_name};

/// The tasks whose weights are such a model.
pub const TASKS: [&str; 2] = ["matching", "retrieval"];

/// How well each row of logits `[pairs, labels]` matches: the single label's value, or the log-odds
/// of the second class of two.
///
/// Log-odds rank as probabilities do, but do not saturate: in 32 bits all probabilities above
/// 0.9999999 are one.
pub fn match_scores<B: Backend>(logits: Tensor<B, 2>) -> Vec<f32> {
    let [pairs, labels] = logits.dims();
    let values: Vec<f32> = logits.into_data().iter::<f32>().collect();
    let rows = values.chunks_exact(labels.max(1));
    let scores: Vec<f32> = rows
        .map(|row| match row {
            [one] => *one,
            [no, yes, ..] => yes - no,
            [] => f32::NAN,
        })
        .collect();
    debug_assert_eq!(scores.len(), pairs);
    scores
}

/// Whether weights of the task called `name` score pairs.
fn is_scorer(name: &str) -> bool {
    TASKS.contains(&name)
}

/// Whether the labels say how well a pair matches: a value, or no and yes.
fn has_score(config: &ModelConfig) -> bool {
    matches!(config.num_labels, 1 | 2)
}

/// Weights of matching or retrieval, opened to score pairs.
pub struct CrossEncoder<B: OscarBackend> {
    network: OscarClassifier<B>,
    encoder: SequenceEncoder,
    region_dim: usize,
    device: B::Device,
    path: PathBuf,
}

impl<B: OscarBackend> CrossEncoder<B> {
    /// Opens the directory `path` that fine-tuning left, and reads the weights.
    ///
    /// # Errors
    ///
    /// If a file is missing or wrong, or the weights are another task's.
    pub fn open(path: &Path, device: &B::Device) -> Result<Self, TaskError> {
        let wrong = |found: String| TaskError::Checkpoint {
            path: path.join(TASK_FILE),
            found,
        };
        let name = task_name(path)?;
        if !is_scorer(&name) {
            return Err(wrong(format!(
                "weights of the task {name}, where those of {} are expected",
                TASKS.join(" or ")
            )));
        }
        let description = Description::<Value, SequenceConfig>::read(path)?;
        let (config, encoder) =
            open_family::<Oscar>(path, description.encoder, description.padding)?;
        if !has_score(&config) {
            let labels = config.num_labels;
            return Err(wrong(format!("a classifier of {labels} labels, not of 2")));
        }
        let network = OscarClassifier::<B>::new(&config, device);
        let (network, _) = checkpoint::load(network, path, &RandomInit::Refuse)?;
        Ok(Self {
            network: oscar_core::model::for_inference(network),
            encoder,
            region_dim: Oscar::region_dim(&config),
            device: device.clone(),
            path: path.to_path_buf(),
        })
    }

    /// Opened weights that are such a model; the network is shared, not copied.
    pub(crate) fn of<T: Classify>(opened: &Opened<T, B>) -> Option<Self> {
        let checkpoint = &opened.checkpoint;
        let scores_pairs = is_scorer(T::NAME) && has_score(&checkpoint.model);
        scores_pairs.then(|| Self {
            network: opened.model.network.clone(),
            encoder: opened.encoder().clone(),
            region_dim: Oscar::region_dim(&checkpoint.model),
            device: opened.device.clone(),
            path: checkpoint.path.clone(),
        })
    }

    /// The directory of the weights.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What encodes its pairs.
    pub fn encoder(&self) -> &SequenceEncoder {
        &self.encoder
    }

    /// Checks that it reads regions of `found` values.
    ///
    /// # Errors
    ///
    /// If it reads others.
    pub fn check_regions(&self, found: usize) -> Result<(), TaskError> {
        let expected = self.region_dim;
        match found == expected {
            true => Ok(()),
            false => Err(TaskError::RegionDim { found, expected }),
        }
    }

    /// A text beside the tags and regions of an image.
    ///
    /// # Errors
    ///
    /// If the text has no token.
    pub fn pair(
        &self,
        text: &str,
        tags: &str,
        images: &[RegionHandle],
    ) -> Result<EncodedSequence, TaskError> {
        let origin = "the text".to_string();
        Ok(self.encoder.encode(origin, text, tags, images)?)
    }

    /// How well the text and the image of each pair match; the higher the better.
    ///
    /// # Errors
    ///
    /// If the regions of an image cannot be read.
    pub fn score(
        &self,
        pairs: Vec<EncodedSequence>,
        batch_size: usize,
    ) -> Result<Vec<f32>, TaskError> {
        run_sorted(pairs, batch_size.max(1), EncodedSequence::len, |rows| {
            let input = self.encoder.batch(rows, &self.device)?;
            let logits = self.network.forward(input);
            let logits = logits.map_err(|error| TaskError::Score(error.into()))?;
            Ok(match_scores(logits))
        })
    }
}

impl<B: OscarBackend> fmt::Debug for CrossEncoder<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CrossEncoder({})", self.path.display())
    }
}
