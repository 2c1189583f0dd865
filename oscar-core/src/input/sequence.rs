//! Sequences of fine-tuning: a text, a second text, and the regions of one image or more.
//!
//! Nothing is masked and nothing is polluted here; what a sequence is an example of (an answer, a
//! relation) is for its task to say.

use std::sync::Arc;

use burn::prelude::Backend;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::batch::{BatchShape, InputRow, floats, pad_inputs};
use super::error::InputError;
use super::example::{RegionHandle, SourceError};
use super::pair::TokenPair;
use super::tokenizer::Tokenizer;
use super::{AttentionMask, OscarInput, PaddingConfig};

/// `[encoder]` of a fine-tuning recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SequenceConfig {
    /// Most text positions, `[CLS]` and `[SEP]`s included.
    pub max_seq_length: usize,
    /// Most regions of an image; the first ones are kept.
    pub max_regions: usize,
    /// Whether object tags (or whatever text B is) are read at all.
    pub use_tags: bool,
    /// Which text is cut where both do not fit.
    pub truncation: Truncation,
    /// Which blocks attend to each other.
    pub attention: AttentionRestriction,
}

/// Which text is cut where both do not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
        }
    }
}

impl SequenceConfig {
    /// Checks every value's range.
    ///
    /// # Errors
    ///
    /// [`InputError::Config`], for the first value out of range.
    pub fn validate(&self) -> Result<(), InputError> {
        let values = [
            ("max_seq_length", self.max_seq_length, 5, "at least 5"),
            ("max_regions", self.max_regions, 1, "at least 1"),
        ];
        match values
            .into_iter()
            .find(|(_, value, least, _)| value < least)
        {
            Some((key, value, _, allowed)) => Err(InputError::Config {
                key,
                value: value.to_string(),
                allowed,
            }),
            None => Ok(()),
        }
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
        self.input_ids.len() + InputRow::num_regions(self)
    }

    /// Whether there is neither text nor region; an encoded sequence always has a text.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl InputRow for EncodedSequence {
    fn origin(&self) -> &str {
        &self.origin
    }

    fn input_ids(&self) -> &[u32] {
        &self.input_ids
    }

    fn token_type_ids(&self) -> &[u8] {
        &self.token_type_ids
    }

    fn num_regions(&self) -> usize {
        self.regions.iter().map(|(_, count)| count).sum()
    }

    fn region_dim(&self) -> Option<usize> {
        self.regions.first().map(|(handle, _)| handle.dim())
    }

    fn copy_regions(&self, mut out: &mut [f32]) -> Result<(), SourceError> {
        for (handle, count) in &self.regions {
            let (own, rest) = out.split_at_mut(count * handle.dim());
            handle.copy_into(own)?;
            out = rest;
        }
        Ok(())
    }
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
        let a = self.tokenizer.encode(text_a);
        let b = match self.config.use_tags {
            true => self.tokenizer.encode(text_b),
            false => Vec::new(),
        };
        self.assemble(origin, (text_a, &a), &b, images)
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
        let pair = match self.config.truncation {
            Truncation::Longer => TokenPair::new(a, b, special, longest),
            Truncation::TextB => {
                let a = &a[..a.len().min(longest - 2)];
                // Room for [CLS], A, two [SEP]s; a B of which nothing is left takes no [SEP].
                let b = &b[..b.len().min((longest - 2).saturating_sub(a.len() + 1))];
                TokenPair::new(a, b, special, longest)
            }
        };
        let most = self.config.max_regions;
        Ok(EncodedSequence {
            origin,
            input_ids: pair.input_ids,
            token_type_ids: pair.token_type_ids,
            regions: images
                .iter()
                .map(|image| (image.clone(), image.len().min(most)))
                .collect(),
        })
    }

    /// Batches `rows` on `device`, padded to the longest.
    ///
    /// # Errors
    ///
    /// There is no row, rows have regions of different sizes, or regions cannot be read.
    pub fn batch<B: Backend>(
        &self,
        rows: &[EncodedSequence],
        device: &B::Device,
    ) -> Result<OscarInput<B>, InputError> {
        // Only what a row may have at most bounds the padding: several images have several times
        // `max_regions`.
        let images = rows.iter().map(|row| row.regions.len()).max().unwrap_or(1);
        let (mut input, shape) = pad_inputs(
            rows,
            self.tokenizer.special().pad,
            (self.config.max_seq_length, self.config.max_regions * images),
            self.padding.pad_multiple,
            device,
        )?;
        if self.config.attention != AttentionRestriction::Clr {
            let mask = self.config.attention.mask(rows, shape, device);
            input.attention_mask = AttentionMask::Full(mask);
        }
        Ok(input)
    }
}

/// Which of caption (C), labels (L, the tags) and regions (R) attend to each other: each block to
/// itself and to the one it is joined with. The official `--att_mask_type` of retrieval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    fn joins(self, a: Block, b: Block) -> bool {
        let pair = match self {
            Self::Clr => return true,
            Self::Cl => [Block::Caption, Block::Labels],
            Self::Cr => [Block::Caption, Block::Regions],
            Self::Lr => [Block::Labels, Block::Regions],
        };
        a == b || (pair.contains(&a) && pair.contains(&b))
    }

    /// `[batch, seq, seq]`; rows and columns of padding are 0.
    fn mask<B: Backend>(
        self,
        rows: &[EncodedSequence],
        shape: BatchShape,
        device: &B::Device,
    ) -> Tensor<B, 3> {
        let (text, seq) = (shape.text, shape.text + shape.regions);
        let mut values = vec![0.0f32; rows.len() * seq * seq];
        for (row, mask) in rows.iter().zip(values.chunks_mut((seq * seq).max(1))) {
            let blocks: Vec<(usize, Block)> = row
                .token_type_ids
                .iter()
                .map(|kind| match kind {
                    0 => Block::Caption,
                    _ => Block::Labels,
                })
                .enumerate()
                .chain((0..InputRow::num_regions(row)).map(|r| (text + r, Block::Regions)))
                .collect();
            for &(query, a) in &blocks {
                for &(key, b) in &blocks {
                    mask[query * seq + key] = f32::from(self.joins(a, b));
                }
            }
        }
        floats(values, [rows.len(), seq, seq], device)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Caption,
    Labels,
    Regions,
}
