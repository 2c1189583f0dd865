//! From a corpus row to the ids, targets and class of one pre-training example.

use std::sync::Arc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::error::InputError;
use super::example::{Example, ExampleSource};
use super::masking::MaskedToken;
use super::pair::TokenPair;
use super::pollution::{MATCHED, pollute, read_row};
use super::pretrain_config::PretrainEncoderConfig;
use super::sequence::EncodedSequence;
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

/// Turns corpus rows into pre-training examples, as the official data loader does.
///
/// Shared by all loader threads.
#[derive(Clone, Debug)]
pub struct PretrainEncoder {
    tokenizer: Arc<Tokenizer>,
    config: PretrainEncoderConfig,
}

impl PretrainEncoder {
    /// An encoder with this configuration.
    ///
    /// # Errors
    ///
    /// A value of `config` is out of range.
    pub fn new(
        tokenizer: Arc<Tokenizer>,
        config: PretrainEncoderConfig,
    ) -> Result<Self, InputError> {
        config.validate()?;
        Ok(Self { tokenizer, config })
    }

    /// The configuration.
    pub fn config(&self) -> &PretrainEncoderConfig {
        &self.config
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// Checks once, before training, that `corpus` has what the configuration asks for.
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
        let mut pair = self.tokenize(&example)?;

        let (in_a, in_b) = (pair.positions_a(), pair.positions_b());
        let masker = self.tokenizer.masker();
        let mut masked = Vec::new();
        let mut mask = |positions, masked: &mut Vec<MaskedToken>| {
            let probability = self.config.mask_probability;
            masker.mask_each(
                probability,
                &mut pair.input_ids,
                positions,
                &mut rng,
                masked,
            );
        };
        mask(in_a, &mut masked);
        let of_a = masked.len();
        mask(in_b, &mut masked);
        if relation != MATCHED && !self.config.mask_loss_for_unmatched {
            // Masked all the same: a [MASK] must not reveal that the pair is matched.
            masked.truncate(of_a);
        }
        Ok(self.assemble(example, pair, masked, relation))
    }

    /// Both texts of `example`, cut and laid out.
    pub(super) fn tokenize(&self, example: &Example) -> Result<TokenPair, InputError> {
        let a = self.tokenizer.encode(&example.text_a);
        if a.is_empty() {
            let (origin, text) = (example.origin.clone(), example.text_a.clone());
            return Err(InputError::EmptyText { origin, text });
        }
        let b = self.tokenizer.encode(&example.text_b);
        Ok(TokenPair::new(
            &a,
            &b,
            self.tokenizer.special(),
            self.config.max_seq_length,
        ))
    }

    /// Adds the regions.
    pub(super) fn assemble(
        &self,
        example: Example,
        pair: TokenPair,
        masked: Vec<MaskedToken>,
        relation: u8,
    ) -> EncodedPair {
        let regions = example.regions;
        let count = regions.len().min(self.config.max_regions);
        EncodedPair {
            sequence: EncodedSequence {
                origin: example.origin,
                input_ids: pair.input_ids,
                token_type_ids: pair.token_type_ids,
                regions: vec![(regions, count)],
            },
            masked,
            relation,
        }
    }
}
