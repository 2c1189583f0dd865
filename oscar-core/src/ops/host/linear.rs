//! Bias and activations.

use std::f32::consts::FRAC_1_SQRT_2;

use burn::tensor::{Tensor, TensorMetadata};
use rayon::prelude::*;

use super::element::Element;
use super::math::{erf, normal_cdf, normal_density, sigmoid};
use super::{BLOCK, HostBackend, dense, for_each_block, simd, sum_blocks, vector, width, wrap};

pub(super) fn add_bias<T: Element, H: HostBackend>(
    x: Tensor<H, 2>,
    bias: Tensor<H, 1>,
) -> Tensor<H, 2> {
    let (mut x, bias) = (dense(x), dense(bias));
    let bias = H::values(&bias);
    for_each_block(H::values_mut::<T>(&mut x), bias.len(), |_, rows| {
        add_to_rows(rows, bias);
    });
    wrap(x)
}

pub(super) fn column_sums<T: Element, H: HostBackend>(x: Tensor<H, 2>) -> Tensor<H, 1> {
    let x = dense(x);
    let width = width::<H>(&x);
    let blocks = H::values::<T>(&x).par_chunks(BLOCK * width);
    vector(&sum_blocks(blocks, width, |_, rows, sums| {
        sum_rows(rows, sums)
    }))
}

pub(super) fn bias_gelu<T: Element, H: HostBackend>(
    product: Tensor<H, 2>,
    bias: Tensor<H, 1>,
) -> Tensor<H, 2> {
    let (product, bias) = (dense(product), dense(bias));
    let mut out = H::allocate::<T>(product.shape());
    let (product, bias) = (H::values::<T>(&product), H::values(&bias));
    for_each_block(H::values_mut::<T>(&mut out), bias.len(), |range, out| {
        gelu_rows(&product[range], bias, out);
    });
    wrap(out)
}

pub(super) fn bias_gelu_backward<T: Element, H: HostBackend>(
    product: Tensor<H, 2>,
    bias: Tensor<H, 1>,
    grad: Tensor<H, 2>,
) -> (Tensor<H, 2>, Tensor<H, 1>) {
    let (product, bias, grad) = (dense(product), dense(bias), dense(grad));
    let mut out = H::allocate::<T>(product.shape());
    let bias = H::values(&bias);
    let size = BLOCK * bias.len();
    let blocks = (
        H::values_mut::<T>(&mut out).par_chunks_mut(size),
        H::values::<T>(&product).par_chunks(size),
        H::values::<T>(&grad).par_chunks(size),
    );
    let by_bias = sum_blocks(
        blocks.into_par_iter(),
        bias.len(),
        |_, (out, product, grad), sums| gelu_rows_backward(product, bias, grad, out, sums),
    );
    (wrap(out), vector(&by_bias))
}

pub(super) fn bias_gate<T: Element, H: HostBackend>(
    product: Tensor<H, 2>,
    bias: Tensor<H, 1>,
    gate: [f32; 2],
) -> Tensor<H, 2> {
    let (mut product, bias) = (dense(product), dense(bias));
    let bias = H::values(&bias);
    for_each_block(H::values_mut::<T>(&mut product), bias.len(), |_, rows| {
        gate_rows(rows, bias, gate);
    });
    wrap(product)
}

pub(super) fn bias_gate_backward<T: Element, H: HostBackend>(
    product: Tensor<H, 2>,
    bias: Tensor<H, 1>,
    grad: Tensor<H, 2>,
    gate: [f32; 2],
) -> (Tensor<H, 2>, Tensor<H, 1>) {
    let (product, bias, mut grad) = (dense(product), dense(bias), dense(grad));
    let bias = H::values(&bias);
    let size = BLOCK * bias.len();
    let blocks = (
        H::values_mut::<T>(&mut grad).par_chunks_mut(size),
        H::values::<T>(&product).par_chunks(size),
    );
    let by_bias = sum_blocks(
        blocks.into_par_iter(),
        bias.len(),
        |_, (grad, product), sums| gate_rows_backward(product, bias, grad, sums, gate),
    );
    (wrap(grad), vector(&by_bias))
}

simd! {
    /// `x sigmoid(s x + c x³)` of `x + bias`, in place.
    fn gate_rows<T: Element>(rows: &mut [T], bias: &[f32], [s, c]: [f32; 2]) {
        for row in rows.chunks_exact_mut(bias.len()) {
            for (value, bias) in row.iter_mut().zip(bias) {
                let x = value.to_f32() + bias;
                *value = T::from_f32(x * sigmoid(x * (s + c * x * x)));
            }
        }
    }

    /// Gradient of [`gate_rows`] by its input, in place of the one by its output; the one by the bias is
    /// added to `bias_grad`.
    fn gate_rows_backward<T: Element>(
        rows: &[T],
        bias: &[f32],
        grad: &mut [T],
        bias_grad: &mut [f32],
        [s, c]: [f32; 2],
    ) {
        let width = bias.len();
        for (row, grad) in rows.chunks_exact(width).zip(grad.chunks_exact_mut(width)) {
            for ((value, bias), grad) in row.iter().zip(bias).zip(grad.iter_mut()) {
                let x = value.to_f32() + bias;
                let p = sigmoid(x * (s + c * x * x));
                let slope = x * (s + 3.0 * c * x * x);
                *grad = T::from_f32(grad.to_f32() * p * (1.0 + slope * (1.0 - p)));
            }
            for (sum, value) in bias_grad.iter_mut().zip(grad) {
                *sum += value.to_f32();
            }
        }
    }

    /// Adds `bias` to each row.
    fn add_to_rows<T: Element>(rows: &mut [T], bias: &[f32]) {
        for row in rows.chunks_exact_mut(bias.len()) {
            for (value, bias) in row.iter_mut().zip(bias) {
                *value = T::from_f32(value.to_f32() + bias);
            }
        }
    }

    /// Adds each row to `sums`.
    pub(super) fn sum_rows<T: Element>(rows: &[T], sums: &mut [f32]) {
        for row in rows.chunks_exact(sums.len()) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value.to_f32();
            }
        }
    }

    /// `gelu(x + bias)`, exact.
    fn gelu_rows<T: Element>(rows: &[T], bias: &[f32], out: &mut [T]) {
        let width = bias.len();
        for (row, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            for ((value, bias), out) in row.iter().zip(bias).zip(out) {
                let x = value.to_f32() + bias;
                *out = T::from_f32(0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2)));
            }
        }
    }

    /// Gradient of [`gelu_rows`] by its input; the one by the bias is added to `bias_grad`.
    fn gelu_rows_backward<T: Element>(
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
                let x = value.to_f32() + bias;
                *out = T::from_f32(grad.to_f32() * (normal_cdf(x) + x * normal_density(x)));
            }
            for (sum, value) in bias_grad.iter_mut().zip(out) {
                *sum += value.to_f32();
            }
        }
    }
}
