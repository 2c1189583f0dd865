//! `oscar-bin match`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{Kind, PictureArgs, Request};
use crate::args::Global;
use crate::ending::Ending;

/// Prints the probability that a text describes each picture. A picture that cannot be read is
/// reported, and the others are scored.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin match datasets/sample/pictures \"two black squares\" --checkpoint matching-mini\n  \
    oscar-bin match photos/ \"a dog on a beach\" --checkpoint retrieval --detector detector --json")]
pub struct MatchArgs {
    /// Pictures, folders of pictures or zip archives
    #[arg(value_name = "PICTURE", required = true)]
    pub pictures: Vec<PathBuf>,
    /// The text
    #[arg(value_name = "TEXT")]
    pub text: String,
    /// Task of published weights
    #[arg(
        short,
        long,
        value_parser = ["retrieval", "matching"],
        help_heading = "Published weights"
    )]
    pub task: Option<String>,
    #[command(flatten)]
    pub shared: PictureArgs,
}

/// Prints how well the text matches each picture.
///
/// # Errors
/// If weights or detector cannot be opened.
pub fn run(global: &Global, args: &MatchArgs) -> Result<Ending> {
    super::run(&Request {
        kind: Kind::Match,
        pictures: &args.pictures,
        text: Some(&args.text),
        task: args.task.as_deref(),
        args: &args.shared,
        global,
    })
}
