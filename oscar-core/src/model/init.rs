//! Fresh weights: how each kind of layer is initialised, and when.

use burn::module::{Initializer, Module, ModuleVisitor, Param};
use burn::nn::{Embedding, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::ops::random;

/// A linear layer as the official code initialises it: weight ~ N(0, `std`), bias 0.
pub(super) fn linear<B: Backend>(
    d_input: usize,
    d_output: usize,
    std: f64,
    device: &B::Device,
) -> Linear<B> {
    Linear {
        weight: Initializer::Normal { mean: 0.0, std }.init([d_input, d_output], device),
        bias: Some(Initializer::Zeros.init([d_output], device)),
    }
}

/// An embedding matrix `[entries, size]` ~ N(0, `std`). Row 0 is initialised like any other.
pub(super) fn embedding<B: Backend>(
    entries: usize,
    size: usize,
    std: f64,
    device: &B::Device,
) -> Embedding<B> {
    let weight = Initializer::Normal { mean: 0.0, std }.init([entries, size], device);
    Embedding { weight }
}

/// A LayerNorm over the last axis of `size` values.
pub(super) fn layer_norm<B: Backend>(
    size: usize,
    epsilon: f64,
    device: &B::Device,
) -> LayerNorm<B> {
    LayerNormConfig::new(size)
        .with_epsilon(epsilon)
        .init(device)
}

/// Initialises the weights of `model` that have no value yet, by `seed`, in the order of its fields.
///
/// Burn initialises a weight when it is first used, from one generator for the whole process: the
/// order differs between models, and threads that initialise at the same time take each other's
/// numbers. Models that are initialised here wait for each other.
pub fn initialize<B: Backend, M: Module<B>>(model: &M, device: &B::Device, seed: u64) {
    let _exclusive = random::seed_exclusively::<B>(device, seed);
    init_weights(model);
}

/// Initialises the weights of `model` that have no value yet.
pub(super) fn init_weights<B: Backend, M: Module<B>>(model: &M) {
    model.visit(&mut Touch);
}

struct Touch;

impl<B: Backend> ModuleVisitor<B> for Touch {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let _ = param.val();
    }
}
