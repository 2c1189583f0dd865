//! The operations a backend may do better than by composing Burn's.

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, activation};

use super::plain;

/// A backend that Oscar runs on.
///
/// Each operation has a body of Burn's own operations, which is what the operation means and what
/// fused ones are tested against. A backend that fuses nothing says only
/// `impl OscarBackend for B {}`, once for itself and once for `Autodiff<B>`.
///
/// Dropout is active where gradients are computed, as everywhere in Burn.
pub trait OscarBackend: Backend {
    /// `x W + b`, `[rows, d_input]` to `[rows, d_output]`.
    fn linear_bias(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
    ) -> Tensor<Self, 2> {
        plain::linear(x, weight, bias)
    }

    /// `gelu(x W + b)`, exact (erf); `[rows, d_input]` to `[rows, d_output]`.
    fn linear_gelu(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
    ) -> Tensor<Self, 2> {
        activation::gelu(plain::linear(x, weight, bias))
    }

    /// `[batch, seq, heads * size]` to `[batch, heads, seq, size]`.
    fn split_heads(x: Tensor<Self, 3>, heads: usize) -> Tensor<Self, 4> {
        plain::split_heads(x, heads)
    }

    /// `[batch, heads, seq, size]` to `[batch, seq, heads * size]`.
    fn merge_heads(x: Tensor<Self, 4>) -> Tensor<Self, 3> {
        plain::merge_heads(x)
    }

    /// `dropout(softmax(scores * scale + mask))` over the last axis.
    ///
    /// # Shapes
    ///
    /// - scores: `[batch, heads, queries, keys]`
    /// - mask: `[batch, 1, 1 or queries, keys]`; gets no gradient
    fn attention_probabilities(
        scores: Tensor<Self, 4>,
        mask: Tensor<Self, 4>,
        scale: f64,
        dropout: f64,
    ) -> Tensor<Self, 4> {
        plain::attention_probabilities(scores, mask, scale, dropout)
    }

    /// `LayerNorm(residual + dropout(x W + b))`: how each half of a layer ends.
    ///
    /// # Shapes
    ///
    /// - x: `[rows, d_input]`
    /// - residual and output: `[rows, hidden]`
    fn linear_residual_norm(
        x: Tensor<Self, 2>,
        weights: ResidualNorm<Self>,
        residual: Tensor<Self, 2>,
    ) -> Tensor<Self, 2> {
        plain::linear_residual_norm(x, weights, residual)
    }

    /// The `k` largest values of each row, read to the host; at most as many as there are columns.
    fn top_k(x: Tensor<Self, 2>, k: usize) -> TopK {
        plain::top_k(x, k)
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

/// The largest values of the rows of a matrix.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopK {
    /// Values per row.
    pub k: usize,
    /// Column and value, `k` per row, the largest value first.
    pub entries: Vec<(u32, f32)>,
}

impl TopK {
    /// The entries of each row.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[(u32, f32)]> {
        self.entries.chunks_exact(self.k.max(1))
    }
}

/// A backend that Oscar trains on.
pub trait TrainBackend: AutodiffBackend<InnerBackend: OscarBackend> + OscarBackend {}

impl<B: AutodiffBackend<InnerBackend: OscarBackend> + OscarBackend> TrainBackend for B {}

/// Parameters of [`OscarBackend::linear_residual_norm`].
#[derive(Clone, Debug)]
pub struct ResidualNorm<B: Backend> {
    /// `[d_input, hidden]`
    pub weight: Tensor<B, 2>,
    /// `[hidden]`
    pub bias: Tensor<B, 1>,
    /// `[hidden]`
    pub gamma: Tensor<B, 1>,
    /// `[hidden]`
    pub beta: Tensor<B, 1>,
    /// Added to the variance.
    pub epsilon: f64,
    /// Probability of an element of the branch to be dropped.
    pub dropout: f64,
}

/// Numbers of an AdamW step (see the optimiser for the formula).
#[derive(Clone, Copy, Debug)]
pub struct AdamWStep {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Learning rate times bias correction.
    pub step_size: f64,
    /// What the parameter is multiplied by after the step: 1 - learning rate * weight decay.
    pub decay: f64,
}
