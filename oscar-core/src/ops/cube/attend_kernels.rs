//! The forward kernel of [`attention`](super::attention), which stores neither scores nor probabilities
//! (FlashAttention, Dao et al., 2022).

use burn_cubecl::cubecl;
use cubecl::prelude::*;

use super::kernels::{DropKey, drop_one};
use super::tile_kernels::*;

/// Keys of a tile.
const KEYS: usize = 32;

/// Columns of a tile's scores that each unit has.
const ACROSS: usize = KEYS / SIDE;

/// What a score is before there is one.
const LOWEST: f32 = f32::MIN;

/// Attention of rows to each other; and of each softmax the largest score and the sum of the exponentials
/// of all scores less it, `[batch, heads, seq, 2]`.
///
/// The softmax is that of the tiles so far: with a larger score, what was summed is scaled down.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(super) fn attend<N: Float, I: Int>(
    x: &Array<N>,
    query_bias: &Array<f32>,
    key_bias: &Array<f32>,
    value_bias: &Array<f32>,
    mask: &Array<f32>,
    row_of: &Array<I>,
    query_row_of: &Array<I>,
    query_position_of: &Array<I>,
    out: &mut Array<N>,
    softmaxes: &mut Array<f32>,
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
    let head = head_of(CUBE_POS, &sizes, size);
    clear_rows(
        query_position_of,
        out,
        cubes,
        sizes.query_rows,
        positions,
        head.width,
    );

    let mut queries = SharedMemory::<f32>::new(comptime!(OWN * pitch(size)));
    let mut keys = SharedMemory::<f32>::new(comptime!(KEYS * pitch(size)));
    let mut values = SharedMemory::<f32>::new(comptime!(KEYS * pitch(size)));
    let mut weights = SharedMemory::<f32>::new(comptime!(OWN * (KEYS + 1)));
    let mut largest_of = SharedMemory::<f32>::new(comptime!(OWN * (SIDE + 1)));
    let mut sum_of = SharedMemory::<f32>::new(comptime!(OWN * (SIDE + 1)));
    let source = part(0usize, sizes.rows, &head);
    load_tile(
        x,
        query_bias,
        row_of,
        &mut queries,
        &source,
        &head,
        head.first,
        OWN,
        size,
    );

    let mut scores = Array::<f32>::new(comptime!(ROWS * ACROSS));
    let mut context = Array::<f32>::new(comptime!(ROWS * columns(size)));
    let mut largest = Array::<f32>::new(ROWS);
    let mut sums = Array::<f32>::new(ROWS);
    #[unroll]
    for index in 0..comptime!(ROWS * columns(size)) {
        context[index] = 0.0f32.runtime();
    }
    #[unroll]
    for row in 0..ROWS {
        largest[row] = LOWEST.runtime();
        sums[row] = 0.0f32.runtime();
    }

    let mut first = 0usize.runtime();
    while first < sizes.seq {
        load_keys(
            x,
            key_bias,
            value_bias,
            row_of,
            &mut keys,
            &mut values,
            sizes.rows,
            &head,
            first,
            KEYS,
            size,
        );
        sync_cube();
        multiply_tiles(&queries, &keys, &mut scores, ACROSS, size);
        mask_scores(mask, &mut scores, &mut largest_of, &head, &sizes, first);
        sync_cube();
        fade(&largest_of, &mut largest, &mut sums, &mut context, size);
        weigh(
            &scores,
            &largest,
            &mut weights,
            &mut sum_of,
            &head,
            &sizes,
            first,
            &dropout,
        );
        sync_cube();
        add_sums(&sum_of, &mut sums);
        add_weighted(&weights, &values, &mut context, KEYS, size);
        // Nobody reads the next tiles before all have used these.
        sync_cube();
        first += KEYS;
    }
    write(
        query_row_of,
        out,
        softmaxes,
        &context,
        &largest,
        &sums,
        &head,
        &sizes,
        size,
    );
}

/// Where the units of a row of a tile have what they hold of it.
#[cube]
fn units_of(#[comptime] row: usize) -> usize {
    (UNIT_POS as usize / SIDE + comptime!(row * SIDE)) * comptime!(SIDE + 1)
}

