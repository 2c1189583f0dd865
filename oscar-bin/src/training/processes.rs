//! The processes that train one model together, where `mpirun` started several.
//!
//! The first process leads: it creates the run and sends recipe and directory to the others.

use std::path::PathBuf;

use anyhow::{Result, bail};
use oscar_train::{Interrupter, Workers};

use crate::args::DeviceArgs;

/// Environment variables in which MPI's launchers give a process its rank and the world size.
const NUMBERS: [(&str, &str); 2] = [
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
];

/// The group of processes that train together.
pub struct Processes {
    #[cfg(feature = "mpi")]
    mpi: Option<oscar_train::Processes>,
}

/// Rank of this process and world size, if a launcher started several.
fn launched() -> Option<(usize, usize)> {
    let read = |name: &str| std::env::var(name).ok()?.parse().ok();
    NUMBERS
        .into_iter()
        .find_map(|(rank, size)| Some((read(rank)?, read(size)?)))
        .filter(|(_, size)| *size > 1)
}

/// Whether this process is one of several.
pub fn are_several() -> bool {
    launched().is_some()
}

/// Whether another process prints for this one.
pub fn is_follower() -> bool {
    launched().is_some_and(|(rank, _)| rank > 0)
}

#[cfg(not(feature = "mpi"))]
impl Processes {
    /// This process alone.
    ///
    /// # Errors
    /// If it is one of several.
    pub fn join() -> Result<Self> {
        match launched() {
            None => Ok(Self {}),
            Some((_, size)) => bail!(
                "started as one of {size} processes, but this build has no MPI support: \
                 build it with `cargo build --release --features oscar-bin/mpi`"
            ),
        }
    }

    /// Whether this process creates the run.
    pub fn leads(&self) -> bool {
        true
    }

    /// What the leading process sends to all.
    pub fn share(&mut self, own: (String, PathBuf)) -> Result<(String, PathBuf)> {
        Ok(own)
    }

    /// Waits until the leading process arrives here.
    pub fn meet(&mut self) -> Result<()> {
        Ok(())
    }

    /// The device of this process.
    pub fn own_device(&self, args: &DeviceArgs) -> Result<DeviceArgs> {
        Ok(args.clone())
    }

    /// How many workers train on these devices.
    pub fn world(&self, args: &DeviceArgs) -> usize {
        args.devices.len()
    }

    /// The workers that train.
    pub fn workers(&self, args: &DeviceArgs, _: &Interrupter) -> Workers {
        Workers::devices(args.devices.clone())
    }

    /// Waits for the others to end.
    pub fn leave(self) {}
}

#[cfg(feature = "mpi")]
impl Processes {
    /// This process and those that were started with it.
    ///
    /// # Errors
    /// If another process has ended.
    pub fn join() -> Result<Self> {
        let Some((rank, _)) = launched() else {
            return Ok(Self { mpi: None });
        };
        let grace = std::env::var_os("OMPI_MCA_odls_base_sigkill_timeout");
        if rank == 0 && std::env::var_os("OMPI_COMM_WORLD_RANK").is_some() && grace.is_none() {
            tracing::warn!(
                "mpirun kills stopped processes after one second, which may be too short for a \
                 checkpoint; allow more with --mca odls_base_sigkill_timeout 20"
            );
        }
        let mpi = Some(oscar_train::Processes::join()?);
        Ok(Self { mpi })
    }

    /// Whether this process creates the run.
    pub fn leads(&self) -> bool {
        self.mpi.as_ref().is_none_or(|mpi| mpi.rank() == 0)
    }

    /// What the leading process sends to all.
    pub fn share(&mut self, own: (String, PathBuf)) -> Result<(String, PathBuf)> {
        match &mut self.mpi {
            None => Ok(own),
            Some(mpi) => {
                let words = serde_json::to_string(&own)?;
                Ok(serde_json::from_str(&mpi.broadcast(words)?)?)
            }
        }
    }

    /// Waits until the leading process arrives here.
    pub fn meet(&mut self) -> Result<()> {
        if let Some(mpi) = &mut self.mpi {
            mpi.broadcast("here".into())?;
        }
        Ok(())
    }

    /// The device of this process: the one of --devices at its rank on its machine.
    pub fn own_device(&self, args: &DeviceArgs) -> Result<DeviceArgs> {
        let Some(mpi) = &self.mpi else {
            return Ok(args.clone());
        };
        let number = match args.devices.as_slice() {
            [one] => *one,
            several => match several.get(mpi.local_rank()) {
                Some(number) => *number,
                None => bail!(
                    "--devices lists {} devices per machine, but this is process {} on its machine: \
                     start one process per device",
                    several.len(),
                    mpi.local_rank() + 1
                ),
            },
        };
        Ok(DeviceArgs {
            devices: vec![number],
            ..args.clone()
        })
    }

    /// How many workers train: each process has one.
    pub fn world(&self, args: &DeviceArgs) -> usize {
        match &self.mpi {
            None => args.devices.len(),
            Some(mpi) => mpi.world(),
        }
    }

    /// The workers that train; `interrupter` is set when this process receives a signal.
    pub fn workers(&self, args: &DeviceArgs, interrupter: &Interrupter) -> Workers {
        match &self.mpi {
            None => Workers::devices(args.devices.clone()),
            Some(mpi) => Workers::processes(mpi.group(interrupter.clone())),
        }
    }

    /// Waits for the others to end.
    pub fn leave(self) {
        if let Some(mpi) = self.mpi {
            mpi.leave();
        }
    }
}
