//! The optimiser's steps on flattened tensors. They have no gradient.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

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

/// [`Kernels::adamw`](super::Kernels::adamw) in Burn's operations.
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

/// [`Kernels::sum_of_squares`](super::Kernels::sum_of_squares) in Burn's operations.
pub(super) fn sum_of_squares<B: Backend>(x: Tensor<B, 1>) -> Tensor<B, 1> {
    (x.clone() * x).sum()
}
