//! `oscar-bin find`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{Kind, PictureArgs, Request};
use crate::args::Global;
use crate::ending::Ending;

/// Prints the box of the thing that an expression means, x1, y1, x2, y2 in pixels. A picture that
/// cannot be read is reported, and the others are searched.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin find scene.png \"the dog to the left of the tree\" --checkpoint runs/refer-mini/best\n  \
    oscar-bin find photo.jpg \"the man with the red hat\" --checkpoint refer --detector detector \\\n    \
        --picture found.png")]
pub struct FindArgs {
    /// Pictures, folders of pictures or zip archives
    #[arg(value_name = "PICTURE", required = true)]
    pub pictures: Vec<PathBuf>,
    /// The expression that means one thing of the picture
    #[arg(value_name = "EXPRESSION")]
    pub expression: String,
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
        pictures: &args.pictures,
        text: Some(&args.expression),
        against: &[],
        task: None,
        args: &args.shared,
        global,
    })
}
