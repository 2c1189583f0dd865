//! From a corpus row to the ids, targets and class of one pre-training example.

use std::sync::Arc;

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::batch::{OscarInput, PaddingConfig, ints};
use super::error::InputError;
use super::example::{Example, ExampleSource};
use super::masking::{MaskedTargets, MaskedToken};
use super::pollution::{MATCHED, pollute, read_row};
use super::pretrain_config::PretrainEncoderConfig;
use super::regions::{AnswerTargets, RegionTargets};
use super::sequence::{EncodedSequence, SequenceConfig, SequenceEncoder};
use super::tokenizer::Tokenizer;

/// Names the random numbers of an example: the same ones for the same seed, epoch and row, whatever
/// thread encodes it, and in whatever order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExampleSeed {
    /// The run's seed.
    pub seed: u64,
    /// Pass over the corpus: each pass masks and pollutes anew.
    pub epoch: u64,
}

impl ExampleSeed {
    /// The random numbers of row `index`.
    ///
    /// Seed, epoch and index are the key of a ChaCha8 stream, side by side: no two examples share a
    /// key, and streams of different keys are independent. (The official code seeds one stream per
    /// loader worker, all ranks alike.)
    pub fn rng(self, index: usize) -> ChaCha8Rng {
        let mut key = *b"........................oscarrow";
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&self.epoch.to_le_bytes());
        key[16..24].copy_from_slice(&(index as u64).to_le_bytes());
        ChaCha8Rng::from_seed(key)
    }
}

/// A pre-training example, ready to be batched.
#[derive(Clone, Debug)]
pub struct EncodedPair {
    /// Both texts, targets replaced, and the image's regions.
    pub sequence: EncodedSequence,
    /// The masked-token targets, by position.
    pub masked: Vec<MaskedToken>,
    /// Contrastive class: 0 matched, 1 polluted tags or answer, the last one polluted caption or
    /// question.
    pub relation: u8,
}

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
    /// The regions to predict; `None` where regions are not masked.
    pub regions: Option<RegionTargets<B>>,
    /// The answers to predict; `None` where none are.
    pub answers: Option<AnswerTargets<B>>,
    /// Rows.
    pub num_examples: usize,
    /// Text tokens and regions that are not padding.
    pub num_tokens: usize,
}

/// Turns corpus rows into pre-training examples, as the official data loader does, and these into
/// batches.
///
/// Shared by all loader threads.
#[derive(Clone, Debug)]
pub struct PretrainEncoder {
    sequences: SequenceEncoder,
    config: PretrainEncoderConfig,
}

impl PretrainEncoder {
    /// An encoder with this configuration.
    ///
    /// # Errors
    ///
    /// A value of `config` or `padding` is out of range.
    pub fn new(
        tokenizer: Arc<Tokenizer>,
        config: PretrainEncoderConfig,
        padding: PaddingConfig,
    ) -> Result<Self, InputError> {
        config.validate()?;
        let sequences = SequenceConfig {
            max_seq_length: config.max_seq_length,
            max_regions: config.max_regions,
            use_tags: config.use_text_b,
            ..SequenceConfig::default()
        };
        let sequences = SequenceEncoder::new(tokenizer, sequences, padding)?;
        Ok(Self { sequences, config })
    }

    /// The configuration.
    pub fn config(&self) -> &PretrainEncoderConfig {
        &self.config
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        self.sequences.tokenizer()
    }

    /// Checks once, before training, that `corpus` has what the configuration needs.
    ///
    /// # Errors
    ///
    /// It is empty, or negatives are to be answers and it has none.
    pub fn check_corpus(&self, corpus: &dyn ExampleSource) -> Result<(), InputError> {
        if corpus.is_empty() {
            return Err(InputError::EmptyCorpus);
        }
        if self.config.needs_answers() && corpus.answer_rows().is_empty() {
            return Err(InputError::NoAnswerRows);
        }
        Ok(())
    }

    /// Encodes row `index` of `corpus`: pollute, cut, lay out, mask.
    ///
    /// # Errors
    ///
    /// A row cannot be read, or its text A has no token.
    pub fn encode(
        &self,
        corpus: &dyn ExampleSource,
        index: usize,
        seed: ExampleSeed,
    ) -> Result<EncodedPair, InputError> {
        let mut rng = seed.rng(index);
        let mut example = read_row(corpus, index)?;
        if !self.config.use_text_b {
            example.text_b.clear();
        }
        let relation = pollute(&mut example, index, corpus, &self.config, &mut rng)?;
        let mut sequence = self.encode_unmasked(example)?;

        let (masker, probability) = (self.tokenizer().masker(), self.config.mask_probability);
        let (in_a, in_b) = (sequence.positions_a(), sequence.positions_b());
        let mut mask =
            |positions| masker.mask_each(probability, &mut sequence.input_ids, positions, &mut rng);
        let (mut masked, of_b) = (mask(in_a), mask(in_b));
        // Masked all the same: a [MASK] must not reveal that the pair is matched.
        if relation == MATCHED || self.config.mask_loss_for_unmatched {
            masked.extend(of_b);
        }
        Ok(EncodedPair {
            sequence,
            masked,
            relation,
        })
    }

    /// Both texts and the regions of `example`.
    pub(super) fn encode_unmasked(&self, example: Example) -> Result<EncodedSequence, InputError> {
        let Example {
            origin,
            text_a,
            text_b,
            regions,
            ..
        } = example;
        self.sequences.encode(origin, &text_a, &text_b, &[regions])
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
        let (input, shape) = self.sequences.pad(&sequences, device)?;
        let multiple = self.sequences.padding().masked_multiple;
        let masked = rows.iter().map(|row| &row.masked[..]);
        let (masked, positions) = MaskedTargets::new(masked, shape.seq(), multiple, device);
        let relation = rows.iter().map(|row| i32::from(row.relation)).collect();
        Ok(PretrainBatch {
            input: input.with_query_positions(positions),
            masked,
            relation: ints(relation, [shape.rows], device),
            regions: None,
            answers: None,
            num_examples: shape.rows,
            num_tokens: sequences.iter().map(|row| row.len()).sum(),
        })
    }
}
