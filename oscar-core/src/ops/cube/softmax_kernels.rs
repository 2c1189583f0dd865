//! The kernels of [`softmax`](super::softmax): a cube for each row.

use burn_cubecl::cubecl;
use cubecl::prelude::*;

use super::kernels::{DropKey, drop_one, sum_units};

/// The largest of what the units of a cube hold.
#[cube]
fn max_units(value: f32, shared: &mut SharedMemory<f32>, #[comptime] units: u32) -> f32 {
    let unit = UNIT_POS;
    shared[unit as usize] = value;
    sync_cube();
    let mut half = (units / 2).runtime();
    while half > 0u32 {
        if unit < half {
            let other = shared[(unit + half) as usize];
            shared[unit as usize] = max(shared[unit as usize], other);
        }
        sync_cube();
        half /= 2u32;
    }
    let largest = shared[0];
    sync_cube();
    largest
}

/// Which row of the mask a row of the scores has.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub(super) struct MaskRows {
    /// Rows of the scores per row of the batch.
    per_batch: usize,
    queries: usize,
    /// 1 or `queries`.
    mask_queries: usize,
}

/// Where a row of scores starts, and its row of the mask.
#[derive(CubeType, Clone, Copy)]
struct ScoreRow {
    start: usize,
    mask_start: usize,
    keys: usize,
    scale: f32,
}

#[cube]
fn score_row(row: usize, keys: usize, mask_rows: &MaskRows, scale: f32) -> ScoreRow {
    let query = (row % mask_rows.queries) % mask_rows.mask_queries;
    let mask_row = row / mask_rows.per_batch * mask_rows.mask_queries + query;
    ScoreRow {
        start: row * keys,
        mask_start: mask_row * keys,
        keys,
        scale,
    }
}

#[cube]
fn score<N: Float>(scores: &Array<N>, mask: &Array<f32>, row: &ScoreRow, key: usize) -> f32 {
    f32::cast_from(scores[row.start + key]) * row.scale + mask[row.mask_start + key]
}

#[cube]
fn largest_score<N: Float>(
    scores: &Array<N>,
    mask: &Array<f32>,
    row: &ScoreRow,
    shared: &mut SharedMemory<f32>,
    #[comptime] units: u32,
) -> f32 {
    let mut largest = score(scores, mask, row, 0usize);
    let mut key = UNIT_POS as usize;
    while key < row.keys {
        largest = max(largest, score(scores, mask, row, key));
        key += units as usize;
    }
    max_units(largest, shared, units)
}

/// The sum of the exponentials of the scores less the `largest`.
#[cube]
fn sum_of_row<N: Float>(
    scores: &Array<N>,
    mask: &Array<f32>,
    row: &ScoreRow,
    largest: f32,
    shared: &mut SharedMemory<f32>,
    #[comptime] units: u32,
) -> f32 {
    let mut sum = 0.0f32.runtime();
    let mut key = UNIT_POS as usize;
    while key < row.keys {
        sum += (score(scores, mask, row, key) - largest).exp();
        key += units as usize;
    }
    sum_units(sum, shared, units)
}

#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn masked_softmax<N: Float>(
    scores: &Array<N>,
    mask: &Array<f32>,
    out: &mut Array<N>,
    rows: usize,
    keys: usize,
    mask_rows: MaskRows,
    scale: f32,
    #[comptime] units: u32,
    #[define(N)] _dtype: StorageType,
) {
    if CUBE_POS >= rows {
        terminate!();
    }
    let mut shared = SharedMemory::<f32>::new(units as usize);
    let row = score_row(CUBE_POS, keys, &mask_rows, scale);
    let largest = largest_score(scores, mask, &row, &mut shared, units);
    let sum = sum_of_row(scores, mask, &row, largest, &mut shared, units);
    let mut key = UNIT_POS as usize;
    while key < keys {
        let value = (score(scores, mask, &row, key) - largest).exp() / sum;
        out[row.start + key] = N::cast_from(value);
        key += units as usize;
    }
}

