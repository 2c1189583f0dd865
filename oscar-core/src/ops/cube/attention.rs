//! Attention of rows to each other in one launch each way, where that is faster than products.

use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;

use super::launch::{Grid, addresses, drop_key, is_empty, launch};
use super::tile_kernels::{AttentionSizesLaunch, OWN, SIDE};
use super::{CubeOps, argument};
use crate::ops::backend::{primitive, tensor};
use crate::ops::precision::to;
use crate::ops::shapes::check_shape;
use crate::ops::{AttendedTiles, HeadLayout, MOST_TILED_SCORES, RowAttention};

/// The widest head that the tiles of a cube have room for.
const WIDEST: usize = 64;

/// Units of a cube.
const UNITS: usize = SIDE * SIDE;

/// Bytes of memory that the units of a cube must share.
const SHARED: usize = 32 << 10;

/// Whether the kernels can do this attention and should.
pub(super) fn fits<B: CubeOps>(width: usize, layout: &HeadLayout<B>, device: &B::Device) -> bool {
    let [batch, heads, seq, size] = layout.shape(width);
    let client = B::client(device);
    let hardware = &client.properties().hardware;
    size <= WIDEST
        && batch * heads * seq * seq <= MOST_TILED_SCORES
        && hardware.max_shared_memory_size >= SHARED
        && hardware.max_units_per_cube as usize >= UNITS
}

/// Number of cubes that own the positions of all heads.
fn cubes([batch, heads, seq, _]: [usize; 4]) -> usize {
    batch * heads * seq.div_ceil(OWN)
}

pub(super) fn attend<B: CubeOps>(
    x: Tensor<B, 2>,
    biases: [Tensor<B, 1>; 3],
    params: &RowAttention<B>,
) -> AttendedTiles<B> {
    use super::attend_kernels as kernels;

    let ([rows, width], dtype) = (x.dims(), x.dtype());
    let width = width / 3;
    let shape @ [batch, heads, seq, size] = params.keys.shape(width);
    let (row_of, index_dtype) = argument(params.keys.rows.device.clone());
    let ((query_row_of, _), (query_position_of, _)) = (
        argument(params.queries.rows.device.clone()),
        argument(params.queries.places.device.clone()),
    );
    let ([query_rows], mask) = (query_position_of.dims(), params.mask.clone());
    let [_, _, mask_queries, _] = mask.dims();
    let (count, dropout, scale) = (cubes(shape), params.dropout.key(), params.scale as f32);
    let (kept, [query_bias, key_bias, value_bias]) = ((x.clone(), biases.clone()), biases);
    let [out, softmaxes] = launch!(
        attend(
            x: [rows, 3 * width],
            query_bias: [width], key_bias: [width], value_bias: [width],
            mask: [batch, 1, mask_queries, seq],
            row_of: [batch * seq], query_row_of: [batch * seq], query_position_of: [query_rows]
        ) -> (out: [query_rows, width] as dtype, softmaxes: [batch, heads, seq, 2] as DType::F32),
        Grid::Cubes(count, UNITS), |_| (
            count,
            batch * seq,
            AttentionSizesLaunch::new(heads, seq, rows, query_rows, mask_queries, scale),
            drop_key(dropout),
            size,
            [dtype.into(), index_dtype.into()]
        )
    );
    let (x, biases) = kept;
    AttendedTiles {
        x,
        biases,
        output: tensor(out),
        softmaxes: tensor(softmaxes),
    }
}

pub(super) fn attend_backward<B: CubeOps>(
    grad: Tensor<B, 2>,
    kept: AttendedTiles<B>,
    params: &RowAttention<B>,
) -> Tensor<B, 2> {
    use super::attend_backward_kernels as kernels;

    let AttendedTiles {
        x,
        biases: [query_bias, key_bias, value_bias],
        output: out,
        softmaxes,
    } = kept;
    let ([rows, width], dtype) = (x.dims(), x.dtype());
    let width = width / 3;
    let shape @ [batch, heads, seq, size] = params.keys.shape(width);
    let (row_of, index_dtype) = argument(params.keys.rows.device.clone());
    let ((query_row_of, _), (position_of, _)) = (
        argument(params.queries.rows.device.clone()),
        argument(params.keys.places.device.clone()),
    );
    let ([query_rows], mask) = (params.queries.places.device.dims(), params.mask.clone());
    let [_, _, mask_queries, _] = mask.dims();
    let (count, dropout, scale) = (2 * cubes(shape), params.dropout.key(), params.scale as f32);
    let grad = to(grad, dtype);
    let [by_x] = launch!(
        attend_backward(
            grad: [query_rows, width], out: [query_rows, width], softmaxes: [batch, heads, seq, 2],
            x: [rows, 3 * width],
            query_bias: [width], key_bias: [width], value_bias: [width],
            mask: [batch, 1, mask_queries, seq],
            row_of: [batch * seq], query_row_of: [batch * seq], position_of: [rows]
        ) -> (by_x: [rows, 3 * width] as dtype),
        Grid::Cubes(count, UNITS), |_| (
            count,
            batch * seq,
            AttentionSizesLaunch::new(heads, seq, rows, query_rows, mask_queries, scale),
            drop_key(dropout),
            size,
            [dtype.into(), index_dtype.into()]
        )
    );
    tensor(by_x)
}
