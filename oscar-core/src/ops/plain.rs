//! What each operation of [`OscarBackend`](super::OscarBackend) means, in Burn's own operations:
//! the bodies of backends that fuse nothing, and the oracle of those that do.

use burn::nn::DropoutConfig;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorPrimitive, activation};

use super::backend::{AdamWStep, ResidualNorm, TopK};

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

/// The `k` largest values of each row: the largest, `k` times, each time without those before.
///
/// Not by sorting: a row is a vocabulary, and `k` is small.
pub fn top_k<B: Backend>(x: Tensor<B, 2>, k: usize) -> TopK {
    let [rows, columns] = x.dims();
    let k = k.min(columns);
    let numbers = Tensor::<B, 1, Int>::arange(0..columns as i64, &x.device()).unsqueeze::<2>();
    let mut left = x;
    let mut found = Vec::with_capacity(k);
    for _ in 0..k {
        let (value, column) = left.clone().max_dim_with_indices(1);
        let taken = numbers.clone().equal(column.clone());
        left = left.mask_fill(taken, f32::NEG_INFINITY);
        let columns = column.into_data().iter::<i64>().collect::<Vec<_>>();
        let values = value.into_data().iter::<f32>().collect::<Vec<_>>();
        found.push((columns, values));
    }
    let entries = (0..rows).flat_map(|row| {
        let of_row = |(columns, values): &(Vec<i64>, Vec<f32>)| (columns[row] as u32, values[row]);
        found.iter().map(of_row).collect::<Vec<_>>()
    });
    TopK {
        k,
        entries: entries.collect(),
    }
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
