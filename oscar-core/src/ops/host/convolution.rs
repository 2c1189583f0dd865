//! Convolutions: of all channels as a product with the patches of the map, of groups directly.

use burn::tensor::{Shape, Tensor};
use multiversion::target::target_cfg_f;
use rayon::prelude::*;

use super::element::Element;
use super::{HostBackend, dense, for_each_block, simd, width, wrap};
use crate::ops::ConvolutionParams;

/// Values of the patches that are made at a time: 32 MiB of them.
const PATCHES: usize = 8 << 20;

/// Cells of a row that are summed at once, so that their sums stay in registers.
const CELLS: usize = 7;

/// `x + bias` with `residual` added, and its ReLU if `rectify`.
pub(super) fn finish_rows<T: Element, H: HostBackend>(
    x: Tensor<H, 2>,
    bias: Tensor<H, 1>,
    residual: Option<Tensor<H, 2>>,
    rectify: bool,
) -> Tensor<H, 2> {
    let (mut x, bias) = (dense(x), dense(bias));
    let residual = residual.map(dense);
    let residual = residual.as_ref().map(H::values::<T>);
    let (width, bias) = (width::<H>(&x), H::values::<f32>(&bias));
    for_each_block(H::values_mut::<T>(&mut x), width, |range, rows| {
        finish(rows, bias, residual.map(|values| &values[range]), rectify);
    });
    wrap(x)
}

simd! {
    fn finish<T: Element>(rows: &mut [T], bias: &[f32], residual: Option<&[T]>, rectify: bool) {
        let least = if rectify { 0.0 } else { f32::NEG_INFINITY };
        match residual {
            None => {
                for row in rows.chunks_exact_mut(bias.len()) {
                    for (value, bias) in row.iter_mut().zip(bias) {
                        *value = T::from_f32((value.to_f32() + bias).max(least));
                    }
                }
            }
            Some(residual) => {
                let rows = rows.chunks_exact_mut(bias.len());
                for (row, residual) in rows.zip(residual.chunks_exact(bias.len())) {
                    for ((value, bias), residual) in row.iter_mut().zip(bias).zip(residual) {
                        let sum = value.to_f32() + bias + residual.to_f32();
                        *value = T::from_f32(sum.max(least));
                    }
                }
            }
        }
    }
}

/// A map with its padding, and the geometry of a convolution of it.
struct Map<'a> {
    /// `[batch, height, width, channels]`
    values: &'a [f32],
    height: usize,
    width: usize,
    channels: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    /// Rows and cells of a row of the result, in one picture.
    out: [usize; 2],
}

impl Map<'_> {
    /// The first value of the cells that row `row` of the result reads with row `y` of the kernel.
    fn row(&self, row: usize, y: usize) -> usize {
        let (picture, row) = (row / self.out[0], row % self.out[0]);
        let row = picture * self.height + row * self.stride + y * self.dilation;
        row * self.width * self.channels
    }
}

/// See [`Kernels::convolution`](crate::ops::Kernels::convolution); f32.
pub(super) fn convolution<H: HostBackend>(
    x: Tensor<H, 4>,
    params: &ConvolutionParams<H>,
    residual: Option<Tensor<H, 4>>,
    rectify: bool,
) -> Tensor<H, 4> {
    let [batch, height, width, channels] = x.dims();
    let [kernel, _, per_group, out] = params.weight.dims();
    let (padding, reach) = (params.padding(), params.dilation * (kernel - 1));
    let size = |side: usize| (side + 2 * padding - reach - 1) / params.stride + 1;
    let (out_height, out_width) = (size(height), size(width));
    let x = dense(x);
    let padded = pad(H::values(&x), [batch, height, width, channels], padding);
    let map = Map {
        values: &padded,
        height: height + 2 * padding,
        width: width + 2 * padding,
        channels,
        kernel,
        stride: params.stride,
        dilation: params.dilation,
        out: [out_height, out_width],
    };
    let rows = batch * out_height * out_width;
    let product = match params.groups {
        1 => by_patches(&map, batch, params),
        groups => {
            let weight = dense(params.weight.clone());
            let weight = by_group(H::values(&weight), groups, out);
            let mut product = H::allocate::<f32>(Shape::from([rows, out]));
            let of_row = H::values_mut::<f32>(&mut product).par_chunks_mut(out_width * out);
            of_row.enumerate().for_each(|(row, sums)| {
                grouped_row(&map, row, &weight, (groups, per_group), sums);
            });
            wrap(product)
        }
    };
    let residual = residual.map(|residual| residual.reshape([rows, out]));
    finish_rows::<f32, H>(product, params.bias.clone(), residual, rectify)
        .reshape([batch, out_height, out_width, out])
}

/// The map with zeros around each picture.
fn pad(values: &[f32], [batch, height, width, channels]: [usize; 4], padding: usize) -> Vec<f32> {
    let row = (width + 2 * padding) * channels;
    let mut out = vec![0.0; batch * (height + 2 * padding) * row];
    let rows = out.par_chunks_mut(row).enumerate();
    rows.for_each(|(number, out)| {
        let (picture, y) = (
            number / (height + 2 * padding),
            number % (height + 2 * padding),
        );
        if (padding..padding + height).contains(&y) {
            let at = (picture * height + y - padding) * width * channels;
            let own = &values[at..][..width * channels];
            out[padding * channels..][..own.len()].copy_from_slice(own);
        }
    });
    out
}

