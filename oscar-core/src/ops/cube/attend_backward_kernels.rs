//! The backward kernel of [`attention`](super::attention).

use burn_cubecl::cubecl;
use cubecl::prelude::*;

use super::kernels::{DropKey, drop_one};
use super::tile_kernels::*;

/// Other positions of a tile: as many as shared memory has room for.
const OTHERS: usize = 16;

/// Columns of a tile's scores that each unit has.
const ACROSS: usize = OTHERS / SIDE;

/// The gradient of [`attend`](super::attend_kernels::attend()) by its rows of query, key and value.
///
/// The first half of the cubes have queries for their own, and go through the keys; the others the other
/// way round. Both compute the probabilities again.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(super) fn attend_backward<N: Float, I: Int>(
    grad: &Array<N>,
    out: &Array<N>,
    softmaxes: &Array<f32>,
    x: &Array<N>,
    query_bias: &Array<f32>,
    key_bias: &Array<f32>,
    value_bias: &Array<f32>,
    mask: &Array<f32>,
    row_of: &Array<I>,
    query_row_of: &Array<I>,
    position_of: &Array<I>,
    by_x: &mut Array<N>,
    cubes: usize,
    positions: usize,
    sizes: AttentionSizes,
    dropout: DropKey,
    #[comptime] size: usize,
    #[define(N, I)] _dtypes: [StorageType; 2],
) {
    if CUBE_POS >= cubes {
        terminate!();
    }
    let owns_keys = CUBE_POS >= cubes / 2;
    let head = head_of(CUBE_POS % (cubes / 2), &sizes, size);
    clear_rows(
        position_of,
        by_x,
        cubes,
        sizes.rows,
        positions,
        3 * head.width,
    );

    // Products of the first two are scores, of the second two gradients of probabilities.
    let mut own = SharedMemory::<f32>::new(comptime!(OWN * pitch(size)));
    let mut others = SharedMemory::<f32>::new(comptime!(OTHERS * pitch(size)));
    let mut own_second = SharedMemory::<f32>::new(comptime!(OWN * pitch(size)));
    let mut other_second = SharedMemory::<f32>::new(comptime!(OTHERS * pitch(size)));
    let mut by_scores = SharedMemory::<f32>::new(comptime!(OWN * (OTHERS + 1)));
    let mut dropped = SharedMemory::<f32>::new(comptime!(OWN * (OTHERS + 1)));
    // Of the queries, own or other ones: the largest score, the sum, and what their gradients share.
    let mut softmax_of = SharedMemory::<f32>::new(comptime!(3 * OWN));

    if owns_keys {
        load_keys(
            x,
            key_bias,
            value_bias,
            row_of,
            &mut own,
            &mut own_second,
            sizes.rows,
            &head,
            head.first,
            OWN,
            size,
        );
    } else {
        load_queries(
            x,
            query_bias,
            grad,
            out,
            softmaxes,
            row_of,
            query_row_of,
            &mut own,
            &mut own_second,
            &mut softmax_of,
            &head,
            &sizes,
            head.first,
            OWN,
            size,
        );
    }

    let mut scores = Array::<f32>::new(comptime!(ROWS * ACROSS));
    let mut by_probabilities = Array::<f32>::new(comptime!(ROWS * ACROSS));
    let mut by_own = Array::<f32>::new(comptime!(ROWS * columns(size)));
    let mut by_own_second = Array::<f32>::new(comptime!(ROWS * columns(size)));
    #[unroll]
    for index in 0..comptime!(ROWS * columns(size)) {
        by_own[index] = 0.0f32.runtime();
        by_own_second[index] = 0.0f32.runtime();
    }

    let mut first = 0usize.runtime();
    while first < sizes.seq {
        if owns_keys {
            load_queries(
                x,
                query_bias,
                grad,
                out,
                softmaxes,
                row_of,
                query_row_of,
                &mut others,
                &mut other_second,
                &mut softmax_of,
                &head,
                &sizes,
                first,
                OTHERS,
                size,
            );
        } else {
            load_keys(
                x,
                key_bias,
                value_bias,
                row_of,
                &mut others,
                &mut other_second,
                sizes.rows,
                &head,
                first,
                OTHERS,
                size,
            );
        }
        sync_cube();
        multiply_tiles(&own, &others, &mut scores, ACROSS, size);
        multiply_tiles(
            &own_second,
            &other_second,
            &mut by_probabilities,
            ACROSS,
            size,
        );
        by_softmax(
            mask,
            &softmax_of,
            &scores,
            &by_probabilities,
            &mut by_scores,
            &mut dropped,
            &head,
            &sizes,
            first,
            owns_keys,
            &dropout,
        );
        sync_cube();
        add_weighted(&by_scores, &others, &mut by_own, OTHERS, size);
        if owns_keys {
            add_weighted(&dropped, &other_second, &mut by_own_second, OTHERS, size);
        }
        sync_cube();
        first += OTHERS;
    }
    if owns_keys {
        let key = part(1usize, sizes.rows, &head);
        write(row_of, by_x, &by_own, &key, &head, size);
        let value = part(2usize, sizes.rows, &head);
        write(row_of, by_x, &by_own_second, &value, &head, size);
    } else {
        let query = part(0usize, sizes.rows, &head);
        write(row_of, by_x, &by_own, &query, &head, size);
    }
}