/// As [`masked_softmax`]; `dropped` is the same after dropout.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn dropped_softmax<N: Float>(
    scores: &Array<N>,
    mask: &Array<f32>,
    out: &mut Array<N>,
    dropped: &mut Array<N>,
    rows: usize,
    keys: usize,
    mask_rows: MaskRows,
    scale: f32,
    dropout: DropKey,
    #[comptime] units: u32,
    #[define(N)] _dtype: StorageType,
) {
    if CUBE_POS >= rows {
        terminate!();
    }
    let mut shared = SharedMemory::<f32>::new(units as usize);
    let row = score_row(CUBE_POS, keys, &mask_rows, scale);
    let largest = largest_score(scores, mask, &row, &mut shared, units);
    let sum = sum_of_row(scores, mask, &row, largest, &mut shared, units);
    let mut key = UNIT_POS as usize;
    while key < keys {
        let index = row.start + key;
        // Rounded before dropout, as by two kernels.
        let value = N::cast_from((score(scores, mask, &row, key) - largest).exp() / sum);
        out[index] = value;
        dropped[index] = N::cast_from(drop_one(f32::cast_from(value), index, &dropout));
        key += units as usize;
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn masked_softmax_backward<N: Float>(
    grad: &Array<N>,
    probabilities: &Array<N>,
    out: &mut Array<N>,
    rows: usize,
    keys: usize,
    scale: f32,
    dropout: DropKey,
    #[comptime] units: u32,
    #[define(N)] _dtype: StorageType,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut shared = SharedMemory::<f32>::new(units as usize);
    let start = row * keys;
    let step = units as usize;

    let mut mean = 0.0f32.runtime();
    let mut index = start + UNIT_POS as usize;
    while index < start + keys {
        let grad = drop_one(f32::cast_from(grad[index]), index, &dropout);
        mean += grad * f32::cast_from(probabilities[index]);
        index += step;
    }
    let mean = sum_units(mean, &mut shared, units);

    let mut index = start + UNIT_POS as usize;
    while index < start + keys {
        let grad = drop_one(f32::cast_from(grad[index]), index, &dropout);
        out[index] = N::cast_from((grad - mean) * f32::cast_from(probabilities[index]) * scale);
        index += step;
    }
}

/// The logarithms of the softmax of each row, and that of its label, negated.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn cross_entropy<I: Int>(
    logits: &Array<f32>,
    labels: &Array<I>,
    losses: &mut Array<f32>,
    logarithms: &mut Array<f32>,
    rows: usize,
    classes: usize,
    #[comptime] units: u32,
    #[define(I)] _dtype: StorageType,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut shared = SharedMemory::<f32>::new(units as usize);
    let start = row * classes;
    let mut largest = logits[start];
    let mut class = UNIT_POS as usize;
    while class < classes {
        largest = max(largest, logits[start + class]);
        class += units as usize;
    }
    let largest = max_units(largest, &mut shared, units);
    let mut sum = 0.0f32.runtime();
    let mut class = UNIT_POS as usize;
    while class < classes {
        sum += (logits[start + class] - largest).exp();
        class += units as usize;
    }
    let log_sum = largest + sum_units(sum, &mut shared, units).ln();
    let label = u32::cast_from(labels[row]) as usize;
    let mut class = UNIT_POS as usize;
    while class < classes {
        let logarithm = logits[start + class] - log_sum;
        logarithms[start + class] = logarithm;
        if class == label {
            losses[row] = -logarithm;
        }
        class += units as usize;
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn cross_entropy_backward<I: Int>(
    logarithms: &Array<f32>,
    labels: &Array<I>,
    grad: &Array<f32>,
    by_logits: &mut Array<f32>,
    len: usize,
    classes: usize,
    #[define(I)] _dtype: StorageType,
) {
    let index = ABSOLUTE_POS;
    if index >= len {
        terminate!();
    }
    let row = index / classes;
    let mut difference = logarithms[index].exp();
    if index % classes == u32::cast_from(labels[row]) as usize {
        difference -= 1.0f32;
    }
    by_logits[index] = difference * grad[row];
}
