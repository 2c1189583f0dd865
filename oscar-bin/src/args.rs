//! Flags that several commands have in common.

use clap::{Args, ValueEnum};
use oscar_core::ops::Precision;

/// Flags of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// Say more (-v debug, -vv trace)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but warnings, errors and results
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Form of the messages on standard error
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// A backend by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BackendChoice {
    /// The fastest that is compiled in and has a device
    #[default]
    Auto,
    /// Pure-Rust CPU
    #[cfg(feature = "flex")]
    Flex,
    /// LibTorch, CPU or CUDA
    #[cfg(feature = "tch")]
    Tch,
    /// GPUs through Vulkan or Metal
    #[cfg(feature = "wgpu")]
    Wgpu,
    /// NVIDIA GPUs
    #[cfg(feature = "cuda")]
    Cuda,
}

#[derive(Clone, Debug, Args)]
pub struct DeviceArgs {
    /// What computes
    #[arg(short, long, value_enum, default_value_t, env = "OSCAR_BACKEND")]
    pub backend: BackendChoice,
    /// Devices of the backend, by number: one computes, several train together
    #[arg(long, value_delimiter = ',', default_value = "0", value_name = "N,...")]
    pub devices: Vec<usize>,
    /// What matrices are multiplied in, f32 or bf16; the rest is always f32 [default: the recipe's,
    /// else f32]
    #[arg(long, value_name = "PRECISION")]
    pub precision: Option<Precision>,
}
