//! How much of what the model says comes from the image.
//!
//! Words of held-out captions are masked and guessed twice: beside the image's own regions and
//! tags, and beside another image's. What the first guess gets right and the second does not was
//! read from the image. Swapping regions and tags one by one, or taking the tags away, tells which of
//! the two it was read from.

use std::collections::HashSet;
use std::sync::Arc;

use oscar_core::input::{
    EncodedPair, Example, ExampleSeed, ExampleSource, InputError, PretrainEncoder, ProbeTargets,
    Tokenizer,
};
use oscar_core::model::OscarForPretraining;
use oscar_core::ops::OscarBackend;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::objective::hits;
use crate::probe::relation;
use crate::share::{Share, Tally};

/// `[grounding]` of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GroundingConfig {
    /// Words to mask, or names of several words ("fire truck"), which are masked whole; empty masks any
    /// word of the caption.
    pub words: Vec<String>,
    /// Probability of each such word or name to be masked; at least one per caption is, so 0 masks one.
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

impl GroundingConfig {
    /// The tokens to mask.
    ///
    /// # Errors
    ///
    /// If a word is not one token of the vocabulary.
    pub fn targets(&self, tokenizer: &Tokenizer) -> Result<ProbeTargets, UnknownWord> {
        let mut targets = ProbeTargets {
            ids: HashSet::new(),
            phrases: Vec::new(),
            rate: self.rate,
        };
        if self.words.is_empty() {
            let all = 0..tokenizer.vocab_size() as u32;
            targets.ids = all
                .filter(|id| !tokenizer.special().contains(*id))
                .collect();
        }
        for name in &self.words {
            let id = |word: &str| {
                tokenizer
                    .id(word)
                    .ok_or_else(|| UnknownWord { word: word.into() })
            };
            let mut ids: Vec<u32> = name.split_whitespace().map(id).collect::<Result<_, _>>()?;
            match ids.len() {
                1 => targets.ids.extend(ids.pop()),
                0 => return Err(UnknownWord { word: name.clone() }),
                _ => targets.phrases.push(ids),
            }
        }
        Ok(targets)
    }
}

/// Accuracy on masked words.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Grounding {
    /// With the image's own regions and tags.
    pub own_image: f64,
    /// With another image's.
    pub other_image: f64,
    /// With its own regions and no tags; `None` for a model that reads no tags.
    pub without_tags: Option<f64>,
    /// With its own regions and another image's tags; `None` for a model that reads no tags.
    pub other_tags: Option<f64>,
    /// With another image's regions and its own tags; `None` for a model that reads no tags.
    pub other_regions: Option<f64>,
    /// Words masked.
    pub words: usize,
    /// Captions looked at.
    pub captions: usize,
}

/// What a model does on held-out data of another kind than it was trained on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OutOfDomain {
    /// What it reads from images.
    pub grounding: Grounding,
    /// Share of matched and polluted pairs that it tells apart; half are matched.
    pub contrastive_accuracy: f64,
}

/// What a caption is shown with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Its image's own regions and tags.
    OwnImage,
    /// Another image's.
    OtherImage,
    /// Another image's regions, its own tags.
    OtherRegions,
    /// Its own regions, another image's tags.
    OtherTags,
    /// Its own regions, no tags.
    NoTags,
}

impl Shown {
    /// What tells regions from tags: no tags, another image's tags, another image's regions.
    pub(crate) const MIXED: [Self; 3] = [Self::NoTags, Self::OtherTags, Self::OtherRegions];
}

