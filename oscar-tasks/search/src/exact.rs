//! Exact search: every vector is compared with every query, and of each query the best are kept.
//!
//! The vectors are read in their order, in 16 bits as they are stored, once for all queries: a tile of
//! them is converted to 32 bits and stays in the first caches while each query is multiplied with it.
//! Blocks of tiles are shared between threads. There is never a matrix of scores, only the best of each
//! query.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use crate::embed::Vectors;
use crate::index::IndexError;

/// Vectors that a thread takes at a time.
const BLOCK: usize = 4096;

/// Vectors that are converted at a time at most, and values: 64 KB.
const TILE: usize = 64;
const TILE_VALUES: usize = 1 << 14;

/// Queries that are compared in one pass over the vectors.
const GROUP: usize = 64;

/// Sums of a product that are kept apart, so that they fill vector registers and none waits for the
/// other.
const LANES: usize = 32;

/// A vector that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Its row.
    pub row: usize,
    /// Its product with the query: the cosine of the angle between vectors of length 1.
    pub score: f32,
}

impl Hit {
    /// The better one first: by falling score, of equal ones the first row.
    pub fn by_rank(a: &Self, b: &Self) -> Ordering {
        b.score.total_cmp(&a.score).then(a.row.cmp(&b.row))
    }
}

/// The `top` vectors with the largest products with each query, the best first, of equal ones those that
/// come first; fewer if there are fewer. `vectors` are `[vectors, width]` and finite.
///
/// # Errors
///
/// [`IndexError::Width`] if the queries have another width; [`IndexError::NotFinite`] if one has a value
/// that is not a number or infinite.
pub fn search(
    vectors: &[f16],
    width: usize,
    queries: &Vectors,
    top: usize,
) -> Result<Vec<Vec<Hit>>, IndexError> {
    if queries.width() != width && !queries.is_empty() {
        return Err(IndexError::Width {
            found: queries.width(),
            expected: width,
        });
    }
    if let Some(query) = queries.rows().position(|row| !is_finite(row)) {
        return Err(IndexError::NotFinite { query });
    }
    let mut found = Vec::with_capacity(queries.len());
    for group in queries.values().chunks((GROUP * width).max(1)) {
        found.extend(search_group(vectors, width, group, top));
    }
    Ok(found)
}

fn is_finite(row: &[f32]) -> bool {
    row.iter().all(|value| value.is_finite())
}

fn search_group(vectors: &[f16], width: usize, queries: &[f32], top: usize) -> Vec<Vec<Hit>> {
    let count = queries.len() / width.max(1);
    let none = || vec![Best::new(top); count];
    let size = (BLOCK * width).max(1);
    let best = vectors
        .par_chunks(size)
        .enumerate()
        .fold(none, |mut best, (number, block)| {
            scan(number * BLOCK, block, width, queries, &mut best);
            best
        })
        .reduce(none, |mut best, other| {
            for (best, other) in best.iter_mut().zip(other) {
                other.heap.into_iter().for_each(|worst| best.push(worst.0));
            }
            best
        });
    best.into_iter().map(Best::sorted).collect()
}

/// Compares a block, whose first vector is row `first`, with all queries.
fn scan(first: usize, block: &[f16], width: usize, queries: &[f32], best: &mut [Best]) {
    let most = (TILE_VALUES / width).clamp(1, TILE);
    let mut tile = vec![0.0; most * width];
    let mut scores = [0.0; TILE];
    for (number, values) in block.chunks(most * width).enumerate() {
        let tile = &mut tile[..values.len()];
        values.convert_to_f32_slice(tile);
        let rows = values.len() / width;
        let start = first + number * most;
        for (query, best) in queries.chunks_exact(width).zip(best.iter_mut()) {
            products(tile, query, &mut scores[..rows]);
            for (row, score) in (start..).zip(&scores[..rows]) {
                best.push(Hit { row, score: *score });
            }
        }
    }
}

/// The products of the rows of `tile` with `query`.
#[multiversion::multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma"
))]
pub(crate) fn products(tile: &[f32], query: &[f32], scores: &mut [f32]) {
    for (row, score) in tile.chunks_exact(query.len()).zip(scores) {
        let (a, b) = (row.chunks_exact(LANES), query.chunks_exact(LANES));
        let rest = a.remainder().iter().zip(b.remainder());
        let mut sum: f32 = rest.map(|(a, b)| a * b).sum();
        let mut lanes = [0.0f32; LANES];
        for (a, b) in a.zip(b) {
            for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
                *lane += a * b;
            }
        }
        sum += lanes.iter().sum::<f32>();
        *score = sum;
    }
}

/// The best hits of a query so far.
#[derive(Clone)]
struct Best {
    top: usize,
    heap: BinaryHeap<Worst>,
}

