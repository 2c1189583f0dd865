//! `oscar-bin match`.

use anyhow::Result;
use clap::Args;

use super::subject::{Subject, TextName};
use super::{Kind, PictureArgs, Request};
use crate::args::Global;
use crate::ending::Ending;

/// The text of the command.
#[derive(Clone, Debug)]
pub struct Statement;

impl TextName for Statement {
    const NAME: &'static str = "TEXT";
    const MEANING: &'static str = "the text";
}

/// Prints the probability that a text describes each picture. A picture that cannot be read is
/// reported, and the others are scored.
///
/// The weights are those of a matching or retrieval task, or a CLIP (a HuggingFace directory, or OpenAI's
/// .pt file with its merges beside it), which compares any picture with any text.
#[derive(Debug, Args)]
#[command(override_usage = "oscar-bin match [OPTIONS] <PICTURE>... <TEXT>")]
#[command(after_help = "Examples:\n  \
    oscar-bin match datasets/sample/scenes/pictures \"a panda and a tree\" --checkpoint matching-scenes\n  \
    oscar-bin match photos/ \"a dog on a beach\" --checkpoint retrieval --detector detector --json\n  \
    oscar-bin match photo.jpg \"a photo of a dog\" --against \"a photo of a cat\" \\\n    \
        --checkpoint clip-vit-base-patch32")]
pub struct MatchArgs {
    #[command(flatten)]
    pub subject: Subject<Statement>,
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
        pictures: &args.subject.pictures,
        text: Some(&args.subject.text),
        against: &args.against,
        task: args.task.as_deref(),
        args: &args.shared,
        global,
    })
}