/// Reads the queries of a tile of positions, the gradients of their results, and their softmaxes.
#[cube]
fn load_queries<N: Float, I: Int>(
    x: &Array<N>,
    bias: &Array<f32>,
    grad: &Array<N>,
    out: &Array<N>,
    softmaxes: &Array<f32>,
    row_of: &Array<I>,
    query_row_of: &Array<I>,
    queries: &mut SharedMemory<f32>,
    grads: &mut SharedMemory<f32>,
    softmax_of: &mut SharedMemory<f32>,
    head: &Head,
    sizes: &AttentionSizes,
    first: usize,
    #[comptime] positions: usize,
    #[comptime] size: usize,
) {
    let query = part(0usize, sizes.rows, head);
    load_tile(
        x, bias, row_of, queries, &query, head, first, positions, size,
    );
    let result = Source {
        rows: sizes.query_rows,
        width: head.width,
        column: head.column,
        has_bias: false,
    };
    load_tile(
        grad,
        bias,
        query_row_of,
        grads,
        &result,
        head,
        first,
        positions,
        size,
    );
    sync_cube();
    load_softmaxes(
        out,
        softmaxes,
        query_row_of,
        grads,
        softmax_of,
        &result,
        head,
        first,
        positions,
        size,
    );
}

/// Reads the softmaxes at the positions of a tile of queries, and computes what the gradients of their
/// scores share: the product of the result and its gradient.
#[cube]
fn load_softmaxes<N: Float, I: Int>(
    out: &Array<N>,
    softmaxes: &Array<f32>,
    query_row_of: &Array<I>,
    grads: &SharedMemory<f32>,
    softmax_of: &mut SharedMemory<f32>,
    source: &Source,
    head: &Head,
    first: usize,
    #[comptime] positions: usize,
    #[comptime] size: usize,
) {
    let unit = UNIT_POS as usize;
    if unit < positions {
        let query = first + unit;
        let mut largest = 0.0f32.runtime();
        let mut sum = 1.0f32.runtime();
        let mut shared = 0.0f32.runtime();
        if query < head.seq {
            let index = 2 * (head.number * head.seq + query);
            largest = softmaxes[index];
            sum = softmaxes[index + 1];
            let row = u32::cast_from(query_row_of[head.batch * head.seq + query]) as usize;
            if row < source.rows {
                for column in 0..size {
                    shared += grads[unit * comptime!(pitch(size)) + column]
                        * f32::cast_from(out[row * source.width + source.column + column]);
                }
            }
        }
        softmax_of[3 * unit] = largest;
        softmax_of[3 * unit + 1] = sum;
        softmax_of[3 * unit + 2] = shared;
    }
}

/// The gradients of the scores, and the probabilities after dropout.
#[cube]
fn by_softmax(
    mask: &Array<f32>,
    softmax_of: &SharedMemory<f32>,
    scores: &Array<f32>,
    by_probabilities: &Array<f32>,
    by_scores: &mut SharedMemory<f32>,
    dropped: &mut SharedMemory<f32>,
    head: &Head,
    sizes: &AttentionSizes,
    first: usize,
    owns_keys: bool,
    dropout: &DropKey,
) {
    #[unroll]
    for row in 0..ROWS {
        #[unroll]
        for column in 0..ACROSS {
            let own = UNIT_POS as usize / SIDE + comptime!(row * SIDE);
            let other = UNIT_POS as usize % SIDE + comptime!(column * SIDE);
            let query = select(owns_keys, first + other, head.first + own);
            let key = select(owns_keys, head.first + own, first + other);
            let softmax = 3 * select(owns_keys, other, own);
            let mut by_score = 0.0f32.runtime();
            let mut probability = 0.0f32.runtime();
            if query < head.seq && key < head.seq {
                let at = comptime!(row * ACROSS + column);
                let index = score_index(query, key, head, sizes);
                let score = scores[at] * sizes.scale + mask[mask_index(query, key, head, sizes)];
                let before = (score - softmax_of[softmax]).exp() / softmax_of[softmax + 1];
                let by_probability = drop_one(by_probabilities[at], index, dropout);
                by_score = before * (by_probability - softmax_of[softmax + 2]) * sizes.scale;
                probability = drop_one(before, index, dropout);
            }
            let at = own * comptime!(OTHERS + 1) + other;
            by_scores[at] = by_score;
            dropped[at] = probability;
        }
    }
}

/// Writes the gradients by the own positions of one [`part`].
#[cube]
fn write<N: Float, I: Int>(
    row_of: &Array<I>,
    by_x: &mut Array<N>,
    values: &Array<f32>,
    target: &Source,
    head: &Head,
    #[comptime] size: usize,
) {
    #[unroll]
    for row in 0..ROWS {
        let position = head.first + UNIT_POS as usize / SIDE + comptime!(row * SIDE);
        if position < head.seq {
            let own_row = u32::cast_from(row_of[head.batch * head.seq + position]) as usize;
            if own_row < target.rows {
                #[unroll]
                for column in 0..comptime!(columns(size)) {
                    let at = UNIT_POS as usize % SIDE + comptime!(column * SIDE);
                    if at < size {
                        let value = values[comptime!(row * columns(size) + column)];
                        by_x[own_row * target.width + target.column + at] = N::cast_from(value);
                    }
                }
            }
        }
    }
}
