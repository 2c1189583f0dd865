//! The operations the model is made of, where Burn's own would cost more or mean something else.

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
    LayerNormConfig::new(size).with_epsilon(epsilon).init(device)
}

/// `x W + b` on a batch of sequences.
///
/// Folds the two leading axes: a product of two matrices has a matrix for its weight gradient,
/// where a batched product would first materialise one weight gradient per row of the batch.
///
/// # Shapes
///
/// - input: `[batch, seq, d_input]`
/// - output: `[batch, seq, d_output]`
pub fn linear<B: Backend>(layer: &Linear<B>, input: Tensor<B, 3>) -> Tensor<B, 3> {
    let [batch, seq, d_input] = input.dims();
    let output = layer.forward(input.reshape([batch * seq, d_input]));
    let [_, d_output] = output.dims();
    output.reshape([batch, seq, d_output])
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
