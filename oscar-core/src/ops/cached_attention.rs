//! Attention of the newest tokens of captions: to keys and values that all captions of an image
//! share, and to those of the caption's own words.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

use super::attention::{attention_probabilities, merge_heads, split_heads};
use super::backend::OscarBackend;

/// [Attention](super::attention()) of the newest tokens of captions to the `shared` keys and values
/// and to their `own`: `[rows, tokens, heads * size]` like `query`, and in its type.
///
/// Each image of the shared ones has the same number of rows, one after the other.
pub fn cached_attention<B: OscarBackend>(
    query: Tensor<B, 3>,
    shared: &KeyValue<B>,
    own: &CaptionKeyValues<'_, B>,
    params: &AttentionParams<B>,
) -> Tensor<B, 3> {
    <B as OscarBackend>::cached_attention(query, shared, own, params)
}

/// Keys and values of some positions in one layer, each `[rows, positions, heads * size]`.
#[derive(Clone, Debug)]
pub struct KeyValue<B: Backend> {
    /// Compared with queries.
    pub key: Tensor<B, 3>,
    /// Averaged by the probabilities.
    pub value: Tensor<B, 3>,
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

/// Keys and values of the words of captions in one layer. They stay where each step computed them;
/// where captions are reordered or continue in several ways, only their positions change.
#[derive(Debug)]
pub struct CaptionKeyValues<'a, B: Backend> {
    /// Of each step, those of its rows and tokens.
    pub steps: &'a [KeyValue<B>],
    /// Which of them each row has.
    pub positions: &'a WordPositions<B>,
}

/// Where the words of captions are among the steps that computed them.
#[derive(Clone, Debug)]
pub struct WordPositions<B: Backend> {
    /// Words of each row.
    pub words: usize,
    /// Step, and position in it, of each word of each row: `[rows * words]`.
    pub host: Vec<(u32, u32)>,
    /// Position among those of all steps, one after the other; `[rows * words]`.
    pub device: Tensor<B, 1, Int>,
}

impl<B: Backend> WordPositions<B> {
    /// `words` positions per row, as in [`host`](Self::host); `step_sizes` are the numbers of
    /// positions of the steps.
    pub fn new(
        words: usize,
        host: Vec<(u32, u32)>,
        step_sizes: impl IntoIterator<Item = usize>,
        device: &B::Device,
    ) -> Self {
        let mut starts = vec![0];
        for size in step_sizes {
            starts.push(starts[starts.len() - 1] + size as i32);
        }
        let among_all = |(step, at): &(u32, u32)| starts[*step as usize] + *at as i32;
        let numbers: Vec<i32> = host.iter().map(among_all).collect();
        let shape = [numbers.len()];
        Self {
            words,
            host,
            device: Tensor::from_data(TensorData::new(numbers, shape), device),
        }
    }
}

/// Constants of [`cached_attention`].
#[derive(Clone, Debug)]
pub struct AttentionParams<B: Backend> {
    /// Term to add to the scores, `[rows, 1, tokens, positions]`, those of the image before those of
    /// the caption.
    pub mask: Tensor<B, 4>,
    /// Number of heads.
    pub heads: usize,
    /// Factor of the scores.
    pub scale: f64,
    /// Probability of a position to be dropped.
    pub dropout: f64,
}

/// [`cached_attention`] in products of matrices.
///
/// The rows of an image are queries to the same keys: one product for all of them, without a copy of
/// the keys for each.
pub(super) fn by_products<B: OscarBackend>(
    query: Tensor<B, 3>,
    shared: &KeyValue<B>,
    own: &CaptionKeyValues<'_, B>,
    params: &AttentionParams<B>,
) -> Tensor<B, 3> {
    let split = |x: Tensor<B, 3>| split_heads(x, params.heads);
    let [images, shared_positions, _] = shared.key.dims();
    let [shared_key, shared_value] = [&shared.key, &shared.value].map(|x| split(x.clone()));
    let own_key = split(own.gather(|step| step.key.clone()));
    let own_value = split(own.gather(|step| step.value.clone()));
    let [rows, words] = [own_key.dims()[0], own_key.dims()[2]];
    let query = split(query);

    let shared_scores = group_by_image(query.clone(), images).matmul(shared_key.swap_dims(2, 3));
    let own_scores = query.matmul(own_key.swap_dims(2, 3));
    let scores = Tensor::cat(vec![ungroup(shared_scores, rows), own_scores], 3);
    let mask = params.mask.clone();
    let probabilities = attention_probabilities(scores, mask, params.scale, params.dropout);
    let of_shared = probabilities.clone().narrow(3, 0, shared_positions);
    let of_own = probabilities.narrow(3, shared_positions, words);
    let from_shared = group_by_image(of_shared, images).matmul(shared_value);
    merge_heads(ungroup(from_shared, rows) + of_own.matmul(own_value))
}

impl<B: Backend> CaptionKeyValues<'_, B> {
    /// Keys or values of each row's words, side by side: `[rows, words, heads * size]`.
    fn gather(&self, of: fn(&KeyValue<B>) -> Tensor<B, 3>) -> Tensor<B, 3> {
        let words = self.positions.words;
        let rows = self.positions.host.len() / words.max(1);
        let steps = self.steps.iter().map(|step| {
            let [rows, tokens, width] = of(step).dims();
            of(step).reshape([rows * tokens, width])
        });
        let all: Tensor<B, 2> = Tensor::cat(steps.collect(), 0);
        let [_, width] = all.dims();
        let own = all.select(0, self.positions.device.clone());
        own.reshape([rows, words, width])
    }
}

/// `[images * captions, heads, tokens, size]` to `[images, heads, captions * tokens, size]`.
fn group_by_image<B: Backend>(x: Tensor<B, 4>, images: usize) -> Tensor<B, 4> {
    let [rows, heads, tokens, size] = x.dims();
    match rows / images {
        1 => x,
        captions => x
            .reshape([images, captions, heads, tokens, size])
            .swap_dims(1, 2)
            .reshape([images, heads, captions * tokens, size]),
    }
}

/// The inverse of [`group_by_image`].
fn ungroup<B: Backend>(x: Tensor<B, 4>, rows: usize) -> Tensor<B, 4> {
    let [images, heads, queries, size] = x.dims();
    match rows / images {
        1 => x,
        captions => x
            .reshape([images, heads, captions, queries / captions, size])
            .swap_dims(1, 2)
            .reshape([rows, heads, queries / captions, size]),
    }
}
