//! GPUs that a step is predicted for.

use clap::ValueEnum;
use oscar_core::ops::Precision;

/// A GPU by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Gpu {
    /// NVIDIA H200: 4.8 TB/s, 790 TFLOP/s in bf16
    H200,
    /// NVIDIA A100 of 80 GB: 2.04 TB/s, 312 TFLOP/s in bf16
    A100,
    /// NVIDIA RTX 4090: 1.01 TB/s, 165 TFLOP/s in bf16
    #[value(name = "4090")]
    Rtx4090,
}

/// What a GPU can do at most.
#[derive(Clone, Copy, Debug)]
pub struct Peaks {
    /// Floating-point operations per second of matrix products.
    pub flops: f64,
    /// Of f32, beside the tensor cores.
    pub scalar_flops: f64,
    /// Bytes per second of its memory.
    pub bandwidth: f64,
}

impl Gpu {
    /// Its name as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::H200 => "h200",
            Self::A100 => "a100",
            Self::Rtx4090 => "4090",
        }
    }

    /// Bandwidths and operations of the A100 and the RTX 4090 are those of NVIDIA's data sheets, without
    /// sparsity and with sums in f32. The H200's are measured, but for operations beside the tensor cores.
    /// Products of f32 matrices run on tensor cores in TF32, at half the speed of bf16.
    pub fn peaks(self, precision: Precision) -> Peaks {
        let (bandwidth, bf16, scalar_flops) = match self {
            Self::H200 => (4.8e12, 790e12, 66.9e12),
            Self::A100 => (2.039e12, 312e12, 19.5e12),
            Self::Rtx4090 => (1.008e12, 165.2e12, 82.6e12),
        };
        let flops = match precision {
            Precision::F32 => bf16 / 2.0,
            Precision::Bf16 => bf16,
        };
        Peaks {
            flops,
            scalar_flops,
            bandwidth,
        }
    }
}
