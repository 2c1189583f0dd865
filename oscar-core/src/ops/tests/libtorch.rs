//! LibTorch on the CPU.

use burn_tch::{LibTorch as Inner, LibTorchDevice};

const DEVICE: LibTorchDevice = LibTorchDevice::Cpu;

#[path = "attention.rs"]
mod attention;
mod low_precision;
#[path = "norm.rs"]
mod norm;
#[path = "optimizer.rs"]
mod optimizer;
#[path = "suite.rs"]
mod suite;
