//! What the kernels of [`attention`](super::attention) have in common: tiles of positions of one head.
//!
//! A cube has a tile of positions of one head of one sequence, its *own*, and goes through the tiles of
//! the positions that they meet, the *others*. Its units are a square of [`SIDE`] by [`SIDE`]: each
//! computes every [`SIDE`]th row and column of a product of two tiles, and holds them in registers.

use burn_cubecl::cubecl;
use cubecl::prelude::*;

/// Units of a cube in each direction.
pub(super) const SIDE: usize = 8;

/// Own positions of a cube.
pub(super) const OWN: usize = 32;

/// Rows of a product that each unit has.
pub(super) const ROWS: usize = OWN / SIDE;

/// Sizes of what attends, but for the size of a head, which the kernel is compiled for.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub(super) struct AttentionSizes {
    pub(super) heads: usize,
    pub(super) seq: usize,
    /// Rows of query, key and value.
    pub(super) rows: usize,
    /// Rows of the result.
    pub(super) query_rows: usize,
    /// 1 or `seq`.
    pub(super) mask_queries: usize,
    pub(super) scale: f32,
}

/// A head of a sequence.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Head {
    pub(super) batch: usize,
    /// Its first column in a row of the result.
    pub(super) column: usize,
    /// Its number among the heads of all sequences.
    pub(super) number: usize,
    /// Its first own position.
    pub(super) first: usize,
    /// Columns of a row of the result.
    pub(super) width: usize,
    /// Positions of a sequence.
    pub(super) seq: usize,
}

#[cube]
pub(super) fn head_of(cube: usize, sizes: &AttentionSizes, #[comptime] size: usize) -> Head {
    let tiles = (sizes.seq + OWN - 1) / OWN;
    let number = cube / tiles;
    Head {
        batch: number / sizes.heads,
        column: number % sizes.heads * size,
        number,
        first: cube % tiles * OWN,
        width: sizes.heads * size,
        seq: sizes.seq,
    }
}

/// Number of columns of a head that each unit has.
pub(super) fn columns(size: usize) -> usize {
    size.div_ceil(SIDE)
}

/// Distance of the rows of a tile in shared memory: odd, so that a column of them has banks of its own.
pub(super) fn pitch(size: usize) -> usize {
    columns(size) * SIDE + 1
}

/// Which columns of which rows a tile is read from.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Source {
    /// Rows that there are.
    pub(super) rows: usize,
    /// Columns of each.
    pub(super) width: usize,
    /// The first of the head.
    pub(super) column: usize,
    /// Whether a bias is added.
    #[cube(comptime)]
    pub(super) has_bias: bool,
}

/// The columns of a head in query (0), key (1) or value (2) of these rows.
#[cube]
pub(super) fn part(part: usize, rows: usize, head: &Head) -> Source {
    Source {
        rows,
        width: 3 * head.width,
        column: part * head.width + head.column,
        has_bias: true,
    }
}

/// Reads what a head has at the positions from `first` on, plus the bias if it has one: zeros where there is
/// no row.
#[cube]
pub(super) fn load_tile<N: Float, I: Int>(
    x: &Array<N>,
    bias: &Array<f32>,
    row_of: &Array<I>,
    tile: &mut SharedMemory<f32>,
    source: &Source,
    head: &Head,
    first: usize,
    #[comptime] positions: usize,
    #[comptime] size: usize,
) {
    let mut index = UNIT_POS as usize;
    while index < comptime!(positions * size) {
        let position = first + index / size;
        let column = index % size;
        let mut value = 0.0f32.runtime();
        if position < head.seq {
            let row = u32::cast_from(row_of[head.batch * head.seq + position]) as usize;
            if row < source.rows {
                value = f32::cast_from(x[row * source.width + source.column + column]);
                if comptime!(source.has_bias) {
                    value += bias[head.column + column];
                }
            }
        }
        tile[index / size * comptime!(pitch(size)) + column] = value;
        index += comptime!(SIDE * SIDE);
    }
}

