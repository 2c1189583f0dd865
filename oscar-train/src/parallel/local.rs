//! Workers that are threads of one process.
//!
//! They meet at one place, where each leaves a parcel and takes everybody's. A sum is two such
//! meetings: every worker adds up a slice of all buffers, in order of rank, and gives it out.
//!
//! Why not `burn-collective`: a worker that fails leaves the others waiting in it for ever, for it
//! knows no time limit; its copies between devices panic on wgpu; and it brings an HTTP server, 33
//! crates, for several nodes, where its second sum never returns. Here buffers pass through the
//! host, which every backend can do.

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::{Group, WorkerLost, named};
use crate::loader::lock;

/// A worker's end of the meeting place.
struct Local {
    rank: usize,
    place: Arc<Place>,
}

struct Place {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Meetings that are over.
    meetings: u64,
    /// What was left for this meeting, by rank.
    left: Vec<Option<Parcel>>,
    /// What everybody left for the last meeting; the next one cannot end before all took it.
    taken: Arc<[Parcel]>,
    /// Who will not come any more.
    gone: Vec<bool>,
}

#[derive(Clone)]
enum Parcel {
    Words(Arc<[u8]>),
    Values(Arc<Vec<f32>>),
}

/// The ends of a meeting place for a first worker and `others`, in order of rank.
pub(crate) fn local_groups(others: usize) -> (Box<dyn Group>, Vec<Box<dyn Group>>) {
    let world = others + 1;
    let place = Arc::new(Place {
        state: Mutex::new(State {
            meetings: 0,
            left: vec![None; world],
            taken: Arc::new([]),
            gone: vec![false; world],
        }),
        changed: Condvar::new(),
    });
    let local = |rank| -> Box<dyn Group> {
        Box::new(Local {
            rank,
            place: place.clone(),
        })
    };
    (local(0), (1..world).map(local).collect())
}

impl Local {
    /// Leaves `parcel` and takes everybody's, in order of rank.
    fn meet(&self, parcel: Parcel, limit: Option<Duration>) -> Result<Arc<[Parcel]>, WorkerLost> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut state = lock(&self.place.state);
        state.left[self.rank] = Some(parcel);
        if state.left.iter().all(Option::is_some) {
            state.taken = state.left.iter_mut().filter_map(Option::take).collect();
            state.meetings += 1;
            self.place.changed.notify_all();
            return Ok(state.taken.clone());
        }
        let meeting = state.meetings;
        loop {
            if state.meetings > meeting {
                return Ok(state.taken.clone());
            }
            let missing: Vec<usize> = (0..state.left.len())
                .filter(|rank| state.left[*rank].is_none())
                .collect();
            let gone: Vec<usize> = missing
                .iter()
                .copied()
                .filter(|rank| state.gone[*rank])
                .collect();
            if !gone.is_empty() {
                return Err(WorkerLost(format!(
                    "{} ended before the others",
                    named(&gone)
                )));
            }
            let wait = match deadline {
                None => Duration::from_secs(3600),
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
            };
            if wait.is_zero() {
                return Err(WorkerLost::silent(&missing, limit.unwrap_or_default()));
            }
            state = match self.place.changed.wait_timeout(state, wait) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

impl Group for Local {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        lock(&self.place.state).left.len()
    }

    fn gather(
        &mut self,
        words: Vec<u8>,
        limit: Option<Duration>,
    ) -> Result<Vec<Arc<[u8]>>, WorkerLost> {
        let parcels = self.meet(Parcel::Words(words.into()), limit)?;
        let words = parcels.iter().map(|parcel| match parcel {
            Parcel::Words(words) => Ok(words.clone()),
            Parcel::Values(_) => Err(out_of_step()),
        });
        words.collect()
    }

    fn sum(&mut self, values: Vec<f32>, limit: Duration) -> Result<Vec<f32>, WorkerLost> {
        let len = values.len();
        let all = self.meet(Parcel::Values(Arc::new(values)), Some(limit))?;
        let own = slice(len, self.rank, all.len());
        let mut sum = Vec::new();
        for (rank, parcel) in all.iter().enumerate() {
            let Parcel::Values(values) = parcel else {
                return Err(out_of_step());
            };
            if values.len() != len {
                return Err(WorkerLost(format!(
                    "{} has {} values to add where {} has {len}",
                    named(&[rank]),
                    values.len(),
                    named(&[self.rank])
                )));
            }
            match rank {
                0 => sum.extend_from_slice(&values[own.clone()]),
                _ => sum
                    .iter_mut()
                    .zip(&values[own.clone()])
                    .for_each(|(sum, value)| *sum += value),
            }
        }
        drop(all);
        let slices = self.meet(Parcel::Values(Arc::new(sum)), Some(limit))?;
        let mut whole = Vec::with_capacity(len);
        for parcel in slices.iter() {
            match parcel {
                Parcel::Values(slice) => whole.extend_from_slice(slice),
                Parcel::Words(_) => return Err(out_of_step()),
            }
        }
        Ok(whole)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        lock(&self.place.state).gone[self.rank] = true;
        self.place.changed.notify_all();
    }
}

fn out_of_step() -> WorkerLost {
    WorkerLost("the workers are out of step with each other".into())
}

/// The part of `len` values that worker `rank` adds up.
fn slice(len: usize, rank: usize, world: usize) -> Range<usize> {
    let bound = |rank: usize| (len as u128 * rank as u128 / world as u128) as usize;
    bound(rank)..bound(rank + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn everyone_gets_the_sum_in_order_of_rank() {
        // In f32 the order of a sum shows.
        let of = |rank: usize| -> Vec<f32> {
            (0..101)
                .map(|i| 0.1 * (rank + 1) as f32 * 10_f32.powi(i % 9))
                .collect()
        };
        let (first, others) = local_groups(2);
        let workers: Vec<_> = std::iter::once(first)
            .chain(others)
            .map(|mut group| {
                std::thread::spawn(move || {
                    let words = group.gather(vec![group.rank() as u8], None).expect("words");
                    let sum = group.sum(of(group.rank()), LIMIT).expect("a sum");
                    (words.concat(), sum)
                })
            })
            .collect();
        let expected: Vec<f32> = (0..101).map(|i| of(0)[i] + of(1)[i] + of(2)[i]).collect();
        for worker in workers {
            let (words, sum) = worker.join().expect("no panic");
            assert_eq!(words, [0, 1, 2]);
            assert_eq!(sum, expected);
        }
    }

    #[test]
    fn who_is_gone_or_silent_is_named() {
        let (mut first, mut others) = local_groups(2);
        drop(others.remove(0));
        let error = first.gather(Vec::new(), None).expect_err("one is gone");
        assert_eq!(error.0, "worker 1 ended before the others");

        let (_first, mut others) = local_groups(1);
        let error = others[0]
            .sum(vec![1.0], Duration::from_millis(20))
            .expect_err("nobody answers");
        assert!(
            error.0.starts_with("worker 0 did not answer for 0.02"),
            "{error}"
        );
    }
}
