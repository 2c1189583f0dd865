//! `oscar-bin caption`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{Kind, PictureArgs, Request};
use crate::args::Global;
use crate::ending::Ending;

/// Describes pictures. A picture that cannot be read is reported, and the others are described.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin caption datasets/sample/pictures\n  \
    oscar-bin caption photo.jpg --checkpoint captioner --detector detector --picture seen.png\n  \
    oscar-bin caption photos/ --checkpoint runs/captioning/best --json")]
pub struct CaptionArgs {
    /// Pictures, folders of pictures or zip archives
    #[arg(value_name = "PICTURE", required = true)]
    pub pictures: Vec<PathBuf>,
    #[command(flatten)]
    pub shared: PictureArgs,
}

/// Prints a caption of each picture.
///
/// # Errors
/// If weights or detector cannot be opened.
pub fn run(global: &Global, args: &CaptionArgs) -> Result<Ending> {
    super::run(&Request {
        kind: Kind::Caption,
        pictures: &args.pictures,
        text: None,
        task: None,
        args: &args.shared,
        global,
    })
}
