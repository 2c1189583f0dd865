//! The operations the model is made of, where Burn's own would cost more or mean something else.
//!
//! The model calls [`OscarBackend`]. Its operations are matrix products with [`Kernels`] between
//! them, without gradients (`inference`) and with (`autodiff`); a backend does each of those steps
//! itself, or as `composed` of Burn's. `host` has them for tensors in this process's memory.

mod autodiff;
mod backend;
mod cached;
mod composed;
#[cfg(feature = "kernels")]
mod cube;
mod flex;
mod fused;
mod host;
mod inference;
#[cfg(feature = "tch")]
mod libtorch;
pub mod plain;
mod precision;
pub(crate) mod random;
#[cfg(test)]
mod tests;

pub use backend::{AdamWStep, OscarBackend, ResidualNorm, RowIndex, TopK, TrainBackend};
pub use cached::{AttentionParams, CaptionKeyValues, KeyValue, WordPositions};
pub use fused::{Dropped, Kernels, KeyedDropout, NormGrads, NormOutput, NormParts, SavedNorm};
pub use precision::Precision;
pub(crate) use precision::{operand, to_f32};
pub use random::{mix, seed};

use burn::nn::{LayerNorm, Linear};
use burn::tensor::{Int, Tensor, activation, backend::Backend};

use crate::config::Activation;

/// `x W + b` of rows, `[rows, d_input]` to `[rows, d_output]`.
pub fn linear<B: OscarBackend>(layer: &Linear<B>, input: Tensor<B, 2>) -> Tensor<B, 2> {
    let (weight, bias) = parts(layer);
    to_f32(B::linear_bias(input, weight, bias))
}

/// `activation(x W + b)` of rows; GELU is the exact one (erf). The result may be as narrow as the
/// thread's [`Precision`].
pub fn linear_activate<B: OscarBackend>(
    layer: &Linear<B>,
    activation: Activation,
    input: Tensor<B, 2>,
) -> Tensor<B, 2> {
    let (weight, bias) = parts(layer);
    match activation {
        Activation::Gelu => B::linear_gelu(input, weight, bias),
        other => activate(other, to_f32(B::linear_bias(input, weight, bias))),
    }
}

/// `x Mᵀ + b` of rows, where `M` is `[d_output, d_input]`, as an embedding matrix is.
pub fn tied_linear<B: OscarBackend>(
    input: Tensor<B, 2>,
    matrix: Tensor<B, 2>,
    bias: Tensor<B, 1>,
) -> Tensor<B, 2> {
    to_f32(B::tied_linear(input, matrix, bias))
}

/// As [`linear`], but the result may be as narrow as the thread's [`Precision`].
pub(crate) fn linear_low_precision<B: OscarBackend>(
    layer: &Linear<B>,
    input: Tensor<B, 2>,
) -> Tensor<B, 2> {
    let (weight, bias) = parts(layer);
    B::linear_bias(input, weight, bias)
}

/// `LayerNorm(residual + dropout(x W + b))`, `[rows, d_input]` and `[rows, hidden]` to
/// `[rows, hidden]`; Burn's LayerNorm does not tell its epsilon.
pub fn linear_residual_norm<B: OscarBackend>(
    layer: &Linear<B>,
    norm: &LayerNorm<B>,
    (epsilon, dropout): (f64, f64),
    input: Tensor<B, 2>,
    residual: Tensor<B, 2>,
) -> Tensor<B, 2> {
    let (weight, bias) = parts(layer);
    let gamma = norm.gamma.val();
    let beta = match &norm.beta {
        Some(beta) => beta.val(),
        None => gamma.zeros_like(),
    };
    let weights = ResidualNorm {
        weight,
        bias,
        gamma,
        beta,
        epsilon,
        dropout,
    };
    B::linear_residual_norm(input, weights, residual)
}

/// Weight `[d_input, d_output]` and bias `[d_output]`.
fn parts<B: Backend>(layer: &Linear<B>) -> (Tensor<B, 2>, Tensor<B, 1>) {
    let weight = layer.weight.val();
    let bias = match &layer.bias {
        Some(bias) => bias.val(),
        None => Tensor::zeros([weight.dims()[1]], &weight.device()),
    };
    (weight, bias)
}

