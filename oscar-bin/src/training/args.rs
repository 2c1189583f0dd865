//! The flags of every command that trains.

use std::path::PathBuf;

use clap::Args;
use clap::builder::ArgPredicate;

use crate::args::{DeviceArgs, Suggested};
use crate::config::RECIPES;

#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Recipe: a built-in name (`oscar-bin recipes` lists them) or a TOML file [default: a small
    /// one on the shipped sample]
    #[arg(
        short,
        long,
        value_name = "RECIPE",
        value_parser = Suggested(|| RECIPES.iter().map(|recipe| recipe.name).collect()),
        hide_possible_values = true
    )]
    pub config: Option<String>,
    /// Override a key of the recipe; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Train once for each of these values of a key, one run after the other, and compare the runs; may
    /// be repeated, for all combinations. A sweep that is started again resumes
    #[arg(
        long,
        value_name = "KEY=VALUE,VALUE",
        conflicts_with_all = ["resume", "print_config", "json"]
    )]
    pub sweep: Vec<String>,
    /// Optimiser steps of the run, whatever length the recipe has
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub steps: Option<usize>,
    /// Name of the run, whose directory is RUNS_DIR/NAME [default: the recipe's name, numbered]
    #[arg(short, long)]
    pub name: Option<String>,
    /// Directory of the runs
    #[arg(
        long,
        default_value = "runs",
        env = "OSCAR_RUNS_DIR",
        value_name = "DIR"
    )]
    pub runs_dir: PathBuf,
    /// Resume the run NAME, or the newest run, from its newest checkpoint
    #[arg(
        short,
        long,
        default_value_if("resume_from", ArgPredicate::IsPresent, "true")
    )]
    pub resume: bool,
    /// Resume from the checkpoint of this step instead of the newest
    #[arg(long, value_name = "STEP")]
    pub resume_from: Option<usize>,
    /// Start weights: a safetensors or PyTorch file, a directory with model.safetensors or
    /// pytorch_model.bin, a run, or public weights by name (`oscar-bin model pull` lists them) or as
    /// hub:OWNER/NAME
    #[arg(long, value_name = "CHECKPOINT")]
    pub init: Option<PathBuf>,
    /// Module (official parameter prefix), or `all`, that may be initialised randomly if it is
    /// missing from CHECKPOINT; `all` without --init starts from random weights; may be repeated
    #[arg(long, value_name = "MODULE")]
    pub init_random: Vec<String>,
    /// Random seed [default: the recipe's]
    #[arg(long, allow_negative_numbers = true)]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print the resolved configuration as TOML (as JSON with --json) and exit
    #[arg(long)]
    pub print_config: bool,
    /// Print the results as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}
