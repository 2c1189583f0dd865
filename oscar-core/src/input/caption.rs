//! Captions to be learned and images to be described: the input of a captioner.
//!
//! A caption reads itself from left to right and all of the tags and regions; tags and regions read
//! each other, and nothing of the caption. So what the encoder makes of an image is the same
//! whatever is said of it, and captions can be generated word by word.
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
use rand::seq::SliceRandom;

use super::batch::{floats, ints};
use super::error::InputError;
use super::example::RegionHandle;
use super::masking::MaskedToken;
use super::sequence::{EncodedSequence, SequenceEncoder};
use super::{AttentionMask, OscarInput};

/// Of the targets, the share that becomes `[MASK]`.
const MASK_SHARE: f64 = 0.8;
/// Of the others, the share that becomes a random token.
const RANDOM_SHARE: f64 = 0.5;

/// Encodes captions and images. Shared by all loader threads.
#[derive(Clone, Debug)]
pub struct CaptionEncoder {
    sequences: SequenceEncoder,
    max_caption_length: usize,
    masking: CaptionMasking,
}

/// Which tokens of a caption are to be learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CaptionMasking {
    /// Share of a caption's tokens, `[SEP]` included.
    pub probability: f64,
    /// Most tokens of a caption; there is always one.
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
    /// What is to be predicted.
    pub masked: Vec<MaskedToken>,
}

/// A batch of captions to learn.
#[derive(Clone, Debug)]
pub struct CaptionBatch<B: Backend> {
    /// Text and regions.
    pub input: OscarInput<B>,
    /// Where the targets stand, `[masked]`: `row * seq + position`.
    pub masked_positions: Tensor<B, 1, Int>,
    /// Their ids, `[masked]`.
    pub masked_labels: Tensor<B, 1, Int>,
    /// Targets that are no padding; they come first.
    pub num_masked: usize,
    /// Text tokens and regions that are no padding.
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
        let longest = sequences.config().max_seq_length;
        let wrong = |key, value: usize, allowed| {
            let value = value.to_string();
            Err(InputError::Config {
                key,
                value,
                allowed,
            })
        };
        if max_caption_length < 3 {
            let allowed = "at least 3: [CLS], a word, [SEP]";
            return wrong("max_caption_length", max_caption_length, allowed);
        }
        if max_caption_length > longest {
            let allowed = "at least max_caption_length";
            return wrong("max_seq_length", longest, allowed);
        }
        Ok(Self {
            sequences,
            max_caption_length,
            masking,
        })
    }

    /// What makes its sequences.
    pub fn sequences(&self) -> &SequenceEncoder {
        &self.sequences
    }

    /// Most words of a caption; of longer ones the first are read.
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
        let masked = self.mask(&mut input_ids, rng);
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

    /// Picks tokens of `[CLS] caption [SEP]` to be learned, `[CLS]` never, and replaces most.
    fn mask<R: Rng + ?Sized>(&self, input_ids: &mut [u32], rng: &mut R) -> Vec<MaskedToken> {
        let tokenizer = self.sequences.tokenizer();
        let share = self.masking.probability * input_ids.len() as f64;
        // As Python rounds.
        let wanted = (share.round_ties_even() as usize).max(1);
        let mut positions: Vec<usize> = (1..input_ids.len()).collect();
        positions.shuffle(rng);
        positions.truncate(wanted.min(self.masking.most.max(1)));
        positions.sort_unstable();
        let mut masked = Vec::with_capacity(positions.len());
        for position in positions {
            masked.push(MaskedToken {
                position: position as u32,
                label: input_ids[position],
            });
            if rng.random_bool(MASK_SHARE) {
                input_ids[position] = tokenizer.special().mask;
            } else if rng.random_bool(RANDOM_SHARE) {
                input_ids[position] = rng.random_range(0..tokenizer.vocab_size() as u32);
            }
        }
        masked
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
        let sequences: Vec<EncodedSequence> = rows.iter().map(|row| row.sequence.clone()).collect();
        let mut input = self.sequences.batch::<B>(&sequences, device)?;
        let ([_, text], [_, seq]) = (input.input_ids.dims(), input.dims());
        input.position_ids =
            Some(self.positions(&sequences, text, self.max_caption_length, device));
        input.attention_mask = AttentionMask::Full(mask(&sequences, text, seq, device));

        let (mut positions, mut labels) = (Vec::new(), Vec::new());
        for (index, row) in rows.iter().enumerate() {
            for token in &row.masked {
                positions.push((index * seq) as i32 + token.position as i32);
                labels.push(token.label as i32);
            }
        }
        let num_masked = labels.len();
        let padded = num_masked.next_multiple_of(self.sequences.padding().masked_multiple);
        positions.resize(padded, 0);
        labels.resize(padded, 0);
        Ok(CaptionBatch {
            input: input.with_query_positions(positions.iter().map(|place| *place as usize)),
            masked_positions: ints(positions, [padded], device),
            masked_labels: ints(labels, [padded], device),
            num_masked,
            num_tokens: sequences.iter().map(EncodedSequence::len).sum(),
        })
    }

    /// Batches images to be described in captions of up to `max_length` tokens; each has at least
    /// one position, if only of padding.
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
        let mut input = self.sequences.batch::<B>(rows, device)?;
        let [images, text] = input.input_ids.dims();
        if text == 0 && input.region_features.is_none() {
            let pad = self.sequences.tokenizer().special().pad as i32;
            input.input_ids = ints(vec![pad; images], [images, 1], device);
            input.token_type_ids = ints(vec![0; images], [images, 1], device);
            input.attention_mask = AttentionMask::Padding(Tensor::zeros([images, 1], device));
        }
        let [_, text] = input.input_ids.dims();
        // Where they were when the model learned, if captions are not longer now.
        let first = self.max_caption_length.max(max_length);
        input.position_ids = Some(self.positions(rows, text, first, device));
        Ok(input)
    }

    /// Words from 0 on, tags from `first_tag` on, `[batch, text]`.
    fn positions<B: Backend>(
        &self,
        rows: &[EncodedSequence],
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
}

/// Positions of the caption.
fn words(row: &EncodedSequence) -> usize {
    row.token_type_ids.iter().filter(|kind| **kind == 0).count()
}

/// Who reads whom, `[batch, seq, seq]`.
fn mask<B: Backend>(
    rows: &[EncodedSequence],
    text: usize,
    seq: usize,
    device: &B::Device,
) -> Tensor<B, 3> {
    let mut values = vec![0.0f32; rows.len() * seq * seq];
    for (row, mask) in rows.iter().zip(values.chunks_mut((seq * seq).max(1))) {
        let words = words(row);
        let regions: usize = row.regions.iter().map(|(_, count)| count).sum();
        let tags = words..row.input_ids.len();
        let regions = text..text + regions;
        for query in (0..words).chain(tags.clone()).chain(regions.clone()) {
            let own = &mut mask[query * seq..(query + 1) * seq];
            if query < words {
                own[..=query].fill(1.0);
            }
            own[tags.clone()].fill(1.0);
            own[regions.clone()].fill(1.0);
        }
    }
    floats(values, [rows.len(), seq, seq], device)
}
