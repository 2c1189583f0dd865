//! The sequence of examples: each once per epoch, in stretches, at the shares asked for.

use std::collections::{BTreeMap, BTreeSet};

use oscar_train::{ExampleRef, Portion, Sequence, Shuffle};
use proptest::prelude::*;

fn portions(parts: &[(usize, u64)]) -> Vec<Portion> {
    parts
        .iter()
        .map(|&(examples, weight)| Portion { examples, weight })
        .collect()
}

fn sequence(parts: &[(usize, u64)], seed: u64, window: usize) -> Sequence {
    Sequence::new(&portions(parts), Shuffle { seed, window }, 1)
}

/// One to four portions of up to 700 examples.
fn parts() -> impl Strategy<Value = Vec<(usize, u64)>> {
    prop::collection::vec((1usize..700, 1u64..1000), 1..5)
}

proptest! {
    /// In any number of epochs, every example comes once per epoch, and none from outside.
    #[test]
    fn an_epoch_is_a_permutation(
        rows in 1usize..3000,
        window in prop_oneof![Just(0), 1usize..200, 200usize..4000],
        seed: u64,
        epochs in 1u64..4,
    ) {
        let examples = sequence(&[(rows, 1)], seed, window).examples(0..rows as u64 * epochs);
        for (epoch, examples) in examples.chunks(rows).enumerate() {
            prop_assert!(examples.iter().all(|example| example.epoch == epoch as u64));
            let seen: BTreeSet<u32> = examples.iter().map(|example| example.index).collect();
            prop_assert_eq!(seen.len(), rows);
            prop_assert_eq!(seen.last(), Some(&(rows as u32 - 1)));
        }
    }

    /// Another sequence of the same seed, asked for any stretch, says the same.
    #[test]
    fn any_stretch_is_found_without_what_came_before(
        parts in parts(),
        window in prop_oneof![Just(0), 1usize..500],
        seed: u64,
        start in 0u64..5000,
        len in 0u64..300,
    ) {
        let whole = sequence(&parts, seed, window).examples(0..start + len);
        let rest = sequence(&parts, seed, window).examples(start..start + len);
        prop_assert_eq!(&whole[start as usize..], rest);
    }

    /// The rows of a window are at most so many, in blocks of consecutive rows: what is read
    /// together lies together.
    #[test]
    fn no_more_than_a_window_is_in_use(
        rows in 1usize..5000,
        window in 1usize..600,
        seed: u64,
    ) {
        let examples = sequence(&[(rows, 1)], seed, window).examples(0..rows as u64);
        let block = window.min(64);
        let mut used: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
        for (place, example) in examples.iter().enumerate() {
            let (_, last) = used
                .entry(example.index / block as u32)
                .or_insert((place, place));
            *last = place;
        }
        for (block, (first, last)) in used {
            prop_assert!(last - first < window, "block {block} from {first} to {last}");
        }
    }

    /// After any number of draws each portion has had its share, to within one for each portion
    /// before it, and its own examples in whole epochs.
    #[test]
    fn a_mix_keeps_its_shares(parts in parts(), seed: u64, drawn in 1usize..4000) {
        let sampled = sequence(&parts, seed, 0).examples(0..drawn as u64);
        let total: u64 = parts.iter().map(|(_, weight)| weight).sum();
        let mut first = 0;
        for &(examples, weight) in &parts {
            let own = first..first + examples as u32;
            first = own.end;
            let had: Vec<&ExampleRef> = sampled.iter().filter(|example| own.contains(&example.index)).collect();
            let share = drawn as f64 * weight as f64 / total as f64;
            prop_assert!((had.len() as f64 - share).abs() < parts.len() as f64);
            let distinct: BTreeSet<_> = had.iter().collect();
            prop_assert_eq!(distinct.len(), had.len());
            for (number, example) in had.iter().enumerate() {
                prop_assert_eq!(example.epoch, (number / examples) as u64);
            }
        }
    }

    /// Weights that are the sizes make every example of the mix come once per epoch.
    #[test]
    fn a_mix_by_size_ends_its_epochs_together(sizes in prop::collection::vec(1usize..500, 1..5)) {
        let parts: Vec<_> = sizes.iter().map(|&size| (size, size as u64)).collect();
        let rows: usize = sizes.iter().sum();
        let examples = sequence(&parts, 3, 16).examples(0..2 * rows as u64);
        for (epoch, examples) in examples.chunks(rows).enumerate() {
            prop_assert!(examples.iter().all(|example| example.epoch == epoch as u64));
            let seen: BTreeSet<u32> = examples.iter().map(|example| example.index).collect();
            prop_assert_eq!(seen.len(), rows);
        }
    }
}

