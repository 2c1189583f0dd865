//! A captioner asked for the next word, again and again.
//!
//! The state is the captions so far: some hypotheses of each of some images, as many of each. The
//! caller reads the logits, chooses words, and says which hypotheses go on ([`CaptionSteps::select`]).

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

use super::backbone::key_mask;
use super::{CaptionCache, ContextCache, OscarForCaptioning};
use crate::input::{AttentionMask, OscarInput};
use crate::ops::OscarBackend;

/// Additive masks are made from 1 and 0; above this a position may be attended to.
const ATTENDED: f32 = 0.5;

/// What is computed again at every step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stepping {
    /// Two tokens, the newest word and the `[MASK]`: everything else is kept.
    #[default]
    Cached,
    /// Everything; the reference that the cache is tested against.
    Uncached,
}

/// Captions in the making.
#[derive(Debug)]
pub struct CaptionSteps<'a, B: Backend> {
    model: &'a OscarForCaptioning<B>,
    known: Known<B>,
    mask_id: u32,
    images: usize,
    rows: usize,
    device: B::Device,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
enum Known<B: Backend> {
    Cached {
        context: ContextCache<B>,
        captions: CaptionCache<B>,
    },
    Uncached {
        context: HostContext<B>,
        captions: Vec<Vec<u32>>,
    },
}

/// Tags and regions, to be encoded anew with every caption.
#[derive(Debug)]
struct HostContext<B: Backend> {
    images: usize,
    tags: usize,
    input_ids: Vec<i32>,
    token_type_ids: Vec<i32>,
    position_ids: Vec<i32>,
    /// `[images, tags + regions]`.
    attended: Vec<bool>,
    regions: Option<Tensor<B, 3>>,
    /// Image of each row.
    image_of: Vec<usize>,
}

