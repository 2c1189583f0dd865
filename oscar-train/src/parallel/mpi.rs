//! Workers that are processes, on one machine or many.
//!
//! Every wait polls, so that it can end: at the time limit, when a process of this machine no longer
//! exists, and, in the lead, soon after the launcher requests a stop, which is how `mpirun` reacts to
//! the death of another process. Messages go from each to each, so that silent ones are known; sums
//! are `MPI_Iallreduce`, whose order depends only on the number of processes and of values.
//!
//! A buffer that an unfinished request may still write to is never freed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use burn_train::Interrupter;
use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::environment::{Universe, processor_name};
use mpi::request::{Request, StaticScope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Destination, MatchedReceiveVec, Source};

use super::{Group, named};
use crate::error::WorkerLost;

/// Pauses between two polls: the first, and the longest for messages and sums.
const PAUSE: Duration = Duration::from_micros(20);
const PAUSE_FOR_MESSAGES: Duration = Duration::from_millis(5);
const PAUSE_FOR_SUM: Duration = Duration::from_micros(100);

/// Time between two checks that a silent process still exists.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// The processes that `mpirun` started.
pub struct Processes {
    /// Closed by [`leave`](Self::leave) alone: MPI waits for all processes then.
    universe: std::mem::ManuallyDrop<Universe>,
    member: Member,
    /// Number of this process among those of its machine.
    local_rank: usize,
}

/// One process among the others.
struct Member {
    world: SimpleCommunicator,
    peers: Arc<Vec<Peer>>,
    interrupter: Option<Interrupter>,
}

// SAFETY: a communicator is a handle that MPI lets any thread use as long as they take turns, and
// a member has one owner. A process of several has one worker, which stays on its first thread.
unsafe impl Send for Member {}

/// Where a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Peer {
    machine: String,
    process: u32,
}

impl Processes {
    /// Joins the processes that were started together. To be called once, on the first thread.
    ///
    /// # Errors
    ///
    /// If MPI is in use already, or another process is gone.
    pub fn join() -> Result<Self, WorkerLost> {
        let (universe, threading) = mpi::initialize_with_threading(Threading::Funneled)
            .ok_or_else(|| WorkerLost("MPI is in use already".into()))?;
        if threading == Threading::Single {
            return Err(WorkerLost(
                "this MPI library does not support programs with threads".into(),
            ));
        }
        let world = universe.world();
        let local_rank = world.split_shared(world.rank()).rank() as usize;
        let mut member = Member {
            world: universe.world(),
            peers: Arc::default(),
            interrupter: None,
        };
        let own = Peer {
            machine: processor_name().unwrap_or_default(),
            process: std::process::id(),
        };
        let text = format!("{} {}", own.process, own.machine);
        let peers = member.gather(text.into_bytes(), None)?;
        member.peers = Arc::new(peers.iter().map(|bytes| Peer::parse(bytes)).collect());
        Ok(Self {
            universe: std::mem::ManuallyDrop::new(universe),
            member,
            local_rank,
        })
    }

    /// Number of this process, from 0, the lead.
    pub fn rank(&self) -> usize {
        self.member.rank()
    }

    /// How many processes there are.
    pub fn world(&self) -> usize {
        self.member.world()
    }

    /// Number of this process among those of its machine.
    pub fn local_rank(&self) -> usize {
        self.local_rank
    }

    /// The text of the lead; waits for it, and for all others.
    ///
    /// # Errors
    ///
    /// If a process is gone.
    pub fn broadcast(&mut self, own: String) -> Result<String, WorkerLost> {
        let text = self.member.broadcast(own.into_bytes(), None)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The group of all processes; `interrupter` is set when the launcher asks this one to stop.
    pub fn group(&self, interrupter: Interrupter) -> Box<dyn Group> {
        Box::new(Member {
            world: self.universe.world(),
            peers: self.member.peers.clone(),
            interrupter: Some(interrupter),
        })
    }

    /// Ends MPI, once all processes do. Not after an error: the launcher ends the others then.
    pub fn leave(self) {
        let Self {
            universe, member, ..
        } = self;
        drop(member);
        drop(std::mem::ManuallyDrop::into_inner(universe));
    }
}

impl Peer {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (process, machine) = text.split_once(' ').unwrap_or_default();
        Self {
            machine: machine.into(),
            process: process.parse().unwrap_or(0),
        }
    }

    /// Whether it is a process of this machine that no longer exists.
    fn has_ended(&self, own: &Self) -> bool {
        let process = i32::try_from(self.process).ok();
        let Some(process) = process.and_then(rustix::process::Pid::from_raw) else {
            return false;
        };
        self.machine == own.machine
            && rustix::process::test_kill_process(process) == Err(rustix::io::Errno::SRCH)
    }
}

impl Group for Member {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn world(&self) -> usize {
        self.world.size() as usize
    }

