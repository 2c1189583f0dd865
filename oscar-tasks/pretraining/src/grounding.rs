//! How much of what the model says comes from the image.
//!
//! Words of held-out captions are masked and guessed twice: beside the image's own regions and
//! tags, and beside another image's. What the first guess gets right and the second does not was
//! read from the image.

use std::collections::HashSet;
use std::sync::Arc;

use oscar_core::input::{
    EncodedPair, Example, ExampleSeed, ExampleSource, InputError, PretrainBatcher, PretrainEncoder,
    ProbeTargets,
};
use oscar_core::model::OscarForPretraining;
use oscar_core::ops::OscarBackend;
use serde::{Deserialize, Serialize};

use crate::task::hits;

/// `[grounding]` of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroundingConfig {
    /// Words to mask; empty masks any word of the caption.
    pub words: Vec<String>,
    /// Probability of each such word to be masked; at least one per caption is.
    pub rate: f64,
    /// Captions to look at, from the start of the validation corpus; 0 skips the measurement.
    pub examples: usize,
}

impl Default for GroundingConfig {
    fn default() -> Self {
        Self {
            words: Vec::new(),
            rate: 0.15,
            examples: 1000,
        }
    }
}

/// Accuracy on masked words.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Grounding {
    /// With the image's own regions and tags.
    pub own_image: f64,
    /// With another image's.
    pub other_image: f64,
    /// Words masked.
    pub words: usize,
    /// Captions looked at.
    pub captions: usize,
}

/// Measures [`Grounding`] of a model on a corpus.
pub struct GroundingProbe {
    corpus: Arc<dyn ExampleSource>,
    encoder: Arc<PretrainEncoder>,
    batcher: PretrainBatcher,
    targets: ProbeTargets,
    examples: usize,
    seed: u64,
}

/// A word of the configuration that the vocabulary does not hold as one token.
#[derive(Debug, thiserror::Error)]
#[error("grounding.words: {word:?} is not one token of the vocabulary")]
pub struct UnknownWord {
    word: String,
}

impl GroundingProbe {
    /// A probe of the first `config.examples` captions of `corpus`.
    ///
    /// # Errors
    ///
    /// If a word is not one token of the vocabulary.
    pub fn new(
        config: &GroundingConfig,
        corpus: Arc<dyn ExampleSource>,
        encoder: Arc<PretrainEncoder>,
        batcher: PretrainBatcher,
        seed: u64,
    ) -> Result<Self, UnknownWord> {
        let tokenizer = encoder.tokenizer();
        let id = |word: &String| {
            tokenizer
                .id(word)
                .ok_or_else(|| UnknownWord { word: word.clone() })
        };
        let ids: HashSet<u32> = match config.words.is_empty() {
            true => (0..tokenizer.vocab_size() as u32)
                .filter(|id| !tokenizer.special().contains(*id))
                .collect(),
            false => config.words.iter().map(id).collect::<Result<_, _>>()?,
        };
        let examples = config.examples.min(corpus.len());
        let targets = ProbeTargets {
            ids,
            rate: config.rate,
        };
        Ok(Self {
            corpus,
            encoder,
            batcher,
            targets,
            examples,
            seed,
        })
    }

    /// Measures `model`; nothing to measure gives `None`.
    ///
    /// # Errors
    ///
    /// If a row cannot be read or encoded.
    pub fn measure<B: OscarBackend>(
        &self,
        model: &OscarForPretraining<B>,
        batch_size: usize,
        device: &B::Device,
    ) -> Result<Option<Grounding>, InputError> {
        if self.examples < 2 {
            return Ok(None);
        }
        let (mut own, mut other) = (Tally::default(), Tally::default());
        let mut captions = 0;
        for start in (0..self.examples).step_by(batch_size) {
            let (mut with_own, mut with_other) = (Vec::new(), Vec::new());
            for index in start..(start + batch_size).min(self.examples) {
                if let Some((one, two)) = self.pair(index)? {
                    with_own.push(one);
                    with_other.push(two);
                }
            }
            if with_own.is_empty() {
                continue;
            }
            captions += with_own.len();
            own.add(self.guess(model, with_own, device)?);
            other.add(self.guess(model, with_other, device)?);
        }
        Ok((own.words > 0.0).then(|| Grounding {
            own_image: own.right / own.words,
            other_image: other.right / other.words,
            words: own.words as usize,
            captions,
        }))
    }

    /// Caption `index` with the same words masked, beside its own image and beside another.
    fn pair(&self, index: usize) -> Result<Option<(EncodedPair, EncodedPair)>, InputError> {
        let example = self.read(index)?;
        let Some(other) = self.another_image(index, &example)? else {
            return Ok(None);
        };
        let seed = ExampleSeed {
            seed: self.seed,
            epoch: 0,
        };
        let encode = |swap| {
            self.encoder
                .encode_probe(&example, &self.targets, &mut seed.rng(index), swap)
        };
        Ok(Some((encode(None)?, encode(Some(&other))?)))
    }

    /// The first row with another image, half the corpus away.
    fn another_image(
        &self,
        index: usize,
        example: &Example,
    ) -> Result<Option<Example>, InputError> {
        let len = self.corpus.len();
        for offset in 0..len {
            let other = self.read((index + len / 2 + offset) % len)?;
            if other.image != example.image {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    fn read(&self, index: usize) -> Result<Example, InputError> {
        self.corpus
            .get(index)
            .map_err(|source| InputError::Row { row: index, source })
    }

    fn guess<B: OscarBackend>(
        &self,
        model: &OscarForPretraining<B>,
        rows: Vec<EncodedPair>,
        device: &B::Device,
    ) -> Result<Tally, InputError> {
        let batch = self.batcher.try_batch::<B>(rows, device)?;
        let encoded = model.backbone().forward(batch.input);
        let logits = model.predict_tokens(&encoded, batch.masked_positions);
        let right = (hits(logits, batch.masked_labels) * batch.masked_weights.clone()).sum();
        let scalar = |tensor: burn::tensor::Tensor<B, 1>| {
            tensor.into_data().iter::<f64>().next().unwrap_or(0.0)
        };
        Ok(Tally {
            right: scalar(right),
            words: scalar(batch.masked_weights.sum()),
        })
    }
}

#[derive(Default)]
struct Tally {
    right: f64,
    words: f64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.right += other.right;
        self.words += other.words;
    }
}
