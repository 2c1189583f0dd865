//! Data parallel training: several workers, each with a replica of the model, make one step.
//!
//! The micro-batches of a step are numbered as one device with accumulation numbers them; worker
//! `r` of `n` takes `r`, `r + n`, `r + 2n`, … with the loss weights and seeds that they have there.
//! Gradients are summed once per step, then clipped, and each worker steps its own optimiser. So
//! `n` workers compute what one device computes with an accumulation of `n`.
//!
//! Nothing hangs. Before each step the workers ask each other whether to go on, and before each
//! sum whether all have something to add: a worker that failed says so there, and one that says
//! nothing within the time limit is given up. Every exchange takes part of all of them, so a
//! failure is told in the place of whatever the others wait for next.
//!
//! | file | holds |
//! |---|---|
//! | `team` | the votes |
//! | `local` | workers that are threads of this process |
//! | `mpi` | workers that are processes, on one machine or many |
//! | `buckets` | gradients as a few flat buffers |
//! | `replica` | a model's values, copied to another device or process |
//! | `worker` | what each of them computes |

mod buckets;
mod local;
#[cfg(feature = "mpi")]
mod mpi;
mod replica;
mod share;
mod team;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use burn::tensor::backend::{Backend, BackendTypes, Device, DeviceOps};

pub(crate) use local::local_groups;
#[cfg(feature = "mpi")]
pub use mpi::Processes;
pub(crate) use replica::{fork, share_start};
pub use share::divide_among_workers;
pub(crate) use team::Team;
pub(crate) use worker::{Done, Numbers, Worker};

/// The workers of a run, as one of them sees them.
///
/// All of them make the same calls in the same order. After an error none is made any more.
pub trait Group: Send {
    /// Which worker this is, from 0. Worker 0 leads: it has the run directory, and validates.
    fn rank(&self) -> usize;

    /// How many there are.
    fn world(&self) -> usize;

    /// Every worker's words, in order of rank. Without a `limit` it waits as long as it takes.
    ///
    /// # Errors
    ///
    /// If a worker is gone, or not heard of within `limit`.
    fn gather(
        &mut self,
        words: Vec<u8>,
        limit: Option<Duration>,
    ) -> Result<Vec<Arc<[u8]>>, WorkerLost>;

    /// The sum of every worker's values, of which all have as many. The order of summation is the
    /// same every time, and the result that of every worker.
    ///
    /// # Errors
    ///
    /// If a worker is gone, or not heard of within `limit`.
    fn sum(&mut self, values: Vec<f32>, limit: Duration) -> Result<Vec<f32>, WorkerLost>;
}

/// A worker is gone or does not answer; the others cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WorkerLost(pub String);

impl WorkerLost {
    /// `ranks` did not answer within `limit`.
    pub(crate) fn silent(ranks: &[usize], limit: Duration) -> Self {
        Self(format!(
            "{} did not answer for {} seconds (train.peer_timeout_seconds)",
            named(ranks),
            limit.as_secs_f64()
        ))
    }
}

/// `worker 1` or `workers 1, 2`.
pub(crate) fn named(ranks: &[usize]) -> String {
    let numbers: Vec<String> = ranks.iter().map(usize::to_string).collect();
    match ranks.len() {
        1 => format!("worker {}", numbers[0]),
        _ => format!("workers {}", numbers.join(", ")),
    }
}

/// Who trains together.
pub struct Workers {
    /// Numbers of the devices of this process, at least one.
    devices: Vec<usize>,
    /// The group this process is a worker of; without one its workers are its devices.
    processes: Option<Box<dyn Group>>,
}

impl Workers {
    /// One worker per device, by the backend's numbers; all in this process.
    pub fn devices(numbers: Vec<usize>) -> Self {
        Self {
            devices: numbers,
            processes: None,
        }
    }

    /// One worker per process, each with one device.
    pub fn processes(group: Box<dyn Group>) -> Self {
        Self {
            devices: vec![0],
            processes: Some(group),
        }
    }

    /// How many workers train, over all processes.
    pub fn world(&self) -> usize {
        match &self.processes {
            Some(group) => group.world(),
            None => self.devices.len().max(1),
        }
    }

    /// How many of the `parts` of each step this process computes.
    pub fn local_micro_batches(&self, parts: usize) -> usize {
        match &self.processes {
            Some(group) => parts / group.world(),
            None => parts,
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
