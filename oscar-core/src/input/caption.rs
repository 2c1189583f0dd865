//! Captions to be learned and images to be described: the input of a captioner.
//!
//! A caption attends to itself from left to right and to all tags and regions; tags and regions
//! attend to each other, and not to the caption. So the encoding of an image does not depend on its
//! caption, and captions can be generated word by word.
//!
//! | query \ key | caption | tags | regions |
//! |---|---|---|---|
//! | caption | up to itself | all | all |
//! | tags, regions | none | all | all |
//!
//! Tags have the positions they would have after the longest caption. (Officially captions are padded
//! to that length instead; nobody attends to the padding.)

use burn::prelude::Backend;
use burn::tensor::{Int, Tensor};
use rand::Rng;

use super::batch::{AttentionMask, BatchShape, OscarInput, floats, ints};
use super::error::InputError;
use super::example::RegionHandle;
use super::masking::{MaskedTargets, MaskedToken};
use super::sequence::{EncodedSequence, SequenceEncoder};
use crate::config::require;

/// Encodes captions and images. Shared by all loader threads.
#[derive(Clone, Debug)]
pub struct CaptionEncoder {
    sequences: SequenceEncoder,
    max_caption_length: usize,
    masking: CaptionMasking,
}

/// How many tokens of a caption are masked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CaptionMasking {
    /// Share of a caption's tokens, `[SEP]` included.
    pub probability: f64,
    /// Most tokens of a caption; at least one is masked.
    pub most: usize,
}

impl Default for CaptionMasking {
    /// COCO as published.
    fn default() -> Self {
        Self {
            probability: 0.15,
            most: 3,
        }
    }
}

/// A caption with what is to be learned of it.
#[derive(Clone, Debug)]
pub struct EncodedCaption {
    /// Caption, tags and regions.
    pub sequence: EncodedSequence,
    /// The tokens to predict.
    pub masked: Vec<MaskedToken>,
}

/// A batch of captions to learn.
#[derive(Clone, Debug)]
pub struct CaptionBatch<B: Backend> {
    /// Text and regions.
    pub input: OscarInput<B>,
    /// The tokens to predict.
    pub masked: MaskedTargets<B>,
    /// Text tokens and regions that are not padding.
    pub num_tokens: usize,
}

impl CaptionEncoder {
    /// An encoder of captions of at most `max_caption_length` tokens, `[CLS]` and `[SEP]` included;
    /// tags get what this leaves of the sequence.
    ///
    /// # Errors
    ///
    /// If there is no room for a word.
    pub fn new(
        sequences: SequenceEncoder,
        max_caption_length: usize,
        masking: CaptionMasking,
    ) -> Result<Self, InputError> {
        let (caption, longest) = (max_caption_length, sequences.config().max_seq_length);
        let expected = "must be at least 3: [CLS], a word, [SEP]";
        require(caption >= 3, "max_caption_length", caption, expected)?;
        let expected = format!("must be at least max_caption_length = {caption}");
        require(caption <= longest, "max_seq_length", longest, &expected)?;
        Ok(Self {
            sequences,
            max_caption_length,
            masking,
        })
    }

    /// The encoder of its sequences.
    pub fn sequences(&self) -> &SequenceEncoder {
        &self.sequences
    }

    /// Most words of a caption; longer ones are cut.
    pub fn max_words(&self) -> usize {
        self.max_caption_length - 2
    }

    /// `[CLS] caption [SEP] tags [SEP]` and the image's regions, some tokens of the caption masked.
    ///
    /// # Errors
    ///
    /// The caption has no token.
    pub fn encode<R: Rng + ?Sized>(
        &self,
        origin: String,
        caption: &[u32],
        tags: &[u32],
        image: &RegionHandle,
        rng: &mut R,
    ) -> Result<EncodedCaption, InputError> {
        if caption.is_empty() {
            let text = String::new();
            return Err(InputError::EmptyText { origin, text });
        }
        let special = self.sequences.tokenizer().special();
        let caption = &caption[..caption.len().min(self.max_words())];
        let mut input_ids = vec![special.cls];
        input_ids.extend_from_slice(caption);
        input_ids.push(special.sep);
        let share = self.masking.probability * input_ids.len() as f64;
        // As Python rounds.
        let wanted = (share.round_ties_even() as usize).max(1);
        let masker = self.sequences.tokenizer().masker();
        let masked = masker.mask_some(wanted.min(self.masking.most.max(1)), &mut input_ids, rng);
        let mut token_type_ids = vec![0; input_ids.len()];
        let context = self.encode_context(origin, tags, image);
        input_ids.extend(context.input_ids);
        token_type_ids.extend(context.token_type_ids);
        let sequence = EncodedSequence {
            input_ids,
            token_type_ids,
            ..context
        };
        Ok(EncodedCaption { sequence, masked })
    }

