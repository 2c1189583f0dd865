//! What lies between the products of self-attention: few launches for query, key and value together.

use burn::tensor::{Shape, Tensor};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;

use super::head_kernels as kernels;
use super::launch::{Grid, addresses, is_empty, launch};
use super::{CubeOps, argument};
use crate::ops::HeadLayout;
use crate::ops::backend::{primitive, tensor};
use crate::ops::shapes::check_shape;

pub(super) fn rows_to_heads<B: CubeOps>(x: Tensor<B, 2>, layout: &HeadLayout<B>) -> Tensor<B, 4> {
    let ([rows, width], dtype) = (x.dims(), x.dtype());
    let (row_of, index_dtype) = argument(layout.rows.device.clone());
    let shape @ [batch, heads, seq, size] = layout.shape(width);
    let [out] = launch!(
        rows_to_heads(x: [rows, width], row_of: [batch * seq]) -> (out: shape as dtype),
        Grid::Elements(batch * seq * width), |_| (
            batch * seq * width,
            rows,
            kernels::HeadSizesLaunch::new(heads, seq, size),
            [dtype.into(), index_dtype.into()]
        )
    );
    tensor(out)
}

pub(super) fn rows_to_three_heads<B: CubeOps>(
    x: Tensor<B, 2>,
    [query_bias, key_bias, value_bias]: [Tensor<B, 1>; 3],
    layout: &HeadLayout<B>,
) -> [Tensor<B, 4>; 3] {
    let ([rows, width], dtype) = (x.dims(), x.dtype());
    let width = width / 3;
    let (row_of, index_dtype) = argument(layout.rows.device.clone());
    let shape @ [batch, heads, seq, size] = layout.shape(width);
    let heads = launch!(
        rows_to_three_heads(
            x: [rows, 3 * width], query_bias: [width], key_bias: [width], value_bias: [width],
            row_of: [batch * seq]
        ) -> (query: shape as dtype, key: shape as dtype, value: shape as dtype),
        Grid::Elements(batch * seq * width), |_| (
            batch * seq * width,
            rows,
            kernels::HeadSizesLaunch::new(heads, seq, size),
            [dtype.into(), index_dtype.into()]
        )
    );
    heads.map(tensor)
}

pub(super) fn heads_to_rows<B: CubeOps>(x: Tensor<B, 4>, layout: &HeadLayout<B>) -> Tensor<B, 2> {
    let ([batch, heads, seq, size], dtype) = (x.dims(), x.dtype());
    let (position_of, index_dtype) = argument(layout.places.device.clone());
    let (shape, [rows], width) = (x.dims(), position_of.dims(), heads * size);
    let [out] = launch!(
        heads_to_rows(x: shape, position_of: [rows]) -> (out: [rows, width] as dtype),
        Grid::Elements(rows * width), |_| (
            rows * width,
            batch * seq,
            kernels::HeadSizesLaunch::new(heads, seq, size),
            [dtype.into(), index_dtype.into()]
        )
    );
    tensor(out)
}

pub(super) fn three_heads_to_rows<B: CubeOps>(
    [query, key, value]: [Tensor<B, 4>; 3],
    layout: &HeadLayout<B>,
) -> Tensor<B, 2> {
    let (shape @ [batch, heads, seq, size], dtype) = (query.dims(), query.dtype());
    let (position_of, index_dtype) = argument(layout.places.device.clone());
    let ([rows], width) = (position_of.dims(), heads * size);
    let [out] = launch!(
        three_heads_to_rows(query: shape, key: shape, value: shape, position_of: [rows])
            -> (out: [rows, 3 * width] as dtype),
        Grid::Elements(rows * width), |_| (
            rows * width,
            batch * seq,
            kernels::HeadSizesLaunch::new(heads, seq, size),
            [dtype.into(), index_dtype.into()]
        )
    );
    tensor(out)
}

pub(super) fn join_columns<B: CubeOps>([first, second, third]: [Tensor<B, 2>; 3]) -> Tensor<B, 2> {
    let ([rows, width], dtype) = (first.dims(), first.dtype());
    let [out] = launch!(
        join_columns(first: [rows, width], second: [rows, width], third: [rows, width])
            -> (out: [rows, 3 * width] as dtype),
        Grid::Elements(rows * width), |_| (rows * width, width, dtype.into())
    );
    tensor(out)
}

pub(super) fn split_columns<B: CubeOps>(x: Tensor<B, 2>) -> [Tensor<B, 2>; 3] {
    let ([rows, all], dtype) = (x.dims(), x.dtype());
    let width = all / 3;
    let parts = launch!(
        split_columns(x: [rows, 3 * width]) -> (
            first: [rows, width] as dtype,
            second: [rows, width] as dtype,
            third: [rows, width] as dtype
        ),
        Grid::Elements(rows * width), |_| (rows * width, width, dtype.into())
    );
    parts.map(tensor)
}
