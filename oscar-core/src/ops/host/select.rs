//! The largest values of rows, in one pass.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{HostBackend, dense};
use crate::ops::backend::TopK;

/// The `k` largest values of each row; of equal ones the first.
pub(in crate::ops) fn top_k<H: HostBackend>(x: Tensor<H, 2>, k: usize) -> TopK {
    let columns = x.dims()[1].max(1);
    let k = k.min(columns);
    let x = dense(x);
    let rows: Vec<Vec<(u32, f32)>> = H::values::<f32>(&x)
        .par_chunks(columns)
        .map(|row| largest(row, k))
        .collect();
    TopK {
        k,
        entries: rows.concat(),
    }
}

/// Keeps the best so far in order: nearly every value is below the last of them.
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