impl<'a, B: OscarBackend> CaptionSteps<'a, B> {
    /// Captions of the images of `context`, one of each, without a word yet.
    ///
    /// The text of `context` is the tags, as [`Backbone::encode_context`](super::Backbone) reads
    /// them.
    pub fn new(
        model: &'a OscarForCaptioning<B>,
        context: OscarInput<B>,
        mask_id: u32,
        stepping: Stepping,
    ) -> Self {
        let [images, _] = context.input_ids.dims();
        let device = context.input_ids.device();
        let known = match stepping {
            Stepping::Cached => Known::Cached {
                context: model.bert.encode_context(context),
                captions: CaptionCache::default(),
            },
            Stepping::Uncached => Known::uncached(context),
        };
        Self {
            model,
            known,
            mask_id,
            images,
            rows: images,
            device,
        }
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Number of captions: as many of each image, one image after the other.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The device of the model.
    pub fn device(&self) -> &B::Device {
        &self.device
    }

    /// Adds a token to each caption (the first one is `[CLS]`), and gives the logits of the next
    /// one, `[rows, vocab]`.
    pub fn next(&mut self, tokens: &[u32]) -> Tensor<B, 2> {
        match &mut self.known {
            Known::Cached { context, captions } => {
                let ids = tokens.iter().flat_map(|token| [*token, self.mask_id]);
                let ids: Vec<i32> = ids.map(|id| id as i32).collect();
                let ids = ints(ids, [tokens.len(), 2], &self.device);
                self.model
                    .logits(self.model.bert.encode_next(ids, context, captions))
            }
            Known::Uncached { context, captions } => {
                for (caption, token) in captions.iter_mut().zip(tokens) {
                    caption.push(*token);
                }
                let (input, positions) = context.sequences(captions, self.mask_id, &self.device);
                self.model.forward(input, positions)
            }
        }
    }

    /// Goes on with the captions of these rows, in this order; a row may be taken several times.
    /// With `images`, only these images stay, and rows are theirs in their order.
    pub fn select(&mut self, images: Option<&[usize]>, rows: &[usize]) {
        self.reorder(images, rows, false);
    }

    /// As [`select`](Self::select), but where words are cached only the newest one moves: an
    /// official mistake, see [`CaptionCache::select_newest`].
    pub fn select_newest(&mut self, images: Option<&[usize]>, rows: &[usize]) {
        self.reorder(images, rows, true);
    }

    fn reorder(&mut self, images: Option<&[usize]>, rows: &[usize], newest: bool) {
        let stays = rows.len() == self.rows && rows.iter().enumerate().all(|(at, row)| at == *row);
        if images.is_none() && stays {
            return;
        }
        self.rows = rows.len();
        self.images = images.map_or(self.images, <[usize]>::len);
        match &mut self.known {
            Known::Cached { context, captions } => {
                if let Some(images) = images {
                    let indices = images.iter().map(|image| *image as i32).collect();
                    context.select(ints(indices, [images.len()], &self.device));
                }
                // Rows keep their number where only the newest word moves.
                match newest && captions.len() > 1 {
                    true => captions.select_newest(rows),
                    false => captions.select(rows),
                }
            }
            Known::Uncached { context, captions } => {
                *captions = rows.iter().map(|row| captions[*row].clone()).collect();
                context.image_of = rows.iter().map(|row| context.image_of[*row]).collect();
            }
        }
    }
}

impl<B: OscarBackend> Known<B> {
    fn uncached(input: OscarInput<B>) -> Self {
        let [images, tags] = input.input_ids.dims();
        let host = |tensor: Tensor<B, 2, Int>| -> Vec<i32> {
            tensor.into_data().iter::<i32>().collect::<Vec<_>>()
        };
        let position_ids = match input.position_ids {
            Some(positions) => host(positions),
            None => (0..images).flat_map(|_| 0..tags as i32).collect(),
        };
        let attended = key_mask(input.attention_mask)
            .into_data()
            .iter::<f32>()
            .map(|value| value > ATTENDED)
            .collect();
        Self::Uncached {
            context: HostContext {
                images,
                tags,
                input_ids: host(input.input_ids),
                token_type_ids: host(input.token_type_ids),
                position_ids,
                attended,
                regions: input.region_features,
                image_of: (0..images).collect(),
            },
            captions: vec![Vec::new(); images],
        }
    }
}

impl<B: OscarBackend> HostContext<B> {
    /// `[caption, [MASK], tags | regions]` of each row, and where its `[MASK]` stands.
    fn sequences(
        &self,
        captions: &[Vec<u32>],
        mask_id: u32,
        device: &B::Device,
    ) -> (OscarInput<B>, Tensor<B, 1, Int>) {
        let rows = captions.len();
        let words = captions.first().map_or(0, Vec::len);
        let (text, last) = (words + 1 + self.tags, words);
        let context = self.attended.len() / self.images;
        let seq = words + 1 + context;
        let (mut ids, mut types, mut positions) = (Vec::new(), Vec::new(), Vec::new());
        let mut mask = vec![0.0; rows * seq * seq];
        for (row, caption) in captions.iter().enumerate() {
            let image = self.image_of[row];
            let tags = image * self.tags..(image + 1) * self.tags;
            ids.extend(caption.iter().map(|id| *id as i32));
            ids.push(mask_id as i32);
            ids.extend(&self.input_ids[tags.clone()]);
            types.resize(row * text + words + 1, 0);
            types.extend(&self.token_type_ids[tags.clone()]);
            positions.extend(0..=words as i32);
            positions.extend(&self.position_ids[tags]);
            let attended = &self.attended[image * context..(image + 1) * context];
            let mask = &mut mask[row * seq * seq..(row + 1) * seq * seq];
            fill_mask(mask, words + 1, attended);
        }
        let images: Vec<i32> = self.image_of.iter().map(|image| *image as i32).collect();
        let regions = self
            .regions
            .clone()
            .map(|regions| regions.select(0, ints(images, [rows], device)));
        let input = OscarInput {
            input_ids: ints(ids, [rows, text], device),
            token_type_ids: ints(types, [rows, text], device),
            position_ids: Some(ints(positions, [rows, text], device)),
            attention_mask: AttentionMask::Full(Tensor::from_data(
                TensorData::new(mask, [rows, seq, seq]),
                device,
            )),
            region_features: regions,
            query_positions: None,
            packing: None,
        };
        let masks = (0..rows).map(|row| (row * seq + last) as i32).collect();
        (input, ints(masks, [rows], device))
    }
}

/// The sequence-to-sequence mask of one row: a word attends to the words up to itself and to the
/// context, the context to itself.
fn fill_mask(mask: &mut [f32], words: usize, attended: &[bool]) {
    let seq = words + attended.len();
    for query in 0..seq {
        let is_word = query < words;
        if !is_word && !attended[query - words] {
            continue;
        }
        let row = &mut mask[query * seq..(query + 1) * seq];
        if is_word {
            row[..=query].fill(1.0);
        }
        for (value, attended) in row[words..].iter_mut().zip(attended) {
            *value = f32::from(*attended);
        }
    }
}

fn ints<B: Backend, const D: usize>(
    values: Vec<i32>,
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D, Int> {
    Tensor::from_data(TensorData::new(values, shape), device)
}
