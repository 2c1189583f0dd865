//! Masked-token targets.

use std::ops::Range;

use rand::Rng;

/// Of the targets, the share that becomes `[MASK]`.
const MASK_SHARE: f64 = 0.8;
/// Of the targets, the share that becomes `[MASK]` or a random token; the rest stays as it is.
const MASK_OR_RANDOM_SHARE: f64 = 0.9;

/// A token to be predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskedToken {
    /// Where it stands in the row's input ids.
    pub position: u32,
    /// The id that stood there.
    pub label: u32,
}

/// BERT's masking, token by token: no whole words, and no guarantee of any target.
///
/// The official code does the same in captions and tags; the Oscar paper mentions `[MASK]` only,
/// not the random and unchanged tokens.
#[derive(Clone, Copy, Debug)]
pub struct TokenMasker {
    probability: f64,
    mask_id: u32,
    vocab_size: u32,
}

impl TokenMasker {
    /// Makes each token a target with `probability`; random ones are drawn from all `vocab_size`
    /// ids, special and unused ones included.
    pub fn new(probability: f64, mask_id: u32, vocab_size: u32) -> Self {
        Self {
            probability,
            mask_id,
            vocab_size,
        }
    }

    /// Picks targets in `positions` of `input_ids`, replaces them, and appends them to `masked`.
    pub fn mask<R: Rng + ?Sized>(
        &self,
        input_ids: &mut [u32],
        positions: Range<usize>,
        rng: &mut R,
        masked: &mut Vec<MaskedToken>,
    ) {
        let start = positions.start;
        for (offset, id) in input_ids[positions].iter_mut().enumerate() {
            let dice = rng.random::<f64>();
            if dice >= self.probability {
                continue;
            }
            masked.push(MaskedToken {
                position: (start + offset) as u32,
                label: *id,
            });
            // Below the probability, the same dice is uniform again once divided by it.
            *id = self.replacement(*id, dice / self.probability, rng);
        }
    }

    fn replacement<R: Rng + ?Sized>(&self, id: u32, dice: f64, rng: &mut R) -> u32 {
        if dice < MASK_SHARE {
            self.mask_id
        } else if dice < MASK_OR_RANDOM_SHARE {
            rng.random_range(0..self.vocab_size)
        } else {
            id
        }
    }
}
