//! The backend to run on: chosen at run time among those compiled in, in this one place.

use anyhow::{Result, bail};
use burn::backend::Autodiff;
use oscar_core::devices::Found;
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

/// The backends that are compiled in.
pub fn compiled() -> Vec<Backend> {
    vec![
        #[cfg(feature = "cuda")]
        describe("cuda", oscar_core::devices::cuda::devices()),
        #[cfg(feature = "tch")]
        describe("tch", Ok(oscar_core::devices::libtorch::devices())),
        #[cfg(feature = "wgpu")]
        describe("wgpu", oscar_core::devices::vulkan::devices()),
        #[cfg(feature = "flex")]
        describe("flex", Ok(flex())),
    ]
}

fn describe<D>(
    name: &'static str,
    found: Result<Vec<Found<D>>, oscar_core::devices::NoDevice>,
) -> Backend {
    let missing = found.as_ref().err().map(|missing| missing.reason.clone());
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

/// A backend with the device to run on.
enum Chosen {
    #[cfg(feature = "flex")]
    Flex(Found<burn_flex::FlexDevice>),
    #[cfg(feature = "tch")]
    Tch(Found<burn_tch::LibTorchDevice>),
    #[cfg(feature = "wgpu")]
    Wgpu(Found<burn_wgpu::WgpuDevice>),
    #[cfg(feature = "cuda")]
    Cuda(Found<burn_cuda::CudaDevice>),
}

/// Refuses missing devices before any work is done for them.
///
/// # Errors
/// If the backend or a device is missing, or a device lacks the precision.
pub fn check(args: &DeviceArgs) -> Result<()> {
    choose(args).map(drop)
}

/// Runs `computation` on the backend of `args`, and logs which that is.
///
/// # Errors
/// If the backend or device cannot be used, or the computation fails.
pub fn dispatch<C: OnBackend>(args: &DeviceArgs, computation: C) -> Result<C::Output> {
    if !C::SEVERAL && args.devices.len() > 1 {
        bail!(
            "--devices lists {} devices, but this command runs on one",
            args.devices.len()
        );
    }
    let chosen = choose(args)?;
    let precision = args.precision.unwrap_or_default();
    precision.scope(|| match chosen {
        #[cfg(feature = "flex")]
        Chosen::Flex(found) => {
            log("flex", &found, precision);
            computation.run::<Autodiff<burn_flex::Flex>>(found.device)
        }
        #[cfg(feature = "tch")]
        Chosen::Tch(found) => {
            log("tch", &found, precision);
            computation.run::<Autodiff<burn_tch::LibTorch>>(found.device)
        }
        #[cfg(feature = "wgpu")]
        Chosen::Wgpu(found) => {
            log("wgpu", &found, precision);
            computation.run::<Autodiff<burn_wgpu::Wgpu>>(found.device)
        }
        #[cfg(feature = "cuda")]
        Chosen::Cuda(found) => {
            log("cuda", &found, precision);
            computation.run::<Autodiff<burn_cuda::Cuda>>(found.device)
        }
    })
}

fn log<D>(backend: &str, found: &Found<D>, precision: Precision) {
    tracing::info!("backend {backend} ({}), {}", found.name, precision.name());
}

fn choose(args: &DeviceArgs) -> Result<Chosen> {
    for (index, device) in args.devices.iter().enumerate() {
        if args.devices[..index].contains(device) {
            bail!("--devices lists device {device} twice");
        }
    }
    match args.backend {
        BackendChoice::Auto => automatic(args),
        #[cfg(feature = "flex")]
        BackendChoice::Flex => select("flex", flex(), true, args).map(Chosen::Flex),
        #[cfg(feature = "tch")]
        BackendChoice::Tch => {
            let found = oscar_core::devices::libtorch::devices();
            select("tch", found, !torch_has_gpu(), args).map(Chosen::Tch)
        }
        #[cfg(feature = "wgpu")]
        BackendChoice::Wgpu => {
            let found = oscar_core::devices::vulkan::devices()?;
            select("wgpu", found, false, args).map(Chosen::Wgpu)
        }
        #[cfg(feature = "cuda")]
        BackendChoice::Cuda => {
            let found = oscar_core::devices::cuda::devices()?;
            select("cuda", found, false, args).map(Chosen::Cuda)
        }
    }
}

/// The first backend that has a device of its own: GPUs, then the CPU by LibTorch, then by Rust.
/// Software Vulkan is used only if it is named.
fn automatic(args: &DeviceArgs) -> Result<Chosen> {
    let with = |backend| {
        choose(&DeviceArgs {
            backend,
            ..args.clone()
        })
    };
    #[cfg(feature = "cuda")]
    if oscar_core::devices::cuda::devices().is_ok() {
        return with(BackendChoice::Cuda);
    }
    #[cfg(feature = "wgpu")]
    {
        let software = |found: &Found<_>| found.device == burn_wgpu::WgpuDevice::Cpu;
        let hardware = oscar_core::devices::vulkan::devices()
            .is_ok_and(|found| found.first().is_some_and(|first| !software(first)));
        // LibTorch comes first if it has a GPU.
        if hardware && !torch_has_gpu() {
            return with(BackendChoice::Wgpu);
        }
    }
    #[cfg(feature = "tch")]
    return with(BackendChoice::Tch);
    #[cfg(all(feature = "flex", not(feature = "tch")))]
    return with(BackendChoice::Flex);
    #[cfg(not(any(feature = "tch", feature = "flex")))]
    {
        // Only GPU backends: their errors say what is missing.
        let _ = with;
        let reasons: Vec<String> = compiled().into_iter().filter_map(|b| b.missing).collect();
        bail!("no backend found a device: {}", reasons.join("; "))
    }
}

#[cfg(feature = "tch")]
fn torch_has_gpu() -> bool {
    oscar_core::devices::libtorch::devices()[0].device != burn_tch::LibTorchDevice::Cpu
}

#[cfg(all(feature = "wgpu", not(feature = "tch")))]
fn torch_has_gpu() -> bool {
    false
}

/// The first of the devices of `args`, if all of them exist. A `shared` device is the CPU: its
/// workers are threads, so it has any number of them.
fn select<D: Clone>(
    backend: &str,
    found: Vec<Found<D>>,
    shared: bool,
    args: &DeviceArgs,
) -> Result<Found<D>> {
    for number in &args.devices {
        if !shared && *number >= found.len() {
            bail!(
                "--devices {number}: the {backend} backend found {} device{}, numbered from 0 \
                 (`oscar-bin devices` lists them)",
                found.len(),
                if found.len() == 1 { "" } else { "s" },
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
