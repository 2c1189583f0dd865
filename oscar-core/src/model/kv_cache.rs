//! Decoding word by word: the keys and values kept between steps.
//!
//! A caption attends to itself, to the tags and to the regions; tags and regions attend to each
//! other alone. So their keys and values are the same at every step and for every hypothesis of an
//! image: they are computed once per image ([`ContextCache`]) and shared. A hypothesis has keys and
//! values of its own for its words only ([`CaptionCache`]).
//!
//! The next word is predicted at a `[MASK]`. A step therefore encodes two tokens, the last word and
//! the `[MASK]`, and keeps the first: at its position there was a `[MASK]` in the step before.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

use super::Backbone;
use super::backbone::{Packed, SelfAttention, additive_mask};
use crate::input::{AttentionMask, OscarInput, fill_caption_mask};
use crate::ops::{self, AttentionParams, CaptionKeyValues, KeyValue, OscarBackend, WordPositions};

/// Keys and values of the tags and regions of some images, in every layer.
#[derive(Clone, Debug)]
pub struct ContextCache<B: Backend> {
    layers: Vec<KeyValue<B>>,
    /// Term to add to the scores, `[images, 1, 1, positions]`.
    mask: Tensor<B, 4>,
}

/// Keys and values of the words of some captions so far, in every layer.
#[derive(Clone, Debug)]
pub struct CaptionCache<B: Backend> {
    /// For each layer, those of every step's tokens. Empty before the first step.
    layers: Vec<Vec<KeyValue<B>>>,
    words: Vec<Word>,
}

/// Where the keys and values of the captions' words at one position are.
#[derive(Clone, Debug)]
struct Word {
    /// The step that computed them.
    step: u32,
    /// The index of each row's word in that step.
    at: Vec<u32>,
}

impl<B: Backend> Default for CaptionCache<B> {
    fn default() -> Self {
        Self {
            layers: Vec::new(),
            words: Vec::new(),
        }
    }
}

impl<B: Backend> ContextCache<B> {
    /// Number of images.
    pub fn images(&self) -> usize {
        self.mask.dims()[0]
    }

    /// Tags and regions of an image, padding included.
    pub fn positions(&self) -> usize {
        self.mask.dims()[3]
    }

    /// The images with these indices, in this order.
    pub fn select(&mut self, images: Tensor<B, 1, Int>) {
        for layer in &mut self.layers {
            *layer = layer.select(&images);
        }
        self.mask = self.mask.clone().select(0, images);
    }
}

impl<B: Backend> CaptionCache<B> {
    /// Words so far.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there is no word yet.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The captions with these indices, in this order; one may be taken several times. Nothing is
    /// copied.
    pub fn select(&mut self, rows: &[usize]) {
        self.select_from(0, rows);
    }

    /// As [`select`](Self::select), for the words from position `first` on: the words before it stay
    /// in the row they are in.
    pub fn select_from(&mut self, first: usize, rows: &[usize]) {
        for word in self.words.iter_mut().skip(first) {
            word.at = rows.iter().map(|row| word.at[*row]).collect();
        }
    }

    /// Where the words of each of `rows` are among the steps, including the next step of `new` tokens.
    pub fn places(&self, rows: usize, new: usize, device: &B::Device) -> WordPositions<B> {
        let steps = self.layers.first().map_or(&[][..], |steps| &steps[..]);
        let positions = steps.iter().map(|step| {
            let [rows, tokens, _] = step.key.dims();
            rows * tokens
        });
        let next = steps.len() as u32;
        let of_row = |row: usize| {
            let known = self.words.iter().map(move |word| (word.step, word.at[row]));
            known.chain((0..new).map(move |token| (next, (row * new + token) as u32)))
        };
        let places = (0..rows).flat_map(of_row).collect();
        let words = self.len() + new;
        WordPositions::new(words, places, positions.chain([rows * new]), device)
    }

    /// Adds the keys and values that layer `layer` has computed for the tokens of a step; gives those of
    /// every step.
    pub fn push(&mut self, layer: usize, tokens: KeyValue<B>) -> &[KeyValue<B>] {
        if self.layers.len() <= layer {
            self.layers.resize_with(layer + 1, Vec::new);
        }
        let steps = &mut self.layers[layer];
        steps.push(tokens);
        steps
    }

    /// Ends a step of `new` tokens for each of `rows`, of which the first `kept` are words.
    pub fn add_words(&mut self, rows: usize, new: usize, kept: usize) {
        let step = self.layers.first().map_or(0, |steps| steps.len() - 1) as u32;
        let word = |token| Word {
            step,
            at: (0..rows).map(|row| (row * new + token) as u32).collect(),
        };
        self.words.extend((0..kept).map(word));
    }
}

