//! `oscar-bin dev`: commands that make the shipped sample and its tasks.

pub mod sample;
pub mod scenes;
pub mod tasks;

use anyhow::Result;
use clap::{Args, Subcommand};

use self::sample::{SampleArgs, SampleWeightsArgs};
use self::scenes::ScenesArgs;
use self::tasks::TasksArgs;
use crate::ending::Ending;

#[derive(Debug, Args)]
pub struct DevArgs {
    #[command(subcommand)]
    pub command: DevCommand,
}

#[derive(Debug, Subcommand)]
pub enum DevCommand {
    /// Build small data sets for all fine-tuning tasks from NLVR v1 data sets
    Tasks(TasksArgs),
    /// Draw scenes of everyday things, with regions, tags and captions
    Scenes(ScenesArgs),
    /// Build the sample of the repository from all of NLVR v1
    Sample(SampleArgs),
    /// Build the start weights of the sample from a run of the quickstart
    SampleWeights(SampleWeightsArgs),
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever makes it fail.
pub fn run(args: &DevArgs) -> Result<Ending> {
    match &args.command {
        DevCommand::Tasks(args) => tasks::run(args)?,
        DevCommand::Scenes(args) => scenes::run(args)?,
        DevCommand::Sample(args) => sample::make_sample(args)?,
        DevCommand::SampleWeights(args) => sample::make_weights(args)?,
    }
    Ok(Ending::Done)
}
