//! Softmaxes, and merged heads.

use burn::tensor::{Int, Shape, Tensor};
use rayon::prelude::*;

use super::element::Element;
use super::math::{dot, exp, max, sum};
use super::rows::factor;
use super::{HostBackend, dense, for_each_block, primitive, simd, width, wrap};
use crate::ops::attention::merge_by_reshape;
use crate::ops::dropout::{DropoutMask, KeyedDropout};
use crate::ops::precision::to_f32;

/// In the place of `scores`, where nobody else holds them.
pub(super) fn masked_softmax<T: Element, H: HostBackend>(
    scores: Tensor<H, 4>,
    mask: Tensor<H, 4>,
    scale: f64,
) -> Tensor<H, 4> {
    let [_, heads, queries, keys] = scores.dims();
    let [_, _, mask_queries, _] = mask.dims();
    let (mut scores, mask) = (dense(scores), dense(mask));
    let (mask, scale) = (H::values(&mask), scale as f32);
    for_each_block(H::values_mut::<T>(&mut scores), keys, |range, rows| {
        let first_row = range.start / keys;
        let mask_row = |row: usize| {
            let row = first_row + row;
            let (batch, query) = (row / (heads * queries), row % queries);
            (batch * mask_queries + query % mask_queries) * keys
        };
        softmax_rows(rows, keys, scale, mask, &mask_row);
    });
    wrap(scores)
}

/// In the place of `grad`, where nobody else holds it.
pub(super) fn masked_softmax_backward<T: Element, H: HostBackend>(
    grad: Tensor<H, 4>,
    probabilities: Tensor<H, 4>,
    scale: f64,
    mask: &DropoutMask<H, 4>,
) -> Tensor<H, 4> {
    let (mut grad, probabilities) = (dense(grad), dense(probabilities));
    let (keys, dropout, scale) = (width::<H>(&grad), mask.key(), scale as f32);
    let probabilities = H::values::<T>(&probabilities);
    for_each_block(H::values_mut::<T>(&mut grad), keys, |range, grad| {
        let first = range.start;
        softmax_rows_backward(grad, &probabilities[range], keys, scale, dropout, first);
    });
    wrap(grad)
}

pub(super) fn log_softmax<T: Element, H: HostBackend>(x: Tensor<H, 2>) -> Tensor<H, 2> {
    let mut x = dense(to_f32(x));
    let width = width::<H>(&x).max(1);
    H::values_mut::<f32>(&mut x)
        .par_chunks_mut(width)
        .for_each(log_softmax_row);
    wrap(x)
}

/// In the place of `logarithms`, where nobody else holds them.
pub(super) fn cross_entropy_backward<T: Element, H: HostBackend>(
    logarithms: Tensor<H, 2>,
    labels: Tensor<H, 1, Int>,
    grad: Tensor<H, 1>,
) -> Tensor<H, 2> {
    let (mut out, grad) = (dense(to_f32(logarithms)), dense(to_f32(grad)));
    let classes = width::<H>(&out).max(1);
    let labels: Vec<i64> = labels.into_data().iter().collect();
    let rows = H::values_mut::<f32>(&mut out).par_chunks_mut(classes);
    let factors = H::values::<f32>(&grad).par_iter().zip(&labels);
    rows.zip(factors).for_each(|(row, (grad, label))| {
        exponentials(row, *grad);
        row[*label as usize] -= grad;
    });
    wrap(out)
}

pub(super) fn merge_heads<T: Element, H: HostBackend>(x: Tensor<H, 4>) -> Tensor<H, 3> {
    // Already in the order wanted, as a gradient of split heads or LibTorch's attention may be.
    if H::is_dense(&primitive(x.clone().swap_dims(1, 2))) {
        return merge_by_reshape(x);
    }
    let [batch, heads, seq, size] = x.dims();
    let x = dense(x);
    let mut out = H::allocate::<T>(Shape::from([batch, seq, heads * size]));
    let values = H::values::<T>(&x);
    H::values_mut::<T>(&mut out)
        .par_chunks_mut((seq * heads * size).max(1))
        .enumerate()
        .for_each(|(row, out)| {
            for (position, out) in out.chunks_exact_mut(heads * size).enumerate() {
                for (head, out) in out.chunks_exact_mut(size).enumerate() {
                    let start = ((row * heads + head) * seq + position) * size;
                    out.copy_from_slice(&values[start..start + size]);
                }
            }
        });
    wrap(out)
}

simd! {
    /// `softmax(scores * scale + mask)` of each row in place; a row's mask starts at `mask_row(row)`.
    fn softmax_rows<T: Element>(
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
                *wide = value.to_f32() * scale + mask;
            }
            let greatest = max(&wide);
            for value in wide.iter_mut() {
                *value = exp(*value - greatest);
            }
            let factor = 1.0 / sum(&wide);
            for (value, wide) in row.iter_mut().zip(&wide) {
                *value = T::from_f32(wide * factor);
            }
        }
    }

    /// Gradient of a softmax and the dropout after it, by the scores: in the place of `grad`, whose
    /// first value is number `first` of the whole tensor.
    fn softmax_rows_backward<T: Element>(
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
                *wide = grad.to_f32();
            }
            for (wide, probability) in shares.iter_mut().zip(probabilities) {
                *wide = probability.to_f32();
            }
            if dropout.threshold > 0 {
                let first = first + index * width;
                for (index, grad) in by_dropped.iter_mut().enumerate() {
                    *grad *= factor(dropout, first + index);
                }
            }
            let mean = dot(&by_dropped, &shares);
            for ((grad, wide), probability) in grad.iter_mut().zip(&by_dropped).zip(&shares) {
                *grad = T::from_f32((wide - mean) * probability * scale);
            }
        }
    }

    /// The exponentials of a row, times `factor`, in its place.
    fn exponentials(row: &mut [f32], factor: f32) {
        for value in row {
            *value = exp(*value) * factor;
        }
    }

    /// The logarithms of the softmax of a row, in its place.
    fn log_softmax_row(row: &mut [f32]) {
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
}
