//! Workers that are threads of one process.
//!
//! They meet at a rendezvous, where each deposits data and takes everybody's. A sum is two such
//! meetings: every worker adds up a slice of all buffers, in order of rank, and deposits it.
//!
//! Why not `burn-collective`: it has no time limit, so a worker that fails leaves the others waiting
//! for ever; its copies between devices panic on wgpu; and for several nodes it brings an HTTP server,
//! 33 crates, where its second sum never returns. Here buffers pass through the host, which every
//! backend can do.

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::{Group, named, silent};
use crate::error::WorkerLost;
use crate::sync::lock;

/// One worker's access to the rendezvous.
struct Local {
    rank: usize,
    rendezvous: Arc<Rendezvous>,
}

/// Where the threads exchange data.
struct Rendezvous {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Number of completed meetings.
    meetings: u64,
    /// What was deposited for the current meeting, by rank.
    deposits: Vec<Option<Deposit>>,
    /// Everybody's deposit of the last meeting; the next one cannot complete before all took it.
    taken: Arc<[Deposit]>,
    /// Which workers have ended.
    gone: Vec<bool>,
}

#[derive(Clone)]
enum Deposit {
    Bytes(Arc<[u8]>),
    Values(Arc<Vec<f32>>),
}

/// The groups of a first worker and `others`, in order of rank, that share a rendezvous.
pub(crate) fn local_groups(others: usize) -> (Box<dyn Group>, Vec<Box<dyn Group>>) {
    let world = others + 1;
    let rendezvous = Arc::new(Rendezvous {
        state: Mutex::new(State {
            meetings: 0,
            deposits: vec![None; world],
            taken: Arc::new([]),
            gone: vec![false; world],
        }),
        changed: Condvar::new(),
    });
    let local = |rank| -> Box<dyn Group> {
        Box::new(Local {
            rank,
            rendezvous: rendezvous.clone(),
        })
    };
    (local(0), (1..world).map(local).collect())
}

impl Local {
    /// Deposits `deposit` and takes everybody's, in order of rank.
    fn meet(
        &self,
        deposit: Deposit,
        limit: Option<Duration>,
    ) -> Result<Arc<[Deposit]>, WorkerLost> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut state = lock(&self.rendezvous.state);
        state.deposits[self.rank] = Some(deposit);
        if state.deposits.iter().all(Option::is_some) {
            state.taken = state.deposits.iter_mut().filter_map(Option::take).collect();
            state.meetings += 1;
            self.rendezvous.changed.notify_all();
            return Ok(state.taken.clone());
        }
        let meeting = state.meetings;
        loop {
            if state.meetings > meeting {
                return Ok(state.taken.clone());
            }
            let missing: Vec<usize> = (0..state.deposits.len())
                .filter(|rank| state.deposits[*rank].is_none())
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
                return Err(silent(&missing, limit.unwrap_or_default()));
            }
            state = match self.rendezvous.changed.wait_timeout(state, wait) {
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
        lock(&self.rendezvous.state).deposits.len()
    }

    fn gather(
        &mut self,
        bytes: Vec<u8>,
        limit: Option<Duration>,
    ) -> Result<Vec<Arc<[u8]>>, WorkerLost> {
        let deposits = self.meet(Deposit::Bytes(bytes.into()), limit)?;
        let bytes = deposits.iter().map(|deposit| match deposit {
            Deposit::Bytes(bytes) => Ok(bytes.clone()),
            Deposit::Values(_) => Err(out_of_step()),
        });
        bytes.collect()
    }

    fn sum(&mut self, values: Vec<f32>, limit: Duration) -> Result<Vec<f32>, WorkerLost> {
        let len = values.len();
        let all = self.meet(Deposit::Values(Arc::new(values)), Some(limit))?;
        let own = slice(len, self.rank, all.len());
        let mut sum = Vec::new();
        for (rank, deposit) in all.iter().enumerate() {
            let Deposit::Values(values) = deposit else {
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
        let slices = self.meet(Deposit::Values(Arc::new(sum)), Some(limit))?;
        let mut whole = Vec::with_capacity(len);
        for deposit in slices.iter() {
            match deposit {
                Deposit::Values(slice) => whole.extend_from_slice(slice),
                Deposit::Bytes(_) => return Err(out_of_step()),
            }
        }
        Ok(whole)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        lock(&self.rendezvous.state).gone[self.rank] = true;
        self.rendezvous.changed.notify_all();
    }
}

fn out_of_step() -> WorkerLost {
    WorkerLost("the workers are out of step with each other".into())
}

/// The range of `len` values that worker `rank` adds up.
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
                    let bytes = group.gather(vec![group.rank() as u8], None).expect("bytes");
                    let sum = group.sum(of(group.rank()), LIMIT).expect("a sum");
                    (bytes.concat(), sum)
                })
            })
            .collect();
        let expected: Vec<f32> = (0..101).map(|i| of(0)[i] + of(1)[i] + of(2)[i]).collect();
        for worker in workers {
            let (bytes, sum) = worker.join().expect("no panic");
            assert_eq!(bytes, [0, 1, 2]);
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
            error.0.starts_with("worker 0 did not respond for 0.02"),
            "{error}"
        );
    }
}
