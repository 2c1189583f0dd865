//! `oscar-bin data build nlvr1`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use oscar_sample::nlvr1::{BuildOptions, build};

use crate::output::{self, print_json};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    oscar-bin data build nlvr1 --images dev_images.zip --annotations dev.jsonl.gz --out data/dev")]
pub struct Nlvr1Args {
    /// Zip archive or directory of PNG files
    #[arg(long, value_name = "ZIP_OR_DIR")]
    pub images: PathBuf,
    /// Annotations: JSON lines, plain or gzip
    #[arg(long, value_name = "FILE")]
    pub annotations: PathBuf,
    /// Directory to write
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Replace an existing data set
    #[arg(long)]
    pub overwrite: bool,
    /// Only images whose names begin with this split's name
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
    /// Skip the first N sentence groups
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub skip: usize,
    /// Use at most N sentence groups
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Leave out boxes that are identical to a box of this data set (the training split)
    #[arg(long, value_name = "DIR")]
    pub held_out_from: Option<PathBuf>,
    /// Print a summary as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Builds the data set and prints its counts.
///
/// # Errors
/// If a source cannot be read or the data set cannot be written.
pub fn run(args: &Nlvr1Args) -> Result<()> {
    let options = BuildOptions {
        split_name: args.split.clone(),
        skip: args.skip,
        limit: args.limit,
        held_out_from: args.held_out_from.clone(),
        overwrite: args.overwrite,
        ..BuildOptions::default()
    };
    let info = build(&args.images, &args.annotations, &args.out, &options)
        .with_context(|| format!("cannot build {}", args.out.display()))?;
    if args.json {
        return print_json(&info);
    }
    let mut out = output::stdout();
    let counts = info.counts;
    writeln!(
        out,
        "{} images of {} groups; {} described boxes with {} objects \
         ({} empty, {} identical to training boxes); {} human statements",
        counts.images,
        counts.groups,
        counts.boxes,
        counts.objects,
        counts.empty_boxes,
        counts.seen_boxes,
        counts.statements,
    )?;
    writeln!(
        out,
        "{} of {} images verified against the annotated objects (the others have no annotation)",
        counts.verified, counts.images
    )?;
    writeln!(out, "{}", args.out.display())?;
    Ok(())
}
