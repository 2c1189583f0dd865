//! The kernels of [`sums`](super::sums) over all rows of a matrix: a cube for each few columns, whose units
//! share the rows out among them.

use burn_cubecl::cubecl;
use cubecl::prelude::*;

use super::kernels::{DropKey, drop_one};
use super::norm_kernels::grad_at;

/// Columns of a cube: as many values as memory gives at a time.
pub(super) const ACROSS: usize = 16;

/// The sum of what the units of a column hold, for the first of them.
#[cube]
fn sum_column(value: f32, shared: &mut SharedMemory<f32>, #[comptime] units: usize) -> f32 {
    let unit = UNIT_POS as usize;
    shared[unit] = value;
    sync_cube();
    let mut half = comptime!(units / 2).runtime();
    while half >= ACROSS {
        if unit < half {
            let other = shared[unit + half];
            shared[unit] += other;
        }
        sync_cube();
        half /= 2usize;
    }
    let total = shared[unit % ACROSS];
    // Nobody writes again before all have read.
    sync_cube();
    total
}

/// The sums of the columns of a matrix.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn column_sums<N: Float>(
    x: &Array<N>,
    sums: &mut Array<f32>,
    rows: usize,
    width: usize,
    #[comptime] units: usize,
    #[define(N)] _dtype: StorageType,
) {
    let column = CUBE_POS * ACROSS + UNIT_POS as usize % ACROSS;
    let sum = column_sum(x, column, rows, width, units);
    if (UNIT_POS as usize) < ACROSS && column < width {
        sums[column] = sum;
    }
}

/// As [`column_sums`], of three matrices of this width side by side.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn three_column_sums<N: Float>(
    x: &Array<N>,
    first: &mut Array<f32>,
    second: &mut Array<f32>,
    third: &mut Array<f32>,
    rows: usize,
    width: usize,
    #[comptime] units: usize,
    #[define(N)] _dtype: StorageType,
) {
    let column = CUBE_POS * ACROSS + UNIT_POS as usize % ACROSS;
    let sum = column_sum(x, column, rows, 3 * width, units);
    if (UNIT_POS as usize) < ACROSS && column < 3 * width {
        if column < width {
            first[column] = sum;
        } else if column < 2 * width {
            second[column - width] = sum;
        } else {
            third[column - 2 * width] = sum;
        }
    }
}

/// The sum of a column, for the first of its units.
#[cube]
fn column_sum<N: Float>(
    x: &Array<N>,
    column: usize,
    rows: usize,
    width: usize,
    #[comptime] units: usize,
) -> f32 {
    let mut shared = SharedMemory::<f32>::new(units);
    let mut sum = 0.0f32.runtime();
    if column < width {
        let mut row = UNIT_POS as usize / ACROSS;
        while row < rows {
            sum += f32::cast_from(x[row * width + column]);
            row += comptime!(units / ACROSS);
        }
    }
    sum_column(sum, &mut shared, units)
}

/// The gradients by bias, gamma and beta of a LayerNorm with dropout before it.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn norm_column_sums(
    grad: &Array<f32>,
    second: &Array<f32>,
    normalized: &Array<f32>,
    by_residual: &Array<f32>,
    bias: &mut Array<f32>,
    gamma: &mut Array<f32>,
    beta: &mut Array<f32>,
    rows: usize,
    width: usize,
    dropout: DropKey,
    #[comptime] has_second: bool,
    #[comptime] units: usize,
) {
    let mut shared = SharedMemory::<f32>::new(units);
    let column = CUBE_POS * ACROSS + UNIT_POS as usize % ACROSS;
    let mut by_bias = 0.0f32.runtime();
    let mut by_gamma = 0.0f32.runtime();
    let mut by_beta = 0.0f32.runtime();
    if column < width {
        let mut row = UNIT_POS as usize / ACROSS;
        while row < rows {
            let index = row * width + column;
            let value = grad_at(grad, second, index, has_second);
            by_bias += drop_one(by_residual[index], index, &dropout);
            by_gamma += value * normalized[index];
            by_beta += value;
            row += comptime!(units / ACROSS);
        }
    }
    let by_bias = sum_column(by_bias, &mut shared, units);
    let by_gamma = sum_column(by_gamma, &mut shared, units);
    let by_beta = sum_column(by_beta, &mut shared, units);
    if (UNIT_POS as usize) < ACROSS && column < width {
        bias[column] = by_bias;
        gamma[column] = by_gamma;
        beta[column] = by_beta;
    }
}
