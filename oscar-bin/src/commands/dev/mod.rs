//! `oscar-bin dev`: the commands that made the shipped sample and its tasks.

mod sample;
mod tasks;

use anyhow::Result;
use clap::{Args, Subcommand};

use self::sample::{SampleArgs, SampleWeightsArgs};
use self::tasks::TasksArgs;
use crate::ending::Ending;

#[derive(Debug, Args)]
pub struct DevArgs {
    #[command(subcommand)]
    pub command: DevCommand,
}

#[derive(Debug, Subcommand)]
pub enum DevCommand {
    /// Make a small version of every fine-tuning task from NLVR v1 data sets
    Tasks(TasksArgs),
    /// Make the sample that ships with the repository from the whole of NLVR v1
    Sample(SampleArgs),
    /// Make the start weights that ship with the sample from a run of the quickstart
    SampleWeights(SampleWeightsArgs),
}

/// Runs the chosen subcommand.
pub fn run(args: &DevArgs) -> Result<Ending> {
    match &args.command {
        DevCommand::Tasks(args) => tasks::run(args)?,
        DevCommand::Sample(args) => sample::make_sample(args)?,
        DevCommand::SampleWeights(args) => sample::make_weights(args)?,
    }
    Ok(Ending::Done)
}
