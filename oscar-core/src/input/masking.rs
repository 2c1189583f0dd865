//! Masked-token targets.

use std::ops::Range;

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor};
use rand::Rng;
use rand::seq::SliceRandom;

use super::batch::{floats, ints};

/// Share of the targets that become `[MASK]`.
pub(super) const MASK_SHARE: f64 = 0.8;
/// Share of the targets that become `[MASK]` or a random token; the rest keep their token.
pub(super) const MASK_OR_RANDOM_SHARE: f64 = 0.9;
/// Share of the targets other than `[MASK]` that become a random token.
const RANDOM_SHARE: f64 = 0.5;

/// A token to be predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskedToken {
    /// Its position in the row's input ids.
    pub position: u32,
    /// The original id at that position.
    pub label: u32,
}

/// BERT's masking, token by token: of the targets 80 % become `[MASK]` and 10 % a random token.
///
/// The official code does the same in captions and tags; the Oscar paper mentions `[MASK]` only,
/// not the random and unchanged tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenMasker {
    pub(super) mask_id: u32,
    /// Random tokens are drawn from all ids below this, special and unused ones included.
    pub(super) vocab_size: u32,
}

impl TokenMasker {
    /// Makes each token at `positions` a target with `probability`: no whole words, and no guarantee
    /// of any target. Replaces the targets in `input_ids`.
    pub(super) fn mask_each<R: Rng + ?Sized>(
        self,
        probability: f64,
        input_ids: &mut [u32],
        positions: Range<usize>,
        rng: &mut R,
    ) -> Vec<MaskedToken> {
        let mut masked = Vec::new();
        for position in positions {
            let dice = rng.random::<f64>();
            if dice >= probability {
                continue;
            }
            masked.push(target(input_ids, position));
            // Below the probability, the same dice is uniform again once divided by it.
            let dice = dice / probability;
            if dice < MASK_SHARE {
                input_ids[position] = self.mask_id;
            } else if dice < MASK_OR_RANDOM_SHARE {
                input_ids[position] = rng.random_range(0..self.vocab_size);
            }
        }
        masked
    }

    /// Makes `count` tokens of `input_ids` targets, never the first token, and replaces them.
    pub(super) fn mask_some<R: Rng + ?Sized>(
        self,
        count: usize,
        input_ids: &mut [u32],
        rng: &mut R,
    ) -> Vec<MaskedToken> {
        let mut positions: Vec<usize> = (1..input_ids.len()).collect();
        positions.shuffle(rng);
        positions.truncate(count);
        positions.sort_unstable();
        let mut masked = Vec::with_capacity(positions.len());
        for position in positions {
            masked.push(target(input_ids, position));
            if rng.random_bool(MASK_SHARE) {
                input_ids[position] = self.mask_id;
            } else if rng.random_bool(RANDOM_SHARE) {
                input_ids[position] = rng.random_range(0..self.vocab_size);
            }
        }
        masked
    }
}

fn target(input_ids: &[u32], position: usize) -> MaskedToken {
    MaskedToken {
        position: position as u32,
        label: input_ids[position],
    }
}

/// The masked-token targets of a batch, padded.
#[derive(Clone, Debug)]
pub struct MaskedTargets<B: Backend> {
    /// Their positions in the flattened `[batch * seq]`, `[targets]`, where `seq` is the batch's
    /// padded text and padded regions together; 0 for padding.
    pub positions: Tensor<B, 1, Int>,
    /// The original ids, `[targets]`; 0 for padding.
    pub labels: Tensor<B, 1, Int>,
    /// 1 for a target, 0 for padding, `[targets]`.
    pub weights: Tensor<B, 1>,
    /// Number of targets that are not padding; they come first, row by row.
    pub count: usize,
}

impl<B: Backend> MaskedTargets<B> {
    /// The targets of `rows` of `seq` positions each, padded to a multiple of `multiple` and at least
    /// to that; and their positions on the host.
    pub(super) fn new<'a>(
        rows: impl Iterator<Item = &'a [MaskedToken]>,
        seq: usize,
        multiple: usize,
        device: &B::Device,
    ) -> (Self, Vec<usize>) {
        let (mut positions, mut labels) = (Vec::new(), Vec::new());
        for (row, masked) in rows.enumerate() {
            positions.extend(
                masked
                    .iter()
                    .map(|token| row * seq + token.position as usize),
            );
            labels.extend(masked.iter().map(|token| token.label as i32));
        }
        let count = positions.len();
        let padded = count.max(1).next_multiple_of(multiple);
        let mut weights = vec![1.0; count];
        weights.resize(padded, 0.0);
        labels.resize(padded, 0);
        positions.resize(padded, 0);
        let on_device = positions.iter().map(|position| *position as i32).collect();
        let targets = Self {
            positions: ints(on_device, [padded], device),
            labels: ints(labels, [padded], device),
            weights: floats(weights, [padded], device),
            count,
        };
        (targets, positions)
    }
}

impl<B: AutodiffBackend> MaskedTargets<B> {
    /// The same targets for a model without gradients.
    pub fn inner(self) -> MaskedTargets<B::InnerBackend> {
        MaskedTargets {
            positions: self.positions.inner(),
            labels: self.labels.inner(),
            weights: self.weights.inner(),
            count: self.count,
        }
    }
}
