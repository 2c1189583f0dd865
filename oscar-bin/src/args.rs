//! Flags that several commands have in common.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, PossibleValuesParser, StringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use oscar_core::ops::Precision;

/// Flags of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Print more messages (-v debug, -vv trace)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Print only warnings, errors and results
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Log format on standard error
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
    /// Plain text
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// A backend by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BackendChoice {
    /// The fastest backend that is compiled in and finds a device
    #[default]
    Auto,
    /// CPU, in pure Rust
    #[cfg(feature = "flex")]
    Flex,
    /// LibTorch, on CPU or CUDA
    #[cfg(feature = "tch")]
    Tch,
    /// GPUs through Vulkan or Metal
    #[cfg(feature = "wgpu")]
    Wgpu,
    /// NVIDIA GPUs
    #[cfg(feature = "cuda")]
    Cuda,
}

/// Where a command computes.
#[derive(Clone, Debug, Args)]
pub struct DeviceArgs {
    /// Backend to run on
    #[arg(
        short,
        long,
        value_enum,
        default_value_t,
        env = "OSCAR_BACKEND",
        help_heading = "Device options"
    )]
    pub backend: BackendChoice,
    /// Devices of the backend, by number; several train together
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "0",
        value_name = "N,...",
        help_heading = "Device options"
    )]
    pub devices: Vec<usize>,
    /// Precision of matrix products (f32 or bf16); everything else stays f32 [default: the
    /// recipe's, else f32]
    #[arg(long, value_name = "PRECISION", help_heading = "Device options")]
    pub precision: Option<Precision>,
}

/// Takes any text, and names some for completion and help: what else there is, is told better where it
/// is looked for.
#[derive(Clone)]
pub struct Suggested(pub fn() -> Vec<&'static str>);

impl TypedValueParser for Suggested {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.0)().into_iter().map(PossibleValue::new)))
    }
}

/// Reads a number of things of which there must be one at least.
///
/// # Errors
/// If it is no such number.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

/// The values of a flag: name, help, meaning.
pub type Choices<T> = &'static [(&'static str, &'static str, T)];

/// Reads one of `values` by its name.
pub fn choices<T: Copy + Send + Sync + 'static>(
    values: Choices<T>,
) -> impl TypedValueParser<Value = T> {
    let named = |(name, help, _): &(&'static str, &'static str, T)| {
        let value = PossibleValue::new(*name);
        if help.is_empty() {
            value
        } else {
            value.help(*help)
        }
    };
    PossibleValuesParser::new(values.iter().map(named)).try_map(move |given| {
        let found = values.iter().find(|(name, ..)| *name == given);
        found.map(|(_, _, value)| *value).ok_or("unknown value")
    })
}