/// Scales and masks the scores, and puts the largest that this unit has of each row in its place.
#[cube]
fn mask_scores(
    mask: &Array<f32>,
    scores: &mut Array<f32>,
    largest_of: &mut SharedMemory<f32>,
    head: &Head,
    sizes: &AttentionSizes,
    first: usize,
) {
    let across = UNIT_POS as usize % SIDE;
    #[unroll]
    for row in 0..ROWS {
        let query = head.first + UNIT_POS as usize / SIDE + comptime!(row * SIDE);
        let mut top = LOWEST.runtime();
        #[unroll]
        for column in 0..ACROSS {
            let key = first + across + comptime!(column * SIDE);
            let index = comptime!(row * ACROSS + column);
            let mut score = LOWEST.runtime();
            if query < head.seq && key < head.seq {
                score = scores[index] * sizes.scale + mask[mask_index(query, key, head, sizes)];
            }
            scores[index] = score;
            top = max(top, score);
        }
        largest_of[units_of(row) + across] = top;
    }
}

/// Finds the largest score of each row, and scales down what was summed by a smaller one.
#[cube]
fn fade(
    largest_of: &SharedMemory<f32>,
    largest: &mut Array<f32>,
    sums: &mut Array<f32>,
    context: &mut Array<f32>,
    #[comptime] size: usize,
) {
    #[unroll]
    for row in 0..ROWS {
        let start = units_of(row);
        let before = largest[row];
        let mut top = before;
        #[unroll]
        for unit in 0..SIDE {
            top = max(top, largest_of[start + unit]);
        }
        largest[row] = top;
        let factor = (before - top).exp();
        sums[row] = sums[row] * factor;
        #[unroll]
        for column in 0..comptime!(columns(size)) {
            let index = comptime!(row * columns(size) + column);
            context[index] = context[index] * factor;
        }
    }
}

/// The exponentials of the scores: their sums before dropout, and the weights of the values after it.
#[cube]
fn weigh(
    scores: &Array<f32>,
    largest: &Array<f32>,
    weights: &mut SharedMemory<f32>,
    sum_of: &mut SharedMemory<f32>,
    head: &Head,
    sizes: &AttentionSizes,
    first: usize,
    dropout: &DropKey,
) {
    let across = UNIT_POS as usize % SIDE;
    #[unroll]
    for row in 0..ROWS {
        let own = UNIT_POS as usize / SIDE + comptime!(row * SIDE);
        let mut sum = 0.0f32.runtime();
        #[unroll]
        for column in 0..ACROSS {
            let other = across + comptime!(column * SIDE);
            let mut weight = 0.0f32.runtime();
            if first + other < head.seq {
                weight = (scores[comptime!(row * ACROSS + column)] - largest[row]).exp();
            }
            sum += weight;
            let index = score_index(head.first + own, first + other, head, sizes);
            weights[own * comptime!(KEYS + 1) + other] = drop_one(weight, index, dropout);
        }
        sum_of[units_of(row) + across] = sum;
    }
}

/// Adds what the units of each row summed.
#[cube]
fn add_sums(sum_of: &SharedMemory<f32>, sums: &mut Array<f32>) {
    #[unroll]
    for row in 0..ROWS {
        let start = units_of(row);
        #[unroll]
        for unit in 0..SIDE {
            sums[row] += sum_of[start + unit];
        }
    }
}

/// Writes the rows of the result, and what the gradient needs of their softmaxes.
#[cube]
fn write<N: Float, I: Int>(
    query_row_of: &Array<I>,
    out: &mut Array<N>,
    softmaxes: &mut Array<f32>,
    context: &Array<f32>,
    largest: &Array<f32>,
    sums: &Array<f32>,
    head: &Head,
    sizes: &AttentionSizes,
    #[comptime] size: usize,
) {
    let across = UNIT_POS as usize % SIDE;
    #[unroll]
    for row in 0..ROWS {
        let query = head.first + UNIT_POS as usize / SIDE + comptime!(row * SIDE);
        if query < head.seq {
            if across == 0 {
                let index = 2 * (head.number * head.seq + query);
                softmaxes[index] = largest[row];
                softmaxes[index + 1] = sums[row];
            }
            let query_row = u32::cast_from(query_row_of[head.batch * head.seq + query]) as usize;
            if query_row < sizes.query_rows {
                #[unroll]
                for column in 0..comptime!(columns(size)) {
                    let at = across + comptime!(column * SIDE);
                    if at < size {
                        let value = context[comptime!(row * columns(size) + column)] / sums[row];
                        out[query_row * head.width + head.column + at] = N::cast_from(value);
                    }
                }
            }
        }
    }
}
