//! Products of few rows with a matrix, as decoding word by word asks for: the matrix is read from
//! memory once, in its order, and never rearranged, which takes general products as long again.

use burn::tensor::{Shape, Tensor};
use multiversion::target::target_cfg_f;
use rayon::prelude::*;

use super::element::Element;
use super::{HostBackend, dense, primitive, simd, wrap};

/// Columns that one thread takes at most, so that its sums stay in the first cache.
const COLUMNS: usize = 512;
/// Rows of the matrix that are added at once.
const PANEL: usize = 8;
/// Columns of a panel that are held at once.
const STRIP: usize = 64;

/// `x weight`, `[rows, d_input]` by `[d_input, d_output]`, all in one type and summed in f32.
pub(super) fn product<T: Element, H: HostBackend>(
    x: Tensor<H, 2>,
    weight: Tensor<H, 2>,
) -> Tensor<H, 2> {
    let ([rows, inner], [_, width]) = (x.dims(), weight.dims());
    let in_order = H::is_dense(&primitive(weight.clone()));
    if !(1..=H::FEW_ROWS).contains(&rows) || !in_order {
        return x.matmul(weight);
    }
    let weight = dense(weight);
    let x = pieces(H::values::<T>(&dense(x)), inner);
    let values = H::values::<T>(&weight);
    let blocks = blocks(rows, width, |start, columns, sums| {
        add_rows(&x, &values[start..], (width, columns), sums);
    });
    let mut out = H::allocate::<T>(Shape::from([rows, width]));
    let rows_of_out = H::values_mut::<T>(&mut out).chunks_exact_mut(width);
    for (row, out) in rows_of_out.enumerate() {
        for (start, sums) in &blocks {
            let stride = sums.len() / rows;
            let sums = &sums[row * stride..(row + 1) * stride];
            for (out, sum) in out[*start..].iter_mut().zip(sums) {
                *out = T::from_f32(*sum);
            }
        }
    }
    wrap(out)
}

/// Columns of the result over threads: where each block starts, and its sums, `[rows, columns]`, each
/// row up to a whole number of strips. `add` is given start, number of columns, and sums.
fn blocks(
    rows: usize,
    width: usize,
    add: impl Fn(usize, usize, &mut [f32]) + Sync,
) -> Vec<(usize, Vec<f32>)> {
    let share = width.div_ceil(rayon::current_num_threads());
    let share = share.next_multiple_of(STRIP).min(COLUMNS);
    let starts = (0..width.div_ceil(share)).into_par_iter();
    let block = |number: usize| {
        let start = number * share;
        let columns = share.min(width - start);
        let mut sums = vec![0.0; rows * columns.next_multiple_of(STRIP)];
        add(start, columns, &mut sums);
        (start, sums)
    };
    starts.map(block).collect()
}

/// The rows of `x`, in pieces as long as a panel is high, with zeros behind the last.
fn pieces<T: Element>(x: &[T], inner: usize) -> Vec<Vec<[f32; PANEL]>> {
    let piece = |own: &[T]| {
        let mut piece = [0.0; PANEL];
        for (value, own) in piece.iter_mut().zip(own) {
            *value = own.to_f32();
        }
        piece
    };
    let rows = x.chunks_exact(inner);
    rows.map(|row| row.chunks(PANEL).map(piece).collect())
        .collect()
}

simd! {
    /// Adds to `sums` what `x` gives with the first `columns` of the rows of a matrix that are `width`
    /// apart.
    fn add_rows<T: Element>(
        x: &[Vec<[f32; PANEL]>],
        matrix: &[T],
        (width, columns): (usize, usize),
        sums: &mut [f32],
    ) {
        let stride = columns.next_multiple_of(STRIP);
        for number in 0..x.first().map_or(0, Vec::len) {
            for start in (0..columns).step_by(STRIP) {
                let mut panel = [[0.0_f32; STRIP]; PANEL];
                for (row, panel) in panel.iter_mut().enumerate() {
                    let at = (number * PANEL + row) * width + start;
                    let own = matrix.get(at..).unwrap_or_default();
                    if columns - start >= STRIP && own.len() >= STRIP {
                        for (value, own) in panel.iter_mut().zip(&own[..STRIP]) {
                            *value = own.to_f32();
                        }
                    } else {
                        for (value, own) in panel.iter_mut().zip(own).take(columns - start) {
                            *value = own.to_f32();
                        }
                    }
                }
                for row in 0..PANEL {
                    prefetch(matrix, ((number + 1) * PANEL + row) * width + start);
                }
                for (row, x) in x.iter().enumerate() {
                    let (x, sums) = (&x[number], &mut sums[row * stride + start..][..STRIP]);
                    for (column, sum) in sums.iter_mut().enumerate() {
                        let mut value = *sum;
                        for (x, panel) in x.iter().zip(&panel) {
                            value = match target_cfg_f!(target_feature = "fma") {
                                true => x.mul_add(panel[column], value),
                                false => x * panel[column] + value,
                            };
                        }
                        *sum = value;
                    }
                }
            }
        }
    }
}

/// Prefetches the strip that begins `at`.
#[inline(always)]
fn prefetch<T: Element>(matrix: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(strip) = matrix.get(at..at + STRIP) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        const LINE: usize = 64;
        for value in strip.iter().step_by(LINE / size_of::<T>()) {
            // SAFETY: the instruction is in every x86-64 processor, and reads nothing.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
        }
    }
}
