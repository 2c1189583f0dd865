//! The backbone word by word: what is known already is kept as keys and values.
//!
//! A caption attends to itself, to the tags and to the regions; tags and regions attend to each
//! other alone. So their keys and values are the same at every step and for every hypothesis of an
//! image: they are computed once per image ([`ContextCache`]) and shared. A hypothesis has keys and
//! values of its own for its words only ([`CaptionCache`]).
//!
//! The word that comes next is read where a `[MASK]` stands. A step therefore encodes two tokens,
//! the last word and the `[MASK]`, and keeps the first: where the word stands now, a `[MASK]` stood
//! in the step before.

use burn::nn::Linear;
use burn::tensor::{Int, Tensor, backend::Backend};

use super::{Backbone, Layer, MASKED_SCORE, SelfAttention, additive_mask};
use crate::input::{AttentionMask, OscarInput};
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
    /// Of each layer, those of every step's tokens. Empty before the first step.
    layers: Vec<Vec<KeyValue<B>>>,
    words: Vec<Word>,
}

/// Where the captions' words at one position are.
#[derive(Clone, Debug)]
struct Word {
    /// The step that computed them.
    step: u32,
    /// Of each row, its place in that step.
    at: Vec<u32>,
}

impl Word {
    fn select(&mut self, rows: &[usize]) {
        self.at = rows.iter().map(|row| self.at[*row]).collect();
    }
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
        for word in &mut self.words {
            word.select(rows);
        }
    }

    /// As [`select`](Self::select), but of the newest word alone: all words before stay with the
    /// row they were in. The official code does so when it searches with several beams and a cache,
    /// which makes its captions differ from those without; this is for comparing with it.
    pub fn select_newest(&mut self, rows: &[usize]) {
        if let Some(word) = self.words.last_mut() {
            word.select(rows);
        }
    }

    /// Where the words of each of `rows` are, those of the next step of `new` tokens included.
    fn places(&self, rows: usize, new: usize, device: &B::Device) -> WordPositions<B> {
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

    /// Adds the words of a step of `new` tokens, all but the last.
    fn add_words(&mut self, rows: usize, new: usize) {
        let step = self.layers.first().map_or(0, |steps| steps.len() - 1) as u32;
        let word = |token| Word {
            step,
            at: (0..rows).map(|row| (row * new + token) as u32).collect(),
        };
        self.words.extend((0..new - 1).map(word));
    }
}

impl<B: OscarBackend> Backbone<B> {
    /// Encodes tags and regions, as every caption of their images will read them.
    ///
    /// The text of `input` is the tags alone, with the positions they have beside a caption, and may
    /// be of length 0; its mask says which tags and regions are no padding.
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
        let mut hidden = Tensor::cat(parts, 1);
        let mask = additive_mask(AttentionMask::Padding(key_mask(input.attention_mask)));

