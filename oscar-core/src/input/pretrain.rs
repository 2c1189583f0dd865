//! From a corpus row to the ids, targets and class of one pre-training example.

use std::sync::Arc;

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::batch::{OscarInput, PaddingConfig, floats, ints, region_features};
use super::error::InputError;
use super::example::{AnswerLabels, Example, ExampleSource, TextB};
use super::knowledge::MaskedSides;
use super::masking::{MaskedTargets, MaskedToken};
use super::pollution::{MATCHED, pollute, read_row};
use super::pretrain_config::PretrainEncoderConfig;
use super::regions::{AnswerTargets, MaskedRegion, RegionPlaces, RegionTargets};
use super::scene_graph::SceneGraph;
use super::sequence::{EncodedSequence, SequenceConfig, SequenceEncoder};
use super::structure::{Priors, WordVectors};
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
    /// question. Of a pair whose image may be another row's: 0 matched, 1 not.
    pub relation: u8,
    /// The masked regions, by number.
    pub regions: Vec<MaskedRegion>,
    /// The share of people who gave each answer, by label; empty where no answer is to be predicted.
    pub answers: Vec<(u32, f32)>,
}

impl EncodedPair {
    /// The pair with these answers to predict, if it is matched: of another image or text they are not.
    pub(super) fn with_answers(self, answers: Vec<(u32, f32)>) -> Self {
        match self.relation {
            MATCHED => Self { answers, ..self },
            _ => self,
        }
    }
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
    /// What the examples are to be prepared for.
    purpose: Purpose,
    priors: Arc<Priors>,
    vectors: Option<Arc<WordVectors>>,
    /// The answers to predict, if any are.
    answers: Option<Arc<dyn AnswerLabels>>,
}

