//! Models for inference: weights that every product would convert are converted once.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use crate::ops::Precision;

/// The model for inference: the matrices of its linear layers in the [`Precision`] of the thread.
/// Embeddings, biases and LayerNorms stay f32, and so would weights that are to be trained.
pub fn for_inference<B: Backend, M: Module<B>>(model: M) -> M {
    match Precision::current() {
        Precision::F32 => model,
        Precision::Bf16 => model.map(&mut LinearToBf16(Vec::new())),
    }
}

/// Converts matrices of linear layers; keeps for each enclosing struct whether it is one.
struct LinearToBf16(Vec<bool>);

impl<B: Backend> ModuleMapper<B> for LinearToBf16 {
    fn enter_module(&mut self, _name: &str, container: &str) {
        self.0
            .push(matches!(container, "Struct:Linear" | "Struct:Conv1d"));
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.0.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        match D == 2 && self.0.last() == Some(&true) {
            true => param.map(|weight| weight.cast(DType::BF16)),
            false => param,
        }
    }
}
