//! The kernels of [`norm`](super::norm).

use burn_cubecl::cubecl;
use cubecl::prelude::*;

use super::kernels::{DropKey, drop_one, sum_units};

#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn residual_norm<N: Float>(
    product: &Array<N>,
    residual: &Array<f32>,
    bias: &Array<f32>,
    gamma: &Array<f32>,
    beta: &Array<f32>,
    out: &mut Array<f32>,
    normalized: &mut Array<f32>,
    inverse_std: &mut Array<f32>,
    rows: usize,
    width: usize,
    epsilon: f32,
    dropout: DropKey,
    #[comptime] units: u32,
    #[define(N)] _dtype: StorageType,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut shared = SharedMemory::<f32>::new(units as usize);
    let start = row * width;
    let unit = UNIT_POS as usize;
    let step = units as usize;

    // Each unit reads again only what it wrote itself.
    let mut sum = 0.0f32.runtime();
    let mut column = unit;
    while column < width {
        let index = start + column;
        let branch = f32::cast_from(product[index]) + bias[column];
        let x = drop_one(branch, index, &dropout) + residual[index];
        normalized[index] = x;
        sum += x;
        column += step;
    }
    let mean = sum_units(sum, &mut shared, units) / f32::cast_from(width as u32);

    let mut squares = 0.0f32.runtime();
    let mut column = unit;
    while column < width {
        let centred = normalized[start + column] - mean;
        squares += centred * centred;
        column += step;
    }
    let variance = sum_units(squares, &mut shared, units) / f32::cast_from(width as u32);
    let inverse = 1.0f32 / (variance + epsilon).sqrt();

    let mut column = unit;
    while column < width {
        let index = start + column;
        let value = (normalized[index] - mean) * inverse;
        normalized[index] = value;
        out[index] = value * gamma[column] + beta[column];
        column += step;
    }
    if unit == 0 {
        inverse_std[row] = inverse;
    }
}

/// Gradients by the residual and, unless it is the same tensor, by the branch.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn residual_norm_backward<N: Float>(
    grad: &Array<f32>,
    normalized: &Array<f32>,
    inverse_std: &Array<f32>,
    gamma: &Array<f32>,
    residual: &mut Array<f32>,
    branch: &mut Array<N>,
    rows: usize,
    width: usize,
    dropout: DropKey,
    #[comptime] units: u32,
    #[define(N)] _dtype: StorageType,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut shared = SharedMemory::<f32>::new(units as usize);
    let start = row * width;
    let unit = UNIT_POS as usize;
    let step = units as usize;

    let mut mean = 0.0f32.runtime();
    let mut slope = 0.0f32.runtime();
    let mut column = unit;
    while column < width {
        let scaled = grad[start + column] * gamma[column];
        mean += scaled;
        slope += scaled * normalized[start + column];
        column += step;
    }
    let mean = sum_units(mean, &mut shared, units) / f32::cast_from(width as u32);
    let slope = sum_units(slope, &mut shared, units) / f32::cast_from(width as u32);
    let inverse = inverse_std[row];

    let mut column = unit;
    while column < width {
        let index = start + column;
        let scaled = grad[index] * gamma[column];
        let value = (scaled - mean - normalized[index] * slope) * inverse;
        residual[index] = value;
        branch[index] = N::cast_from(drop_one(value, index, &dropout));
        column += step;
    }
}

/// Sums over each block of rows of the gradients by bias, gamma and beta: `[blocks, 3, width]`.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn norm_column_sums(
    grad: &Array<f32>,
    normalized: &Array<f32>,
    residual: &Array<f32>,
    sums: &mut Array<f32>,
    rows: usize,
    width: usize,
    block_rows: usize,
    dropout: DropKey,
) {
    let column = ABSOLUTE_POS_X as usize;
    if column >= width {
        terminate!();
    }
    let block = CUBE_POS_Y as usize;
    let first = block * block_rows;
    let end = min(first + block_rows, rows);
    let mut bias = 0.0f32.runtime();
    let mut gamma = 0.0f32.runtime();
    let mut beta = 0.0f32.runtime();
    for row in first..end {
        let index = row * width + column;
        let value = grad[index];
        bias += drop_one(residual[index], index, &dropout);
        gamma += value * normalized[index];
        beta += value;
    }
    let start = block * 3 * width + column;
    sums[start] = bias;
    sums[start + width] = gamma;
    sums[start + 2 * width] = beta;
}

/// The sums over all blocks of what [`norm_column_sums`] gives: a unit for each of three columns.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn norm_sums(
    sums: &Array<f32>,
    bias: &mut Array<f32>,
    gamma: &mut Array<f32>,
    beta: &mut Array<f32>,
    blocks: usize,
    width: usize,
) {
    let column = ABSOLUTE_POS;
    if column >= 3 * width {
        terminate!();
    }
    let mut sum = 0.0f32.runtime();
    for block in 0..blocks {
        sum += sums[block * 3 * width + column];
    }
    if column < width {
        bias[column] = sum;
    } else if column < 2 * width {
        gamma[column - width] = sum;
    } else {
        beta[column - 2 * width] = sum;
    }
}
