//! The optimiser's steps, on all parameters of a model at once. They have no gradient.
//!
//! A model has hundreds of parameters, most of them small, so a device that is fed by the host takes
//! many in one launch, and decides by itself whether a step is made: to ask would be to wait.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Bool, Shape, Tensor, TensorMetadata};

use super::backend::{primitive, tensor};
use super::kernels::Kernels;

/// Added to a gradient norm before dividing by it, as `clip_grad_norm_` does.
pub(super) const CLIP_EPSILON: f64 = 1e-6;

/// Constants of an AdamW step (see the optimiser for the formula).
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
    /// Factor of the parameter after the step: 1 - learning rate * weight decay.
    pub decay: f64,
}

/// A parameter, what it is updated by, and how.
#[derive(Debug)]
pub struct AdamWUpdate<B: Backend> {
    /// Of any shape, f32.
    pub parameter: FloatTensor<B>,
    /// As many values.
    pub grad: FloatTensor<B>,
    /// First and second moment, as many values.
    pub moments: [Tensor<B, 1>; 2],
    /// How.
    pub step: AdamWStep,
}

/// A parameter after its update, and its moments.
pub type Updated<B> = (FloatTensor<B>, [Tensor<B, 1>; 2]);

/// What all gradients of an update are subject to.
#[derive(Clone, Debug)]
pub struct Guard<B: Backend> {
    /// Norm of all gradients, `[1]`, and the largest one that is allowed: gradients are scaled down to
    /// it.
    pub clip: Option<(Tensor<B, 1>, f64)>,
    /// Unless all values of these are finite, nothing is updated. Each is `[1]`.
    pub finite: Vec<Tensor<B, 1>>,
}

impl<B: Backend> Default for Guard<B> {
    /// Gradients as they are.
    fn default() -> Self {
        Self {
            clip: None,
            finite: Vec::new(),
        }
    }
}

/// [`Kernels::adamw`] in Burn's operations.
pub(super) fn adamw<B: Backend>(
    grad: Tensor<B, 1>,
    [parameter, exp_avg, exp_avg_sq]: [Tensor<B, 1>; 3],
    step: AdamWStep,
) -> [Tensor<B, 1>; 3] {
    let exp_avg_sq = exp_avg_sq.mul_scalar(step.beta2)
        + (grad.clone() * grad.clone()).mul_scalar(1.0 - step.beta2);
    let exp_avg = exp_avg.mul_scalar(step.beta1) + grad.mul_scalar(1.0 - step.beta1);
    let denominator = exp_avg_sq.clone().sqrt().add_scalar(step.epsilon);
    let change = (exp_avg.clone() / denominator).mul_scalar(step.step_size);
    let parameter = (parameter - change).mul_scalar(step.decay);
    [parameter, exp_avg, exp_avg_sq]
}

/// [`Kernels::sum_of_squares`] in Burn's operations.
pub(super) fn sum_of_squares<B: Backend>(x: Tensor<B, 1>) -> Tensor<B, 1> {
    (x.clone() * x).sum()
}

/// [`Kernels::joint_norm`], tensor by tensor.
pub(super) fn joint_norm<B: Kernels>(grads: Vec<FloatTensor<B>>) -> Tensor<B, 1> {
    let sums = grads
        .into_iter()
        .map(|grad| B::sum_of_squares(flat::<B>(grad)));
    Tensor::cat(sums.collect(), 0).sum().sqrt()
}

/// [`Kernels::clip`], tensor by tensor.
pub(super) fn clip<B: Kernels>(
    grads: Vec<FloatTensor<B>>,
    norm: Tensor<B, 1>,
    max_norm: f64,
) -> Vec<FloatTensor<B>> {
    let factor = clip_factor(norm, max_norm);
    let grads = grads.into_iter();
    grads
        .map(|grad| {
            let shape = grad.shape();
            shaped(B::scale(flat::<B>(grad), factor.clone()), shape)
        })
        .collect()
}

/// [`Kernels::adamw_all`], parameter by parameter.
pub(super) fn adamw_all<B: Kernels>(
    updates: Vec<AdamWUpdate<B>>,
    guard: &Guard<B>,
) -> Vec<Updated<B>> {
    let factor = guard.clip.clone();
    let factor = factor.map(|(norm, max_norm)| clip_factor(norm, max_norm));
    let broken = are_broken(&guard.finite);
    let updates = updates.into_iter();
    updates
        .map(|update| {
            let shape = update.parameter.shape();
            let mut grad = flat::<B>(update.grad);
            if let Some(factor) = &factor {
                grad = B::scale(grad, factor.clone());
            }
            let [exp_avg, exp_avg_sq] = update.moments;
            let state = [flat::<B>(update.parameter), exp_avg, exp_avg_sq];
            let [parameter, exp_avg, exp_avg_sq] = match &broken {
                None => B::adamw(grad, state, update.step),
                Some(broken) => {
                    let [mut updated, kept] = [B::adamw(grad, state.clone(), update.step), state];
                    for (updated, kept) in updated.iter_mut().zip(kept) {
                        let broken = broken.clone().expand(kept.shape());
                        *updated = updated.clone().mask_where(broken, kept);
                    }
                    updated
                }
            };
            (shaped(parameter, shape), [exp_avg, exp_avg_sq])
        })
        .collect()
}

/// Whether a value of any of these is not finite, `[1]`; `None` if there are no values.
fn are_broken<B: Backend>(values: &[Tensor<B, 1>]) -> Option<Tensor<B, 1, Bool>> {
    let finite = values.iter().map(|value| value.clone().is_finite());
    Some(finite.reduce(Tensor::bool_and)?.bool_not())
}

/// What scales gradients of this `norm` down to `max_norm`, `[1]`: 1 if they are not above it.
fn clip_factor<B: Backend>(norm: Tensor<B, 1>, max_norm: f64) -> Tensor<B, 1> {
    norm.add_scalar(CLIP_EPSILON)
        .recip()
        .mul_scalar(max_norm)
        .clamp_max(1.0)
}

/// All values of a tensor of any shape.
fn flat<B: Backend>(x: FloatTensor<B>) -> Tensor<B, 1> {
    let len = x.shape().num_elements();
    tensor(B::float_reshape(x, Shape::from([len])))
}

/// The inverse of [`flat`].
fn shaped<B: Backend>(x: Tensor<B, 1>, shape: Shape) -> FloatTensor<B> {
    B::float_reshape(primitive(x), shape)
}
