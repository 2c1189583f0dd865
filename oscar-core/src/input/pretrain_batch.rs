//! Batches of pre-training examples.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

use super::batch::{OscarInput, Padder, PaddingConfig, ints};
use super::error::InputError;
use super::masking::MaskedTargets;
use super::pretrain::{EncodedPair, PretrainEncoder};
use super::sequence::EncodedSequence;

/// A batch of pre-training examples.
#[derive(Clone, Debug)]
pub struct PretrainBatch<B: Backend> {
    /// Text and regions.
    pub input: OscarInput<B>,
    /// The tokens to predict; all of them are padding if no token happened to be masked, where the
    /// official loss is 0/0.
    pub masked: MaskedTargets<B>,
    /// Contrastive classes, `[batch]`.
    pub relation: Tensor<B, 1, Int>,
    /// Rows.
    pub num_examples: usize,
    /// Text tokens and regions that are not padding.
    pub num_tokens: usize,
}

/// Makes a [`PretrainBatch`] of encoded pairs.
#[derive(Clone, Copy, Debug)]
pub struct PretrainBatcher {
    padder: Padder,
    masked_multiple: usize,
}

impl PretrainBatcher {
    /// A batcher for what `encoder` encodes; it never pads beyond that one's limits.
    ///
    /// # Errors
    ///
    /// A value of `padding` is out of range.
    pub fn new(encoder: &PretrainEncoder, padding: PaddingConfig) -> Result<Self, InputError> {
        padding.validate()?;
        Ok(Self {
            padder: Padder {
                pad_id: encoder.tokenizer().special().pad,
                max_text: encoder.config().max_seq_length,
                max_regions: encoder.config().max_regions,
                multiple: padding.pad_multiple,
            },
            masked_multiple: padding.masked_multiple,
        })
    }

    /// Batches `rows` on `device`.
    ///
    /// # Errors
    ///
    /// There is no row, rows have regions of different sizes, or regions cannot be read.
    pub fn batch<B: Backend>(
        &self,
        rows: &[EncodedPair],
        device: &B::Device,
    ) -> Result<PretrainBatch<B>, InputError> {
        let sequences: Vec<&EncodedSequence> = rows.iter().map(|row| &row.sequence).collect();
        let (input, shape) = self.padder.pad(&sequences, device)?;
        let masked = rows.iter().map(|row| &row.masked[..]);
        let (masked, positions) =
            MaskedTargets::new(masked, shape.seq(), self.masked_multiple, device);
        let relation = rows.iter().map(|row| i32::from(row.relation)).collect();
        Ok(PretrainBatch {
            input: input.with_query_positions(positions),
            masked,
            relation: ints(relation, [shape.rows], device),
            num_examples: shape.rows,
            num_tokens: sequences.iter().map(|row| row.len()).sum(),
        })
    }
}
