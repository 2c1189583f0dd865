//! The order of the examples within an epoch: as a whole, or window by window.
//!
//! A window's rows are blocks of consecutive rows, taken from all over the corpus by a permutation
//! that is computed per block, and then shuffled. So a window costs time and memory of its own size
//! only, at any position of the epoch, and reading it means long ranges of consecutive rows.

use std::sync::{Arc, Mutex};

use oscar_core::ops::mix;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::sync::lock;

/// Consecutive rows that stay together in a window, unless the window is smaller.
const BLOCK: usize = 64;

/// Windows kept: the threads of a loader are in one or two at a time.
const KEPT: usize = 2;

/// How the examples of an epoch are shuffled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shuffle {
    /// Seed of the order.
    pub seed: u64,
    /// Examples that are shuffled together; 0 shuffles the whole epoch.
    ///
    /// A window is made of blocks of consecutive examples from all over the source, so that no more
    /// than a window of them is in use at a time, and files are read in long stretches.
    pub window: usize,
}

/// The order of a portion's rows in each epoch.
#[derive(Debug)]
pub(crate) struct EpochOrder {
    rows: usize,
    shuffle: Shuffle,
    /// Number of the portion among those of the run, and how many these are.
    lane: (u64, u64),
    kept: Mutex<Vec<Window>>,
}

/// A range of an epoch, with its rows in order.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    epoch: u64,
    /// Place of its first row in the epoch.
    start: u64,
    rows: Arc<[u32]>,
}

impl Window {
    /// Whether it contains `place` of `epoch`.
    pub(crate) fn holds(&self, epoch: u64, place: u64) -> bool {
        self.epoch == epoch && (self.start..self.start + self.rows.len() as u64).contains(&place)
    }

    /// The row at `place`, which it must hold.
    pub(crate) fn row(&self, place: u64) -> u32 {
        self.rows[(place - self.start) as usize]
    }
}

impl EpochOrder {
    /// The order of `rows` rows, at least one, of portion `lane` of `lanes`.
    pub(crate) fn new(rows: usize, shuffle: Shuffle, lane: usize, lanes: usize) -> Self {
        Self {
            rows,
            shuffle,
            lane: (lane as u64, lanes as u64),
            kept: Mutex::new(Vec::new()),
        }
    }

    /// The window that holds `place` (below the number of rows) of `epoch`.
    pub(crate) fn window(&self, epoch: u64, place: u64) -> Window {
        let mut kept = lock(&self.kept);
        if let Some(window) = kept.iter().find(|window| window.holds(epoch, place)) {
            return window.clone();
        }
        // Made under the lock: the other loading threads are about to need the same one.
        let window = match self.shuffle.window {
            0 => self.whole(epoch),
            _ => self.windowed(epoch, place),
        };
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(window.clone());
        window
    }

    fn whole(&self, epoch: u64) -> Window {
        let mut rng = ChaCha8Rng::seed_from_u64(self.shuffle.seed);
        // Each epoch of each portion has its own stream of the generator.
        let (lane, lanes) = self.lane;
        rng.set_stream(epoch.wrapping_mul(lanes).wrapping_add(lane));
        let mut rows: Vec<u32> = (0..self.rows as u32).collect();
        rows.shuffle(&mut rng);
        Window {
            epoch,
            start: 0,
            rows: rows.into(),
        }
    }

    fn windowed(&self, epoch: u64, place: u64) -> Window {
        let block = BLOCK.min(self.shuffle.window);
        let blocks = self.rows.div_ceil(block);
        let permutation = Permutation::new(blocks as u64, [self.shuffle.seed, self.lane.0, epoch]);
        let per_window = self.shuffle.window / block;
        let full = (per_window * block) as u64;
        // The last block may be shorter than the others; the permutation moves it to any window.
        let missing = (blocks * block - self.rows) as u64;
        let short = permutation.inverse(blocks as u64 - 1) / per_window as u64;
        let (number, start) = window_of(place, full, short, missing);

        let first = number as usize * per_window;
        let mut rows = Vec::with_capacity(full as usize);
        for place in first..(first + per_window).min(blocks) {
            let from = permutation.apply(place as u64) as usize * block;
            rows.extend(from as u32..(from + block).min(self.rows) as u32);
        }
        let mut key = [0; 32];
        let words = [self.shuffle.seed, self.lane.0, epoch, number];
        for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        rows.shuffle(&mut ChaCha8Rng::from_seed(key));
        Window {
            epoch,
            start,
            rows: rows.into(),
        }
    }
}

/// The number of the window that holds `place`, and the place of its first row, where every window
/// has `full` rows but for window `short`, which lacks `missing` of them.
///
/// With `full = 100`, `short = 1` and `missing = 30` the windows start at 0, 100, 170, 270, …
fn window_of(place: u64, full: u64, short: u64, missing: u64) -> (u64, u64) {
    let number = match place < (short + 1) * full - missing {
        true => place / full,
        false => (place + missing) / full,
    };
    let start = number * full - if number > short { missing } else { 0 };
    (number, start)
}

/// A permutation of `0..len` that is computed number by number, without a table.
///
/// A Feistel network permutes the numbers of an even number of bits; a result outside the range is
/// permuted again until it is inside (cycle walking).
struct Permutation {
    len: u64,
    half_bits: u32,
    keys: [u64; 6],
}

impl Permutation {
    fn new(len: u64, key: [u64; 3]) -> Self {
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        let key = key.into_iter().fold(0, mix);
        Self {
            len,
            half_bits: bits.div_ceil(2).max(1),
            keys: std::array::from_fn(|round| mix(key, round as u64)),
        }
    }

    fn apply(&self, number: u64) -> u64 {
        self.walk(number, 0..self.keys.len(), |[left, right], key| {
            [right, left ^ self.mask(mix(key, right))]
        })
    }

    fn inverse(&self, number: u64) -> u64 {
        self.walk(number, (0..self.keys.len()).rev(), |[left, right], key| {
            [right ^ self.mask(mix(key, left)), left]
        })
    }

    fn walk(
        &self,
        mut number: u64,
        rounds: impl Iterator<Item = usize> + Clone,
        round: impl Fn([u64; 2], u64) -> [u64; 2],
    ) -> u64 {
        loop {
            let halves = [number >> self.half_bits, self.mask(number)];
            let [left, right] = rounds
                .clone()
                .fold(halves, |halves, at| round(halves, self.keys[at]));
            number = left << self.half_bits | right;
            if number < self.len {
                return number;
            }
        }
    }

    fn mask(&self, number: u64) -> u64 {
        number & ((1 << self.half_bits) - 1)
    }
}