/// The order of windows and of a mix, so that a change of it cannot go unnoticed: runs resume by it.
#[test]
fn the_order_of_windows_never_changes() {
    let rows = |parts: &[(usize, u64)], window, range| -> Vec<u32> {
        let examples = sequence(parts, 7, window).examples(range);
        examples.iter().map(|example| example.index).collect()
    };
    let start = [764, 623, 577, 704, 760, 747];
    assert_eq!(rows(&[(1000, 1)], 128, 0..6), start);
    let end_of_second = [498, 488, 448, 752, 492, 509];
    assert_eq!(rows(&[(1000, 1)], 128, 1994..2000), end_of_second);
    let mixed = [323, 1, 2, 3, 325, 0, 5, 4];
    assert_eq!(rows(&[(10, 3), (1000, 1)], 4, 0..8), mixed);
}

#[test]
fn each_epoch_and_each_seed_has_another_order() {
    for window in [0, 256] {
        let order = |seed, epoch: u64| {
            let examples =
                sequence(&[(2000, 1)], seed, window).examples(epoch * 2000..(epoch + 1) * 2000);
            examples
                .into_iter()
                .map(|example| example.index)
                .collect::<Vec<_>>()
        };
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(2, 0));
    }
}

/// A window is mixed: neighbours in the corpus are not neighbours in the run, and blocks of all
/// over the corpus meet.
#[test]
fn a_window_is_shuffled_well() {
    let examples = sequence(&[(64 * 1000, 1)], 5, 64 * 100).examples(0..64 * 100);
    let rows: Vec<u32> = examples.iter().map(|example| example.index).collect();
    let neighbours = rows.windows(2).filter(|two| two[0] + 1 == two[1]).count();
    assert!(neighbours < 10, "{neighbours} neighbours of 6400");
    let mut eighths = [0; 8];
    for row in &rows {
        eighths[*row as usize / (64 * 125)] += 1;
    }
    assert!(eighths.iter().all(|count| *count > 64 * 3), "{eighths:?}");
}

#[test]
fn far_positions_of_large_corpora_are_found_at_once() {
    let parts = [(6_500_000, 1), (9_000_000, 3), (4_000_000_000, 2)];
    let sequence = sequence(&parts, 1, 4096);
    let far = 1 << 40;
    let examples = sequence.examples(far..far + 6);
    let mut lanes: Vec<usize> = examples
        .iter()
        .map(|example| match example.index {
            ..6_500_000 => 0,
            6_500_000..15_500_000 => 1,
            _ => 2,
        })
        .collect();
    lanes.sort_unstable();
    assert_eq!(lanes, [0, 1, 1, 1, 2, 2]);
    assert!(
        examples
            .iter()
            .all(|example| example.epoch > 100 || example.index > 15_500_000)
    );
}

#[test]
fn portions_without_examples_or_weight_are_left_out() {
    let examples = sequence(&[(0, 5), (3, 0), (4, 1)], 1, 0).examples(0..4);
    let mut rows: Vec<u32> = examples.iter().map(|example| example.index).collect();
    rows.sort_unstable();
    assert_eq!(rows, [3, 4, 5, 6]);
    assert!(sequence(&[(0, 1)], 1, 0).examples(0..4).is_empty());
}

#[test]
fn a_mix_is_described_by_size_and_share() {
    assert_eq!(
        Portion::describe(&portions(&[(300, 3), (50, 1)])),
        "300 examples (75.0 %) + 50 examples (25.0 %)"
    );
}
