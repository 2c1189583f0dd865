//! What the model reads from an image: chosen words masked, the rest in plain sight.
//!
//! A probe masks words that only the image can tell (colours, shapes, numbers). Predicted with the
//! image's own regions and tags, and then with another image's, their difference in accuracy is
//! what the model takes from the image.

use std::collections::HashSet;

use rand::Rng;

use super::error::InputError;
use super::example::Example;
use super::masking::MaskedToken;
use super::pair::TokenPair;
use super::pollution::MATCHED;
use super::pretrain::{EncodedPair, PretrainEncoder};

/// Which tokens of text A a probe masks.
#[derive(Clone, Debug)]
pub struct ProbeTargets {
    /// The ids of the words asked for.
    pub ids: HashSet<u32>,
    /// Probability of each such token to be masked: 0.15 as in pre-training, or up to 1.
    pub rate: f64,
}

impl ProbeTargets {
    /// Whether `id` is asked for and drawn. Draws for asked tokens only.
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
            Some(other) => (
                with_text_a(other, example),
                (self.config().num_contrast_classes() - 1) as u8,
            ),
            None => (example.clone(), MATCHED),
        };
        let shown = if self.config().use_text_b {
            shown
        } else {
            without_text_b(shown)
        };
        let mut pair = self.tokenize(&shown)?;
        let masked = mask_targets(&mut pair, targets, self.tokenizer().special().mask, rng);
        Ok(self.assemble(shown, pair, masked, relation))
    }
}

fn with_text_a(other: &Example, example: &Example) -> Example {
    Example {
        origin: format!("{} (with the image of {})", example.origin, other.origin),
        text_a: example.text_a.clone(),
        ..other.clone()
    }
}

fn without_text_b(example: Example) -> Example {
    Example {
        text_b: String::new(),
        ..example
    }
}

fn mask_targets<R: Rng + ?Sized>(
    pair: &mut TokenPair,
    targets: &ProbeTargets,
    mask_id: u32,
    rng: &mut R,
) -> Vec<MaskedToken> {
    // The draw that decides if no other does comes first, so that it does not depend on the length.
    let fallback = rng.random::<f64>();
    let mut asked = Vec::new();
    let mut chosen = Vec::new();
    for position in pair.positions_a() {
        let id = pair.input_ids[position];
        if targets.ids.contains(&id) {
            asked.push(position);
        }
        if targets.draw(id, rng) {
            chosen.push(position);
        }
    }
    if chosen.is_empty() && !asked.is_empty() {
        let index = (fallback * asked.len() as f64) as usize;
        chosen.push(asked[index.min(asked.len() - 1)]);
    }
    let mask = |position: usize| {
        let label = std::mem::replace(&mut pair.input_ids[position], mask_id);
        MaskedToken {
            position: position as u32,
            label,
        }
    };
    chosen.into_iter().map(mask).collect()
}
