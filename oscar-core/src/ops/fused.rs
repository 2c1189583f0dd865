//! The steps between two matrix products, forward and backward, that a backend may do in one pass
//! over memory.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, activation};

use super::backend::{AdamWStep, RowIndex, TopK};
use super::cached::{self, AttentionParams, CaptionKeyValues, KeyValue};
use super::random::next_key;
use super::{composed, plain};

/// What a backend may do better than by composing Burn's operations.
///
/// Each step has a body of Burn's own operations, so a backend that fuses nothing says only
/// `impl Kernels for B {}`. Matrix products are no part of it, as every backend has its own, but for
/// those of few rows.
///
/// Tensors called *narrow* may be bf16, and what is returned in their place is in the same type;
/// all others are f32, and so is everything computed in between.
pub trait Kernels: Backend {
    /// `x weight`, `[rows, d_input]` by `[d_input, d_output]`, narrow, where no gradient is computed.
    fn product(x: Tensor<Self, 2>, weight: Tensor<Self, 2>) -> Tensor<Self, 2> {
        x.matmul(weight)
    }

    /// Which elements of a tensor of this shape are to be dropped with `probability`.
    fn draw<const D: usize>(
        shape: [usize; D],
        probability: f64,
        device: &Self::Device,
    ) -> Dropped<Self, D> {
        composed::draw(shape, probability, device)
    }

    /// Drops them and scales the others; the way forward and the way back. `x` is narrow.
    fn drop_out<const D: usize>(x: Tensor<Self, D>, dropped: &Dropped<Self, D>) -> Tensor<Self, D> {
        composed::drop_out(x, dropped)
    }

    /// Adds `bias` `[width]` to each row of `x` `[rows, width]`, narrow.
    fn add_bias(x: Tensor<Self, 2>, bias: Tensor<Self, 1>) -> Tensor<Self, 2> {
        composed::add_bias(x, bias)
    }

    /// The sum of the rows of `x` `[rows, width]`, narrow: `[width]`.
    fn column_sums(x: Tensor<Self, 2>) -> Tensor<Self, 1> {
        composed::column_sums(x)
    }

    /// `gelu(product + bias)`, exact; `product` `[rows, width]` is narrow.
    fn bias_gelu(product: Tensor<Self, 2>, bias: Tensor<Self, 1>) -> Tensor<Self, 2> {
        composed::bias_gelu(product, bias)
    }

    /// Gradients of [`bias_gelu`](Self::bias_gelu) by the product, narrow as `grad`, and by the bias.
    fn bias_gelu_backward(
        product: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
        grad: Tensor<Self, 2>,
    ) -> (Tensor<Self, 2>, Tensor<Self, 1>) {
        composed::bias_gelu_backward(product, bias, grad)
    }

    /// `[batch, heads, seq, size]` to `[batch, seq, heads * size]`, narrow.
    fn merge_heads(x: Tensor<Self, 4>) -> Tensor<Self, 3> {
        plain::merge_heads(x)
    }

    /// `softmax(scores * scale + mask)` over the last axis; `scores` `[batch, heads, queries, keys]`
    /// are narrow, the mask is `[batch, 1, 1 or queries, keys]`.
    fn masked_softmax(
        scores: Tensor<Self, 4>,
        mask: Tensor<Self, 4>,
        scale: f64,
    ) -> Tensor<Self, 4> {
        composed::softmax(scores, mask, scale)
    }

    /// `softmax(query keyᵀ * scale + mask) value`, narrow, where no gradient is computed.
    fn attention(
        [query, key, value]: [Tensor<Self, 4>; 3],
        mask: Tensor<Self, 4>,
        scale: f64,
    ) -> Tensor<Self, 4> {
        let scores = query.matmul(key.swap_dims(2, 3));
        Self::masked_softmax(scores, mask, scale).matmul(value)
    }

    /// What the newest tokens of captions read, narrow, where no gradient is computed; see
    /// [`OscarBackend::cached_attention`](super::OscarBackend::cached_attention).
    fn cached_attention(
        query: Tensor<Self, 3>,
        shared: &KeyValue<Self>,
        own: &CaptionKeyValues<'_, Self>,
        reading: &AttentionParams<Self>,
    ) -> Tensor<Self, 3> {
        cached::cached_attention(query, shared, own, reading)
    }

    /// Gradient by the scores from the one by the dropped probabilities, narrow.
    fn masked_softmax_backward(
        grad: Tensor<Self, 4>,
        probabilities: Tensor<Self, 4>,
        scale: f64,
        dropped: &Dropped<Self, 4>,
    ) -> Tensor<Self, 4> {
        composed::softmax_backward(grad, probabilities, scale, dropped)
    }

    /// `LayerNorm(residual + dropout(product + bias))`; `product` `[rows, width]` is narrow.
    fn residual_norm(
        product: Tensor<Self, 2>,
        residual: Tensor<Self, 2>,
        parts: &NormParts<Self>,
    ) -> NormOutput<Self> {
        composed::residual_norm(product, residual, parts)
    }

    /// Gradients of [`residual_norm`](Self::residual_norm); the branch's is narrow if its product was.
    fn residual_norm_backward(grad: Tensor<Self, 2>, saved: &SavedNorm<Self>) -> NormGrads<Self> {
        composed::residual_norm_backward(grad, saved)
    }

