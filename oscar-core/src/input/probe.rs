//! Probes of what the model reads from an image: chosen words are masked, all others are visible.
//!
//! A probe masks words that only the image can tell (names, colours, numbers). They are predicted
//! with the image's own regions and tags, and then with another image's: the difference in accuracy
//! is what the model takes from the image. A name of several words is masked whole, since one half of
//! it tells the other.

use std::collections::HashSet;
use std::ops::Range;

use rand::Rng;

use super::error::InputError;
use super::example::Example;
use super::masking::MaskedToken;
use super::pollution::MATCHED;
use super::pretrain::{EncodedPair, PretrainEncoder};
use super::scene_graph::SceneGraph;
use super::sequence::EncodedSequence;

/// Which tokens of text A a probe masks.
#[derive(Clone, Debug)]
pub struct ProbeTargets {
    /// The ids of the words to mask.
    pub ids: HashSet<u32>,
    /// The ids of several words in a row that are masked together; where such a phrase is, its words
    /// are not masked one by one.
    pub phrases: Vec<Vec<u32>>,
    /// Probability of each word or phrase to be masked: 0.15 as in pre-training, or up to 1.
    pub rate: f64,
}

impl ProbeTargets {
    /// Positions of the words and phrases to mask among `positions`, in order. Of phrases that begin
    /// at the same position the longest counts.
    fn find(&self, input_ids: &[u32], positions: Range<usize>) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let mut at = positions.start;
        while at < positions.end {
            let rest = &input_ids[at..positions.end];
            let phrases = self.phrases.iter().filter(|phrase| !phrase.is_empty());
            let fitting = phrases.filter(|phrase| rest.starts_with(phrase));
            let length = match fitting.map(Vec::len).max() {
                Some(length) => length,
                None if self.ids.contains(&rest[0]) => 1,
                None => {
                    at += 1;
                    continue;
                }
            };
            found.push(at..at + length);
            at += length;
        }
        found
    }
}

impl PretrainEncoder {
    /// Encodes `example` with some of `targets` masked in its text A, always by `[MASK]`, and at
    /// least one word or phrase if it has any. Text B is left as it is.
    ///
    /// With `swap`, regions and text B are those of `swap`, and the class is "polluted caption".
    /// The same `rng` state masks the same words with and without it, save where a longer text B
    /// cuts them off: `seed.rng(index)` for both.
    ///
    /// # Errors
    ///
    /// Text A has no token.
    pub fn encode_probe<R: Rng + ?Sized>(
        &self,
        example: &Example,
        targets: &ProbeTargets,
        rng: &mut R,
        swap: Option<&Example>,
    ) -> Result<EncodedPair, InputError> {
        let (shown, relation) = match swap {
            Some(other) => {
                let shown = Example {
                    origin: format!("{} (with the image of {})", example.origin, other.origin),
                    text_a: example.text_a.clone(),
                    graph: example.graph.clone().map(SceneGraph::without_regions),
                    ..other.clone()
                };
                (shown, (self.config().num_contrast_classes() - 1) as u8)
            }
            None => (example.clone(), MATCHED),
        };
        let mut sequence = self.encode_unmasked(shown)?;
        let masked = mask_targets(&mut sequence, targets, self.tokenizer().special().mask, rng);
        Ok(EncodedPair {
            sequence,
            masked,
            relation,
            regions: Vec::new(),
            answers: Vec::new(),
        })
    }
}

fn mask_targets<R: Rng + ?Sized>(
    sequence: &mut EncodedSequence,
    targets: &ProbeTargets,
    mask_id: u32,
    rng: &mut R,
) -> Vec<MaskedToken> {
    // The draw that picks a word if no other is masked comes first, so that it does not depend on the
    // length.
    let fallback = rng.random::<f64>();
    let candidates = targets.find(&sequence.input_ids, sequence.positions_a());
    let mut chosen = candidates.clone();
    chosen.retain(|_| rng.random::<f64>() < targets.rate);
    if chosen.is_empty() && !candidates.is_empty() {
        let index = (fallback * candidates.len() as f64) as usize;
        chosen.push(candidates[index.min(candidates.len() - 1)].clone());
    }
    let mask = |position: usize| {
        let label = std::mem::replace(&mut sequence.input_ids[position], mask_id);
        MaskedToken {
            position: position as u32,
            label,
        }
    };
    chosen.into_iter().flatten().map(mask).collect()
}
