//! `oscar-bin model export`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use oscar_core::checkpoint;
use serde_json::json;

use crate::output::{self, print_json};

/// Writes weights with the official names and in their own type.
///
/// A `.bin` file has the format of torch.save, which PyTorch 1.6 and later read with weights_only; tied
/// names share their values in it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin model export runs/quickstart/last --out pytorch_model.bin\n  \
    oscar-bin model export pytorch_model.bin --out model.safetensors")]
pub struct ExportArgs {
    /// Weights: a file, or a directory with model.safetensors or pytorch_model.bin
    #[arg(value_name = "CKPT")]
    pub checkpoint: PathBuf,
    /// File to write: NAME.bin (PyTorch) or NAME.safetensors
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Print a summary as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Exports the checkpoint and prints a summary.
///
/// # Errors
/// If the checkpoint cannot be read or the file cannot be written.
pub fn run(args: &ExportArgs) -> Result<()> {
    let exported = checkpoint::export(&args.checkpoint, &args.out)
        .with_context(|| format!("cannot export {}", args.checkpoint.display()))?;
    let changes: Vec<_> = exported.changes.iter().map(ToString::to_string).collect();
    if args.json {
        return print_json(&json!({
            "file": args.out,
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
