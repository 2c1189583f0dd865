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
    let inverse = normalize(
        gamma,
        beta,
        out,
        normalized,
        sum,
        start,
        width,
        epsilon,
        &mut shared,
        units,
    );
    if unit == 0 {
        inverse_std[row] = inverse;
    }
}

/// Normalises a row, whose values are in `normalized` and whose units have these sums: gives 1/σ.
#[cube]
fn normalize(
    gamma: &Array<f32>,
    beta: &Array<f32>,
    out: &mut Array<f32>,
    normalized: &mut Array<f32>,
    sum: f32,
    start: usize,
    width: usize,
    epsilon: f32,
    shared: &mut SharedMemory<f32>,
    #[comptime] units: u32,
) -> f32 {
    let mean = sum_units(sum, shared, units) / f32::cast_from(width as u32);
    let mut squares = 0.0f32.runtime();
    let mut column = UNIT_POS as usize;
    while column < width {
        let centred = normalized[start + column] - mean;
        squares += centred * centred;
        column += units as usize;
    }
    let variance = sum_units(squares, shared, units) / f32::cast_from(width as u32);
    let inverse = 1.0f32 / (variance + epsilon).sqrt();

    let mut column = UNIT_POS as usize;
    while column < width {
        let index = start + column;
        let value = (normalized[index] - mean) * inverse;
        normalized[index] = value;
        out[index] = value * gamma[column] + beta[column];
        column += units as usize;
    }
    inverse
}

#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn layer_norm(
    x: &Array<f32>,
    gamma: &Array<f32>,
    beta: &Array<f32>,
    out: &mut Array<f32>,
    normalized: &mut Array<f32>,
    inverse_std: &mut Array<f32>,
    rows: usize,
    width: usize,
    epsilon: f32,
    #[comptime] units: u32,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut shared = SharedMemory::<f32>::new(units as usize);
    let start = row * width;
    let mut sum = 0.0f32.runtime();
    let mut column = UNIT_POS as usize;
    while column < width {
        let value = x[start + column];
        normalized[start + column] = value;
        sum += value;
        column += units as usize;
    }
    let inverse = normalize(
        gamma,
        beta,
        out,
        normalized,
        sum,
        start,
        width,
        epsilon,
        &mut shared,
        units,
    );
    if UNIT_POS == 0u32 {
        inverse_std[row] = inverse;
    }
}

/// An element of a gradient that may be the sum of two.
#[cube]
pub(super) fn grad_at(
    grad: &Array<f32>,
    second: &Array<f32>,
    index: usize,
    #[comptime] has_second: bool,
) -> f32 {
    let mut value = grad[index];
    if comptime!(has_second) {
        value += second[index];
    }
    value
}

/// Gradients by the residual and by the branch.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn residual_norm_backward<N: Float>(
    grad: &Array<f32>,
    second: &Array<f32>,
    normalized: &Array<f32>,
    inverse_std: &Array<f32>,
    gamma: &Array<f32>,
    residual: &mut Array<f32>,
    branch: &mut Array<N>,
    rows: usize,
    width: usize,
    dropout: DropKey,
    #[comptime] has_second: bool,
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
        let scaled = grad_at(grad, second, start + column, has_second) * gamma[column];
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
        let scaled = grad_at(grad, second, index, has_second) * gamma[column];
        let value = (scaled - mean - normalized[index] * slope) * inverse;
        residual[index] = value;
        branch[index] = N::cast_from(drop_one(value, index, &dropout));
        column += step;
    }
}
