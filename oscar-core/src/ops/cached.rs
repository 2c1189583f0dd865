//! What the newest tokens of captions read: of their image what all captions of it share, and of
//! their caption what is its own.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

use super::backend::OscarBackend;

/// Keys and values of some positions in one layer, each `[rows, positions, heads * size]`.
#[derive(Clone, Debug)]
pub struct KeyValue<B: Backend> {
    /// What a position is found by.
    pub key: Tensor<B, 3>,
    /// What is read of it.
    pub value: Tensor<B, 3>,
}

/// Keys and values of the words of captions in one layer. They stay where they were computed, step by
/// step; captions that change places, or go on in several ways, change which of them are theirs.
#[derive(Debug)]
pub struct CaptionKeyValues<'a, B: Backend> {
    /// Of each step, those of its rows and tokens.
    pub steps: &'a [KeyValue<B>],
    /// Which of them each row has.
    pub places: &'a WordPositions<B>,
}

/// Where the words of captions are among the steps that computed them.
#[derive(Clone, Debug)]
pub struct WordPositions<B: Backend> {
    /// Of each row.
    pub words: usize,
    /// Step, and position in it, of each word of each row: `[rows * words]`.
    pub host: Vec<(u32, u32)>,
    /// Position among those of all steps, one after the other; `[rows * words]`.
    pub device: Tensor<B, 1, Int>,
}

impl<B: Backend> WordPositions<B> {
    /// `places` as [`host`](Self::host) has them, in steps of these numbers of positions.
    pub fn new(
        words: usize,
        places: Vec<(u32, u32)>,
        positions: impl IntoIterator<Item = usize>,
        device: &B::Device,
    ) -> Self {
        let mut starts = vec![0];
        for positions in positions {
            starts.push(starts[starts.len() - 1] + positions as i32);
        }
        let of_all = |(step, at): &(u32, u32)| starts[*step as usize] + *at as i32;
        let numbers: Vec<i32> = places.iter().map(of_all).collect();
        let shape = [numbers.len()];
        Self {
            words,
            host: places,
            device: Tensor::from_data(TensorData::new(numbers, shape), device),
        }
    }
}

impl<B: Backend> CaptionKeyValues<'_, B> {
    /// Those of each row, side by side.
    fn gather(&self) -> KeyValue<B> {
        let rows = self.places.host.len() / self.places.words.max(1);
        let part = |of: fn(&KeyValue<B>) -> &Tensor<B, 3>| {
            let steps = self.steps.iter().map(|step| {
                let [rows, tokens, width] = of(step).dims();
                of(step).clone().reshape([rows * tokens, width])
            });
            let all: Tensor<B, 2> = Tensor::cat(steps.collect(), 0);
            let [_, width] = all.dims();
            let own = all.select(0, self.places.device.clone());
            own.reshape([rows, self.places.words, width])
        };
        KeyValue {
            key: part(|step| &step.key),
            value: part(|step| &step.value),
        }
    }
}

/// How keys and values are read.
#[derive(Clone, Debug)]
pub struct AttentionParams<B: Backend> {
    /// Term to add to the scores, `[rows, 1, tokens, positions]`, those of the image before those of
    /// the caption.
    pub mask: Tensor<B, 4>,
    /// Heads.
    pub heads: usize,
    /// What the scores are multiplied by.
    pub scale: f64,
    /// Probability of a position to be dropped.
    pub dropout: f64,
}

impl<B: Backend> KeyValue<B> {
    /// These rows, in this order.
    pub fn select(&self, rows: &Tensor<B, 1, Int>) -> Self {
        Self {
            key: self.key.clone().select(0, rows.clone()),
            value: self.value.clone().select(0, rows.clone()),
        }
    }
}

/// [`OscarBackend::cached_attention`] in products of matrices.
///
/// The rows of an image are queries to the same keys: one product for all of them, without a copy of
/// the keys for each.
pub(super) fn cached_attention<B: OscarBackend>(
    query: Tensor<B, 3>,
    shared: &KeyValue<B>,
    own: &CaptionKeyValues<'_, B>,
    reading: &AttentionParams<B>,
) -> Tensor<B, 3> {
    let own = own.gather();
    let split = |x: &Tensor<B, 3>| B::split_heads(x.clone(), reading.heads);
    let [images, positions, _] = shared.key.dims();
    let query = split(&query);
    let of_image = by_image(query.clone(), images).matmul(split(&shared.key).swap_dims(2, 3));
    let of_caption = query.matmul(split(&own.key).swap_dims(2, 3));
    let [rows, _, _, words] = of_caption.dims();
    let scores = Tensor::cat(vec![by_row(of_image, rows), of_caption], 3);
    let (mask, scale, dropout) = (reading.mask.clone(), reading.scale, reading.dropout);
    let probabilities = B::attention_probabilities(scores, mask, scale, dropout);
    let of_image = probabilities.clone().narrow(3, 0, positions);
    let of_caption = probabilities.narrow(3, positions, words);
    let read = by_row(
        by_image(of_image, images).matmul(split(&shared.value)),
        rows,
    ) + of_caption.matmul(split(&own.value));
    B::merge_heads(read)
}

/// `[images * width, heads, tokens, size]` to `[images, heads, width * tokens, size]`.
fn by_image<B: Backend>(x: Tensor<B, 4>, images: usize) -> Tensor<B, 4> {
    let [rows, heads, tokens, size] = x.dims();
    let width = rows / images;
    match width {
        1 => x,
        _ => x
            .reshape([images, width, heads, tokens, size])
            .swap_dims(1, 2)
            .reshape([images, heads, width * tokens, size]),
    }
}

/// The way back from [`by_image`].
fn by_row<B: Backend>(x: Tensor<B, 4>, rows: usize) -> Tensor<B, 4> {
    let [images, heads, queries, size] = x.dims();
    let width = rows / images;
    match width {
        1 => x,
        _ => x
            .reshape([images, heads, width, queries / width, size])
            .swap_dims(1, 2)
            .reshape([rows, heads, queries / width, size]),
    }
}
