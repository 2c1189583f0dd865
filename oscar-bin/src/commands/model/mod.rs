//! `oscar-bin model`: download, import, export and inspect weights.

mod export;
mod import;
mod import_clip;
mod inspect;
mod pull;
mod summary;

use anyhow::Result;
use clap::{Args, Subcommand};

use self::export::ExportArgs;
use self::import::ImportArgs;
use self::inspect::InspectArgs;
use self::pull::PullArgs;
use crate::ending::Ending;

#[derive(Debug, Args)]
pub struct ModelArgs {
    #[command(subcommand)]
    pub command: ModelCommand,
}

#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Download public weights from the HuggingFace hub, or list the known ones
    Pull(PullArgs),
    /// Import a PyTorch or safetensors checkpoint with its configuration and vocabulary
    Import(ImportArgs),
    /// Export weights as a PyTorch or safetensors file
    Export(ExportArgs),
    /// Show the tensors and the model of a weights file
    Inspect(InspectArgs),
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever makes it fail.
pub fn run(args: &ModelArgs) -> Result<Ending> {
    match &args.command {
        ModelCommand::Pull(args) => pull::run(args)?,
        ModelCommand::Import(args) => import::run(args)?,
        ModelCommand::Export(args) => export::run(args)?,
        ModelCommand::Inspect(args) => inspect::run(args)?,
    }
    Ok(Ending::Done)
}
