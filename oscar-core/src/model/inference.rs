//! A model made ready to be asked: what every product would convert is converted once.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use crate::ops::Precision;

/// The model for inference: the matrices of its linear layers in the [`Precision`] of the thread.
/// Embeddings, biases and LayerNorms stay f32, and so would weights that are to be trained.
pub fn for_inference<B: Backend, M: Module<B>>(model: M) -> M {
    match Precision::current() {
        Precision::F32 => model,
        Precision::Bf16 => model.map(&mut Narrow(Vec::new())),
    }
}

/// Knows the structs that it is in.
struct Narrow(Vec<bool>);

impl<B: Backend> ModuleMapper<B> for Narrow {
    fn enter_module(&mut self, _name: &str, container: &str) {
        self.0.push(container == "Struct:Linear");
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
