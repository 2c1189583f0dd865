//! Work on many rows by many threads, its results taken in order.

use std::ops::Range;
use std::sync::mpsc::sync_channel;
use std::thread;

/// Results that a thread may be ahead by.
const AHEAD: usize = 4;

/// Computes `work(row)` for every row on `threads` threads and hands the results to `take` in
/// order of the rows, until it refuses one.
///
/// Each thread has every `threads`-th row and a short queue of its own, so that no more than
/// `threads * (AHEAD + 1)` results exist at a time.
pub(super) fn in_order<T: Send, E>(
    rows: Range<usize>,
    threads: usize,
    work: impl Fn(usize) -> T + Sync,
    mut take: impl FnMut(usize, T) -> Result<(), E>,
) -> Result<(), E> {
    let threads = threads.clamp(1, rows.len().max(1));
    thread::scope(|scope| {
        let queues: Vec<_> = (0..threads)
            .map(|thread| {
                let (sender, queue) = sync_channel(AHEAD);
                let (rows, work) = (rows.clone().skip(thread).step_by(threads), &work);
                scope.spawn(move || {
                    for row in rows {
                        // Nobody takes any more: `take` has refused, or failed.
                        if sender.send(work(row)).is_err() {
                            break;
                        }
                    }
                });
                queue
            })
            .collect();
        for (at, row) in rows.enumerate() {
            match queues[at % threads].recv() {
                Ok(result) => take(row, result)?,
                // The thread has panicked, and the scope will.
                Err(_) => break,
            }
        }
        drop(queues);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_whatever_takes_longer() {
        for threads in [1, 3, 8, 100] {
            let mut taken = Vec::new();
            let slow = |row: usize| {
                if row.is_multiple_of(7) {
                    thread::sleep(std::time::Duration::from_millis(1));
                }
                row * row
            };
            let done: Result<(), ()> = in_order(5..60, threads, slow, |row, square| {
                assert_eq!(square, row * row);
                taken.push(row);
                Ok(())
            });
            assert_eq!((done, taken), (Ok(()), (5..60).collect()));
        }
    }

    #[test]
    fn ends_at_the_first_refusal() {
        let done = in_order(
            0..1_000_000,
            4,
            |row| row,
            |row, _| match row {
                9 => Err("nine"),
                _ => Ok(()),
            },
        );
        assert_eq!(done, Err("nine"));
        assert_eq!(in_order(0..0, 4, |row| row, |_, _| Err(())), Ok(()));
    }
}