impl<B: OscarBackend> Backbone<B> {
    /// Encodes tags and regions for every caption of their images.
    ///
    /// The text of `input` is the tags alone, with the positions they have after a caption, and may
    /// be of length 0; its mask says which tags and regions are not padding.
    pub fn encode_context(&self, input: OscarInput<B>) -> ContextCache<B> {
        let [_, text] = input.input_ids.dims();
        let tags = (text > 0).then(|| {
            self.embeddings
                .forward(input.input_ids, input.token_type_ids, input.position_ids)
        });
        let regions = input
            .region_features
            .map(|regions| self.project_regions(regions));
        let parts: Vec<_> = tags.into_iter().chain(regions).collect();
        let mut hidden = Packed::all(Tensor::cat(parts, 1));
        let mask = additive_mask(AttentionMask::Padding(key_mask(input.attention_mask)));

        let mut layers = Vec::with_capacity(self.encoder.layer.len());
        for (index, layer) in self.encoder.layer.iter().enumerate() {
            let attention = &layer.attention.self_attention;
            let own = attention.key_value(&hidden);
            layers.push(own.clone());
            // Nothing reads the output of the last layer.
            if index + 1 < self.encoder.layer.len() {
                let query = attention.project(&attention.query, &hidden);
                let context = attention.attend([query, own.key, own.value], mask.clone());
                hidden.rows = layer.feed_forward(ops::flatten(context), hidden.rows);
            }
        }
        ContextCache { layers, mask }
    }

    /// Encodes the newest tokens of captions: the last hidden state of the very last token,
    /// `[rows, hidden]`. All of them but that last one are kept in `caption`.
    ///
    /// # Shapes
    ///
    /// - input_ids: `[rows, tokens]`, where each image of `context` has the same number of rows, one
    ///   after the other
    pub fn encode_next(
        &self,
        input_ids: Tensor<B, 2, Int>,
        context: &ContextCache<B>,
        caption: &mut CaptionCache<B>,
    ) -> Tensor<B, 2> {
        let [rows, new] = input_ids.dims();
        let device = input_ids.device();
        let known = caption.len();
        let positions = Tensor::arange(known as i64..(known + new) as i64, &device)
            .unsqueeze::<2>()
            .expand([rows, new]);
        let segments = input_ids.zeros_like();
        let mut hidden = self
            .embeddings
            .forward(input_ids, segments, Some(positions));
        let mask = step_mask(context, rows, known, new);
        let places = caption.places(rows, new, &device);

        let layers = self.encoder.layer.len();
        for (index, layer) in self.encoder.layer.iter().enumerate() {
            let attention = &layer.attention.self_attention;
            let steps = caption.push(index, attention.key_value(&Packed::all(hidden.clone())));
            let mut mask = mask.clone();
            if index + 1 == layers {
                // Of the last layer, only the last token is read.
                hidden = hidden.narrow(1, new - 1, 1);
                mask = mask.narrow(2, new - 1, 1);
            }
            let own = CaptionKeyValues {
                steps,
                positions: &places,
            };
            let mut queries = Packed::all(hidden);
            let read = attention.read(&queries, &context.layers[index], &own, mask);
            queries.rows = layer.feed_forward(ops::flatten(read), queries.rows);
            hidden = queries.unpack();
        }
        // The last token is a `[MASK]`.
        caption.add_words(rows, new, new - 1);
        let [_, _, width] = hidden.dims();
        hidden.reshape([rows, width])
    }
}

/// Which positions any other attends to, `[batch, seq]`: tags and regions that are not padding.
fn key_mask<B: Backend>(mask: AttentionMask<B>) -> Tensor<B, 2> {
    match mask {
        AttentionMask::Padding(mask) => mask,
        AttentionMask::Full(mask) => {
            let [batch, _, keys] = mask.dims();
            mask.max_dim(1).reshape([batch, keys])
        }
    }
}

/// What the newest `new` tokens may attend to, as a term to add to the scores: the context without
/// its padding, and the caption up to themselves, `[rows, 1, new, context + known + new]`.
fn step_mask<B: Backend>(
    context: &ContextCache<B>,
    rows: usize,
    known: usize,
    new: usize,
) -> Tensor<B, 4> {
    let (images, positions) = (context.images(), context.positions());
    let shared = context
        .mask
        .clone()
        .unsqueeze_dim::<5>(1)
        .expand([images, rows / images, 1, new, positions])
        .reshape([rows, 1, new, positions]);
    let words = known + new;
    let mut own = vec![0.0; words * words];
    fill_caption_mask(&mut own, words, &[]);
    let own = TensorData::new(own.split_off(known * words), [1, new, words]);
    let own = AttentionMask::Full(Tensor::from_data(own, &context.mask.device()));
    let own = additive_mask(own).expand([rows, 1, new, words]);
    Tensor::cat(vec![shared, own], 3)
}

impl<B: OscarBackend> SelfAttention<B> {
    fn key_value(&self, hidden: &Packed<B>) -> KeyValue<B> {
        KeyValue {
            key: self.project(&self.key, hidden),
            value: self.project(&self.value, hidden),
        }
    }

    /// The attention of `queries` `[rows, tokens, width]` to their image and their caption, the same
    /// shape.
    fn read(
        &self,
        queries: &Packed<B>,
        image: &KeyValue<B>,
        caption: &CaptionKeyValues<'_, B>,
        mask: Tensor<B, 4>,
    ) -> Tensor<B, 3> {
        let query = self.project(&self.query, queries);
        let params = AttentionParams {
            mask,
            heads: self.num_heads,
            scale: self.scale(),
            dropout: self.dropout,
        };
        ops::cached_attention(query, image, caption, &params)
    }
}
