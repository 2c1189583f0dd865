//! `oscar-bin find`.

use anyhow::Result;
use clap::Args;

use super::subject::{Subject, TextName};
use super::{Kind, PictureArgs, Request};
use crate::args::Global;
use crate::ending::Ending;

/// The text of the command.
#[derive(Clone, Debug)]
pub struct Expression;

impl TextName for Expression {
    const NAME: &'static str = "EXPRESSION";
    const MEANING: &'static str = "the expression that means one thing of the picture";
}

/// Prints the box of the thing that an expression means, x1, y1, x2, y2 in pixels. A picture that
/// cannot be read is reported, and the others are searched.
#[derive(Debug, Args)]
#[command(override_usage = "oscar-bin find [OPTIONS] <PICTURE>... <EXPRESSION>")]
#[command(after_help = "Examples:\n  \
    oscar-bin find scene.png \"the dog to the left of the tree\" --checkpoint runs/refer-scenes/best\n  \
    oscar-bin find photo.jpg \"the man with the red hat\" --checkpoint refer --detector detector \\\n    \
        --picture found.png")]
pub struct FindArgs {
    #[command(flatten)]
    pub subject: Subject<Expression>,
    #[command(flatten)]
    pub shared: PictureArgs,
}

/// Prints the box that is found in each picture.
///
/// # Errors
/// If weights or detector cannot be opened.
pub fn run(global: &Global, args: &FindArgs) -> Result<Ending> {
    super::run(&Request {
        kind: Kind::Find,
        pictures: &args.subject.pictures,
        text: Some(&args.subject.text),
        against: &[],
        task: None,
        args: &args.shared,
        global,
    })
}
