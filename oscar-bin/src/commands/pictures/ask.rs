//! `oscar-bin ask`.

use anyhow::Result;
use clap::Args;

use super::subject::{Subject, TextName};
use super::{Kind, PictureArgs, Request};
use crate::args::Global;
use crate::ending::Ending;

/// The text of the command.
#[derive(Clone, Debug)]
pub struct Question;

impl TextName for Question {
    const NAME: &'static str = "QUESTION";
    const MEANING: &'static str = "the question";
}

/// Answers a question about pictures. A picture that cannot be read is reported, and the others are
/// answered.
#[derive(Debug, Args)]
#[command(override_usage = "oscar-bin ask [OPTIONS] <PICTURE>... <QUESTION>")]
#[command(after_help = "Examples:\n  \
    oscar-bin ask datasets/sample/scenes/pictures \"is there a panda?\" --checkpoint vqa-scenes\n  \
    oscar-bin ask photo.jpg \"what is the man holding?\" --checkpoint vqa --detector detector \\\n    \
        --answers trainval_label2ans.pkl --top 3")]
pub struct AskArgs {
    #[command(flatten)]
    pub subject: Subject<Question>,
    /// Task of published weights
    #[arg(short, long, value_parser = ["vqa", "gqa"], help_heading = "Published weights")]
    pub task: Option<String>,
    #[command(flatten)]
    pub shared: PictureArgs,
}

/// Prints the answer about each picture.
///
/// # Errors
/// If weights or detector cannot be opened.
pub fn run(global: &Global, args: &AskArgs) -> Result<Ending> {
    super::run(&Request {
        kind: Kind::Question,
        pictures: &args.subject.pictures,
        text: Some(&args.subject.text),
        against: &[],
        task: args.task.as_deref(),
        args: &args.shared,
        global,
    })
}
