//! Sequences of two texts and the regions of one image or more.
//!
//! Nothing is masked and nothing is polluted here; the target of a sequence (an answer, a relation)
//! belongs to its task.

use std::ops::Range;
use std::sync::Arc;

use burn::prelude::Backend;
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::batch::{AttentionMask, BatchShape, OscarInput, PaddingConfig, RegionInput, floats};
use super::error::InputError;
use super::example::RegionHandle;
use super::pair::lay_out;
use super::tokenizer::Tokenizer;
use crate::config::{ConfigError, require};

/// `[encoder]` of a fine-tuning recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SequenceConfig {
    /// Most text positions, `[CLS]` and `[SEP]`s included.
    pub max_seq_length: usize,
    /// Most regions of an image; the first ones are kept.
    pub max_regions: usize,
    /// Whether object tags (or whatever text B is) are part of the input.
    pub use_tags: bool,
    /// Which text is cut where both do not fit.
    pub truncation: Truncation,
    /// Which blocks attend to each other.
    pub attention: AttentionRestriction,
    /// Whether punctuation is deleted from text A before it is tokenised, as ROSITA's loaders do:
    /// "someone's" becomes "someones".
    pub drop_punctuation: bool,
}

/// Which text is cut where both do not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Truncation {
    /// The longer one, token by token: VQA, GQA, NLVR2.
    #[default]
    Longer,
    /// Text B gets what text A leaves: retrieval.
    TextB,
}

impl Default for SequenceConfig {
    /// VQA as published.
    fn default() -> Self {
        Self {
            max_seq_length: 128,
            max_regions: 50,
            use_tags: true,
            truncation: Truncation::default(),
            attention: AttentionRestriction::default(),
            drop_punctuation: false,
        }
    }
}

impl SequenceConfig {
    /// Checks every value's range.
    ///
    /// # Errors
    ///
    /// The first key whose value is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let (length, regions) = (self.max_seq_length, self.max_regions);
        require(length >= 5, "max_seq_length", length, "must be at least 5")?;
        require(regions >= 1, "max_regions", regions, "must be at least 1")
    }
}

/// An encoded sequence, ready to be batched.
#[derive(Clone, Debug)]
pub struct EncodedSequence {
    /// Where it comes from, for messages.
    pub origin: String,
    /// `[CLS] A [SEP] B [SEP]`, or `[CLS] A [SEP]`.
    pub input_ids: Vec<u32>,
    /// 0 for `[CLS] A [SEP]`, 1 for `B [SEP]`.
    pub token_type_ids: Vec<u8>,
    /// Images, and how many regions of each are used; they follow one another.
    pub regions: Vec<(RegionHandle, usize)>,
}

impl EncodedSequence {
    /// Text positions and regions, none of them padding.
    pub fn len(&self) -> usize {
        self.input_ids.len() + self.num_regions()
    }

    /// Whether there is neither text nor region; an encoded sequence always has a text.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Positions of text A, special tokens aside.
    pub fn positions_a(&self) -> Range<usize> {
        1..self.len_a() - 1
    }

    /// Positions of text B, special tokens aside; empty without one.
    pub fn positions_b(&self) -> Range<usize> {
        let start = self.len_a();
        start..(self.input_ids.len() - 1).max(start)
    }

    /// Positions of `[CLS] A [SEP]`.
    fn len_a(&self) -> usize {
        self.token_type_ids.partition_point(|kind| *kind == 0)
    }

    /// Regions of all images.
    pub fn num_regions(&self) -> usize {
        self.regions.iter().map(|(_, count)| count).sum()
    }

    /// Values per region; `None` without an image.
    pub(super) fn region_dim(&self) -> Option<usize> {
        self.regions.first().map(|(handle, _)| handle.dim())
    }

    /// Copies the regions of all images to the start of `out`.
    pub(super) fn copy_regions(&self, mut out: &mut [f32]) -> Result<(), InputError> {
        for (handle, count) in &self.regions {
            let (own, rest) = out.split_at_mut(count * handle.dim());
            handle
                .copy_into(own)
                .map_err(|source| InputError::Regions {
                    origin: self.origin.clone(),
                    source,
                })?;
            out = rest;
        }
        Ok(())
    }
}

/// The letters, digits and blanks of a text.
fn without_punctuation(text: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || c.is_whitespace();
    text.chars().filter(kept).collect()
}

/// Encodes and batches sequences. Shared by all loader threads.
#[derive(Clone, Debug)]
pub struct SequenceEncoder {
    tokenizer: Arc<Tokenizer>,
    config: SequenceConfig,
    padding: PaddingConfig,
}

