//! `oscar-bin ask`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{Kind, PictureArgs, Request};
use crate::args::Global;
use crate::ending::Ending;

/// Answers a question about pictures. A picture that cannot be read is reported, and the others are
/// answered.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin ask datasets/sample/pictures \"is there a square?\" --checkpoint runs/vqa-mini/best\n  \
    oscar-bin ask photo.jpg \"what is the man holding?\" --checkpoint vqa --detector detector \\\n    \
        --answers trainval_label2ans.pkl --top 3")]
pub struct AskArgs {
    /// Pictures, folders of pictures or zip archives
    #[arg(value_name = "PICTURE", required = true)]
    pub pictures: Vec<PathBuf>,
    /// The question
    #[arg(value_name = "QUESTION")]
    pub question: String,
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
        pictures: &args.pictures,
        text: Some(&args.question),
        against: &[],
        task: args.task.as_deref(),
        args: &args.shared,
        global,
    })
}
