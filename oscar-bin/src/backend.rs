//! The backend to run on: chosen at run time among those compiled in, in this one place.

use anyhow::{Result, bail};
use burn::backend::Autodiff;
use clap::ValueEnum;
use oscar_core::devices::{Found, NoDevice};
use oscar_core::ops::{Precision, TrainBackend};

use crate::args::{BackendChoice, DeviceArgs};

/// A computation that is the same on every backend.
pub trait OnBackend {
    /// Its result.
    type Output;

    /// Whether it uses more than the first device.
    const SEVERAL: bool = false;

    /// Computes on `device`.
    ///
    /// # Errors
    /// Whatever makes it fail.
    fn run<B: TrainBackend>(self, device: B::Device) -> Result<Self::Output>;
}

/// What a backend finds on this machine.
#[derive(Debug, serde::Serialize)]
pub struct Backend {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its devices, in the order of their numbers.
    pub devices: Vec<Device>,
    /// Why it has none.
    pub missing: Option<String>,
}

/// A device of a backend.
#[derive(Debug, serde::Serialize)]
pub struct Device {
    pub number: usize,
    pub name: String,
    pub precisions: Vec<&'static str>,
}

macro_rules! backends {
    ($($name:literal => $choice:ident, $backend:ty, $devices:expr, shared: $shared:expr;)*) => {
        /// The backends that are compiled in.
        pub fn compiled() -> Vec<Backend> {
            vec![$(#[cfg(feature = $name)] describe($name, $devices)),*]
        }

        /// Refuses missing devices before any work is done for them.
        ///
        /// # Errors
        /// If the backend or a device is missing, or a device lacks the precision.
        pub fn check(args: &DeviceArgs) -> Result<()> {
            match choose(args) {
                BackendChoice::Auto => no_device(),
                $(
                    #[cfg(feature = $name)]
                    BackendChoice::$choice => {
                        select($name, $devices, $shared, args)?;
                        if $shared {
                            warn_of_workers(args);
                        }
                        warn_of_sums($name, args);
                        Ok(())
                    }
                )*
            }
        }

        /// Runs `computation` on the backend of `args`, and logs which that is.
        ///
        /// # Errors
        /// If the backend or device cannot be used, or the computation fails.
        pub fn dispatch<C: OnBackend>(args: &DeviceArgs, computation: C) -> Result<C::Output> {
            let count = args.devices.len();
            if !C::SEVERAL && count > 1 {
                bail!("--devices lists {count} devices, but this command runs on one");
            }
            let precision = args.precision.unwrap_or_default();
            match choose(args) {
                BackendChoice::Auto => no_device(),
                $(
                    #[cfg(feature = $name)]
                    BackendChoice::$choice => {
                        let found = select($name, $devices, $shared, args)?;
                        let (backend, dtype) = ($name, precision.name());
                        tracing::info!("backend {backend} ({}), {dtype}", found.name);
                        precision.scope(|| computation.run::<Autodiff<$backend>>(found.device))
                    }
                )*
            }
        }
    };
}

// Name and cargo feature, choice, type, devices. A `shared` device is the CPU: its workers are
// threads, so it has any number of them.
backends! {
    "cuda" => Cuda, burn_cuda::Cuda, oscar_core::devices::cuda::devices(), shared: false;
    "tch" => Tch, burn_tch::LibTorch, Ok(oscar_core::devices::libtorch::devices()), shared: !torch_has_gpu();
    "wgpu" => Wgpu, burn_wgpu::Wgpu, oscar_core::devices::vulkan::devices(), shared: false;
    "flex" => Flex, burn_flex::Flex, Ok(flex()), shared: true;
}

fn describe<D>(name: &'static str, found: Result<Vec<Found<D>>, NoDevice>) -> Backend {
    let missing = found.as_ref().err().map(|missing| {
        let NoDevice { reason, remedy, .. } = missing;
        format!("{reason}; {remedy}")
    });
    let devices = found.unwrap_or_default().into_iter().enumerate();
    Backend {
        name,
        missing,
        devices: devices
            .map(|(number, found)| Device {
                number,
                name: found.name,
                precisions: match found.bf16 {
                    true => vec!["f32", "bf16"],
                    false => vec!["f32"],
                },
            })
            .collect(),
    }
}

#[cfg(feature = "flex")]
fn flex() -> Vec<Found<burn_flex::FlexDevice>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    vec![Found {
        device: burn_flex::FlexDevice,
        name: format!("CPU, {cores} cores"),
        bf16: false,
    }]
}

/// The backend of `args`. If none is named, the first that has a device of its own: GPUs, then the
/// CPU by LibTorch, then by Rust; software Vulkan is used only if it is named.
fn choose(args: &DeviceArgs) -> BackendChoice {
    if args.backend != BackendChoice::Auto {
        return args.backend;
    }
    #[cfg(feature = "cuda")]
    if oscar_core::devices::cuda::devices().is_ok() {
        return BackendChoice::Cuda;
    }
    #[cfg(feature = "wgpu")]
    {
        let software = |found: &Found<_>| found.device == burn_wgpu::WgpuDevice::Cpu;
        let hardware = oscar_core::devices::vulkan::devices()
            .is_ok_and(|found| found.first().is_some_and(|first| !software(first)));
        // LibTorch comes first if it has a GPU.
        if hardware && !torch_has_gpu() {
            return BackendChoice::Wgpu;
        }
    }
    #[cfg(feature = "tch")]
    return BackendChoice::Tch;
    #[cfg(all(feature = "flex", not(feature = "tch")))]
    return BackendChoice::Flex;
    #[cfg(not(any(feature = "tch", feature = "flex")))]
    BackendChoice::Auto
}

/// Warns where devices of the CPU are named as if it had several.
fn warn_of_workers(args: &DeviceArgs) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = args.devices.len();
    if workers > cores {
        tracing::warn!("--devices names {workers} workers, but this machine has {cores} cores");
    } else if let [number] = args.devices.as_slice()
        && *number > 0
    {
        tracing::warn!("--devices {number} has no effect: the CPU is one device, number 0");
    }
}

