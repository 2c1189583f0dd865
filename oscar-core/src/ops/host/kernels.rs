//! Loops of the fused operations on the CPU: each passes once over memory where a composition of
//! plain operations passes many times. What is read and written narrow is computed in f32.
//!
//! Every function works on whole rows, so that callers may cut a tensor by rows over threads. What
//! is summed over rows is summed per block of [`BLOCK`] rows and then over the blocks, whatever the
//! number of threads: results do not depend on it.

use multiversion::multiversion;

use super::element::Element;
use super::math::{dot, erf, exp, max, normal_cdf, normal_density, random, sum};
use crate::ops::backend::AdamWStep;
use crate::ops::fused::KeyedDropout;

/// Rows that one thread takes at a time.
pub(super) const BLOCK: usize = 64;

impl KeyedDropout {
    pub(super) fn is_active(&self) -> bool {
        self.threshold > 0
    }

    /// What element `index` is multiplied by.
    #[inline(always)]
    fn factor(&self, index: usize) -> f32 {
        if random(self.key, index as u32) < self.threshold {
            0.0
        } else {
            self.scale
        }
    }
}

/// Adds `bias` to each row.
#[multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma"
))]
pub(super) fn add_bias<T: Element>(rows: &mut [T], bias: &[f32]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        for (value, bias) in row.iter_mut().zip(bias) {
            *value = T::narrow(value.wide() + bias);
        }
    }
}

/// Adds each row to `sums`.
#[multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma"
))]
pub(super) fn sum_rows<T: Element>(rows: &[T], sums: &mut [f32]) {
    for row in rows.chunks_exact(sums.len()) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value.wide();
        }
    }
}

/// `gelu(x + bias)`, exact.
#[multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma"
))]
pub(super) fn bias_gelu<T: Element>(rows: &[T], bias: &[f32], out: &mut [T]) {
    let width = bias.len();
    for (row, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        for ((value, bias), out) in row.iter().zip(bias).zip(out) {
            let x = value.wide() + bias;
            *out = T::narrow(0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)));
        }
    }
}

/// Gradient of [`bias_gelu`] by its input; the one by the bias is added to `bias_grad`.
#[multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma"
))]
pub(super) fn bias_gelu_backward<T: Element>(
    rows: &[T],
    bias: &[f32],
    grad: &[T],
    out: &mut [T],
    bias_grad: &mut [f32],
) {
    let width = bias.len();
    let rows = rows.chunks_exact(width).zip(grad.chunks_exact(width));
    for ((row, grad), out) in rows.zip(out.chunks_exact_mut(width)) {
        for (((value, bias), grad), out) in row.iter().zip(bias).zip(grad).zip(out.iter_mut()) {
            let x = value.wide() + bias;
            *out = T::narrow(grad.wide() * (normal_cdf(x) + x * normal_density(x)));
        }
        for (sum, value) in bias_grad.iter_mut().zip(out) {
            *sum += value.wide();
        }
    }
}

/// What [`residual_norm`] reads.
pub(super) struct NormInput<'a, T> {
    /// Rows of the branch, before its bias.
    pub x: &'a [T],
    pub bias: &'a [f32],
    pub residual: &'a [f32],
    pub gamma: &'a [f32],
    pub beta: &'a [f32],
    pub epsilon: f32,
    pub dropout: KeyedDropout,
    /// Index of the first element in the whole tensor.
    pub first: usize,
}

/// `LayerNorm(residual + dropout(x + bias))`; keeps the normalised rows and 1/σ for the gradient.
#[multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma"
))]
pub(super) fn residual_norm<T: Element>(
    input: &NormInput<'_, T>,
    out: &mut [f32],
    normalized: &mut [f32],
    inverse_std: &mut [f32],
) {
    let width = input.gamma.len();
    let rows = input
        .x
        .chunks_exact(width)
        .zip(input.residual.chunks_exact(width));
    let outputs = out
        .chunks_exact_mut(width)
        .zip(normalized.chunks_exact_mut(width));
    for (index, (((x, residual), (out, normalized)), inverse_std)) in
        rows.zip(outputs).zip(inverse_std).enumerate()
    {
        branch_row(input, input.first + index * width, x, residual, normalized);
        let mean = sum(normalized) / width as f32;
        for value in normalized.iter_mut() {
            *value -= mean;
        }
        let variance = dot(normalized, normalized) / width as f32;
        *inverse_std = 1.0 / (variance + input.epsilon).sqrt();
        for (((value, out), gamma), beta) in normalized
            .iter_mut()
            .zip(out)
            .zip(input.gamma)
            .zip(input.beta)
        {
            *value *= *inverse_std;
            *out = *value * gamma + beta;
        }
    }
}

/// `residual + dropout(x + bias)` of one row.
#[inline(always)]
fn branch_row<T: Element>(
    input: &NormInput<'_, T>,
    first: usize,
    x: &[T],
    residual: &[f32],
    out: &mut [f32],
) {
    let values = x.iter().zip(input.bias).zip(residual).zip(out);
    if input.dropout.is_active() {
        for (index, (((x, bias), residual), out)) in values.enumerate() {
            *out = residual + (x.wide() + bias) * input.dropout.factor(first + index);
        }
    } else {
        for (((x, bias), residual), out) in values {
            *out = residual + (x.wide() + bias);
        }
    }
}

/// Sums over rows of a norm's gradients, `[width]` each.
pub(super) struct NormSums<'a> {
    pub bias: &'a mut [f32],
    pub gamma: &'a mut [f32],
    pub beta: &'a mut [f32],
}

