//! Every set of a folder against the official outputs, on every backend that is compiled in and
//! present: by default the fixtures of this crate, or those in the folder that `OSCAR_GOLDENS`
//! names.

use std::io::Write;
use std::path::PathBuf;

use burn::backend::Autodiff;
use burn_flex::{Flex, FlexDevice};
use oscar_core::ops::TrainBackend;

#[test]
fn flex() {
    parity::<Autodiff<Flex>>("flex", &FlexDevice);
}

#[cfg(feature = "tch")]
#[test]
fn libtorch() {
    let device = oscar_core::devices::libtorch::devices().remove(0);
    parity::<Autodiff<burn_tch::LibTorch>>(&format!("tch ({})", device.name), &device.device);
}

#[cfg(feature = "wgpu")]
#[test]
fn wgpu() {
    match oscar_core::devices::vulkan::devices() {
        Err(missing) => say(&format!("wgpu is not compared: {missing}")),
        Ok(mut found) => {
            let device = found.remove(0);
            let name = format!("wgpu ({})", device.name);
            parity::<Autodiff<burn_wgpu::Wgpu>>(&name, &device.device);
        }
    }
}

#[cfg(feature = "cuda")]
#[test]
fn cuda() {
    match oscar_core::devices::cuda::devices() {
        Err(missing) => say(&format!("cuda is not compared: {missing}")),
        Ok(mut found) => {
            let device = found.remove(0);
            let name = format!("cuda ({})", device.name);
            parity::<Autodiff<burn_cuda::Cuda>>(&name, &device.device);
        }
    }
}

fn parity<B: TrainBackend>(backend: &str, device: &B::Device) {
    let fixtures = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let folder = std::env::var_os("OSCAR_GOLDENS").map_or_else(fixtures, PathBuf::from);
    let summary = oscar_tests::run::<B>(&folder, device).unwrap_or_else(|error| panic!("{error}"));
    say(&format!(
        "Parity with the official classes on {backend}: {}\n{summary}",
        folder.display()
    ));
    if let Err(reason) = summary.verdict() {
        panic!("{reason}");
    }
}

/// Past the capture of the test harness, which hides what passing tests print.
fn say(text: &str) {
    std::io::stderr()
        .write_all(format!("\n{text}\n").as_bytes())
        .expect("standard error is open");
}
