//! From logits to captions: greedy, by sampling, by beam search, by beam search under constraints.
//!
//! All of them ask a [`CaptionSteps`](oscar_core::model::CaptionSteps) for the next word of some
//! captions at once, choose on the host from what little they need of the logits, and drop images
//! that are done.

mod automaton;
mod beam;
mod constrained;
mod filter;
mod greedy;
mod sample;

use burn::tensor::backend::Backend;
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};
use oscar_core::config::{ConfigError, require};
use oscar_core::input::SpecialIds;
use oscar_core::ops::{self, OscarBackend};
use serde::{Deserialize, Serialize};

pub use automaton::Automaton;
pub use beam::beam_search;
pub use constrained::{ConstrainedSearch, constrained_search};
pub use filter::top_k_top_p;
pub use greedy::greedy;
pub use sample::{Draws, SampleConfig, Sampled, sample};

/// A caption that was generated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Caption {
    /// Its tokens, without `[CLS]` and `[SEP]`.
    pub ids: Vec<u32>,
    /// Log-probability: the mean per token where words are chosen one by one; divided by the
    /// length to the power of the length penalty by searches.
    pub score: f64,
}

/// Which caption is searched for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenerationConfig {
    /// Most tokens, `[CLS]` and `[SEP]` included.
    pub max_length: usize,
    /// Hypotheses of an image that are followed at once; 1 takes the best word each time.
    pub num_beams: usize,
    /// Captions to give of each image, best first; more than 1 needs as many beams.
    pub num_keep_best: usize,
    /// What the score is divided by: the length to the power of this. The higher, the longer.
    pub length_penalty: f64,
    /// Divides what speaks for a word that the caption has already.
    pub repetition_penalty: f64,
}

impl Default for GenerationConfig {
    /// COCO as published.
    fn default() -> Self {
        Self {
            max_length: 20,
            num_beams: 5,
            num_keep_best: 1,
            length_penalty: 1.0,
            repetition_penalty: 1.0,
        }
    }
}

impl GenerationConfig {
    /// One word after the other, the best each time.
    pub fn greedy(max_length: usize) -> Self {
        Self {
            max_length,
            num_beams: 1,
            ..Self::default()
        }
    }

    /// Checks every value's range.
    ///
    /// # Errors
    ///
    /// The first key whose value is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require(
            self.max_length >= 3,
            "task.generation.max_length",
            self.max_length,
            "must be at least 3: [CLS], a word, [SEP]",
        )?;
        require(
            (1..=64).contains(&self.num_beams),
            "task.generation.num_beams",
            self.num_beams,
            "must be from 1 to 64",
        )?;
        require(
            (1..=self.num_beams).contains(&self.num_keep_best),
            "task.generation.num_keep_best",
            self.num_keep_best,
            &format!("must be from 1 to num_beams = {}", self.num_beams),
        )?;
        require(
            self.length_penalty >= 0.0 && self.length_penalty.is_finite(),
            "task.generation.length_penalty",
            self.length_penalty,
            "must be at least 0",
        )?;
        require(
            self.repetition_penalty >= 1.0 && self.repetition_penalty.is_finite(),
            "task.generation.repetition_penalty",
            self.repetition_penalty,
            "must be at least 1",
        )
    }
}

/// Log-probabilities `[rows, vocab]` of logits, after a penalty on the words that a caption has.
fn log_probs<B: OscarBackend>(
    logits: Tensor<B, 2>,
    captions: &[&[u32]],
    repetition_penalty: f64,
) -> Tensor<B, 2> {
    ops::log_softmax(penalise(logits, captions, repetition_penalty))
}

/// Divides the positive logits of words that a caption has already, and multiplies negative ones.
fn penalise<B: Backend>(logits: Tensor<B, 2>, captions: &[&[u32]], penalty: f64) -> Tensor<B, 2> {
    if penalty == 1.0 {
        return logits;
    }
    let mut words: Vec<Vec<u32>> = captions.iter().map(|caption| caption.to_vec()).collect();
    for words in &mut words {
        words.sort_unstable();
        words.dedup();
    }
    let width = words.iter().map(Vec::len).max().unwrap_or(0);
    let (mut ids, mut counts) = (Vec::new(), Vec::new());
    for words in &words {
        let real = words.len();
        counts.extend((0..width).map(|at| if at < real { 1.0f32 } else { 0.0 }));
        ids.extend(words.iter().map(|id| *id as i32));
        ids.extend(std::iter::repeat_n(0, width - real));
    }
    let device = logits.device();
    let shape = [words.len(), width];
    let ids = Tensor::<B, 2, Int>::from_data(TensorData::new(ids, shape), &device);
    let counts = Tensor::<B, 2>::from_data(TensorData::new(counts, shape), &device);
    let before = logits.clone().gather(1, ids.clone());
    let lowered = before
        .clone()
        .mul_scalar(penalty)
        .mask_where(before.clone().greater_elem(0.0), before.clone() / penalty);
    let change = (lowered - before) * counts;
    logits.scatter(1, ids, change, IndexingUpdateOp::Add)
}

/// Captions so far of the images that are not done.
struct Active {
    /// Their numbers in the batch.
    images: Vec<usize>,
}

impl Active {
    fn all(images: usize) -> Self {
        Self {
            images: (0..images).collect(),
        }
    }

    /// Places of the images to go on with, if it is worth leaving the others out: what is known of
    /// the ones that stay is copied for it.
    fn shrink(&self, done: impl Fn(usize) -> bool) -> Option<Vec<usize>> {
        let places = 0..self.images.len();
        let stay: Vec<usize> = places.filter(|at| !done(self.images[*at])).collect();
        (stay.len() * 4 <= self.images.len() * 3).then_some(stay)
    }

    fn keep(&mut self, places: &[usize]) {
        self.images = places.iter().map(|at| self.images[*at]).collect();
    }
}

/// A caption's first token, and what ends it.
fn ends(special: SpecialIds) -> (u32, u32) {
    (special.cls, special.sep)
}