/// What [`residual_norm_backward`] reads.
pub(super) struct NormGrad<'a> {
    pub grad: &'a [f32],
    pub normalized: &'a [f32],
    pub inverse_std: &'a [f32],
    pub gamma: &'a [f32],
    pub dropout: KeyedDropout,
    /// Index of the first element in the whole tensor.
    pub first: usize,
}

/// Gradients of [`residual_norm`] by its residual and by its branch.
#[multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma"
))]
pub(super) fn residual_norm_backward<T: Element>(
    input: &NormGrad<'_>,
    residual_grad: &mut [f32],
    mut x_grad: Option<&mut [T]>,
    sums: &mut NormSums<'_>,
) {
    let width = input.gamma.len();
    let rows = input
        .grad
        .chunks_exact(width)
        .zip(input.normalized.chunks_exact(width));
    for (index, ((grad, normalized), inverse_std)) in rows.zip(input.inverse_std).enumerate() {
        let range = index * width..(index + 1) * width;
        let out = &mut residual_grad[range.clone()];
        for ((out, grad), gamma) in out.iter_mut().zip(grad).zip(input.gamma) {
            *out = grad * gamma;
        }
        let mean = sum(out) / width as f32;
        let slope = dot(out, normalized) / width as f32;
        for (out, normalized) in out.iter_mut().zip(normalized) {
            *out = (*out - mean - normalized * slope) * inverse_std;
        }
        let parameters = sums.gamma.iter_mut().zip(sums.beta.iter_mut());
        for ((gamma, beta), (grad, normalized)) in parameters.zip(grad.iter().zip(normalized)) {
            *gamma += grad * normalized;
            *beta += grad;
        }
        match &mut x_grad {
            Some(x_grad) => {
                let x_grad = &mut x_grad[range];
                let first = input.first + index * width;
                for (index, ((x, out), bias)) in x_grad
                    .iter_mut()
                    .zip(out.iter())
                    .zip(sums.bias.iter_mut())
                    .enumerate()
                {
                    let grad = match input.dropout.is_active() {
                        true => out * input.dropout.factor(first + index),
                        false => *out,
                    };
                    *x = T::narrow(grad);
                    *bias += grad;
                }
            }
            None => {
                for (bias, out) in sums.bias.iter_mut().zip(out.iter()) {
                    *bias += out;
                }
            }
        }
    }
}

/// `softmax(scores * scale + mask)` of each row in place; a row's mask starts at `mask_row(row)`.
#[multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma"
))]
pub(super) fn masked_softmax<T: Element>(
    scores: &mut [T],
    width: usize,
    scale: f32,
    mask: &[f32],
    mask_row: &dyn Fn(usize) -> usize,
) {
    let mut wide = vec![0.0; width];
    for (index, row) in scores.chunks_exact_mut(width).enumerate() {
        let start = mask_row(index);
        let mask = &mask[start..start + width];
        for ((wide, value), mask) in wide.iter_mut().zip(row.iter()).zip(mask) {
            *wide = value.wide() * scale + mask;
        }
        let greatest = max(&wide);
        for value in wide.iter_mut() {
            *value = exp(*value - greatest);
        }
        let factor = 1.0 / sum(&wide);
        for (value, wide) in row.iter_mut().zip(&wide) {
            *value = T::narrow(wide * factor);
        }
    }
}

/// The logarithms of the softmax of a row, in its place.
#[multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma"
))]
pub(super) fn log_softmax(row: &mut [f32]) {
    /// Values whose exponentials are added up at once.
    const PIECE: usize = 256;
    let greatest = max(row);
    let mut total = 0.0;
    for piece in row.chunks(PIECE) {
        let mut exponentials = [0.0; PIECE];
        for (exponential, value) in exponentials.iter_mut().zip(piece) {
            *exponential = exp(*value - greatest);
        }
        total += sum(&exponentials);
    }
    let shift = greatest + total.ln();
    for value in row {
        *value -= shift;
    }
}

/// `out = dropout(values)`; `first` is the index of the first value in the whole tensor.
#[multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma"
))]
pub(super) fn drop_out<T: Element>(
    values: &[T],
    dropout: KeyedDropout,
    first: usize,
    out: &mut [T],
) {
    for (index, (value, out)) in values.iter().zip(out).enumerate() {
        *out = T::narrow(value.wide() * dropout.factor(first + index));
    }
}

/// Gradient of a softmax and the dropout after it, by the scores: in the place of `grad`.
#[multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma"
))]
pub(super) fn masked_softmax_backward<T: Element>(
    grad: &mut [T],
    probabilities: &[T],
    width: usize,
    scale: f32,
    dropout: KeyedDropout,
    first: usize,
) {
    let [mut by_dropped, mut shares] = [(); 2].map(|()| vec![0.0; width]);
    let rows = grad
        .chunks_exact_mut(width)
        .zip(probabilities.chunks_exact(width));
    for (index, (grad, probabilities)) in rows.enumerate() {
        for (wide, grad) in by_dropped.iter_mut().zip(grad.iter()) {
            *wide = grad.wide();
        }
        for (wide, probability) in shares.iter_mut().zip(probabilities) {
            *wide = probability.wide();
        }
        if dropout.is_active() {
            let first = first + index * width;
            for (index, grad) in by_dropped.iter_mut().enumerate() {
                *grad *= dropout.factor(first + index);
            }
        }
        let mean = dot(&by_dropped, &shares);
        for ((grad, wide), probability) in grad.iter_mut().zip(&by_dropped).zip(&shares) {
            *grad = T::narrow((wide - mean) * probability * scale);
        }
    }
}

#[multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma"
))]
pub(super) fn sum_of_squares(values: &[f32]) -> f32 {
    dot(values, values)
}

#[multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma"
))]
pub(super) fn scale(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}

/// One AdamW step in place.
#[multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma"
))]
pub(super) fn adamw(
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
