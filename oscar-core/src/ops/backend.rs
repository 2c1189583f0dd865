//! The operations that the model is made of.

use std::sync::Arc;

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor, TensorData, activation};

use super::cached::{self, AttentionParams, CaptionKeyValues, KeyValue};

/// A backend that Oscar runs on.
///
/// Implemented for every backend that has the [`Kernels`](super::Kernels), and for `Autodiff` on
/// top of it, where each operation is one node of the graph with a gradient written by hand. What
/// the operations mean is in [`plain`](super::plain), which they are tested against.
///
/// Dropout is active where gradients are computed, as everywhere in Burn. Products take their
/// operands in the [`Precision`](super::Precision) of the thread, and where it is not f32 the results
/// named *narrow* are not f32 either: they are for another operation of this trait.
pub trait OscarBackend: Backend {
    /// `x W + b`, `[rows, d_input]` to `[rows, d_output]`, narrow.
    fn linear_bias(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
    ) -> Tensor<Self, 2>;

    /// `x Mᵀ + b`, `[rows, d_input]` to `[rows, d_output]`, narrow; `matrix` is `[d_output, d_input]`, as
    /// an embedding is, and has its gradient in that order in memory.
    fn tied_linear(
        x: Tensor<Self, 2>,
        matrix: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
    ) -> Tensor<Self, 2>;

    /// `gelu(x W + b)`, exact (erf); `[rows, d_input]` to `[rows, d_output]`, narrow.
    fn linear_gelu(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
    ) -> Tensor<Self, 2>;

    /// `[batch, seq, heads * size]` to `[batch, heads, seq, size]`.
    fn split_heads(x: Tensor<Self, 3>, heads: usize) -> Tensor<Self, 4>;

    /// `[batch, heads, seq, size]` to `[batch, seq, heads * size]`.
    fn merge_heads(x: Tensor<Self, 4>) -> Tensor<Self, 3>;

    /// `dropout(softmax(scores * scale + mask))` over the last axis, as narrow as `scores`.
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
    ) -> Tensor<Self, 4>;

    /// What queries read of values: `dropout(softmax(query keyᵀ * scale + mask)) value`.
    ///
    /// # Shapes
    ///
    /// - query, output: `[batch, heads, queries, size]`
    /// - key, value: `[batch, heads, keys, size]`
    /// - mask: `[batch, 1, 1 or queries, keys]`; gets no gradient
    fn attention(
        [query, key, value]: [Tensor<Self, 4>; 3],
        mask: Tensor<Self, 4>,
        scale: f64,
        dropout: f64,
    ) -> Tensor<Self, 4> {
        let scores = query.matmul(key.swap_dims(2, 3));
        Self::attention_probabilities(scores, mask, scale, dropout).matmul(value)
    }

    /// What the newest tokens of captions read, `[rows, tokens, heads * size]` like `query`: of keys
    /// and values that the captions of an image share, and of their own; narrow.
    ///
    /// Each image of the shared ones has the same number of rows, one after the other.
    fn cached_attention(
        query: Tensor<Self, 3>,
        shared: &KeyValue<Self>,
        own: &CaptionKeyValues<'_, Self>,
        reading: &AttentionParams<Self>,
    ) -> Tensor<Self, 3> {
        cached::cached_attention(query, shared, own, reading)
    }

    /// `LayerNorm(residual + dropout(x W + b))`: how each half of a layer ends.
    ///
    /// # Shapes
    ///
    /// - x: `[rows, d_input]`
    /// - residual and output: `[rows, hidden]`, f32
    fn linear_residual_norm(
        x: Tensor<Self, 2>,
        weights: ResidualNorm<Self>,
        residual: Tensor<Self, 2>,
    ) -> Tensor<Self, 2>;

    /// Drops elements with `probability` and scales the others by `1 / (1 - probability)`.
    fn dropout<const D: usize>(x: Tensor<Self, D>, probability: f64) -> Tensor<Self, D>;

    /// Row `index[i]` of `x` `[rows, width]` as row `i`, zeros where there is no such row; narrow.
    ///
    /// `back` is the way back, `x` from the result: every row of `x` is read once at most.
    fn gather_rows(
        x: Tensor<Self, 2>,
        index: &RowIndex<Self>,
        back: &RowIndex<Self>,
    ) -> Tensor<Self, 2>;

    /// Logarithms of the softmax of each row.
    fn log_softmax(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        activation::log_softmax(x, 1)
    }

    /// The `k` largest values of each row, read to the host; at most as many as there are columns.
    fn top_k(x: Tensor<Self, 2>, k: usize) -> TopK;
}

/// A backend that Oscar trains on.
pub trait TrainBackend:
    AutodiffBackend<InnerBackend: OscarBackend + super::Kernels> + OscarBackend
{
}

impl<B> TrainBackend for B where
    B: AutodiffBackend<InnerBackend: OscarBackend + super::Kernels> + OscarBackend
{
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

/// Which row of a matrix each row of another is; a number that is no row stands for zeros.
#[derive(Clone, Debug)]
pub struct RowIndex<B: Backend> {
    /// On the host.
    pub host: Arc<[u32]>,
    /// On the device, `[rows]`.
    pub device: Tensor<B, 1, Int>,
}

impl<B: Backend> RowIndex<B> {
    /// These rows.
    pub fn new(rows: Vec<u32>, device: &B::Device) -> Self {
        let numbers: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
        let shape = [numbers.len()];
        Self {
            host: rows.into(),
            device: Tensor::from_data(TensorData::new(numbers, shape), device),
        }
    }
}

impl<B: AutodiffBackend> RowIndex<B> {
    /// The same without gradients.
    pub fn inner(&self) -> RowIndex<B::InnerBackend> {
        RowIndex {
            host: self.host.clone(),
            device: self.device.clone().inner(),
        }
    }
}

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