    fn gather(
        &mut self,
        bytes: Vec<u8>,
        limit: Option<Duration>,
    ) -> Result<Vec<Arc<[u8]>>, WorkerLost> {
        let (own, world) = (self.rank(), self.world());
        let mut received: Vec<Option<Arc<[u8]>>> = vec![None; world];
        received[own] = Some(bytes.as_slice().into());
        let lent = Lent::new(bytes);
        let mut sends: Vec<Option<Request<'static, [u8]>>> = (0..world)
            .map(|rank| {
                let process = self.world.process_at_rank(rank as i32);
                // SAFETY: the buffer is taken back only when every send is complete.
                let bytes = unsafe { lent.get() };
                (rank != own).then(|| process.immediate_send(StaticScope, bytes))
            })
            .collect();
        let waited = self.wait(limit, PAUSE_FOR_MESSAGES, || {
            for rank in 0..world {
                if let Some(send) = sends[rank].take() {
                    sends[rank] = send.test().err();
                }
                let process = self.world.process_at_rank(rank as i32);
                if received[rank].is_none()
                    && let Some(found) = process.immediate_matched_probe()
                {
                    received[rank] = Some(found.matched_receive_vec::<u8>().0.into());
                }
            }
            (0..world)
                .filter(|rank| received[*rank].is_none() || sends[*rank].is_some())
                .collect()
        });
        if let Err(lost) = waited {
            sends.into_iter().flatten().for_each(std::mem::forget);
            return Err(lost);
        }
        // SAFETY: every send is complete.
        drop(unsafe { lent.take() });
        Ok(received.into_iter().flatten().collect())
    }

    fn sum(&mut self, values: Vec<f32>, limit: Duration) -> Result<Vec<f32>, WorkerLost> {
        let others: Vec<usize> = (0..self.world()).filter(|r| *r != self.rank()).collect();
        let into = Lent::new(vec![0.0_f32; values.len()]);
        let from = Lent::new(values);
        // SAFETY: the only references to the buffers, which are taken back when the request is complete.
        let (source, target) = unsafe { (from.get(), into.get_mut()) };
        let operation = SystemOperation::sum();
        let request = self
            .world
            .immediate_all_reduce_into(StaticScope, source, target, operation);
        let mut request = Some(request);
        let waited = self.wait(Some(limit), PAUSE_FOR_SUM, || {
            request = request.take().and_then(|request| request.test().err());
            match request {
                Some(_) => others.clone(),
                None => Vec::new(),
            }
        });
        if let Err(lost) = waited {
            request.into_iter().for_each(std::mem::forget);
            return Err(lost);
        }
        // SAFETY: the request is complete.
        let (_, sum) = unsafe { (from.take(), into.take()) };
        Ok(sum)
    }
}

impl Member {
    /// Waits until `missing` returns no rank.
    fn wait(
        &self,
        limit: Option<Duration>,
        longest_pause: Duration,
        mut missing: impl FnMut() -> Vec<usize>,
    ) -> Result<(), WorkerLost> {
        let started = Instant::now();
        let (mut pause, mut checked, mut stop_requested) = (PAUSE, started, None);
        loop {
            let silent = missing();
            if silent.is_empty() {
                return Ok(());
            }
            let now = Instant::now();
            if now - checked > CHECK_EVERY {
                checked = now;
                let ended = self.ended(&silent);
                // Its last message may have arrived meanwhile.
                if !ended.is_empty() && !missing().is_empty() {
                    return Err(WorkerLost(format!("{} has ended", named(&ended))));
                }
            }
            if self.is_asked_to_stop() {
                let since = *stop_requested.get_or_insert(now);
                if now - since > patience() {
                    return Err(WorkerLost(format!(
                        "asked to stop, and {} did not respond: one of the processes has ended, \
                         or its step takes longer than this one may wait",
                        named(&silent)
                    )));
                }
            }
            if let Some(limit) = limit.filter(|limit| now - started > *limit) {
                return Err(super::silent(&silent, limit));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(longest_pause);
        }
    }

    /// Those of `ranks` that ran on this machine and no longer exist.
    fn ended(&self, ranks: &[usize]) -> Vec<usize> {
        let Some(own) = self.peers.get(self.rank()) else {
            return Vec::new();
        };
        let ended = |rank: &usize| {
            self.peers
                .get(*rank)
                .is_some_and(|peer| peer.has_ended(own))
        };
        ranks.iter().copied().filter(ended).collect()
    }

    /// Whether this process is the lead, which has a checkpoint to save, and must stop soon.
    fn is_asked_to_stop(&self) -> bool {
        let interrupter = self.interrupter.as_ref().filter(|_| self.rank() == 0);
        interrupter.is_some_and(Interrupter::should_stop)
    }
}

/// How long the lead waits for the others after a request to stop: half the time that Open MPI leaves a
/// process before it kills it, which is one second by default.
fn patience() -> Duration {
    let seconds = std::env::var("OMPI_MCA_odls_base_sigkill_timeout").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1)) / 2
}

/// A buffer that MPI reads or writes. It stays where it is until it is taken back, for ever if
/// that never happens.
struct Lent<T: 'static>(*mut [T]);

impl<T: 'static> Lent<T> {
    fn new(values: Vec<T>) -> Self {
        Self(Box::into_raw(values.into_boxed_slice()))
    }

    /// The values, for MPI to read.
    ///
    /// # Safety
    ///
    /// The reference must not be used after `take`.
    unsafe fn get(&self) -> &'static [T] {
        // SAFETY: made from a box, and not freed before `take`; the caller ends all uses by then.
        unsafe { &*self.0 }
    }

    /// The buffer, for MPI to write.
    ///
    /// # Safety
    ///
    /// There must be no other reference to it, and this one must not be used after `take`.
    unsafe fn get_mut(&self) -> &'static mut [T] {
        // SAFETY: as in `get`; the caller has the only reference.
        unsafe { &mut *self.0 }
    }

    /// Takes it back.
    ///
    /// # Safety
    ///
    /// Nothing may use it any more, MPI included.
    unsafe fn take(self) -> Vec<T> {
        // SAFETY: made from a box, and taken once, since that takes `self`.
        unsafe { Box::from_raw(self.0) }.into_vec()
    }
}
