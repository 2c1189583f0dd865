//! `oscar-bin data`: build, check and inspect data sets.

mod build_answers;
mod build_index;
mod build_nlvr1;
mod build_regions;
mod check;
mod inspect;

use anyhow::Result;
use clap::{Args, Subcommand};

use self::build_answers::AnswersArgs;
use self::build_index::IndexArgs;
use self::build_nlvr1::Nlvr1Args;
use self::build_regions::RegionsArgs;
use self::check::CheckArgs;
use self::inspect::InspectArgs;
use super::dev;
use crate::args::Global;
use crate::ending::Ending;

#[derive(Debug, Args)]
pub struct DataArgs {
    #[command(subcommand)]
    pub command: DataCommand,
}

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Build region stores, indexes, corpora and answer vocabularies
    #[command(subcommand)]
    Build(BuildCommand),
    /// Validate files and list their problems, line by line
    Check(CheckArgs),
    /// Show the regions and tags of an image of a region store
    Inspect(InspectArgs),
    /// See `oscar-bin dev sample`
    #[command(hide = true)]
    Sample(dev::sample::SampleArgs),
    /// See `oscar-bin dev sample-weights`
    #[command(hide = true)]
    SampleWeights(dev::sample::SampleWeightsArgs),
}

#[derive(Debug, Subcommand)]
pub enum BuildCommand {
    /// Build described boxes and human statements from the drawings of NLVR v1
    Nlvr1(Nlvr1Args),
    /// Import existing region features (official tables, VinVL, LXMERT, .npz, .npy, .pt)
    Regions(RegionsArgs),
    /// Build an index of a region store, to search its pictures by text
    Index(IndexArgs),
    /// Build an answer vocabulary from annotations
    Answers(AnswersArgs),
    /// See `oscar-bin dev tasks`
    #[command(hide = true)]
    Tasks(dev::tasks::TasksArgs),
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever makes it fail.
pub fn run(global: &Global, args: &DataArgs) -> Result<Ending> {
    match &args.command {
        DataCommand::Build(BuildCommand::Nlvr1(args)) => build_nlvr1::run(args)?,
        DataCommand::Build(BuildCommand::Answers(args)) => build_answers::run(args)?,
        DataCommand::Build(BuildCommand::Index(args)) => build_index::run(global, args)?,
        DataCommand::Build(BuildCommand::Regions(args)) => build_regions::run(args)?,
        DataCommand::Build(BuildCommand::Tasks(args)) => dev::tasks::run(args)?,
        DataCommand::Check(args) => check::run(global, args)?,
        DataCommand::Inspect(args) => inspect::run(args)?,
        DataCommand::Sample(args) => dev::sample::make_sample(args)?,
        DataCommand::SampleWeights(args) => dev::sample::make_weights(args)?,
    }
    Ok(Ending::Done)
}