/// What examples are prepared for, beside masked tokens and the contrastive relation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purpose {
    /// Regions are masked.
    pub regions: bool,
    /// Texts are paired with images of other rows.
    pub matching: bool,
    /// The final hidden state of every position is needed.
    pub all_positions: bool,
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
        Ok(Self {
            sequences,
            config,
            purpose: Purpose::default(),
            priors: Arc::default(),
            vectors: None,
            answers: None,
        })
    }

    /// Prepares examples for this.
    pub fn with_purpose(self, purpose: Purpose) -> Self {
        Self { purpose, ..self }
    }

    /// Masks by these priors of attributes and relations, and by the similarity of these word vectors.
    pub fn with_knowledge(self, priors: Arc<Priors>, vectors: Option<Arc<WordVectors>>) -> Self {
        Self {
            priors,
            vectors,
            ..self
        }
    }

    /// Prepares examples for the prediction of answers: an answer is a target, and no part of the input.
    pub fn with_answers(self, answers: Option<Arc<dyn AnswerLabels>>) -> Self {
        Self { answers, ..self }
    }

    /// The scene graph of row `index` of `corpus`, as the masking sees it: the corpus' own, or the one
    /// that follows from the classes of its image.
    ///
    /// # Errors
    ///
    /// The row cannot be read, or has neither.
    pub fn graph(
        &self,
        corpus: &dyn ExampleSource,
        index: usize,
    ) -> Result<SceneGraph, InputError> {
        let example = self.with_graph(read_row(corpus, index)?)?;
        Ok(example.graph.unwrap_or_default())
    }

    pub(super) fn sequences(&self) -> &SequenceEncoder {
        &self.sequences
    }

    pub(super) fn priors(&self) -> &Priors {
        &self.priors
    }

    pub(super) fn vectors(&self) -> Option<&WordVectors> {
        self.vectors.as_deref()
    }

    pub(super) fn masks_regions(&self) -> bool {
        self.purpose.regions
    }

    pub(super) fn matches_images(&self) -> bool {
        self.purpose.matching
    }

    /// Whether an example is masked as Oscar does it: tokens of both texts, by chance.
    fn masks_plainly(&self) -> bool {
        let masking = &self.config.masking;
        let plain = masking.sides == MaskedSides::Both && !masking.is_structural();
        plain
            && self.purpose
                == Purpose {
                    all_positions: self.purpose.all_positions,
                    ..Purpose::default()
                }
    }

    /// What is to be predicted of the answers of `example`, which are taken from its input.
    pub(super) fn take_answers(&self, example: &mut Example) -> Vec<(u32, f32)> {
        let Some(labels) = &self.answers else {
            return Vec::new();
        };
        if example.text_b_is == TextB::Answer {
            example.text_b.clear();
        }
        labels.shares(&std::mem::take(&mut example.answers))
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
        if self.purpose.matching {
            return self.encode_matched(corpus, index, &mut rng);
        }
        if !self.masks_plainly() {
            let mut example = self.with_graph(read_row(corpus, index)?)?;
            let answers = self.take_answers(&mut example);
            let relation = pollute(&mut example, index, corpus, &self.config, &mut rng)?;
            let pair = self.mask_pair(example, relation, corpus, &mut rng)?;
            return Ok(pair.with_answers(answers));
        }
        let mut example = read_row(corpus, index)?;
        let answers = self.take_answers(&mut example);
        if !self.config.use_text_b {
            example.text_b.clear();
        }
        let relation = pollute(&mut example, index, corpus, &self.config, &mut rng)?;
        let mut sequence = self.encode_unmasked(example)?;

        let (masker, probability) = (self.tokenizer().masker(), self.config.mask_probability);
        let (in_a, in_b) = (sequence.positions_a(), sequence.positions_b());
        let mut mask =
            |positions| masker.mask_each(probability, &mut sequence.input_ids, positions, &mut rng);
        let mut masked = mask(in_a);
        let of_b = match self.config.mask_text_b {
            true => mask(in_b),
            false => Vec::new(),
        };
        // Masked all the same: a [MASK] must not reveal that the pair is matched.
        if relation == MATCHED || self.config.mask_loss_for_unmatched {
            masked.extend(of_b);
        }
        let pair = EncodedPair {
            sequence,
            masked,
            relation,
            regions: Vec::new(),
            answers: Vec::new(),
        };
        Ok(pair.with_answers(answers))
    }

    /// The answers of a batch, dense.
    fn answer_targets<B: Backend>(
        &self,
        rows: &[EncodedPair],
        device: &B::Device,
    ) -> Option<AnswerTargets<B>> {
        let width = self.answers.as_ref()?.len();
        let mut scores = vec![0.0; rows.len() * width];
        let mut weights = vec![0.0; rows.len()];
        for (row, pair) in rows.iter().enumerate() {
            for (label, share) in &pair.answers {
                scores[row * width + *label as usize] = *share;
                weights[row] = 1.0;
            }
        }
        Some(AnswerTargets {
            scores: floats(scores, [rows.len(), width], device),
            weights: floats(weights, [rows.len()], device),
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
        let shape = self.sequences.shape(&sequences)?;
        let mut values = region_features(&sequences, shape)?;
        let places = RegionPlaces {
            seq: shape.seq(),
            first: shape.text,
            regions: shape.regions,
            dim: shape.dim,
        };
        let padded = self.sequences.padding().masked_multiple;
        let regions = self.purpose.regions.then(|| {
            let masked = rows.iter().map(|row| &row.regions[..]);
            places.mask(masked, &mut values, padded, device)
        });
        let input = self.sequences.pad_with(&sequences, shape, values, device);
        let multiple = self.sequences.padding().masked_multiple;
        let masked = rows.iter().map(|row| &row.masked[..]);
        let (masked, positions) = MaskedTargets::new(masked, shape.seq(), multiple, device);
        let relation = rows.iter().map(|row| i32::from(row.relation)).collect();
        let (regions, of_regions) = regions.unzip();
        let positions = positions
            .into_iter()
            .chain(of_regions.into_iter().flatten());
        Ok(PretrainBatch {
            input: match self.purpose.all_positions {
                true => input,
                false => input.with_query_positions(positions),
            },
            masked,
            relation: ints(relation, [shape.rows], device),
            regions,
            answers: self.answer_targets(rows, device),
            num_examples: shape.rows,
            num_tokens: sequences.iter().map(|row| row.len()).sum(),
        })
    }
}
