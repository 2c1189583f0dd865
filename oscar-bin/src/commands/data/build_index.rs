//! `oscar-bin data build index`.

use std::fs::Metadata;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use oscar_core::ops::TrainBackend;
use oscar_datasets::open_images;
use oscar_search::{Search, VectorIndex, build_index};
use serde_json::json;

use crate::args::{DeviceArgs, Global, at_least_one};
use crate::backend::{OnBackend, dispatch};
use crate::output::{self, print_json, thousands};
use crate::weights;

/// Builds an index of a region store: a vector of each picture, by which `oscar-bin search` finds it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    oscar-bin data build index --regions photos --checkpoint search-scenes --out photos.index")]
pub struct IndexArgs {
    /// Region store with the pictures
    #[arg(long, alias = "store", value_name = "DIR")]
    pub regions: PathBuf,
    /// Weights of the task search: the `best` or `last` directory of a run, or the name of a run
    #[arg(long, value_name = "DIR|NAME")]
    pub checkpoint: PathBuf,
    /// File to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Replace an existing index
    #[arg(long)]
    pub overwrite: bool,
    /// Batch size
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub batch_size: usize,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print a summary as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Builds the index and prints what it is of.
///
/// # Errors
/// If the store or the weights cannot be read, do not fit each other, or the file cannot be written.
pub fn run(global: &Global, args: &IndexArgs) -> Result<()> {
    check_out(args)?;
    let building = Building {
        args,
        progress: output::bar(global),
    };
    let (pictures, width, seconds) = dispatch(&args.device, building)?;
    let bytes = std::fs::metadata(&args.out).map_or(0, |metadata| metadata.len());
    let rate = pictures as f64 / seconds.max(1e-9);
    if args.json {
        return print_json(&json!({
            "index": output::shown(&args.out),
            "pictures": pictures,
            "width": width,
            "bytes": bytes,
            "seconds": seconds,
            "pictures_per_second": rate,
        }));
    }
    let mut out = output::stdout();
    writeln!(
        out,
        "{} pictures, vectors of {width} values, {} in {:.1} s ({rate:.0} pictures/s)",
        thousands(pictures),
        oscar_train::bytes(bytes),
        seconds
    )?;
    writeln!(out, "{}", args.out.display())?;
    Ok(())
}

/// Refuses what is there already, unless it is an index that may be replaced.
fn check_out(args: &IndexArgs) -> Result<()> {
    output::check_out("--out", &args.out, args.overwrite)?;
    let is_empty = |metadata: Metadata| metadata.is_file() && metadata.len() == 0;
    let out = &args.out;
    match !out.exists() || out.metadata().is_ok_and(is_empty) || VectorIndex::is_one(out) {
        true => Ok(()),
        false => bail!(
            "{} is not an index of pictures, so it is not replaced",
            out.display()
        ),
    }
}

struct Building<'a> {
    args: &'a IndexArgs,
    progress: Box<dyn Fn(usize, usize) + Send + Sync>,
}

impl OnBackend for Building<'_> {
    /// Pictures, values of a vector, seconds.
    type Output = (usize, usize, f64);

    fn run<B: TrainBackend>(self, device: B::Device) -> Result<Self::Output> {
        let args = self.args;
        let embedder = weights::load::<Search, B::InnerBackend>(&args.checkpoint, &device)?;
        let store = open_images(&args.regions)?;
        let started = Instant::now();
        build_index(
            &embedder,
            &store,
            &args.out,
            args.batch_size,
            &*self.progress,
        )?;
        let width = embedder.checkpoint.model.projection_dim;
        Ok((store.len(), width, started.elapsed().as_secs_f64()))
    }
}