    /// `tags [SEP]` and the image's regions.
    pub fn encode_context(
        &self,
        origin: String,
        tags: &[u32],
        image: &RegionHandle,
    ) -> EncodedSequence {
        let config = self.sequences.config();
        let room = config.max_seq_length - self.max_caption_length;
        let mut input_ids = Vec::new();
        if config.use_tags && room > 1 && !tags.is_empty() {
            input_ids.extend_from_slice(&tags[..tags.len().min(room - 1)]);
            input_ids.push(self.sequences.tokenizer().special().sep);
        }
        EncodedSequence {
            origin,
            token_type_ids: vec![1; input_ids.len()],
            input_ids,
            regions: vec![(image.clone(), image.len().min(config.max_regions))],
        }
    }

    /// Batches captions to be learned.
    ///
    /// # Errors
    ///
    /// There is no row, rows have regions of different sizes, or regions cannot be read.
    pub fn batch<B: Backend>(
        &self,
        rows: &[EncodedCaption],
        device: &B::Device,
    ) -> Result<CaptionBatch<B>, InputError> {
        let sequences: Vec<&EncodedSequence> = rows.iter().map(|row| &row.sequence).collect();
        let (input, shape) = self.sequences.pad::<B>(&sequences, device)?;
        let multiple = self.sequences.padding().masked_multiple;
        let masked = rows.iter().map(|row| &row.masked[..]);
        let (masked, targets) = MaskedTargets::new(masked, shape.seq(), multiple, device);
        let positions = positions(&sequences, shape.text, self.max_caption_length, device);
        let input = OscarInput {
            position_ids: Some(positions),
            attention_mask: AttentionMask::Full(caption_masks(&sequences, shape, device)),
            ..input
        };
        Ok(CaptionBatch {
            input: input.with_query_positions(targets),
            masked,
            num_tokens: sequences.iter().map(|row| row.len()).sum(),
        })
    }

    /// Batches images to be described in captions of up to `max_length` tokens; each has at least
    /// one position, if only padding.
    ///
    /// # Errors
    ///
    /// As [`batch`](Self::batch).
    pub fn batch_contexts<B: Backend>(
        &self,
        rows: &[EncodedSequence],
        max_length: usize,
        device: &B::Device,
    ) -> Result<OscarInput<B>, InputError> {
        let rows: Vec<&EncodedSequence> = rows.iter().collect();
        let (mut input, _) = self.sequences.pad::<B>(&rows, device)?;
        let [images, text] = input.input_ids.dims();
        if text == 0 && input.region_features.is_none() {
            let pad = self.sequences.tokenizer().special().pad as i32;
            input.input_ids = ints(vec![pad; images], [images, 1], device);
            input.token_type_ids = ints(vec![0; images], [images, 1], device);
            input.attention_mask = AttentionMask::Padding(Tensor::zeros([images, 1], device));
        }
        let [_, text] = input.input_ids.dims();
        // The positions of training, unless captions are longer now.
        let first = self.max_caption_length.max(max_length);
        input.position_ids = Some(positions(&rows, text, first, device));
        Ok(input)
    }
}

/// Positions of the caption.
fn words(row: &EncodedSequence) -> usize {
    row.token_type_ids.iter().filter(|kind| **kind == 0).count()
}

/// Position ids `[batch, text]`: words from 0 on, tags from `first_tag` on.
fn positions<B: Backend>(
    rows: &[&EncodedSequence],
    text: usize,
    first_tag: usize,
    device: &B::Device,
) -> Tensor<B, 2, Int> {
    let mut positions = Vec::with_capacity(rows.len() * text);
    for (index, row) in rows.iter().enumerate() {
        let words = words(row);
        let tags = row.token_type_ids.len() - words;
        positions.extend(0..words as i32);
        positions.extend((0..tags).map(|tag| (first_tag + tag) as i32));
        positions.resize((index + 1) * text, 0);
    }
    ints(positions, [rows.len(), text], device)
}

/// The masks of training captions, `[batch, seq, seq]`.
fn caption_masks<B: Backend>(
    rows: &[&EncodedSequence],
    shape: BatchShape,
    device: &B::Device,
) -> Tensor<B, 3> {
    let seq = shape.seq();
    let mut values = vec![0.0; rows.len() * seq * seq];
    for (row, mask) in rows.iter().zip(values.chunks_mut((seq * seq).max(1))) {
        let words = words(row);
        let mut context = vec![false; seq - words];
        context[..row.input_ids.len() - words].fill(true);
        context[shape.text - words..][..row.num_regions()].fill(true);
        fill_caption_mask(mask, words, &context);
    }
    floats(values, [rows.len(), seq, seq], device)
}

/// Sets `mask` `[seq, seq]`, all 0, to 1 where a query (row) may attend to a key (column).
///
/// A sequence is `words` positions of a caption and then tags and regions, of which `context` says
/// which are not padding. See the module for who attends to whom.
pub(crate) fn fill_caption_mask(mask: &mut [f32], words: usize, context: &[bool]) {
    let seq = words + context.len();
    for (query, row) in mask.chunks_mut(seq.max(1)).enumerate() {
        match query < words {
            true => row[..=query].fill(1.0),
            false if !context[query - words] => continue,
            false => {}
        }
        for (value, attended) in row[words..].iter_mut().zip(context) {
            *value = f32::from(*attended);
        }
    }
}