/// See [`OscarBackend::split_heads`].
pub fn split_heads<B: OscarBackend>(x: Tensor<B, 3>, heads: usize) -> Tensor<B, 4> {
    B::split_heads(x, heads)
}

/// See [`OscarBackend::merge_heads`].
pub fn merge_heads<B: OscarBackend>(x: Tensor<B, 4>) -> Tensor<B, 3> {
    B::merge_heads(x)
}

/// See [`OscarBackend::attention_probabilities`].
pub fn attention_probabilities<B: OscarBackend>(
    scores: Tensor<B, 4>,
    mask: Tensor<B, 4>,
    scale: f64,
    dropout: f64,
) -> Tensor<B, 4> {
    B::attention_probabilities(scores, mask, scale, dropout)
}

/// See [`OscarBackend::attention`].
pub fn attention<B: OscarBackend>(
    query_key_value: [Tensor<B, 4>; 3],
    mask: Tensor<B, 4>,
    scale: f64,
    dropout: f64,
) -> Tensor<B, 4> {
    <B as OscarBackend>::attention(query_key_value, mask, scale, dropout)
}

/// See [`OscarBackend::cached_attention`].
pub fn cached_attention<B: OscarBackend>(
    query: Tensor<B, 3>,
    shared: &KeyValue<B>,
    own: &CaptionKeyValues<'_, B>,
    params: &AttentionParams<B>,
) -> Tensor<B, 3> {
    B::cached_attention(query, shared, own, params)
}

/// See [`OscarBackend::dropout`].
pub fn dropout<B: OscarBackend, const D: usize>(x: Tensor<B, D>, probability: f64) -> Tensor<B, D> {
    B::dropout(x, probability)
}

/// See [`OscarBackend::gather_rows`].
pub fn gather_rows<B: OscarBackend>(
    x: Tensor<B, 2>,
    index: &RowIndex<B>,
    back: &RowIndex<B>,
) -> Tensor<B, 2> {
    B::gather_rows(x, index, back)
}

/// See [`OscarBackend::log_softmax`].
pub fn log_softmax<B: OscarBackend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    <B as OscarBackend>::log_softmax(x)
}

/// See [`OscarBackend::top_k`].
pub fn top_k<B: OscarBackend>(x: Tensor<B, 2>, k: usize) -> TopK {
    B::top_k(x, k)
}

/// The two leading axes as one: a product of two matrices has a matrix for its weight gradient,
/// where a batched product would first materialise one weight gradient per row of the batch.
pub(crate) fn flatten<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 2> {
    let [batch, seq, width] = x.dims();
    x.reshape([batch * seq, width])
}

/// The way back from [`flatten`].
pub(crate) fn unflatten<B: Backend>(x: Tensor<B, 2>, batch: usize, seq: usize) -> Tensor<B, 3> {
    let [_, width] = x.dims();
    x.reshape([batch, seq, width])
}

/// Applies an activation function; GELU is the exact one (erf).
pub fn activate<B: Backend, const D: usize>(
    activation: Activation,
    input: Tensor<B, D>,
) -> Tensor<B, D> {
    match activation {
        Activation::Gelu => activation::gelu(input),
        Activation::Relu => activation::relu(input),
        Activation::Swish => activation::silu(input),
    }
}

/// Weighted mean of the cross entropy: `sum(w * nll) / max(1, sum(w))`.
///
/// The official code divides by the number of targets and gets NaN where a batch has none; here
/// such a batch has loss 0.
///
/// # Shapes
///
/// - logits: `[rows, classes]`
/// - labels: `[rows]`, each below `classes`
/// - weights: `[rows]`, 0 for rows that do not count
/// - output: `[1]`
pub fn cross_entropy<B: Backend>(
    logits: Tensor<B, 2>,
    labels: Tensor<B, 1, Int>,
    weights: Option<Tensor<B, 1>>,
) -> Tensor<B, 1> {
    let [rows, _] = logits.dims();
    let nll = activation::log_softmax(logits, 1)
        .gather(1, labels.reshape([rows, 1]))
        .reshape([rows])
        .neg();
    match weights {
        None => nll.mean(),
        Some(weights) => (nll * weights.clone()).sum() / weights.sum().clamp_min(1.0),
    }
}
