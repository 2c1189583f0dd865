//! The linear layer of GPT-2.

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use oscar_core::config::Activation;
use oscar_core::ops::{self, OscarBackend};

use crate::config::Gpt2Config;

/// A linear layer whose weight is `[in, out]` in files, too (HuggingFace's `Conv1D`): it is the one
/// kind of matrix that is not transposed when it is read.
#[derive(Module, Debug)]
pub(super) struct Conv1d<B: Backend> {
    weight: Param<Tensor<B, 2>>,
    bias: Param<Tensor<B, 1>>,
}

impl<B: Backend> Conv1d<B> {
    pub(super) fn new(config: &Gpt2Config, from: usize, to: usize, device: &B::Device) -> Self {
        let std = config.initializer_range;
        Self {
            weight: Initializer::Normal { mean: 0.0, std }.init([from, to], device),
            bias: Initializer::Zeros.init([to], device),
        }
    }

    /// In and out.
    pub(super) fn dims(&self) -> [usize; 2] {
        self.weight.dims()
    }
}

impl<B: OscarBackend> Conv1d<B> {
    /// `x W + b` of rows, `[rows, in]` to `[rows, out]`.
    pub(super) fn forward(&self, rows: Tensor<B, 2>) -> Tensor<B, 2> {
        ops::affine(rows, self.weight.val(), self.bias.val())
    }

    /// `activation(x W + b)`.
    pub(super) fn activate(&self, activation: Activation, rows: Tensor<B, 2>) -> Tensor<B, 2> {
        let weight = self.weight.val();
        ops::affine_activate([rows, weight], self.bias.val(), activation)
    }
}
