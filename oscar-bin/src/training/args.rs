//! The flags of every command that trains.

use std::path::PathBuf;

use clap::Args;

use crate::args::DeviceArgs;

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Recipe: a built-in name (see `oscar-bin recipes`) or a TOML file [default: a small one on
    /// the shipped sample]
    #[arg(short, long, value_name = "RECIPE")]
    pub config: Option<String>,
    /// Override a key of the recipe; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Name of the run, written to RUNS_DIR/NAME [default: the recipe's, numbered]
    #[arg(short, long)]
    pub name: Option<String>,
    /// Where runs are written
    #[arg(
        long,
        default_value = "runs",
        env = "OSCAR_RUNS_DIR",
        value_name = "DIR"
    )]
    pub runs_dir: PathBuf,
    /// Go on from the newest checkpoint of the run NAME, or of the newest run
    #[arg(short, long)]
    pub resume: bool,
    /// Start weights: a safetensors or PyTorch file, or a directory with model.safetensors or
    /// pytorch_model.bin
    #[arg(long, value_name = "CHECKPOINT")]
    pub init: Option<PathBuf>,
    /// Part of the model, by official name, that may start random if CHECKPOINT lacks it, or `all`
    #[arg(long, value_name = "PART")]
    pub init_random: Vec<String>,
    /// Seed of everything random [default: the recipe's]
    #[arg(long)]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print the configuration that the recipe and the flags make, and do nothing else
    #[arg(long)]
    pub print_config: bool,
    /// Print the results as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}
