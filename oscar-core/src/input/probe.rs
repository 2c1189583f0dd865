//! Probes of what the model reads from an image: chosen words are masked, all others are visible.
//!
//! A probe masks words that only the image can tell (colours, shapes, numbers). They are predicted
//! with the image's own regions and tags, and then with another image's: the difference in accuracy
//! is what the model takes from the image.

use std::collections::HashSet;

use rand::Rng;

use super::error::InputError;
use super::example::Example;
use super::masking::MaskedToken;
use super::pollution::MATCHED;
use super::pretrain::{EncodedPair, PretrainEncoder};
use super::sequence::EncodedSequence;

/// Which tokens of text A a probe masks.
#[derive(Clone, Debug)]
pub struct ProbeTargets {
    /// The ids of the words to mask.
    pub ids: HashSet<u32>,
    /// Probability of each such token to be masked: 0.15 as in pre-training, or up to 1.
    pub rate: f64,
}

impl ProbeTargets {
    /// Whether `id` is masked. Draws a random number for target words only.
    fn draw<R: Rng + ?Sized>(&self, id: u32, rng: &mut R) -> bool {
        self.ids.contains(&id) && rng.random::<f64>() < self.rate
    }
}

impl PretrainEncoder {
    /// Encodes `example` with some of `targets` masked in its text A, always by `[MASK]`, and at
    /// least one if it has any. Text B is left as it is.
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
    let mut candidates = Vec::new();
    let mut chosen = Vec::new();
    for position in sequence.positions_a() {
        let id = sequence.input_ids[position];
        if targets.ids.contains(&id) {
            candidates.push(position);
        }
        if targets.draw(id, rng) {
            chosen.push(position);
        }
    }
    if chosen.is_empty() && !candidates.is_empty() {
        let index = (fallback * candidates.len() as f64) as usize;
        chosen.push(candidates[index.min(candidates.len() - 1)]);
    }
    let mask = |position: usize| {
        let label = std::mem::replace(&mut sequence.input_ids[position], mask_id);
        MaskedToken {
            position: position as u32,
            label,
        }
    };
    chosen.into_iter().map(mask).collect()
}
