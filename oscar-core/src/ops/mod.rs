//! The operations the model is made of, where Burn's own would cost more or mean something else.
//!
//! The model calls [`OscarBackend`]. Its operations are matrix products with [`FusedOps`] between
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
pub use cached::{CaptionKeys, KeyValue, Places, Reading};
pub use fused::{Dropped, FusedOps, KeyedDropout, NormGrads, NormOutput, NormParts, SavedNorm};
pub use precision::Precision;
pub(crate) use precision::{operand, wide};
pub use random::{mix, seed};

use burn::module::{Initializer, Param};
use burn::nn::{LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Int, Tensor, activation, backend::Backend};

use crate::config::Activation;

/// A linear layer as the official code initialises it: weight ~ N(0, `std`), bias 0.
pub(crate) fn init_linear<B: Backend>(
    d_input: usize,
    d_output: usize,
    std: f64,
    device: &B::Device,
) -> Linear<B> {
    Linear {
        weight: Initializer::Normal { mean: 0.0, std }.init([d_input, d_output], device),
        bias: Some(Initializer::Zeros.init([d_output], device)),
    }
}

/// An embedding matrix `[entries, size]` ~ N(0, `std`). Row 0 is drawn like any other.
pub(crate) fn init_embedding<B: Backend>(
    entries: usize,
    size: usize,
    std: f64,
    device: &B::Device,
) -> Param<Tensor<B, 2>> {
    Initializer::Normal { mean: 0.0, std }.init([entries, size], device)
}

/// A LayerNorm over the last axis of `size` values.
pub(crate) fn init_layer_norm<B: Backend>(
    size: usize,
    epsilon: f64,
    device: &B::Device,
) -> LayerNorm<B> {
    LayerNormConfig::new(size)
        .with_epsilon(epsilon)
        .init(device)
}

/// `x W + b` of rows, `[rows, d_input]` to `[rows, d_output]`.
pub fn linear<B: OscarBackend>(layer: &Linear<B>, input: Tensor<B, 2>) -> Tensor<B, 2> {
    let (weight, bias) = parts(layer);
    wide(B::linear_bias(input, weight, bias))
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
        other => activate(other, wide(B::linear_bias(input, weight, bias))),
    }
}

/// `x Mᵀ + b` of rows, where `M` is `[d_output, d_input]`, as an embedding matrix is.
pub fn score<B: OscarBackend>(
    input: Tensor<B, 2>,
    matrix: Tensor<B, 2>,
    bias: Tensor<B, 1>,
) -> Tensor<B, 2> {
    wide(B::score(input, matrix, bias))
}

/// As [`linear`], but the result may be as narrow as the thread's [`Precision`].
pub(crate) fn linear_narrow<B: OscarBackend>(
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

/// The two leading axes as one: a product of two matrices has a matrix for its weight gradient,
/// where a batched product would first materialise one weight gradient per row of the batch.
pub(crate) fn fold<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 2> {
    let [batch, seq, width] = x.dims();
    x.reshape([batch * seq, width])
}

/// The way back from [`fold`].
pub(crate) fn unfold<B: Backend>(x: Tensor<B, 2>, batch: usize, seq: usize) -> Tensor<B, 3> {
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