/// A hit whose order is that of a queue from which the worst leaves first.
#[derive(Clone, Copy)]
struct Worst(Hit);

impl Ord for Worst {
    fn cmp(&self, other: &Self) -> Ordering {
        Hit::by_rank(&self.0, &other.0)
    }
}

impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Worst {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Worst {}

impl Best {
    fn new(top: usize) -> Self {
        Self {
            top,
            heap: BinaryHeap::new(),
        }
    }

    #[inline]
    fn push(&mut self, hit: Hit) {
        if self.heap.len() < self.top {
            self.heap.push(Worst(hit));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && hit.score >= worst.0.score
            && Hit::by_rank(&hit, &worst.0) == Ordering::Less
        {
            *worst = Worst(hit);
        }
    }

    fn sorted(self) -> Vec<Hit> {
        let mut hits: Vec<Hit> = self.heap.into_iter().map(|worst| worst.0).collect();
        hits.sort_by(Hit::by_rank);
        hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values between -1 and 1 that depend on a number.
    fn value(at: usize) -> f32 {
        let mixed = (at as u32).wrapping_mul(2_654_435_761) ^ (at as u32 >> 3).wrapping_mul(97);
        (mixed >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    fn made(rows: usize, width: usize, seed: usize) -> Vec<f32> {
        (0..rows * width)
            .map(|at| value(at + seed * 7919))
            .collect()
    }

    /// Every product in 64 bits, sorted.
    fn brute_force(vectors: &[f16], width: usize, query: &[f32], top: usize) -> Vec<(usize, f64)> {
        let product = |row: &[f16]| {
            let pairs = row.iter().zip(query);
            pairs
                .map(|(a, b)| f64::from(a.to_f32()) * f64::from(*b))
                .sum()
        };
        let mut all: Vec<(usize, f64)> = vectors
            .chunks_exact(width)
            .map(product)
            .enumerate()
            .collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all.truncate(top);
        all
    }

    #[test]
    fn what_is_found_is_what_brute_force_finds() {
        // Widths beside the number of lanes, and rows beside tiles and blocks.
        for (rows, width, count, top) in [
            (2 * BLOCK + 77, 32, 3, 10),
            (BLOCK, 48, GROUP + 2, 1),
            (TILE + 1, 5, 2, 100),
            (7, 9000, 2, 3),
            (3, 33, 1, 2),
        ] {
            let vectors: Vec<f16> = made(rows, width, 1)
                .into_iter()
                .map(f16::from_f32)
                .collect();
            let queries = Vectors::new(width, made(count, width, 2)).unwrap();
            // What 32 bits lose grows with the terms of a sum.
            let tolerance = 1e-6 * width.max(100) as f64;
            let found = search(&vectors, width, &queries, top).unwrap();
            assert_eq!(found.len(), count);
            for (query, found) in queries.rows().zip(found) {
                let expected = brute_force(&vectors, width, query, top);
                assert_eq!(found.len(), expected.len());
                for (hit, (row, score)) in found.iter().zip(expected) {
                    assert!((f64::from(hit.score) - score).abs() < tolerance);
                    assert_eq!(hit.row, row, "of {rows} x {width}");
                }
            }
        }
    }

    #[test]
    fn of_equal_scores_the_first_rows_are_found() {
        let width = 4;
        let rows = BLOCK + 100;
        let mut vectors = vec![f16::from_f32(0.5); rows * width];
        vectors[width * 70] = f16::from_f32(0.75);
        let queries = Vectors::new(width, vec![1.0; width]).unwrap();
        let found = search(&vectors, width, &queries, 4).unwrap();
        let rows: Vec<usize> = found[0].iter().map(|hit| hit.row).collect();
        assert_eq!(rows, [70, 0, 1, 2]);
    }

    #[test]
    fn a_query_that_cannot_be_compared_is_refused() {
        let vectors = vec![f16::ONE; 8];
        let query = |values: Vec<f32>| Vectors::new(values.len().min(4), values).unwrap();
        let nan = query(vec![1.0, 0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0, 0.0]);
        let refused = search(&vectors, 4, &nan, 1).unwrap_err();
        assert!(matches!(refused, IndexError::NotFinite { query: 1 }));
        let infinite = query(vec![f32::INFINITY; 4]);
        assert!(search(&vectors, 4, &infinite, 1).is_err());
        let narrow = query(vec![1.0; 3]);
        let refused = search(&vectors, 4, &narrow, 1).unwrap_err();
        assert!(matches!(
            refused,
            IndexError::Width {
                found: 3,
                expected: 4
            }
        ));
        assert_eq!(search(&[], 4, &query(vec![1.0; 4]), 3).unwrap(), [vec![]]);
        let none = search(&vectors, 4, &query(vec![1.0; 4]), 0).unwrap();
        assert_eq!(none, [vec![]]);
    }
}
