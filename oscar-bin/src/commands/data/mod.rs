//! `oscar-bin data`: build, check and inspect data sets.

mod build_answers;
mod build_nlvr1;
mod build_regions;
mod check;
mod inspect;

use anyhow::Result;
use clap::{Args, Subcommand};

use self::build_answers::AnswersArgs;
use self::build_nlvr1::Nlvr1Args;
use self::build_regions::RegionsArgs;
use self::check::CheckArgs;
use self::inspect::InspectArgs;
use crate::args::Global;
use crate::ending::Ending;

#[derive(Debug, Args)]
pub struct DataArgs {
    #[command(subcommand)]
    pub command: DataCommand,
}

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Build a region store and its corpora
    #[command(subcommand)]
    Build(BuildCommand),
    /// Read files whole and list what is wrong with them, line by line
    Check(CheckArgs),
    /// Show an image of a region store: regions and tags as tables, and drawn on its picture
    Inspect(InspectArgs),
}

#[derive(Debug, Subcommand)]
pub enum BuildCommand {
    /// NLVR v1: described boxes and human statements from the drawings' pixels
    Nlvr1(Nlvr1Args),
    /// Region features that exist already: official tables, VinVL, LXMERT, .npz, .npy, .pt
    Regions(RegionsArgs),
    /// An answer vocabulary of what people answered
    Answers(AnswersArgs),
}

/// Runs the chosen subcommand.
pub fn run(global: &Global, args: &DataArgs) -> Result<Ending> {
    match &args.command {
        DataCommand::Build(BuildCommand::Nlvr1(args)) => build_nlvr1::run(args)?,
        DataCommand::Build(BuildCommand::Answers(args)) => build_answers::run(args)?,
        DataCommand::Build(BuildCommand::Regions(args)) => build_regions::run(args)?,
        DataCommand::Check(args) => check::run(global, args)?,
        DataCommand::Inspect(args) => inspect::run(args)?,
    }
    Ok(Ending::Done)
}
