//! The kernels of [`heads`](super::heads): one unit for each value of a head, or of a row.
//!
//! A row of a matrix is a position of a sequence, and its columns are the heads' values, one head after
//! the other. What has query, key and value has three such groups of columns.

use burn_cubecl::cubecl;
use cubecl::prelude::*;

/// Sizes of `[batch, heads, seq, size]`.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub(super) struct HeadSizes {
    heads: usize,
    seq: usize,
    size: usize,
}

/// The position `[batch, seq]` of a value of the heads.
#[cube]
fn position_of(index: usize, sizes: &HeadSizes) -> usize {
    let position = index / sizes.size;
    position / (sizes.seq * sizes.heads) * sizes.seq + position % sizes.seq
}

/// The column, in a row, of a value of the heads.
#[cube]
fn column_of(index: usize, sizes: &HeadSizes) -> usize {
    index / (sizes.size * sizes.seq) % sizes.heads * sizes.size + index % sizes.size
}

/// Where the value of a position and column is among those of the heads.
#[cube]
fn index_of(position: usize, column: usize, sizes: &HeadSizes) -> usize {
    let head = position / sizes.seq * sizes.heads + column / sizes.size;
    (head * sizes.seq + position % sizes.seq) * sizes.size + column % sizes.size
}

#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn rows_to_heads<N: Float, I: Int>(
    x: &Array<N>,
    row_of: &Array<I>,
    out: &mut Array<N>,
    len: usize,
    rows: usize,
    sizes: HeadSizes,
    #[define(N, I)] _dtypes: [StorageType; 2],
) {
    let index = ABSOLUTE_POS;
    if index >= len {
        terminate!();
    }
    let row = u32::cast_from(row_of[position_of(index, &sizes)]) as usize;
    let mut value = N::cast_from(0.0f32);
    if row < rows {
        value = x[row * sizes.heads * sizes.size + column_of(index, &sizes)];
    }
    out[index] = value;
}

#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn rows_to_three_heads<N: Float, I: Int>(
    x: &Array<N>,
    query_bias: &Array<f32>,
    key_bias: &Array<f32>,
    value_bias: &Array<f32>,
    row_of: &Array<I>,
    query: &mut Array<N>,
    key: &mut Array<N>,
    value: &mut Array<N>,
    len: usize,
    rows: usize,
    sizes: HeadSizes,
    #[define(N, I)] _dtypes: [StorageType; 2],
) {
    let index = ABSOLUTE_POS;
    if index >= len {
        terminate!();
    }
    let row = u32::cast_from(row_of[position_of(index, &sizes)]) as usize;
    let mut query_value = 0.0f32.runtime();
    let mut key_value = 0.0f32.runtime();
    let mut value_value = 0.0f32.runtime();
    if row < rows {
        let column = column_of(index, &sizes);
        let width = sizes.heads * sizes.size;
        let at = row * 3 * width + column;
        query_value = f32::cast_from(x[at]) + query_bias[column];
        key_value = f32::cast_from(x[at + width]) + key_bias[column];
        value_value = f32::cast_from(x[at + 2 * width]) + value_bias[column];
    }
    query[index] = N::cast_from(query_value);
    key[index] = N::cast_from(key_value);
    value[index] = N::cast_from(value_value);
}

#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn heads_to_rows<N: Float, I: Int>(
    x: &Array<N>,
    position_of: &Array<I>,
    out: &mut Array<N>,
    len: usize,
    positions: usize,
    sizes: HeadSizes,
    #[define(N, I)] _dtypes: [StorageType; 2],
) {
    let index = ABSOLUTE_POS;
    if index >= len {
        terminate!();
    }
    let width = sizes.heads * sizes.size;
    let position = u32::cast_from(position_of[index / width]) as usize;
    let mut value = N::cast_from(0.0f32);
    if position < positions {
        value = x[index_of(position, index % width, &sizes)];
    }
    out[index] = value;
}

#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn three_heads_to_rows<N: Float, I: Int>(
    query: &Array<N>,
    key: &Array<N>,
    value: &Array<N>,
    position_of: &Array<I>,
    out: &mut Array<N>,
    len: usize,
    positions: usize,
    sizes: HeadSizes,
    #[define(N, I)] _dtypes: [StorageType; 2],
) {
    let index = ABSOLUTE_POS;
    if index >= len {
        terminate!();
    }
    let width = sizes.heads * sizes.size;
    let column = index % width;
    let position = u32::cast_from(position_of[index / width]) as usize;
    let mut query_value = N::cast_from(0.0f32);
    let mut key_value = N::cast_from(0.0f32);
    let mut value_value = N::cast_from(0.0f32);
    if position < positions {
        let from = index_of(position, column, &sizes);
        query_value = query[from];
        key_value = key[from];
        value_value = value[from];
    }
    let at = index / width * 3 * width + column;
    out[at] = query_value;
    out[at + width] = key_value;
    out[at + 2 * width] = value_value;
}

/// Three matrices of this width side by side.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn join_columns<N: Float>(
    first: &Array<N>,
    second: &Array<N>,
    third: &Array<N>,
    out: &mut Array<N>,
    len: usize,
    width: usize,
    #[define(N)] _dtype: StorageType,
) {
    let index = ABSOLUTE_POS;
    if index >= len {
        terminate!();
    }
    let at = index / width * 3 * width + index % width;
    out[at] = first[index];
    out[at + width] = second[index];
    out[at + 2 * width] = third[index];
}

/// The inverse of [`join_columns`].
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn split_columns<N: Float>(
    x: &Array<N>,
    first: &mut Array<N>,
    second: &mut Array<N>,
    third: &mut Array<N>,
    len: usize,
    width: usize,
    #[define(N)] _dtype: StorageType,
) {
    let index = ABSOLUTE_POS;
    if index >= len {
        terminate!();
    }
    let at = index / width * 3 * width + index % width;
    first[index] = x[at];
    second[index] = x[at + width];
    third[index] = x[at + 2 * width];
}
