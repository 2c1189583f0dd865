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
    oscar-bin caption photos/ --checkpoint runs/captioning/best --json\n  \
    oscar-bin caption photo.jpg --captioner clipcap")]
pub struct CaptionArgs {
    /// Pictures, folders of pictures or zip archives
    #[arg(value_name = "PICTURE", required = true)]
    pub pictures: Vec<PathBuf>,
    /// Model whose public weights are used: `oscar` (vinvl-captioning, with regions of VinVL) or `clipcap`
    /// (ClipCap on COCO, imported into models/clipcap)
    #[arg(long, value_name = "NAME", value_parser = ["oscar", "clipcap"], conflicts_with = "checkpoint")]
    pub captioner: Option<String>,
    #[command(flatten)]
    pub shared: PictureArgs,
}

/// Prints a caption of each picture.
///
/// # Errors
/// If weights or detector cannot be opened.
pub fn run(global: &Global, args: &CaptionArgs) -> Result<Ending> {
    let mut shared = args.shared.clone();
    if let Some(captioner) = &args.captioner {
        let weights = match captioner.as_str() {
            "oscar" => "vinvl-captioning",
            family => family,
        };
        shared.checkpoint = Some(weights.into());
    }
    super::run(&Request {
        kind: Kind::Caption,
        pictures: &args.pictures,
        text: None,
        against: &[],
        task: None,
        args: &shared,
        global,
    })
}
