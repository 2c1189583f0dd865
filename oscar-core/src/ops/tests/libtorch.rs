//! LibTorch on the CPU.

use burn_tch::{LibTorch as Inner, LibTorchDevice};

const DEVICE: LibTorchDevice = LibTorchDevice::Cpu;

mod low_precision;
#[path = "optimizer.rs"]
mod optimizer;
#[path = "suite.rs"]
mod suite;
