//! Which backend computes: chosen at run time among those compiled in, in this one place.

use anyhow::{Result, bail};
use burn::backend::Autodiff;
use burn_flex::{Flex, FlexDevice};
use clap::ValueEnum;
use oscar_core::ops::TrainBackend;

use crate::cli::DeviceArgs;

/// A backend by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BackendChoice {
    /// The fastest that is compiled in and has a device
    #[default]
    Auto,
    /// Pure-Rust CPU
    Flex,
}

/// A computation that is the same on every backend.
pub trait OnBackend {
    /// What it gives.
    type Output;

    /// Whether it uses devices beside the first.
    const SEVERAL: bool = false;

    /// Computes on `device`.
    fn run<B: TrainBackend>(self, device: B::Device) -> Result<Self::Output>;
}

/// Refuses devices that are not there, before any work is done for them.
pub fn check(args: &DeviceArgs) -> Result<()> {
    for (index, device) in args.devices.iter().enumerate() {
        if args.devices[..index].contains(device) {
            bail!("--devices names device {device} twice");
        }
    }
    Ok(())
}

/// Runs `computation` on the backend that `args` ask for, and says which that is.
pub fn dispatch<C: OnBackend>(args: &DeviceArgs, computation: C) -> Result<C::Output> {
    check(args)?;
    if !C::SEVERAL && args.devices.len() > 1 {
        bail!(
            "--devices names {} devices; this command computes on one",
            args.devices.len()
        );
    }
    match args.backend {
        BackendChoice::Auto | BackendChoice::Flex => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            tracing::info!("backend flex (CPU, {cores} cores)");
            computation.run::<Autodiff<Flex>>(FlexDevice)
        }
    }
}
