//! Dropout, residual and LayerNorm.

use burn::tensor::{DType, Shape, Tensor, TensorMetadata};
use rayon::prelude::*;

use super::element::Element;
use super::math::{dot, sum};
use super::rows::factor;
use super::{BLOCK, HostBackend, dense, simd, sum_blocks, vector, wrap};
use crate::ops::dropout::KeyedDropout;
use crate::ops::residual_norm::{NormGrads, NormOutput, NormParams, SavedNorm};

pub(super) fn residual_norm<T: Element, H: HostBackend>(
    product: Tensor<H, 2>,
    residual: Tensor<H, 2>,
    params: &NormParams<H>,
) -> NormOutput<H> {
    let [rows, width] = product.dims();
    let [product, residual] = [product, residual].map(dense);
    let vectors = [&params.bias, &params.gamma, &params.beta].map(|vector| dense(vector.clone()));
    let [bias, gamma, beta] = vectors.each_ref().map(|vector| H::values(vector));
    let [mut out, mut normalized] = [(); 2].map(|()| H::allocate::<f32>(product.shape()));
    let mut inverse_std = H::allocate::<f32>(Shape::from([rows]));
    let size = BLOCK * width;
    let blocks = (
        H::values_mut(&mut out).par_chunks_mut(size),
        H::values_mut(&mut normalized).par_chunks_mut(size),
        H::values_mut(&mut inverse_std).par_chunks_mut(BLOCK),
        H::values::<T>(&product).par_chunks(size),
        H::values(&residual).par_chunks(size),
    );
    blocks.into_par_iter().enumerate().for_each(
        |(number, (out, normalized, inverse_std, x, residual))| {
            let input = Branch {
                x,
                residual,
                bias,
                gamma,
                beta,
                epsilon: params.epsilon as f32,
                dropout: params.dropout.key(),
                first: number * size,
            };
            norm_rows(&input, out, normalized, inverse_std);
        },
    );
    NormOutput {
        output: wrap(out),
        normalized: wrap(normalized),
        inverse_std: wrap(inverse_std),
    }
}

/// The gradient has the type `T`, the branch that of its product.
pub(super) fn residual_norm_backward<T: Element, H: HostBackend>(
    grad: Tensor<H, 2>,
    saved: &SavedNorm<H>,
) -> NormGrads<H> {
    match saved.product_dtype {
        DType::BF16 => backward_of::<half::bf16, H>(grad, saved),
        _ => backward_of::<f32, H>(grad, saved),
    }
}

fn backward_of<T: Element, H: HostBackend>(
    grad: Tensor<H, 2>,
    saved: &SavedNorm<H>,
) -> NormGrads<H> {
    let [_, width] = grad.dims();
    let [grad, normalized] = [grad, saved.normalized.clone()].map(dense);
    let [inverse_std, gamma] = [&saved.inverse_std, &saved.gamma].map(|t| dense(t.clone()));
    let mut residual = H::allocate::<f32>(grad.shape());
    let mut branch = H::allocate::<T>(grad.shape());
    let size = BLOCK * width;
    let blocks = (
        H::values_mut(&mut residual).par_chunks_mut(size),
        H::values_mut::<T>(&mut branch).par_chunks_mut(size),
        H::values(&grad).par_chunks(size),
        H::values(&normalized).par_chunks(size),
        H::values(&inverse_std).par_chunks(BLOCK),
    );
    let sums = sum_blocks(
        blocks.into_par_iter(),
        3 * width,
        |number, (residual, branch, grad, normalized, inverse_std), sums| {
            let input = Normed {
                grad,
                normalized,
                inverse_std,
                gamma: H::values(&gamma),
                dropout: saved.dropout.key(),
                first: number * size,
            };
            norm_rows_backward(&input, residual, branch, sums);
        },
    );
    NormGrads {
        branch: wrap(branch),
        residual: wrap(residual),
        bias: vector(&sums[..width]),
        gamma: vector(&sums[width..2 * width]),
        beta: vector(&sums[2 * width..]),
    }
}

/// Arguments of [`norm_rows`]: rows and vectors.
struct Branch<'a, T> {
    /// Before the bias.
    x: &'a [T],
    bias: &'a [f32],
    residual: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f32,
    dropout: KeyedDropout,
    /// Index of the first element in the whole tensor.
    first: usize,
}

/// Arguments of [`norm_rows_backward`].
struct Normed<'a> {
    grad: &'a [f32],
    normalized: &'a [f32],
    inverse_std: &'a [f32],
    gamma: &'a [f32],
    dropout: KeyedDropout,
    /// Index of the first element in the whole tensor.
    first: usize,
}

/// `residual + dropout(x + bias)` of one row, whose first element is number `first`.
#[inline(always)]
fn add_branch<T: Element>(
    input: &Branch<'_, T>,
    first: usize,
    x: &[T],
    residual: &[f32],
    out: &mut [f32],
) {
    let values = x.iter().zip(input.bias).zip(residual).zip(out);
    if input.dropout.threshold > 0 {
        for (index, (((x, bias), residual), out)) in values.enumerate() {
            *out = residual + (x.to_f32() + bias) * factor(input.dropout, first + index);
        }
    } else {
        for (((x, bias), residual), out) in values {
            *out = residual + (x.to_f32() + bias);
        }
    }
}

simd! {
    /// `LayerNorm(residual + dropout(x + bias))`; keeps the normalised rows and 1/σ for the gradient.
    fn norm_rows<T: Element>(
        input: &Branch<'_, T>,
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
            add_branch(input, input.first + index * width, x, residual, normalized);
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

    /// Gradients of [`norm_rows`] by its residual and by its branch; those by bias, gamma and beta are
    /// added to `sums`, one after the other.
    fn norm_rows_backward<T: Element>(
        input: &Normed<'_>,
        residual_grad: &mut [f32],
        branch_grad: &mut [T],
        sums: &mut [f32],
    ) {
        let width = input.gamma.len();
        let (bias_sums, sums) = sums.split_at_mut(width);
        let (gamma_sums, beta_sums) = sums.split_at_mut(width);
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
            let parameters = gamma_sums.iter_mut().zip(beta_sums.iter_mut());
            for ((gamma, beta), (grad, normalized)) in parameters.zip(grad.iter().zip(normalized)) {
                *gamma += grad * normalized;
                *beta += grad;
            }
            let first = input.first + index * width;
            let values = branch_grad[range]
                .iter_mut()
                .zip(out.iter())
                .zip(bias_sums.iter_mut());
            for (index, ((branch, out), bias)) in values.enumerate() {
                let grad = match input.dropout.threshold > 0 {
                    true => out * factor(input.dropout, first + index),
                    false => *out,
                };
                *branch = T::from_f32(grad);
                *bias += grad;
            }
        }
    }
}