/// Measures [`Grounding`] of a model on a corpus.
pub struct GroundingProbe {
    corpus: Arc<dyn ExampleSource>,
    encoder: Arc<PretrainEncoder>,
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
        seed: u64,
    ) -> Result<Self, UnknownWord> {
        let targets = config.targets(encoder.tokenizer())?;
        let examples = config.examples.min(corpus.len());
        Ok(Self {
            corpus,
            encoder,
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
        let shown = [Shown::OwnImage, Shown::OtherImage];
        let [own, other] = self.shares(model, shown, batch_size, device)?;
        let mixed = match self.encoder.config().use_text_b {
            true => Some(self.shares(model, Shown::MIXED, batch_size, device)?),
            false => None,
        };
        let mixed = mixed.map(|shares| shares.map(|share| share.share));
        Ok((own.of > 0).then_some(Grounding {
            own_image: own.share,
            other_image: other.share,
            without_tags: mixed.map(|[without, ..]| without),
            other_tags: mixed.map(|[_, tags, _]| tags),
            other_regions: mixed.map(|[.., regions]| regions),
            words: own.of,
            captions: own.groups,
        }))
    }

    /// Measures `model` with the pairs of the whole corpus too; nothing to measure gives `None`.
    ///
    /// # Errors
    ///
    /// If a row cannot be read or encoded.
    pub fn measure_with_pairs<B: OscarBackend>(
        &self,
        model: &OscarForPretraining<B>,
        batch_size: usize,
        device: &B::Device,
    ) -> Result<Option<OutOfDomain>, InputError> {
        let Some(grounding) = self.measure(model, batch_size, device)? else {
            return Ok(None);
        };
        let (corpus, encoder) = (&self.corpus, &self.encoder);
        let pairs = relation(model, corpus, encoder, self.seed, batch_size, device)?;
        Ok(Some(OutOfDomain {
            grounding,
            contrastive_accuracy: pairs.share,
        }))
    }

    /// Shares of the same masked words that `model` guesses right, the captions shown in each of
    /// these ways.
    ///
    /// # Errors
    ///
    /// If a row cannot be read or encoded.
    pub fn shares<B: OscarBackend, const N: usize>(
        &self,
        model: &OscarForPretraining<B>,
        shown: [Shown; N],
        batch_size: usize,
        device: &B::Device,
    ) -> Result<[Share; N], InputError> {
        let mut tallies = shown.map(|_| Tally::default());
        for start in (0..self.examples).step_by(batch_size) {
            let mut rows = shown.map(|_| Vec::new());
            for index in start..(start + batch_size).min(self.examples) {
                let example = self.read(index)?;
                let Some(other) = self.another_image(index, &example)? else {
                    continue;
                };
                for (shown, rows) in shown.iter().zip(&mut rows) {
                    rows.push(self.encode(index, &example, &other, *shown)?);
                }
            }
            for (tally, rows) in tallies.iter_mut().zip(rows) {
                if !rows.is_empty() {
                    self.guess(model, rows, tally, device)?;
                }
            }
        }
        Ok(tallies.map(|tally| tally.share()))
    }

    /// Caption `index`, the same words masked whatever it is shown with.
    fn encode(
        &self,
        index: usize,
        example: &Example,
        other: &Example,
        shown: Shown,
    ) -> Result<EncodedPair, InputError> {
        let with_tags = |image: &Example, tags: &str| Example {
            text_b: tags.into(),
            ..image.clone()
        };
        let swap = match shown {
            Shown::OwnImage => None,
            Shown::OtherImage => Some(other.clone()),
            Shown::OtherRegions => Some(with_tags(other, &example.text_b)),
            Shown::OtherTags => Some(with_tags(example, &other.text_b)),
            Shown::NoTags => Some(with_tags(example, "")),
        };
        let seed = ExampleSeed {
            seed: self.seed,
            epoch: 0,
        };
        let mut rng = seed.rng(index);
        self.encoder
            .encode_probe(example, &self.targets, &mut rng, swap.as_ref())
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

    /// Counts the words guessed right, by caption.
    fn guess<B: OscarBackend>(
        &self,
        model: &OscarForPretraining<B>,
        rows: Vec<EncodedPair>,
        tally: &mut Tally,
        device: &B::Device,
    ) -> Result<(), InputError> {
        let words: Vec<usize> = rows.iter().map(|row| row.masked.len()).collect();
        let batch = self.encoder.batch::<B>(&rows, device)?;
        let encoded = model.backbone().forward(batch.input);
        let logits = model.predict_tokens(&encoded, batch.masked.positions);
        let right: Vec<f64> = hits(logits, batch.masked.labels)
            .into_data()
            .iter::<f64>()
            .collect();
        // Masked words stand row by row; what follows the last is padding.
        let mut rest = &right[..];
        for words in words {
            let (of_row, after) = rest.split_at(words.min(rest.len()));
            tally.add(of_row.iter().sum(), words);
            rest = after;
        }
        Ok(())
    }
}
