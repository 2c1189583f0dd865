//! The model's operations where no gradient is computed.

use burn::tensor::Tensor;

use super::backend::{OscarBackend, ResidualNorm, RowIndex, TopK};
use super::cached::{AttentionParams, CaptionKeyValues, KeyValue};
use super::fused::{Dropped, Kernels, NormParts};
use super::plain;
use super::precision::operand;

impl<B: Kernels> OscarBackend for B {
    fn linear_bias(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
    ) -> Tensor<Self, 2> {
        B::add_bias(B::product(operand(x), operand(weight)), bias)
    }

    fn tied_linear(
        x: Tensor<Self, 2>,
        matrix: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
    ) -> Tensor<Self, 2> {
        Self::linear_bias(x, matrix.transpose(), bias)
    }

    fn linear_gelu(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
    ) -> Tensor<Self, 2> {
        B::bias_gelu(B::product(operand(x), operand(weight)), bias)
    }

    fn split_heads(x: Tensor<Self, 3>, heads: usize) -> Tensor<Self, 4> {
        plain::split_heads(x, heads)
    }

    fn merge_heads(x: Tensor<Self, 4>) -> Tensor<Self, 3> {
        <B as Kernels>::merge_heads(x)
    }

    fn attention_probabilities(
        scores: Tensor<Self, 4>,
        mask: Tensor<Self, 4>,
        scale: f64,
        _dropout: f64,
    ) -> Tensor<Self, 4> {
        B::masked_softmax(scores, mask, scale)
    }

    fn attention(
        inputs: [Tensor<Self, 4>; 3],
        mask: Tensor<Self, 4>,
        scale: f64,
        _dropout: f64,
    ) -> Tensor<Self, 4> {
        <B as Kernels>::attention(inputs, mask, scale)
    }

    fn cached_attention(
        query: Tensor<Self, 3>,
        shared: &KeyValue<Self>,
        own: &CaptionKeyValues<'_, Self>,
        reading: &AttentionParams<Self>,
    ) -> Tensor<Self, 3> {
        <B as Kernels>::cached_attention(query, shared, own, reading)
    }

    fn linear_residual_norm(
        x: Tensor<Self, 2>,
        weights: ResidualNorm<Self>,
        residual: Tensor<Self, 2>,
    ) -> Tensor<Self, 2> {
        let product = B::product(operand(x), operand(weights.weight));
        let parts = NormParts {
            bias: weights.bias,
            gamma: weights.gamma,
            beta: weights.beta,
            epsilon: weights.epsilon,
            dropped: Dropped::None,
        };
        B::residual_norm(product, residual, &parts).output
    }

    fn dropout<const D: usize>(x: Tensor<Self, D>, _probability: f64) -> Tensor<Self, D> {
        x
    }

    fn gather_rows(
        x: Tensor<Self, 2>,
        index: &RowIndex<Self>,
        _back: &RowIndex<Self>,
    ) -> Tensor<Self, 2> {
        <B as Kernels>::gather_rows(x, index)
    }

    fn log_softmax(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        <B as Kernels>::log_softmax(x)
    }

    fn top_k(x: Tensor<Self, 2>, k: usize) -> TopK {
        <B as Kernels>::top_k(x, k)
    }
}
