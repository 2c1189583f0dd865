//! `oscar-bin match`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{Kind, PictureArgs, Request};
use crate::args::Global;
use crate::ending::Ending;

/// Prints the probability that a text describes each picture. A picture that cannot be read is
/// reported, and the others are scored.
///
/// The weights are those of a matching or retrieval task, or a CLIP (a HuggingFace directory, or OpenAI's
/// .pt file with its merges beside it), which compares any picture with any text.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin match datasets/sample/pictures \"two black squares\" --checkpoint matching-mini\n  \
    oscar-bin match photos/ \"a dog on a beach\" --checkpoint retrieval --detector detector --json\n  \
    oscar-bin match photo.jpg \"a photo of a dog\" --against \"a photo of a cat\" \\\n    \
        --checkpoint clip-vit-base-patch32")]
pub struct MatchArgs {
    /// Pictures, folders of pictures or zip archives
    #[arg(value_name = "PICTURE", required = true)]
    pub pictures: Vec<PathBuf>,
    /// The text
    #[arg(value_name = "TEXT")]
    pub text: String,
    /// Another text that the picture may show, for weights of a CLIP; may be repeated. The result is the
    /// probability of TEXT among all of them, and without other texts the cosine of picture and text
    #[arg(long, value_name = "TEXT")]
    pub against: Vec<String>,
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
        against: &args.against,
        task: args.task.as_deref(),
        args: &args.shared,
        global,
    })
}
