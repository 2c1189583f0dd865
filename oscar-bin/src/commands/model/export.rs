//! `oscar-bin model export`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use oscar_core::checkpoint::{self, Layout};
use serde_json::json;

use crate::output::{self, print_json};
use crate::weights;

/// Writes weights with the official names and in their own type.
///
/// A `.bin` file has the format of torch.save, which PyTorch 1.6 and later read with weights_only; tied
/// names share their values in it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin model export runs/quickstart/last --out pytorch_model.bin\n  \
    oscar-bin model export pytorch_model.bin --out model.safetensors\n  \
    oscar-bin model export models/rosita --layout rosita --out rosita-base.pkl")]
pub struct ExportArgs {
    /// Weights: a file, a directory with model.safetensors or pytorch_model.bin, a run, or public weights
    /// by name or as hub:OWNER/NAME
    #[arg(value_name = "CKPT")]
    pub checkpoint: PathBuf,
    /// File to write: NAME.bin, NAME.pkl (PyTorch) or NAME.safetensors
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Replace the file of --out if it exists
    #[arg(long)]
    pub overwrite: bool,
    /// Names to write: those of Oscar, or those of ROSITA, whose PyTorch files have a dictionary per module
    #[arg(long, value_enum, default_value_t = NameLayout::Oscar)]
    pub layout: NameLayout,
    /// Print a summary as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Whose names the file has.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum NameLayout {
    Oscar,
    Rosita,
}

/// Exports the checkpoint and prints a summary.
///
/// # Errors
/// If the checkpoint cannot be read or the file cannot be written.
pub fn run(args: &ExportArgs) -> Result<()> {
    let layout = match args.layout {
        NameLayout::Oscar => Layout::Oscar,
        NameLayout::Rosita => Layout::Rosita,
    };
    let checkpoint = weights::find(Path::new("runs"), &args.checkpoint)?;
    output::refuse_input("--out", &args.out, checkpoint::locate(&checkpoint).ok())?;
    output::check_out("--out", &args.out, args.overwrite)?;
    let exported = checkpoint::export_as(layout, &checkpoint, &args.out)
        .with_context(|| format!("cannot export {}", args.checkpoint.display()))?;
    let changes: Vec<_> = exported.changes.iter().map(ToString::to_string).collect();
    if args.json {
        return print_json(&json!({
            "file": output::shown(&args.out),
            "tensors": exported.names,
            "tied": exported.tied,
            "changes": changes,
        }));
    }
    let mut out = output::stdout();
    for change in changes {
        writeln!(out, "{change}")?;
    }
    for names in &exported.tied {
        writeln!(out, "{}", names.join(" = "))?;
    }
    writeln!(out, "{}: {} tensors", args.out.display(), exported.names)?;
    Ok(())
}