    /// Row `index[i]` of `x` as row `i`, zeros where there is no such row; `x` `[rows, width]` is
    /// narrow.
    fn gather_rows(x: Tensor<Self, 2>, index: &RowIndex<Self>) -> Tensor<Self, 2> {
        composed::gather_rows(x, index)
    }

    /// Logarithms of the softmax of each row, where no gradient is computed.
    fn log_softmax(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        activation::log_softmax(x, 1)
    }

    /// The `k` largest values of each row, read to the host; of equal ones the first.
    fn top_k(x: Tensor<Self, 2>, k: usize) -> TopK {
        composed::top_k(x, k)
    }

    /// The sum of the squares of `x` `[len]`: `[1]`.
    fn sum_of_squares(x: Tensor<Self, 1>) -> Tensor<Self, 1> {
        composed::sum_of_squares(x)
    }

    /// `x` `[len]` times `factor` `[1]`.
    fn scale(x: Tensor<Self, 1>, factor: Tensor<Self, 1>) -> Tensor<Self, 1> {
        composed::scale(x, factor)
    }

    /// One AdamW step on flattened tensors: parameter, gradient, first and second moment, each
    /// `[len]`. Returns parameter and moments.
    fn adamw(
        step: AdamWStep,
        parameter: Tensor<Self, 1>,
        grad: Tensor<Self, 1>,
        exp_avg: Tensor<Self, 1>,
        exp_avg_sq: Tensor<Self, 1>,
    ) -> [Tensor<Self, 1>; 3] {
        plain::adamw(step, parameter, grad, exp_avg, exp_avg_sq)
    }
}

/// Which elements of a tensor are dropped.
#[derive(Clone, Debug)]
pub enum Dropped<B: Backend, const D: usize> {
    /// None.
    None,
    /// Those that a key says; nothing is stored.
    Key(KeyedDropout),
    /// Those where this is 0; elsewhere it is what the others are multiplied by.
    Mask(Tensor<B, D>),
}

impl<B: Backend, const D: usize> Dropped<B, D> {
    /// By a key from the thread's generator.
    pub(super) fn by_key(probability: f64) -> Self {
        match probability == 0.0 {
            true => Self::None,
            false => Self::Key(KeyedDropout::new(probability, next_key())),
        }
    }

    /// The key, of a backend that draws nothing else.
    pub(super) fn key(&self) -> KeyedDropout {
        match self {
            Self::Key(key) => *key,
            Self::None | Self::Mask(_) => KeyedDropout::new(0.0, [0, 0]),
        }
    }
}

/// Which elements survive a dropout: a function of the key and of the element's index, so that the
/// backward pass needs no mask.
#[derive(Clone, Copy, Debug)]
pub struct KeyedDropout {
    pub(super) key: [u32; 2],
    /// Elements whose random number is below are dropped.
    pub(super) threshold: u32,
    /// 1 / (1 - probability)
    pub(super) scale: f32,
}

impl KeyedDropout {
    /// Drops with `probability`; one of 0 changes nothing.
    pub(super) fn new(probability: f64, key: [u32; 2]) -> Self {
        Self {
            key,
            threshold: (probability * f64::from(u32::MAX)) as u32,
            scale: (1.0 / (1.0 - probability)) as f32,
        }
    }
}

/// What a residual norm takes beside its two inputs.
#[derive(Clone, Debug)]
pub struct NormParts<B: Backend> {
    /// `[width]`
    pub bias: Tensor<B, 1>,
    /// `[width]`
    pub gamma: Tensor<B, 1>,
    /// `[width]`
    pub beta: Tensor<B, 1>,
    /// Added to the variance.
    pub epsilon: f64,
    /// What is dropped of the branch.
    pub dropped: Dropped<B, 2>,
}

/// What a residual norm gives, all f32.
#[derive(Clone, Debug)]
pub struct NormOutput<B: Backend> {
    /// `[rows, width]`
    pub output: Tensor<B, 2>,
    /// The rows less their mean, over σ: `[rows, width]`.
    pub normalized: Tensor<B, 2>,
    /// 1/σ of each row: `[rows]`.
    pub inverse_std: Tensor<B, 1>,
}

/// What a residual norm keeps for its gradients.
#[derive(Clone, Debug)]
pub struct SavedNorm<B: Backend> {
    /// `[rows, width]`
    pub normalized: Tensor<B, 2>,
    /// `[rows]`
    pub inverse_std: Tensor<B, 1>,
    /// `[width]`
    pub gamma: Tensor<B, 1>,
    /// What was dropped of the branch.
    pub dropped: Dropped<B, 2>,
    /// Type of the product, and of its gradient.
    pub product_dtype: burn::tensor::DType,
}

/// Gradients of a residual norm.
#[derive(Clone, Debug)]
pub struct NormGrads<B: Backend> {
    /// By the product, `[rows, width]`.
    pub branch: Tensor<B, 2>,
    /// By the residual, `[rows, width]`, f32.
    pub residual: Tensor<B, 2>,
    /// `[width]`
    pub bias: Tensor<B, 1>,
    /// `[width]`
    pub gamma: Tensor<B, 1>,
    /// `[width]`
    pub beta: Tensor<B, 1>,
}
