//! Sums over all rows of a matrix, in one launch each.

use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;

use super::CubeOps;
use super::launch::{Grid, addresses, drop_key, is_empty, launch};
use super::sum_kernels as kernels;
use crate::ops::KeyedDropout;
use crate::ops::backend::{primitive, tensor};
use crate::ops::shapes::check_shape;

pub(super) fn column_sums<B: CubeOps>(x: Tensor<B, 2>) -> Tensor<B, 1> {
    let ([rows, width], dtype) = (x.dims(), x.dtype());
    let [sums] = launch!(
        column_sums(x: [rows, width]) -> (sums: [width] as DType::F32),
        Grid::ColumnGroups(width), |units| (rows, width, units as usize, dtype.into())
    );
    tensor(sums)
}

pub(super) fn three_column_sums<B: CubeOps>(x: Tensor<B, 2>) -> [Tensor<B, 1>; 3] {
    let ([rows, all], dtype) = (x.dims(), x.dtype());
    let width = all / 3;
    let sums = launch!(
        three_column_sums(x: [rows, 3 * width]) -> (
            first: [width] as DType::F32,
            second: [width] as DType::F32,
            third: [width] as DType::F32
        ),
        Grid::ColumnGroups(all), |units| (rows, width, units as usize, dtype.into())
    );
    sums.map(tensor)
}

/// The gradients by bias, gamma and beta of a LayerNorm whose branch has this dropout, from the normalised
/// rows and the gradient by the residual.
pub(super) fn norm_column_sums<B: CubeOps>(
    [grad, second]: [Tensor<B, 2>; 2],
    has_second: bool,
    [normalized, by_residual]: [Tensor<B, 2>; 2],
    dropout: KeyedDropout,
) -> [Tensor<B, 1>; 3] {
    let [rows, width] = grad.dims();
    let sums = launch!(
        norm_column_sums(
            grad: [rows, width], second: [rows, width],
            normalized: [rows, width], by_residual: [rows, width]
        ) -> (
            bias: [width] as DType::F32,
            gamma: [width] as DType::F32,
            beta: [width] as DType::F32
        ),
        Grid::ColumnGroups(width),
        |units| (rows, width, drop_key(dropout), has_second, units as usize)
    );
    sums.map(tensor)
}