impl SequenceEncoder {
    /// An encoder with this configuration.
    ///
    /// # Errors
    ///
    /// A value is out of range.
    pub fn new(
        tokenizer: Arc<Tokenizer>,
        config: SequenceConfig,
        padding: PaddingConfig,
    ) -> Result<Self, InputError> {
        config.validate()?;
        padding.validate()?;
        Ok(Self {
            tokenizer,
            config,
            padding,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &SequenceConfig {
        &self.config
    }

    /// To which multiples its batches are padded.
    pub fn padding(&self) -> PaddingConfig {
        self.padding
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// Encodes a sequence: text A (question, statement, caption), text B (object tags), and the
    /// regions of its images in order.
    ///
    /// # Errors
    ///
    /// Text A has no token.
    pub fn encode(
        &self,
        origin: String,
        text_a: &str,
        text_b: &str,
        images: &[RegionHandle],
    ) -> Result<EncodedSequence, InputError> {
        let a = self.encode_text(text_a);
        let b = match self.config.use_tags {
            true => self.tokenizer.encode(text_b),
            false => Vec::new(),
        };
        self.assemble(origin, (text_a, &a), &b, images)
    }

    /// The ids of a text A.
    pub fn encode_text(&self, text: &str) -> Vec<u32> {
        match self.config.drop_punctuation {
            true => self.tokenizer.encode(&without_punctuation(text)),
            false => self.tokenizer.encode(text),
        }
    }

    /// As [`encode`](Self::encode), of texts whose ids are known already.
    ///
    /// # Errors
    ///
    /// Text A has no token.
    pub fn encode_ids(
        &self,
        origin: String,
        a: &[u32],
        b: &[u32],
        images: &[RegionHandle],
    ) -> Result<EncodedSequence, InputError> {
        let b = if self.config.use_tags { b } else { &[] };
        self.assemble(origin, ("", a), b, images)
    }

    fn assemble(
        &self,
        origin: String,
        (text_a, a): (&str, &[u32]),
        b: &[u32],
        images: &[RegionHandle],
    ) -> Result<EncodedSequence, InputError> {
        if a.is_empty() {
            let text = text_a.to_owned();
            return Err(InputError::EmptyText { origin, text });
        }
        let (special, longest) = (self.tokenizer.special(), self.config.max_seq_length);
        let (input_ids, token_type_ids) = match self.config.truncation {
            Truncation::Longer => lay_out(a, b, special, longest),
            Truncation::TextB => {
                let a = &a[..a.len().min(longest - 2)];
                // Room for [CLS], A, two [SEP]s; a B of which nothing is left takes no [SEP].
                let b = &b[..b.len().min((longest - 2).saturating_sub(a.len() + 1))];
                lay_out(a, b, special, longest)
            }
        };
        let most = self.config.max_regions;
        Ok(EncodedSequence {
            origin,
            input_ids,
            token_type_ids,
            regions: images
                .iter()
                .map(|image| (image.clone(), image.len().min(most)))
                .collect(),
        })
    }

    /// Batches `rows` on `device`, padded to the longest. Only the final hidden state of the first
    /// position is [needed](OscarInput::query_positions): the one that is pooled.
    ///
    /// # Errors
    ///
    /// There is no row, rows have regions of different sizes, or regions cannot be read.
    pub fn batch<B: Backend>(
        &self,
        rows: &[EncodedSequence],
        device: &B::Device,
    ) -> Result<OscarInput<B>, InputError> {
        let rows: Vec<&EncodedSequence> = rows.iter().collect();
        let (mut input, shape) = self.pad(&rows, device)?;
        if self.config.attention != AttentionRestriction::Clr {
            let mask = self.config.attention.mask(&rows, shape, device);
            input.attention_mask = AttentionMask::Full(mask);
        }
        Ok(input.with_query_positions([]))
    }

    /// As [`batch`](Self::batch), with the final hidden states of all regions.
    ///
    /// # Errors
    ///
    /// As there; or no row has a region.
    pub fn batch_regions<B: Backend>(
        &self,
        rows: &[EncodedSequence],
        device: &B::Device,
    ) -> Result<RegionInput<B>, InputError> {
        let input = self.batch(rows, device)?;
        let [_, text] = input.input_ids.dims();
        let [_, seq] = input.dims();
        let regions = seq - text;
        if regions == 0 {
            let origin = rows
                .first()
                .map_or_else(String::new, |row| row.origin.clone());
            return Err(InputError::NoRegion { origin });
        }
        let mut mask = vec![0.0; rows.len() * regions];
        let mut wanted = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let count = row.num_regions();
            mask[at * regions..at * regions + count].fill(1.0);
            wanted.extend((0..count).map(|region| at * seq + text + region));
        }
        Ok(RegionInput {
            input: input.with_query_positions(wanted),
            region_mask: floats(mask, [rows.len(), regions], device),
        })
    }
}

/// Which of caption (C), labels (L, the tags) and regions (R) attend to each other: each block to
/// itself and to the one it is joined with. The official `--att_mask_type` of retrieval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum AttentionRestriction {
    /// All to all.
    #[default]
    Clr,
    /// Caption and tags; regions among themselves.
    Cl,
    /// Caption and regions; tags among themselves.
    Cr,
    /// Tags and regions; the caption, with its `[CLS]`, by itself.
    Lr,
}

impl AttentionRestriction {
    /// Whether blocks `a` and `b` attend to each other: 0 is the caption, 1 the labels, 2 the regions.
    fn joins(self, a: u8, b: u8) -> bool {
        let apart = match self {
            Self::Clr => return true,
            Self::Cl => 2,
            Self::Cr => 1,
            Self::Lr => 0,
        };
        a == b || (a != apart && b != apart)
    }

    /// `[batch, seq, seq]`; rows and columns of padding are 0.
    fn mask<B: Backend>(
        self,
        rows: &[&EncodedSequence],
        shape: BatchShape,
        device: &B::Device,
    ) -> Tensor<B, 3> {
        let (text, seq) = (shape.text, shape.seq());
        let mut values = vec![0.0f32; rows.len() * seq * seq];
        for (row, mask) in rows.iter().zip(values.chunks_mut((seq * seq).max(1))) {
            let regions = (text..text + row.num_regions()).map(|position| (position, 2));
            let kinds = row.token_type_ids.iter().copied().enumerate();
            let blocks: Vec<(usize, u8)> = kinds.chain(regions).collect();
            for &(query, a) in &blocks {
                for &(key, b) in &blocks {
                    mask[query * seq + key] = f32::from(self.joins(a, b));
                }
            }
        }
        floats(values, [rows.len(), seq, seq], device)
    }
}