/// The product of the weights with the patches of the map: what the kernel reads for each cell.
fn by_patches<H: HostBackend>(
    map: &Map<'_>,
    batch: usize,
    params: &ConvolutionParams<H>,
) -> Tensor<H, 2> {
    let [out_height, out_width] = map.out;
    let [kernel, _, channels, out] = params.weight.dims();
    let inner = kernel * kernel * channels;
    let weight = params.weight.clone().reshape([inner, out]);
    let rows = batch * out_height;
    let at_once = (PATCHES / (out_width * inner)).max(1);
    let products = (0..rows).step_by(at_once).map(|start| {
        let count = at_once.min(rows - start);
        let mut patches = H::allocate::<f32>(Shape::from([count * out_width, inner]));
        let of_row = H::values_mut::<f32>(&mut patches).par_chunks_mut(out_width * inner);
        of_row.enumerate().for_each(|(row, patches)| {
            let from = (0..kernel).map(|y| map.row(start + row, y));
            let from: Vec<usize> = from.collect();
            for (x, patch) in patches.chunks_exact_mut(inner).enumerate() {
                let cells = patch.chunks_exact_mut(channels).enumerate();
                for (cell, values) in cells {
                    let (y, dx) = (cell / kernel, cell % kernel);
                    let at = from[y] + (x * map.stride + dx * map.dilation) * channels;
                    values.copy_from_slice(&map.values[at..][..channels]);
                }
            }
        });
        wrap::<H, 2>(patches).matmul(weight.clone())
    });
    let mut products: Vec<Tensor<H, 2>> = products.collect();
    match products.len() {
        1 => products.remove(0),
        _ => Tensor::cat(products, 0),
    }
}

/// Weights `[kernel * kernel * in / groups, out]` as `[groups, kernel * kernel * in / groups,
/// out / groups]`.
fn by_group(weight: &[f32], groups: usize, out: usize) -> Vec<f32> {
    let own = out / groups;
    let mut turned = Vec::with_capacity(weight.len());
    for group in 0..groups {
        for row in weight.chunks_exact(out) {
            turned.extend_from_slice(&row[group * own..][..own]);
        }
    }
    turned
}

simd! {
    /// The sums of row `row` of the result, `[cells, out]`, group by group.
    fn grouped_row(
        map: &Map<'_>,
        row: usize,
        weight: &[f32],
        groups: (usize, usize),
        sums: &mut [f32],
    ) {
        match target_cfg_f!(target_feature = "fma") {
            true => each_group::<true>(map, row, weight, groups, sums),
            false => each_group::<false>(map, row, weight, groups, sums),
        }
    }
}

/// See [`grouped_row`]; `FMA` says whether the processor multiplies and adds at once.
#[inline(always)]
fn each_group<const FMA: bool>(
    map: &Map<'_>,
    row: usize,
    weight: &[f32],
    (groups, per_group): (usize, usize),
    sums: &mut [f32],
) {
    let out = sums.len() / map.out[1];
    let own = out / groups;
    let inner = map.kernel * map.kernel * per_group;
    for group in 0..groups {
        let weight = &weight[group * inner * own..][..inner * own];
        let mut channel = 0;
        while channel < own {
            let part = Part {
                weight: &weight[channel..],
                stride: own,
                from: group * per_group,
                per_group,
                to: group * own + channel,
                out,
            };
            channel += match own - channel {
                64.. => add_row::<64, FMA>(map, row, &part, sums),
                16.. => add_row::<16, FMA>(map, row, &part, sums),
                8.. => add_row::<8, FMA>(map, row, &part, sums),
                _ => add_row::<1, FMA>(map, row, &part, sums),
            };
        }
    }
}

/// Sums `N` output channels of a row, and returns how many these are.
#[inline(always)]
fn add_row<const N: usize, const FMA: bool>(
    map: &Map<'_>,
    row: usize,
    part: &Part<'_>,
    sums: &mut [f32],
) -> usize {
    let cells = map.out[1];
    let whole = cells / CELLS * CELLS;
    for start in (0..whole).step_by(CELLS) {
        add_cells::<N, CELLS, FMA>(map, row, start, part, sums);
    }
    for start in whole..cells {
        add_cells::<N, 1, FMA>(map, row, start, part, sums);
    }
    N
}

/// Some output channels of a group.
struct Part<'a> {
    /// Their weights; each row of the matrix is `stride` after the one before.
    weight: &'a [f32],
    stride: usize,
    /// The group's first input channel, and how many it has.
    from: usize,
    per_group: usize,
    /// The first output channel, and how many a cell has.
    to: usize,
    out: usize,
}

/// Sums `N` output channels of `X` cells that begin with `start`.
#[inline(always)]
fn add_cells<const N: usize, const X: usize, const FMA: bool>(
    map: &Map<'_>,
    row: usize,
    start: usize,
    part: &Part<'_>,
    sums: &mut [f32],
) {
    let mut held = [[0.0_f32; N]; X];
    let apart = map.stride * map.channels;
    for y in 0..map.kernel {
        let own = map.row(row, y) + part.from;
        for x in 0..map.kernel {
            let at = own + (start * map.stride + x * map.dilation) * map.channels;
            let cells: [&[f32]; X] =
                std::array::from_fn(|cell| &map.values[at + cell * apart..][..part.per_group]);
            let first = (y * map.kernel + x) * part.per_group;
            let rows = part.weight[first * part.stride..].chunks(part.stride);
            for (channel, row) in (0..part.per_group).zip(rows) {
                let Some(weight) = row.first_chunk::<N>() else {
                    continue;
                };
                for cell in 0..X {
                    let value = cells[cell][channel];
                    for at in 0..N {
                        held[cell][at] = match FMA {
                            true => value.mul_add(weight[at], held[cell][at]),
                            false => value * weight[at] + held[cell][at],
                        };
                    }
                }
            }
        }
    }
    for (cell, held) in held.iter().enumerate() {
        sums[(start + cell) * part.out + part.to..][..N].copy_from_slice(held);
    }
}
