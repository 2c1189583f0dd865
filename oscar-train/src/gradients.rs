//! All gradients of a model: their norm, clipping, and access one by one.

use std::collections::HashMap;
use std::marker::PhantomData;

use burn::module::{AutodiffModule, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorPrimitive};
use oscar_core::ops::{Kernels, TrainBackend};

/// Scales all gradients of `module` by one factor so that their joint L2 norm is at most
/// `max_norm`, and returns the norm before, `[1]`. Nothing is read back from the device.
pub fn clip_grad_norm<B: TrainBackend, M: AutodiffModule<B>>(
    module: &M,
    grads: &mut GradientsParams,
    max_norm: f64,
    device: &B::Device,
) -> Tensor<B::InnerBackend, 1> {
    let norm = grad_norm::<B, M>(module, grads, device);
    let (mut all, mut shapes) = (Vec::new(), Vec::new());
    map_gradients::<B, M>(module, grads, |id, grad| {
        shapes.push(id);
        all.push(grad.into_primitive().tensor());
        None
    });
    let clipped = B::InnerBackend::clip(all, norm.clone(), max_norm);
    let clipped = clipped
        .into_iter()
        .map(|grad| Tensor::from_primitive(TensorPrimitive::Float(grad)));
    let flat = shapes.into_iter().zip(clipped).collect();
    *grads = unflatten::<B, M>(module, flat);
    norm
}

/// The joint L2 norm of all gradients of `module`, `[1]`. Nothing is read back from the device.
pub fn grad_norm<B: TrainBackend, M: AutodiffModule<B>>(
    module: &M,
    grads: &mut GradientsParams,
    device: &B::Device,
) -> Tensor<B::InnerBackend, 1> {
    let mut all = Vec::new();
    map_gradients::<B, M>(module, grads, |_, grad| {
        all.push(grad.clone().into_primitive().tensor());
        Some(grad)
    });
    match all.is_empty() {
        true => Tensor::zeros([1], device),
        false => B::InnerBackend::joint_norm(all),
    }
}

/// A gradient, flattened.
pub(crate) type Flat<B> = Tensor<<B as AutodiffBackend>::InnerBackend, 1>;

/// Replaces each gradient of `module`, flattened, by what `map` makes of it, or removes it.
pub(crate) fn map_gradients<B: AutodiffBackend, M: AutodiffModule<B>>(
    module: &M,
    grads: &mut GradientsParams,
    map: impl FnMut(ParamId, Flat<B>) -> Option<Flat<B>>,
) {
    let backend = PhantomData::<B>;
    module.visit(&mut MapGradients {
        grads,
        map,
        backend,
    });
}

struct MapGradients<'a, B, F> {
    grads: &'a mut GradientsParams,
    map: F,
    backend: PhantomData<B>,
}

impl<B, F> ModuleVisitor<B> for MapGradients<'_, B, F>
where
    B: AutodiffBackend,
    F: FnMut(ParamId, Flat<B>) -> Option<Flat<B>>,
{
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(grad) = self.grads.remove::<B::InnerBackend, D>(param.id) {
            let shape = grad.shape();
            if let Some(mapped) = (self.map)(param.id, flat(grad)) {
                let mapped: Tensor<B::InnerBackend, D> = mapped.reshape(shape);
                self.grads.register(param.id, mapped);
            }
        }
    }
}

fn flat<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, 1> {
    let len = tensor.shape().num_elements();
    tensor.reshape([len])
}

/// The gradients of `module` that are `flat` by parameter.
pub(crate) fn unflatten<B: AutodiffBackend, M: AutodiffModule<B>>(
    module: &M,
    flat: HashMap<ParamId, Flat<B>>,
) -> GradientsParams {
    let mut unflatten = Unflatten::<B> {
        flat,
        grads: GradientsParams::new(),
    };
    module.visit(&mut unflatten);
    unflatten.grads
}

struct Unflatten<B: AutodiffBackend> {
    flat: HashMap<ParamId, Flat<B>>,
    grads: GradientsParams,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Unflatten<B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(flat) = self.flat.remove(&param.id) {
            let grad: Tensor<B::InnerBackend, D> = flat.reshape(param.lazy_shape());
            self.grads.register(param.id, grad);
        }
    }
}
