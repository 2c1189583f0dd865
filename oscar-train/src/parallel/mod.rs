//! Data parallel training: several workers, each with a replica of the model, make one step.
//!
//! The micro-batches of a step are numbered as one device with accumulation numbers them; worker
//! `r` of `n` takes `r`, `r + n`, `r + 2n`, … with the loss weights and seeds that they have there.
//! Gradients are summed once per step, then clipped, and each worker steps its own optimiser. So
//! `n` workers compute what one device computes with an accumulation of `n`.
//!
//! Nothing hangs. Before each step the workers vote whether to continue, and before each sum whether
//! all have something to add: a worker that failed announces it there, and one that does not respond within
//! the time limit is abandoned. Every exchange involves all of them, so a failure arrives in place of
//! whatever the others wait for next.
//!
//! The workers themselves are [`Trainer`](crate::trainer::Trainer)s.
//!
//! | file | holds |
//! |---|---|
//! | `team` | the votes |
//! | `local` | groups of threads of this process |
//! | `mpi` | groups of processes, on one machine or many |
//! | `buckets` | gradients as a few flat buffers |
//! | `sum` | where these are summed |
//! | `watch` | the limit of sums among devices |
//! | `replica` | a model's values, copied to another device or process |
//! | `divide` | a recipe's steps, divided among workers |

mod buckets;
mod divide;
mod local;
#[cfg(feature = "mpi")]
mod mpi;
mod replica;
mod sum;
mod team;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use burn::tensor::backend::{Backend, BackendTypes, Device, DeviceOps};

use crate::error::WorkerLost;

pub(crate) use buckets::Buckets;
pub use divide::divide_among_workers;
use local::local_groups;
#[cfg(feature = "mpi")]
pub use mpi::Processes;
pub(crate) use replica::{broadcast_start, replicate};
pub use sum::AllReduce;
pub(crate) use sum::Sums;
pub(crate) use team::Team;
pub(crate) use watch::{Watch, give_up_devices};

/// The workers of a run, as one of them sees them.
///
/// All workers make the same calls in the same order. After an error none may follow.
pub trait Group: Send {
    /// Which worker this is, from 0. Worker 0 leads: it has the run directory, and validates.
    fn rank(&self) -> usize;

    /// How many there are.
    fn world(&self) -> usize;

    /// Every worker's bytes, in order of rank. Without a `limit` it waits as long as it takes.
    ///
    /// # Errors
    ///
    /// If a worker is gone, or does not respond within `limit`.
    fn gather(
        &mut self,
        bytes: Vec<u8>,
        limit: Option<Duration>,
    ) -> Result<Vec<Arc<[u8]>>, WorkerLost>;

    /// The bytes of worker 0; those of the others are ignored.
    ///
    /// # Errors
    ///
    /// If a worker is gone, or does not respond within `limit`.
    fn broadcast(
        &mut self,
        bytes: Vec<u8>,
        limit: Option<Duration>,
    ) -> Result<Arc<[u8]>, WorkerLost> {
        let own = if self.rank() == 0 { bytes } else { Vec::new() };
        Ok(self.gather(own, limit)?.swap_remove(0))
    }

    /// The sum of every worker's values, which are equally many. The order of summation is the same
    /// every time, and so is the result in every worker.
    ///
    /// # Errors
    ///
    /// If a worker is gone, or does not respond within `limit`.
    fn sum(&mut self, values: Vec<f32>, limit: Duration) -> Result<Vec<f32>, WorkerLost>;
}

/// The error of `ranks` that did not respond within `limit`.
fn silent(ranks: &[usize], limit: Duration) -> WorkerLost {
    WorkerLost(format!(
        "{} did not respond for {} seconds (train.peer_timeout_seconds)",
        named(ranks),
        limit.as_secs_f64()
    ))
}

/// `worker 1` or `workers 1, 2`.
fn named(ranks: &[usize]) -> String {
    let numbers: Vec<String> = ranks.iter().map(usize::to_string).collect();
    match ranks.len() {
        1 => format!("worker {}", numbers[0]),
        _ => format!("workers {}", numbers.join(", ")),
    }
}

/// The devices or processes that train together.
pub struct Workers {
    /// Numbers of the devices of this process, at least one.
    devices: Vec<usize>,
    /// The group of processes that this one belongs to; without one the workers are the devices.
    processes: Option<Box<dyn Group>>,
    /// Whether what steps measured is read late, whatever the devices.
    reads_late: bool,
}

impl Workers {
    /// One worker per device, by the backend's numbers; all in this process.
    pub fn devices(numbers: Vec<usize>) -> Self {
        Self {
            devices: numbers,
            processes: None,
            reads_late: false,
        }
    }

    /// One worker per process, each with one device.
    pub fn processes(group: Box<dyn Group>) -> Self {
        Self {
            devices: vec![0],
            processes: Some(group),
            reads_late: false,
        }
    }

    /// Reads what several steps measured at once, and leaves steps out on the device, as is done on
    /// devices that compute while the host goes on. Results are the same.
    pub fn reading_late(mut self) -> Self {
        self.reads_late = true;
        self
    }

    pub(crate) fn reads_late(&self) -> bool {
        self.reads_late
    }

    /// How many workers train, over all processes.
    pub fn world(&self) -> usize {
        match &self.processes {
            Some(group) => group.world(),
            None => self.devices.len().max(1),
        }
    }

    /// How many of the `micro_batches` of each step this process computes.
    pub fn local_micro_batches(&self, micro_batches: usize) -> usize {
        match &self.processes {
            Some(group) => micro_batches / group.world(),
            None => micro_batches,
        }
    }

    /// Whether this process leads: it alone has the run directory, validates, and reports.
    pub fn leads(&self) -> bool {
        self.processes
            .as_ref()
            .is_none_or(|group| group.rank() == 0)
    }

    /// The group of the first worker in this process, whose device is `first`, and groups and
    /// devices of the others.
    pub(crate) fn start<B: Backend>(self, first: &B::Device) -> (Box<dyn Group>, Others<B>) {
        if let Some(group) = self.processes {
            return (group, Vec::new());
        }
        let others = self.devices.get(1..).unwrap_or_default();
        let (group, groups) = local_groups(others.len());
        let devices = others.iter().map(|number| numbered::<B>(first, *number));
        (group, groups.into_iter().zip(devices).collect())
    }
}

/// Groups and devices of the workers of a process beside its first.
type Others<B> = Vec<(Box<dyn Group>, <B as BackendTypes>::Device)>;

/// The device of the kind of `device` that has this number.
fn numbered<B: Backend>(device: &B::Device, number: usize) -> B::Device {
    let mut id = device.id();
    id.index_id = number as _;
    B::Device::from_id(id)
}
