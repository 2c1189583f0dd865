//! From logits to text: greedy, by sampling, by beam search, by beam search under constraints.
//!
//! All of them ask a [`Decoder`] for the next token of some hypotheses at once, choose on the host
//! from what little they need of the logits, and drop images that are done. They know nothing of the
//! model behind the decoder.

mod automaton;
mod beam;
mod constrained;
mod filter;
mod greedy;
mod sample;

use burn::tensor::backend::Backend;
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, require};
use crate::input::SpecialIds;
use crate::ops::{self, OscarBackend};

pub use automaton::{Automaton, State};
pub use beam::beam_search;
pub use constrained::{ConstrainedSearch, constrained_search};
pub use filter::top_k_top_p;
pub use greedy::greedy;
pub use sample::{Draws, SampleConfig, Sampled, sample};

/// A model that continues hypotheses token by token, and keeps what it knows of each between steps.
///
/// Each image has the same number of hypotheses (rows), one image after the other. At the start each
/// has one, and it is empty.
pub trait Decoder<B: Backend> {
    /// Number of images.
    fn images(&self) -> usize;

    /// Number of hypotheses of all images.
    fn rows(&self) -> usize;

    /// The device of the logits.
    fn device(&self) -> B::Device;

    /// Appends a token to each hypothesis and returns the logits of the next one, `[rows, vocab]`.
    ///
    /// The first call passes [`Boundaries::start`]; a decoder with a prompt of its own may ignore it.
    fn next(&mut self, tokens: &[u32]) -> Tensor<B, 2>;

    /// Continues with the hypotheses of these `rows`, in this order; a row may be taken several
    /// times. With `images`, only these images are kept, and the rows are theirs, image by image.
    fn select(&mut self, images: Option<&[usize]>, rows: &[usize]);
}

/// The tokens around a generated text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundaries {
    /// The first token: `[CLS]`.
    pub start: u32,
    /// The token that ends a text: `[SEP]`.
    pub end: u32,
    /// Fed to a decoder for hypotheses that have ended.
    pub pad: u32,
}

impl From<SpecialIds> for Boundaries {
    fn from(special: SpecialIds) -> Self {
        Self {
            start: special.cls,
            end: special.sep,
            pad: special.pad,
        }
    }
}

/// A finished text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hypothesis {
    /// Its tokens, without the first and the end.
    pub ids: Vec<u32>,
    /// Log-probability: the mean per token where words are chosen one by one; divided by the
    /// length to the power of the length penalty by searches.
    pub score: f64,
}

/// How a text is searched for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GenerationConfig {
    /// Most tokens, the first and the end included.
    pub max_length: usize,
    /// Hypotheses of an image that are followed at once; 1 takes the best word each time.
    pub num_beams: usize,
    /// Texts to return for each image, best first; at most `num_beams`.
    pub num_keep_best: usize,
    /// The score is divided by the length to the power of this. The higher, the longer the texts.
    pub length_penalty: f64,
    /// Divides positive logits of words that the text has already, and multiplies negative ones.
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
        let (length, beams, keep) = (self.max_length, self.num_beams, self.num_keep_best);
        let expected = "must be at least 3: [CLS], a word, [SEP]";
        require(length >= 3, "max_length", length, expected)?;
        let expected = "must be from 1 to 64";
        require((1..=64).contains(&beams), "num_beams", beams, expected)?;
        let expected = format!("must be from 1 to num_beams = {beams}");
        require(
            (1..=beams).contains(&keep),
            "num_keep_best",
            keep,
            &expected,
        )?;
        let penalties = [
            ("length_penalty", self.length_penalty, 0.0),
            ("repetition_penalty", self.repetition_penalty, 1.0),
        ];
        penalties.into_iter().try_for_each(|(key, value, least)| {
            let expected = format!("must be at least {least}");
            require(value >= least && value.is_finite(), key, value, &expected)
        })
    }
}

/// Log-probabilities `[rows, vocab]` of logits, after a penalty on the words that a text has.
fn log_probs<B: OscarBackend>(
    logits: Tensor<B, 2>,
    texts: &[&[u32]],
    repetition_penalty: f64,
) -> Tensor<B, 2> {
    ops::log_softmax(penalise(logits, texts, repetition_penalty))
}

/// Divides the positive logits of words that a text has already, and multiplies negative ones.
fn penalise<B: Backend>(logits: Tensor<B, 2>, texts: &[&[u32]], penalty: f64) -> Tensor<B, 2> {
    if penalty == 1.0 {
        return logits;
    }
    let mut words: Vec<Vec<u32>> = texts.iter().map(|text| text.to_vec()).collect();
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

/// The images that are not done.
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

    /// Indices of the images to continue with, if enough are done that dropping them pays: the
    /// decoder copies its state of those that are kept.
    fn shrink(&self, done: impl Fn(usize) -> bool) -> Option<Vec<usize>> {
        let places = 0..self.images.len();
        let stay: Vec<usize> = places.filter(|at| !done(self.images[*at])).collect();
        (stay.len() * 4 <= self.images.len() * 3).then_some(stay)
    }

    fn keep(&mut self, places: &[usize]) {
        self.images = places.iter().map(|at| self.images[*at]).collect();
    }
}