/// Warns where several GPUs cannot sum their gradients among themselves.
fn warn_of_sums(backend: &str, args: &DeviceArgs) {
    #[cfg(feature = "cuda")]
    if backend == "cuda" && args.devices.len() > 1 && !oscar_core::devices::cuda::has_nccl() {
        tracing::warn!(
            "the GPUs sum their gradients in main memory, which is slow, because NCCL (libnccl.so) \
             cannot be loaded; docs/multi-gpu.md says how to install it"
        );
    }
    #[cfg(not(feature = "cuda"))]
    let _ = (backend, args);
}

/// The name of the backend of `args`.
pub fn name(args: &DeviceArgs) -> String {
    let named = choose(args).to_possible_value();
    named.map_or(String::new(), |value| value.get_name().into())
}

/// Whether the backend of `args` computes in the memory of this machine.
pub fn is_host(args: &DeviceArgs) -> bool {
    match choose(args) {
        #[cfg(feature = "flex")]
        BackendChoice::Flex => true,
        #[cfg(feature = "tch")]
        BackendChoice::Tch => !torch_has_gpu(),
        _ => false,
    }
}

fn no_device<T>() -> Result<T> {
    let reasons: Vec<String> = compiled().into_iter().filter_map(|b| b.missing).collect();
    bail!("no backend found a device: {}", reasons.join("; "))
}

#[cfg(feature = "tch")]
fn torch_has_gpu() -> bool {
    oscar_core::devices::libtorch::devices()[0].device != burn_tch::LibTorchDevice::Cpu
}

#[cfg(all(feature = "wgpu", not(feature = "tch")))]
fn torch_has_gpu() -> bool {
    false
}

/// The first of the devices of `args`, if all of them exist.
fn select<D: Clone>(
    backend: &str,
    found: Result<Vec<Found<D>>, NoDevice>,
    shared: bool,
    args: &DeviceArgs,
) -> Result<Found<D>> {
    let found = found?;
    for (index, number) in args.devices.iter().enumerate() {
        if args.devices[..index].contains(number) {
            bail!("--devices lists device {number} twice");
        }
        if !shared && *number >= found.len() {
            bail!(
                "--devices {number}: the {backend} backend found {} device(s), numbered from 0 \
                 (`oscar-bin devices` lists them)",
                found.len(),
            );
        }
    }
    let first = args.devices.first().copied().unwrap_or(0);
    let Some(chosen) = found.get(first).or(found.first()).cloned() else {
        bail!("the {backend} backend found no device");
    };
    if args.precision == Some(Precision::Bf16) && !chosen.bf16 {
        bail!(
            "--precision bf16: the {backend} backend has no bf16 matrix products on {}; use f32, or \
             a backend that has them (`oscar-bin devices` lists them)",
            chosen.name
        );
    }
    Ok(chosen)
}