        let mut layers = Vec::with_capacity(self.encoder.layer.len());
        for (index, layer) in self.encoder.layer.iter().enumerate() {
            let attention = &layer.attention.self_attention;
            let own = attention.key_value(hidden.clone());
            layers.push(own.clone());
            // Nobody reads what the last layer makes of tags and regions.
            if index + 1 < self.encoder.layer.len() {
                let query = attention.project(&attention.query, hidden.clone());
                let heads = [query, own.key, own.value]
                    .map(|part| ops::split_heads(part, attention.num_heads));
                let (scale, dropout) = (attention.scale(), attention.dropout);
                let context = ops::attention(heads, mask.clone(), scale, dropout);
                hidden = layer.finish_all(ops::merge_heads(context), hidden);
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
        caption.layers.resize_with(layers, Vec::new);
        for (index, layer) in self.encoder.layer.iter().enumerate() {
            let attention = &layer.attention.self_attention;
            let steps = &mut caption.layers[index];
            steps.push(attention.key_value(hidden.clone()));
            let mut mask = mask.clone();
            if index + 1 == layers {
                // Of the last layer, only the last token is read.
                hidden = hidden.narrow(1, new - 1, 1);
                mask = mask.narrow(2, new - 1, 1);
            }
            let own = CaptionKeyValues {
                steps,
                places: &places,
            };
            let read = attention.read(hidden.clone(), &context.layers[index], &own, mask);
            hidden = layer.finish_all(read, hidden);
        }
        caption.add_words(rows, new);
        let [_, _, width] = hidden.dims();
        hidden.reshape([rows, width])
    }
}

/// Which positions are attended to by any, `[batch, seq]`: of tags and regions, who attend to all of
/// each other, those that are no padding.
pub(in crate::model) fn key_mask<B: Backend>(mask: AttentionMask<B>) -> Tensor<B, 2> {
    match mask {
        AttentionMask::Padding(mask) => mask,
        AttentionMask::Full(mask) => {
            let [batch, _, keys] = mask.dims();
            mask.max_dim(1).reshape([batch, keys])
        }
    }
}

/// What the newest `new` tokens may attend to, as a term to add to the scores: of the context what
/// is no padding, of the caption what stands before them and themselves,
/// `[rows, 1, new, context + known + new]`.
fn step_mask<B: Backend>(
    context: &ContextCache<B>,
    rows: usize,
    known: usize,
    new: usize,
) -> Tensor<B, 4> {
    let (images, positions) = (context.images(), context.positions());
    let device = context.mask.device();
    let shared = context
        .mask
        .clone()
        .unsqueeze_dim::<5>(1)
        .expand([images, rows / images, 1, new, positions])
        .reshape([rows, 1, new, positions]);
    let own: Vec<f32> = (0..new)
        .flat_map(|query| {
            (0..known + new).map(move |key| match key <= known + query {
                true => 0.0,
                false => MASKED_SCORE as f32,
            })
        })
        .collect();
    let own = Tensor::<B, 1>::from_floats(own.as_slice(), &device)
        .reshape([1, 1, new, known + new])
        .expand([rows, 1, new, known + new]);
    Tensor::cat(vec![shared, own], 3)
}

impl<B: OscarBackend> Layer<B> {
    /// From what the attention read to the layer's output; `hidden` was its input.
    /// Rows `[rows, hidden]`, all three.
    pub(super) fn finish(&self, context: Tensor<B, 2>, hidden: Tensor<B, 2>) -> Tensor<B, 2> {
        let hidden = self.attention.output.forward(context, hidden);
        let inner = ops::linear_activate(&self.intermediate.dense, self.activation, hidden.clone());
        self.output.forward(inner, hidden)
    }
}

impl<B: OscarBackend> Layer<B> {
    /// As [`finish`](Self::finish), of `[batch, seq, hidden]`.
    fn finish_all(&self, context: Tensor<B, 3>, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        let [batch, seq, _] = hidden.dims();
        let rows = self.finish(ops::flatten(context), ops::flatten(hidden));
        ops::unflatten(rows, batch, seq)
    }
}

impl<B: OscarBackend> SelfAttention<B> {
    /// One of the three projections, `[batch, seq, width]` to the same.
    fn project(&self, layer: &Linear<B>, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        let [batch, seq, _] = hidden.dims();
        let projected = ops::linear_low_precision(layer, ops::flatten(hidden));
        ops::unflatten(projected, batch, seq)
    }

    fn key_value(&self, hidden: Tensor<B, 3>) -> KeyValue<B> {
        KeyValue {
            key: self.project(&self.key, hidden.clone()),
            value: self.project(&self.value, hidden),
        }
    }

    /// What `hidden` `[rows, tokens, width]` reads of its image and of its caption, the same shape.
    fn read(
        &self,
        hidden: Tensor<B, 3>,
        image: &KeyValue<B>,
        caption: &CaptionKeyValues<'_, B>,
        mask: Tensor<B, 4>,
    ) -> Tensor<B, 3> {
        let query = self.project(&self.query, hidden);
        let reading = AttentionParams {
            mask,
            heads: self.num_heads,
            scale: self.scale(),
            dropout: self.dropout,
        };
        ops::cached_attention(query, image, caption, &reading)
    }
}
