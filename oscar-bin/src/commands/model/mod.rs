//! `oscar-bin model`: import, export and inspect weights.

mod export;
mod import;
mod inspect;
mod summary;

use anyhow::Result;
use clap::{Args, Subcommand};

use self::export::ExportArgs;
use self::import::ImportArgs;
use self::inspect::InspectArgs;
use crate::ending::Ending;

#[derive(Debug, Args)]
pub struct ModelArgs {
    #[command(subcommand)]
    pub command: ModelCommand,
}

#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Take over a checkpoint: PyTorch or safetensors, with its configuration and vocabulary
    Import(ImportArgs),
    /// Write weights as a file of PyTorch or safetensors
    Export(ExportArgs),
    /// Show what a file of weights holds
    Inspect(InspectArgs),
}

/// Runs the chosen subcommand.
pub fn run(args: &ModelArgs) -> Result<Ending> {
    match &args.command {
        ModelCommand::Import(args) => import::run(args)?,
        ModelCommand::Export(args) => export::run(args)?,
        ModelCommand::Inspect(args) => inspect::run(args)?,
    }
    Ok(Ending::Done)
}
