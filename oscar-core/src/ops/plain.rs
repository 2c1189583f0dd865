//! What each operation of [`OscarBackend`](super::OscarBackend) means, in Burn's own operations,
//! which differentiate themselves: the oracle of those that are written by hand.

use burn::nn::DropoutConfig;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorPrimitive, activation};

use super::backend::{AdamWStep, ResidualNorm};

/// `x W + b`.
pub fn linear<B: Backend>(
    x: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    bias: Tensor<B, 1>,
) -> Tensor<B, 2> {
    burn::tensor::module::linear(x, weight, Some(bias))
}

/// `[batch, seq, heads * size]` to `[batch, heads, seq, size]`.
pub fn split_heads<B: Backend>(x: Tensor<B, 3>, heads: usize) -> Tensor<B, 4> {
    let [batch, seq, width] = x.dims();
    x.reshape([batch, seq, heads, width / heads])
        .swap_dims(1, 2)
}

/// `[batch, heads, seq, size]` to `[batch, seq, heads * size]`.
pub fn merge_heads<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 3> {
    let [batch, heads, seq, size] = x.dims();
    x.swap_dims(1, 2).reshape([batch, seq, heads * size])
}

/// `dropout(softmax(scores * scale + mask))` over the last axis.
pub fn attention_probabilities<B: Backend>(
    scores: Tensor<B, 4>,
    mask: Tensor<B, 4>,
    scale: f64,
    dropout: f64,
) -> Tensor<B, 4> {
    drop_out(dropout, activation::softmax(scores * scale + mask, 3))
}

/// `LayerNorm(residual + dropout(x W + b))`.
pub fn linear_residual_norm<B: Backend>(
    x: Tensor<B, 2>,
    weights: ResidualNorm<B>,
    residual: Tensor<B, 2>,
) -> Tensor<B, 2> {
    let branch = linear(x, weights.weight, weights.bias);
    let sum = drop_out(weights.dropout, branch) + residual;
    let primitive = |tensor: TensorPrimitive<B>| tensor.tensor();
    Tensor::from_primitive(TensorPrimitive::Float(B::layer_norm(
        primitive(sum.into_primitive()),
        primitive(weights.gamma.into_primitive()),
        Some(primitive(weights.beta.into_primitive())),
        weights.epsilon,
    )))
}

/// One AdamW step: parameter and moments.
pub fn adamw<B: Backend>(
    step: AdamWStep,
    parameter: Tensor<B, 1>,
    grad: Tensor<B, 1>,
    exp_avg: Tensor<B, 1>,
    exp_avg_sq: Tensor<B, 1>,
) -> [Tensor<B, 1>; 3] {
    let exp_avg_sq = exp_avg_sq.mul_scalar(step.beta2)
        + (grad.clone() * grad.clone()).mul_scalar(1.0 - step.beta2);
    let exp_avg = exp_avg.mul_scalar(step.beta1) + grad.mul_scalar(1.0 - step.beta1);
    let denominator = exp_avg_sq.clone().sqrt().add_scalar(step.epsilon);
    let change = (exp_avg.clone() / denominator).mul_scalar(step.step_size);
    let parameter = (parameter - change).mul_scalar(step.decay);
    [parameter, exp_avg, exp_avg_sq]
}

fn drop_out<B: Backend, const D: usize>(probability: f64, x: Tensor<B, D>) -> Tensor<B, D> {
    DropoutConfig::new(probability).init().forward(x)
}
