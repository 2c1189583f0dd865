//! The kernels. A *row* kernel gives each row a cube, whose units share the row's columns out among
//! them; a *column* kernel gives each unit one column of a few rows.
//!
//! Arrays are dense and row-major. `N` is f32 or bf16; all sums are f32.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use burn_cubecl::cubecl;
use cubecl::prelude::*;

/// Units of a column kernel's cube.
pub(super) const COLUMNS: u32 = 128;

/// 1 / sqrt(2 pi)
const DENSITY: f32 = 0.5 * FRAC_1_SQRT_2 * FRAC_2_SQRT_PI;

/// [`KeyedDropout`](crate::ops::KeyedDropout) on the device. The hash is that of `host/math.rs`.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub(super) struct DropKey {
    key_high: u32,
    key_low: u32,
    /// Elements whose hash is below this are dropped.
    threshold: u32,
    scale: f32,
}

/// What becomes of element `index` of value `x`.
#[cube]
pub(super) fn drop_one(x: f32, index: usize, dropout: &DropKey) -> f32 {
    let mut hash = ((index as u32) * 0x9e37_79b9u32) ^ dropout.key_high;
    hash ^= hash >> 16u32;
    hash = hash * 0x85eb_ca6bu32 + dropout.key_low;
    hash ^= hash >> 13u32;
    hash *= 0xc2b2_ae35u32;
    hash ^= hash >> 16u32;
    if hash < dropout.threshold {
        0.0f32.runtime()
    } else {
        x * dropout.scale
    }
}

/// The sum of what the units of a cube hold; `units` is a power of two.
#[cube]
pub(super) fn sum_units(value: f32, shared: &mut SharedMemory<f32>, #[comptime] units: u32) -> f32 {
    let unit = UNIT_POS;
    shared[unit as usize] = value;
    sync_cube();
    let mut half = (units / 2).runtime();
    while half > 0u32 {
        if unit < half {
            let other = shared[(unit + half) as usize];
            shared[unit as usize] += other;
        }
        sync_cube();
        half /= 2u32;
    }
    let total = shared[0];
    // Nobody writes again before all have read.
    sync_cube();
    total
}

#[cube]
fn normal_cdf(x: f32) -> f32 {
    0.5f32 + 0.5f32 * Erf::erf(x * FRAC_1_SQRT_2)
}

#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn apply_dropout<N: Float>(
    x: &Array<N>,
    out: &mut Array<N>,
    len: usize,
    dropout: DropKey,
    #[define(N)] _dtype: StorageType,
) {
    let index = ABSOLUTE_POS;
    if index >= len {
        terminate!();
    }
    out[index] = N::cast_from(drop_one(f32::cast_from(x[index]), index, &dropout));
}

#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn bias_gelu<N: Float>(
    product: &Array<N>,
    bias: &Array<f32>,
    out: &mut Array<N>,
    len: usize,
    width: usize,
    #[define(N)] _dtype: StorageType,
) {
    let index = ABSOLUTE_POS;
    if index >= len {
        terminate!();
    }
    let x = f32::cast_from(product[index]) + bias[index % width];
    out[index] = N::cast_from(x * normal_cdf(x));
}

/// Gradients by the product and, summed over each block of rows, by the bias.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn bias_gelu_backward<N: Float>(
    product: &Array<N>,
    bias: &Array<f32>,
    grad: &Array<N>,
    out: &mut Array<N>,
    bias_sums: &mut Array<f32>,
    rows: usize,
    width: usize,
    block_rows: usize,
    #[define(N)] _dtype: StorageType,
) {
    let column = ABSOLUTE_POS_X as usize;
    if column >= width {
        terminate!();
    }
    let block = CUBE_POS_Y as usize;
    let first = block * block_rows;
    let end = min(first + block_rows, rows);
    let bias_value = bias[column];
    let mut sum = 0.0f32.runtime();
    for row in first..end {
        let index = row * width + column;
        let x = f32::cast_from(product[index]) + bias_value;
        let density = DENSITY * (x * x * -0.5f32).exp();
        let grad = f32::cast_from(grad[index]) * (normal_cdf(x) + x * density);
        out[index] = N::cast_from(grad);
        sum += grad;
    }
    bias_sums[block * width + column] = sum;
}

#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn gather_rows<N: Float, I: Int>(
    x: &Array<N>,
    index: &Array<I>,
    out: &mut Array<N>,
    len: usize,
    rows: usize,
    width: usize,
    #[define(N, I)] _dtypes: [StorageType; 2],
) {
    let position = ABSOLUTE_POS;
    if position >= len {
        terminate!();
    }
    let row = u32::cast_from(index[position / width]) as usize;
    let mut value = N::cast_from(0.0f32);
    if row < rows {
        value = x[row * width + position % width];
    }
    out[position] = value;
}

/// The `k` largest values of each row after their columns: `[rows, 2, k]`. Each round finds the
/// largest of those that come after the one before, by value and then by column.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn top_k(
    x: &Array<f32>,
    out: &mut Array<f32>,
    rows: usize,
    width: usize,
    k: usize,
    #[comptime] units: u32,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut values = SharedMemory::<f32>::new(units as usize);
    let mut columns = SharedMemory::<u32>::new(units as usize);
    let unit = UNIT_POS;
    let none = width as u32;
    let mut last_value = 0.0f32.runtime();
    let mut last_column = none;

    for round in 0..k {
        let mut best_value = 0.0f32.runtime();
        let mut best_column = none;
        let mut column = unit;
        while column < none {
            let value = x[row * width + column as usize];
            let after = value < last_value || (value == last_value && column > last_column);
            let candidate = !value.is_nan() && (round == 0 || after);
            if candidate && (best_column == none || value > best_value) {
                best_value = value;
                best_column = column;
            }
            column += units;
        }
        values[unit as usize] = best_value;
        columns[unit as usize] = best_column;
        sync_cube();
        let mut half = (units / 2).runtime();
        while half > 0u32 {
            if unit < half {
                let mine = columns[unit as usize];
                let other = columns[(unit + half) as usize];
                let value = values[unit as usize];
                let other_value = values[(unit + half) as usize];
                let better =
                    other_value > value || (other_value == value && other < mine) || mine == none;
                if other != none && better {
                    values[unit as usize] = other_value;
                    columns[unit as usize] = other;
                }
            }
            sync_cube();
            half /= 2u32;
        }
        // Only where nothing compares, as NaN does not, is there none.
        last_column = min(columns[0], none - 1u32);
        last_value = x[row * width + last_column as usize];
        sync_cube();
        if unit == 0u32 {
            let start = row * 2 * k + round;
            out[start] = f32::cast_from(last_column);
            out[start + k] = last_value;
        }
    }
}
