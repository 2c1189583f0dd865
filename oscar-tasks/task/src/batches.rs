//! Batches of items of like length: padding costs as much as text.

use std::ops::Range;

use rayon::prelude::*;

/// Batches whose items are sorted by length together.
pub const BATCHES_SORTED: usize = 32;

/// Runs `items` through `run` in batches of `batch_size` sorted by `key`; the results are in the order
/// of `items`.
///
/// # Errors
///
/// The first of `run`.
pub fn run_sorted<I, K: Ord, R, E>(
    items: Vec<I>,
    batch_size: usize,
    key: impl Fn(&I) -> K,
    mut run: impl FnMut(&[I]) -> Result<Vec<R>, E>,
) -> Result<Vec<R>, E> {
    let mut order: Vec<(usize, I)> = items.into_iter().enumerate().collect();
    order.sort_by_key(|(_, item)| key(item));
    let (places, items): (Vec<usize>, Vec<I>) = order.into_iter().unzip();
    let mut results: Vec<(usize, R)> = Vec::with_capacity(items.len());
    let batches = places.chunks(batch_size).zip(items.chunks(batch_size));
    for (places, batch) in batches {
        results.extend(places.iter().copied().zip(run(batch)?));
    }
    results.sort_by_key(|(place, _)| *place);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// [`run_sorted`] of a whole split, whose examples are read on all cores, some batches' worth at a
/// time; `done` is called with the number of finished examples after every batch.
///
/// # Errors
///
/// The first of `read` and of `run`.
pub fn run_split<I: Send, K: Ord, R, E: Send>(
    examples: Range<usize>,
    batch_size: usize,
    read: impl Fn(usize) -> Result<I, E> + Sync,
    key: impl Fn(&I) -> K,
    mut run: impl FnMut(&[I]) -> Result<Vec<R>, E>,
    done: &(dyn Fn(usize, usize) + Sync),
) -> Result<Vec<R>, E> {
    let mut results = Vec::with_capacity(examples.len());
    let mut finished = 0;
    let chunk = batch_size * BATCHES_SORTED;
    for start in examples.clone().step_by(chunk) {
        let rows = start..(start + chunk).min(examples.end);
        let items = rows.into_par_iter().map(&read);
        let items = items.collect::<Result<Vec<_>, E>>()?;
        results.extend(run_sorted(items, batch_size, &key, |batch| {
            let results = run(batch)?;
            finished += batch.len();
            done(finished, examples.len());
            Ok(results)
        })?);
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items_whatever_their_lengths() {
        let mut batches = Vec::new();
        let results = run_sorted(
            vec!["ccc", "a", "dd", "b", "eeee"],
            2,
            |text| text.len(),
            |batch| {
                batches.push(batch.to_vec());
                Ok::<_, ()>(batch.iter().map(|text| text.to_uppercase()).collect())
            },
        );
        assert_eq!(
            results,
            Ok(["CCC", "A", "DD", "B", "EEEE"].map(String::from).into())
        );
        assert_eq!(batches, [vec!["a", "b"], vec!["dd", "ccc"], vec!["eeee"]]);
    }

    #[test]
    fn a_split_is_read_in_chunks_and_its_progress_reported() {
        let total = BATCHES_SORTED * 2 + 3;
        let last = std::sync::Mutex::new((0, 0));
        let results = run_split(
            0..total,
            1,
            Ok::<_, String>,
            |index| total - index,
            |batch| Ok(batch.to_vec()),
            &|done, total| *last.lock().unwrap() = (done, total),
        );
        assert_eq!(results, Ok((0..total).collect()));
        assert_eq!(*last.lock().unwrap(), (total, total));
        let failed = run_split(
            0..9,
            4,
            Err::<usize, _>,
            |i| *i,
            |b| Ok(b.to_vec()),
            &|_, _| {},
        );
        assert!(failed.is_err());
    }
}
