//! LibTorch on the CPU.

use burn_tch::{LibTorch as Inner, LibTorchDevice};

const DEVICE: LibTorchDevice = LibTorchDevice::Cpu;

mod narrow;
#[path = "suite.rs"]
mod suite;
