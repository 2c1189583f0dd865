//! The fused operations on Burn's CPU backend.

mod autodiff;
mod select;
mod tensors;

use burn::tensor::Tensor;
use burn_flex::Flex;

use super::backend::{AdamWStep, OscarBackend, ResidualNorm, TopK};
use super::kernels::Dropout;
use select::top_k;
use tensors::{
    NormParts, adamw, contiguous, gelu, linear, matmul, merge_heads, plain, residual_norm, softmax,
    wrap,
};

impl OscarBackend for Flex {
    fn linear_bias(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
    ) -> Tensor<Self, 2> {
        wrap(linear(plain(x), plain(weight), plain(bias)))
    }

    fn linear_gelu(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
    ) -> Tensor<Self, 2> {
        let product = matmul(plain(x), plain(weight));
        wrap(gelu(&product, &contiguous(plain(bias))))
    }

    fn merge_heads(x: Tensor<Self, 4>) -> Tensor<Self, 3> {
        wrap(merge_heads(plain(x)))
    }

    fn attention_probabilities(
        scores: Tensor<Self, 4>,
        mask: Tensor<Self, 4>,
        scale: f64,
        _dropout: f64,
    ) -> Tensor<Self, 4> {
        wrap(softmax(
            plain(scores),
            &contiguous(plain(mask)),
            scale as f32,
        ))
    }

    fn linear_residual_norm(
        x: Tensor<Self, 2>,
        weights: ResidualNorm<Self>,
        residual: Tensor<Self, 2>,
    ) -> Tensor<Self, 2> {
        let product = matmul(plain(x), plain(weights.weight));
        let parts = NormParts {
            bias: contiguous(plain(weights.bias)),
            gamma: contiguous(plain(weights.gamma)),
            beta: contiguous(plain(weights.beta)),
            epsilon: weights.epsilon as f32,
            dropout: Dropout::new(0.0, [0, 0]),
        };
        wrap(residual_norm(&product, &contiguous(plain(residual)), &parts).0)
    }

    fn top_k(x: Tensor<Self, 2>, k: usize) -> TopK {
        top_k(plain(x), k)
    }

    fn adamw(
        step: AdamWStep,
        parameter: Tensor<Self, 1>,
        grad: Tensor<Self, 1>,
        exp_avg: Tensor<Self, 1>,
        exp_avg_sq: Tensor<Self, 1>,
    ) -> [Tensor<Self, 1>; 3] {
        let updated = [parameter, exp_avg, exp_avg_sq].map(|tensor| contiguous(plain(tensor)));
        adamw(step, updated, &contiguous(plain(grad))).map(wrap)
    }
}
