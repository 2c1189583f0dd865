//! When the weights that no file gave are drawn.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::ops::random;

/// Draws the weights of `model` that have no value yet, by `seed`, in the order of its fields.
///
/// Burn draws a weight when it is first used, from one generator for the whole process: the order is
/// another one in another model, and threads that draw side by side get each other's numbers. Models
/// that are drawn here wait for each other.
pub fn initialize<B: Backend, M: Module<B>>(model: &M, device: &B::Device, seed: u64) {
    let _alone = random::alone::<B>(device, seed);
    draw(model);
}

/// Draws the weights of `model` that have no value yet.
pub(super) fn draw<B: Backend, M: Module<B>>(model: &M) {
    model.visit(&mut Touch);
}

struct Touch;

impl<B: Backend> ModuleVisitor<B> for Touch {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let _ = param.val();
    }
}
