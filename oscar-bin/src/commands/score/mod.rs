//! `oscar-bin score`: scores prediction files without a model.

mod captions;
mod retrieval;

use anyhow::Result;
use clap::{Args, Subcommand};

use self::captions::CaptionsArgs;
use self::retrieval::RetrievalArgs;
use crate::ending::Ending;

/// Scores prediction files.
#[derive(Debug, Args)]
pub struct ScoreArgs {
    #[command(subcommand)]
    pub command: ScoreCommand,
}

#[derive(Debug, Subcommand)]
pub enum ScoreCommand {
    /// Score captions as the COCO caption evaluation does
    Captions(CaptionsArgs),
    /// Score rankings of COCO's captions and images, with CxC and ECCV Caption
    Retrieval(RetrievalArgs),
}

/// Scores and prints.
///
/// # Errors
/// If a file cannot be read or does not fit the others.
pub fn run(args: &ScoreArgs) -> Result<Ending> {
    match &args.command {
        ScoreCommand::Captions(args) => captions::run(args)?,
        ScoreCommand::Retrieval(args) => retrieval::run(args)?,
    }
    Ok(Ending::Done)
}
