//! The optimiser's steps.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::element::Element;
use super::math::dot;
use super::{HostBackend, dense, simd, vector, wrap};
use crate::ops::optimizer::AdamWStep;
use crate::ops::precision::to_f32;

/// Values that one thread takes at a time.
const CHUNK: usize = 1 << 16;

pub(super) fn sum_of_squares<T: Element, H: HostBackend>(x: Tensor<H, 1>) -> Tensor<H, 1> {
    let x = dense(to_f32(x));
    let chunks = H::values(&x).par_chunks(CHUNK);
    let partial: Vec<f32> = chunks.map(square_sum).collect();
    let sum: f64 = partial.into_iter().map(f64::from).sum();
    vector(&[sum as f32])
}

/// In place where nobody else holds the tensor.
pub(super) fn scale<T: Element, H: HostBackend>(
    x: Tensor<H, 1>,
    factor: Tensor<H, 1>,
) -> Tensor<H, 1> {
    let (mut x, factor) = (dense(to_f32(x)), dense(factor));
    let factor: f32 = H::values(&factor)[0];
    let chunks = H::values_mut(&mut x).par_chunks_mut(CHUNK);
    chunks.for_each(|values| scale_values(values, factor));
    wrap(x)
}

/// In place where nobody else holds the tensors.
pub(super) fn adamw<T: Element, H: HostBackend>(
    grad: Tensor<H, 1>,
    state: [Tensor<H, 1>; 3],
    step: AdamWStep,
) -> [Tensor<H, 1>; 3] {
    let grad = dense(to_f32(grad));
    let [mut parameter, mut exp_avg, mut exp_avg_sq] = state.map(dense);
    let chunks = (
        H::values_mut(&mut parameter).par_chunks_mut(CHUNK),
        H::values(&grad).par_chunks(CHUNK),
        H::values_mut(&mut exp_avg).par_chunks_mut(CHUNK),
        H::values_mut(&mut exp_avg_sq).par_chunks_mut(CHUNK),
    );
    chunks
        .into_par_iter()
        .for_each(|(parameter, grad, first, second)| {
            update(step, parameter, grad, first, second);
        });
    [parameter, exp_avg, exp_avg_sq].map(wrap)
}

simd! {
    fn square_sum(values: &[f32]) -> f32 {
        dot(values, values)
    }

    fn scale_values(values: &mut [f32], factor: f32) {
        for value in values {
            *value *= factor;
        }
    }

    /// One AdamW step in place.
    fn update(
        step: AdamWStep,
        parameter: &mut [f32],
        grad: &[f32],
        exp_avg: &mut [f32],
        exp_avg_sq: &mut [f32],
    ) {
        // The complements are rounded once, not computed from rounded decays.
        let (beta1, rest1) = (step.beta1 as f32, (1.0 - step.beta1) as f32);
        let (beta2, rest2) = (step.beta2 as f32, (1.0 - step.beta2) as f32);
        let (epsilon, step_size) = (step.epsilon as f32, step.step_size as f32);
        let decay = step.decay as f32;
        let moments = exp_avg.iter_mut().zip(exp_avg_sq);
        for ((parameter, grad), (first, second)) in parameter.iter_mut().zip(grad).zip(moments) {
            *first = *first * beta1 + grad * rest1;
            *second = *second * beta2 + grad * grad * rest2;
            let change = *first / (second.sqrt() + epsilon) * step_size;
            *parameter = (*parameter - change) * decay;
        }
    }
}
