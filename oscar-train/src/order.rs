//! Which example comes when: a function of the seed and of the position in the run.
//!
//! The example at any position is found in constant time, so that a resumed run continues where it
//! stopped without going through what it has seen.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::shuffle::{EpochOrder, Shuffle, Window};

/// A range of a source's examples that is sampled at a rate of its own: one corpus of a mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Portion {
    /// Number of examples.
    pub examples: usize,
    /// Its weight among the portions: the share of all samples that it gets.
    pub weight: u64,
}

impl Portion {
    /// Describes a mix in messages: `300 examples (75.0 %) + 50 examples (25.0 %)`.
    pub fn describe(portions: &[Self]) -> String {
        let total: f64 = portions.iter().map(|portion| portion.weight as f64).sum();
        let described: Vec<String> = portions
            .iter()
            .map(|portion| {
                let share = 100.0 * portion.weight as f64 / total.max(1.0);
                format!("{} examples ({share:.1} %)", portion.examples)
            })
            .collect();
        described.join(" + ")
    }
}

/// An example in one of its epochs: each has masks and pollution of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExampleRef {
    /// Number of earlier passes over the example's portion.
    pub epoch: u64,
    /// The example's index in its source.
    pub index: u32,
}

/// The endless sequence of one source's examples.
///
/// Each portion is shuffled by itself and has epochs of its own: whatever the rates, all of its
/// examples come before one of them comes again. A source of a single portion that is shuffled as a
/// whole leaves out the examples that do not fill a batch at the end of an epoch.
#[derive(Debug)]
pub struct Sequence {
    lanes: Vec<Lane>,
    /// Sum of the weights.
    weight: u64,
}

/// A portion and the order of its examples.
#[derive(Debug)]
struct Lane {
    weight: u64,
    /// Index of its first example in the source.
    first: u32,
    /// Examples per epoch.
    per_epoch: u64,
    order: EpochOrder,
}

/// Distinguishes the sources of a run, so that no two portions share an order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lanes {
    /// Portions of the sources before this one.
    pub first: usize,
    /// Portions of all sources.
    pub total: usize,
}

impl Sequence {
    /// The sequence of a run's only source, whose examples are `portions`, in batches of
    /// `batch_size`. Portions without examples or weight never come.
    pub fn new(portions: &[Portion], shuffle: Shuffle, batch_size: usize) -> Self {
        let lanes = Lanes {
            first: 0,
            total: portions.len(),
        };
        Self::of_source(portions, shuffle, batch_size, lanes)
    }

    /// The sequence of one of several sources.
    pub(crate) fn of_source(
        portions: &[Portion],
        shuffle: Shuffle,
        batch_size: usize,
        numbers: Lanes,
    ) -> Self {
        let mut first = 0;
        let mut lanes = Vec::with_capacity(portions.len());
        for (number, portion) in portions.iter().enumerate() {
            let rows = portion.examples;
            let left_out = match (portions.len(), shuffle.window) {
                (1, 0) => rows % batch_size.max(1),
                _ => 0,
            };
            if rows > left_out && portion.weight > 0 {
                lanes.push(Lane {
                    weight: portion.weight,
                    first: first as u32,
                    per_epoch: (rows - left_out) as u64,
                    order: EpochOrder::new(rows, shuffle, numbers.first + number, numbers.total),
                });
            }
            first += rows;
        }
        let weight = lanes.iter().map(|lane| lane.weight).sum();
        Self { lanes, weight }
    }

    /// The examples at `positions`, counted from the start of the run; empty if there is none.
    pub fn examples(&self, positions: Range<u64>) -> Vec<ExampleRef> {
        if self.lanes.is_empty() {
            return Vec::new();
        }
        // Neighbours are mostly of one window.
        let mut windows: Vec<Option<Window>> = vec![None; self.lanes.len()];
        positions
            .map(|position| {
                let (number, earlier) = self.lane(position);
                let lane = &self.lanes[number];
                let (epoch, place) = (earlier / lane.per_epoch, earlier % lane.per_epoch);
                let window = match windows[number].take() {
                    Some(window) if window.holds(epoch, place) => window,
                    _ => lane.order.window(epoch, place),
                };
                let index = lane.first + window.row(place);
                windows[number] = Some(window);
                ExampleRef { epoch, index }
            })
            .collect()
    }

    /// The lane of `position`, and how many positions it had before.
    ///
    /// The first lane takes its share of all positions, evenly spread: after `q` of them it has had
    /// `floor(q * weight / weight of all)`. The second takes its share of the rest, and so on.
    fn lane(&self, position: u64) -> (usize, u64) {
        let (mut position, mut weight) = (position, self.weight);
        let last = self.lanes.len() - 1;
        for (number, lane) in self.lanes[..last].iter().enumerate() {
            let had = |positions: u64| {
                let share = u128::from(positions) * u128::from(lane.weight);
                (share / u128::from(weight)) as u64
            };
            let before = had(position);
            if had(position + 1) > before {
                return (number, before);
            }
            position -= before;
            weight -= lane.weight;
        }
        (last, position)
    }
}
