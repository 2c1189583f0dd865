//! Dropout, gathered rows, and the largest values of rows.

use burn::tensor::{Shape, Tensor, TensorMetadata};
use rayon::prelude::*;

use super::element::Element;
use super::math::hash;
use super::{BLOCK, HostBackend, dense, for_each_block, simd, wrap};
use crate::ops::dropout::{DropoutMask, KeyedDropout};
use crate::ops::gather::RowIndex;
use crate::ops::precision::to_f32;
use crate::ops::top_k::TopK;

pub(super) fn apply_dropout<T: Element, H: HostBackend, const D: usize>(
    x: Tensor<H, D>,
    mask: &DropoutMask<H, D>,
) -> Tensor<H, D> {
    let dropout = mask.key();
    if dropout.threshold == 0 {
        return x;
    }
    let x = dense(x);
    let mut out = H::allocate::<T>(x.shape());
    let x = H::values::<T>(&x);
    for_each_block(H::values_mut::<T>(&mut out), 64, |range, out| {
        drop_values(&x[range.clone()], dropout, range.start, out);
    });
    wrap(out)
}

/// The factor of element `index`.
#[inline(always)]
pub(super) fn factor(dropout: KeyedDropout, index: usize) -> f32 {
    if hash(dropout.key, index as u32) < dropout.threshold {
        0.0
    } else {
        dropout.scale
    }
}

simd! {
    /// `out = dropout(values)`; `first` is the index of the first value in the whole tensor.
    fn drop_values<T: Element>(values: &[T], dropout: KeyedDropout, first: usize, out: &mut [T]) {
        for (index, (value, out)) in values.iter().zip(out).enumerate() {
            *out = T::from_f32(value.to_f32() * factor(dropout, first + index));
        }
    }
}

pub(super) fn gather_rows<T: Element, H: HostBackend>(
    x: Tensor<H, 2>,
    index: &RowIndex<H>,
) -> Tensor<H, 2> {
    let [_, width] = x.dims();
    let x = dense(x);
    let mut out = H::allocate::<T>(Shape::from([index.host.len(), width]));
    let values = H::values::<T>(&x);
    H::values_mut::<T>(&mut out)
        .par_chunks_mut((BLOCK * width).max(1))
        .zip(index.host.par_chunks(BLOCK))
        .for_each(|(out, index)| {
            for (out, row) in out.chunks_exact_mut(width).zip(index) {
                let start = *row as usize * width;
                match values.get(start..start + width) {
                    Some(row) => out.copy_from_slice(row),
                    None => out.fill(T::from_f32(0.0)),
                }
            }
        });
    wrap(out)
}

/// In one pass.
pub(super) fn top_k<T: Element, H: HostBackend>(x: Tensor<H, 2>, k: usize) -> TopK {
    let columns = x.dims()[1].max(1);
    let k = k.min(columns);
    let x = dense(to_f32(x));
    let rows: Vec<Vec<(u32, f32)>> = H::values::<f32>(&x)
        .par_chunks(columns)
        .map(|row| largest(row, k))
        .collect();
    TopK {
        k,
        entries: rows.concat(),
    }
}

/// Keeps the largest so far in order: nearly every value is below the last of them.
fn largest(row: &[f32], k: usize) -> Vec<(u32, f32)> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(k + 1);
    if k == 0 {
        return best;
    }
    for (column, &value) in row.iter().enumerate() {
        if best.len() == k && !best.last().is_some_and(|(_, last)| value > *last) {
            continue;
        }
        let at = best.partition_point(|(_, other)| *other >= value);
        best.insert(at, (column as u32, value));
        best.truncate(k);
    }
    best
}
