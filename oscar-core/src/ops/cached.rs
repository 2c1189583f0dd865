//! What the newest tokens of captions read: of their image what all captions of it share, and of
//! their caption what is its own.

use burn::tensor::{Int, Tensor, backend::Backend};

use super::backend::OscarBackend;

/// Keys and values of some positions in one layer, each `[rows, positions, heads * size]`.
#[derive(Clone, Debug)]
pub struct KeyValue<B: Backend> {
    /// What a position is found by.
    pub key: Tensor<B, 3>,
    /// What is read of it.
    pub value: Tensor<B, 3>,
}

/// How keys and values are read.
#[derive(Clone, Debug)]
pub struct Reading<B: Backend> {
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
        self.each(|part| part.select(0, rows.clone()))
    }

    /// These positions, then `next`.
    pub fn then(&self, next: Self) -> Self {
        Self {
            key: Tensor::cat(vec![self.key.clone(), next.key], 1),
            value: Tensor::cat(vec![self.value.clone(), next.value], 1),
        }
    }

    /// `len` positions from `start`.
    pub fn narrow(&self, start: usize, len: usize) -> Self {
        self.each(|part| part.narrow(1, start, len))
    }

    fn each(&self, change: impl Fn(Tensor<B, 3>) -> Tensor<B, 3>) -> Self {
        Self {
            key: change(self.key.clone()),
            value: change(self.value.clone()),
        }
    }
}

/// [`OscarBackend::read`] in products of matrices.
///
/// The rows of an image are queries to the same keys: one product for all of them, without a copy of
/// the keys for each.
pub(super) fn read<B: OscarBackend>(
    query: Tensor<B, 3>,
    [shared, own]: [&KeyValue<B>; 2],
    reading: &Reading<B>,
) -> Tensor<B, 3> {
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
