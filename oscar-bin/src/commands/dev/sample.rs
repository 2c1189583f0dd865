//! `oscar-bin dev sample` and `oscar-bin dev sample-weights`: the data in the repository.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use oscar_sample::{SampleSources, write_sample, write_weights};

use crate::output;

#[derive(Debug, Args)]
pub struct SampleArgs {
    /// Training images: zip archive or directory
    #[arg(long)]
    pub train_images: PathBuf,
    /// Annotations of the training images
    #[arg(long)]
    pub train_annotations: PathBuf,
    /// Held-out images
    #[arg(long)]
    pub dev_images: PathBuf,
    /// Annotations of the held-out images
    #[arg(long)]
    pub dev_annotations: PathBuf,
    /// Directory to write
    #[arg(long)]
    pub out: PathBuf,
    /// Replace an existing sample
    #[arg(long)]
    pub overwrite: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    oscar-bin dev sample-weights --from runs/quickstart/best --out datasets/sample/weights")]
pub struct SampleWeightsArgs {
    /// The `best` directory of the run
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Directory to write
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Replace existing weights
    #[arg(long)]
    pub overwrite: bool,
}

/// Writes the sample.
///
/// # Errors
/// If a source cannot be read or the sample cannot be written.
pub fn make_sample(args: &SampleArgs) -> Result<()> {
    let sources = SampleSources {
        train_images: &args.train_images,
        train_annotations: &args.train_annotations,
        dev_images: &args.dev_images,
        dev_annotations: &args.dev_annotations,
    };
    let counts = write_sample(&sources, &args.out, args.overwrite)
        .with_context(|| format!("cannot build the sample {}", args.out.display()))?;
    writeln!(
        output::stdout(),
        "{} training and {} held-out images, {:.2} MB in {}",
        counts.train_images,
        counts.dev_images,
        counts.bytes as f64 / 1e6,
        args.out.display()
    )?;
    Ok(())
}

/// Writes the start weights of the sample.
///
/// # Errors
/// If the run cannot be read or the weights cannot be written.
pub fn make_weights(args: &SampleWeightsArgs) -> Result<()> {
    let bytes = write_weights(&args.from, &args.out, args.overwrite)
        .with_context(|| format!("cannot build the weights {}", args.out.display()))?;
    writeln!(
        output::stdout(),
        "{:.2} MB in {}",
        bytes as f64 / 1e6,
        args.out.display()
    )?;
    Ok(())
}