/// Reads the keys and values of a tile of positions.
#[cube]
pub(super) fn load_keys<N: Float, I: Int>(
    x: &Array<N>,
    key_bias: &Array<f32>,
    value_bias: &Array<f32>,
    row_of: &Array<I>,
    keys: &mut SharedMemory<f32>,
    values: &mut SharedMemory<f32>,
    rows: usize,
    head: &Head,
    first: usize,
    #[comptime] positions: usize,
    #[comptime] size: usize,
) {
    let key = part(1usize, rows, head);
    load_tile(
        x, key_bias, row_of, keys, &key, head, first, positions, size,
    );
    let value = part(2usize, rows, head);
    load_tile(
        x, value_bias, row_of, values, &value, head, first, positions, size,
    );
}

/// The products of own and other positions of two tiles that this unit has.
#[cube]
pub(super) fn multiply_tiles(
    own: &SharedMemory<f32>,
    others: &SharedMemory<f32>,
    products: &mut Array<f32>,
    #[comptime] across: usize,
    #[comptime] size: usize,
) {
    let own_start = UNIT_POS as usize / SIDE * comptime!(pitch(size));
    let other_start = UNIT_POS as usize % SIDE * comptime!(pitch(size));
    #[unroll]
    for product in 0..comptime!(ROWS * across) {
        products[product] = 0.0f32.runtime();
    }
    let mut own_values = Array::<f32>::new(ROWS);
    for column in 0..size {
        #[unroll]
        for row in 0..ROWS {
            own_values[row] = own[own_start + comptime!(row * SIDE * pitch(size)) + column];
        }
        #[unroll]
        for other in 0..across {
            let value = others[other_start + comptime!(other * SIDE * pitch(size)) + column];
            #[unroll]
            for row in 0..ROWS {
                products[comptime!(row * across + other)] += own_values[row] * value;
            }
        }
    }
}

/// Adds the other positions' values by these weights to those of the own ones.
#[cube]
pub(super) fn add_weighted(
    weights: &SharedMemory<f32>,
    values: &SharedMemory<f32>,
    sums: &mut Array<f32>,
    #[comptime] others: usize,
    #[comptime] size: usize,
) {
    let own_start = UNIT_POS as usize / SIDE * comptime!(others + 1);
    let first = UNIT_POS as usize % SIDE;
    let mut own_weights = Array::<f32>::new(ROWS);
    for other in 0..others {
        #[unroll]
        for row in 0..ROWS {
            own_weights[row] = weights[own_start + comptime!(row * SIDE * (others + 1)) + other];
        }
        #[unroll]
        for column in 0..comptime!(columns(size)) {
            let value = values[other * comptime!(pitch(size)) + first + comptime!(column * SIDE)];
            #[unroll]
            for row in 0..ROWS {
                sums[comptime!(row * columns(size) + column)] += own_weights[row] * value;
            }
        }
    }
}

/// Where the mask and the dropout have a score.
#[cube]
pub(super) fn mask_index(query: usize, key: usize, head: &Head, sizes: &AttentionSizes) -> usize {
    (head.batch * sizes.mask_queries + query % sizes.mask_queries) * sizes.seq + key
}

#[cube]
pub(super) fn score_index(query: usize, key: usize, head: &Head, sizes: &AttentionSizes) -> usize {
    (head.number * sizes.seq + query) * sizes.seq + key
}

/// Writes zeros to the rows that are no position: those that only fill a matrix up.
#[cube]
pub(super) fn clear_rows<N: Float, I: Int>(
    position_of: &Array<I>,
    out: &mut Array<N>,
    cubes: usize,
    rows: usize,
    positions: usize,
    width: usize,
) {
    let mut row = CUBE_POS;
    while row < rows {
        if u32::cast_from(position_of[row]) as usize >= positions {
            let mut column = UNIT_POS as usize;
            while column < width {
                out[row * width + column] = N::cast_from(0.0f32);
                column += comptime!(SIDE * SIDE);
            }
        }
        row += cubes;
    }
}
