//! `oscar-bin model import`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use oscar_core::checkpoint::{self, ImportOptions, Imported, TrainingArgs};

use super::import_clip::{self, ClipCapArgs, MODEL_CONFIG};
use super::summary::print_summary;
use crate::output::{self, print_json};
use crate::weights;

/// Writes DIR/model.safetensors, DIR/config.json and, if it is next to the weights, vocab.txt.
///
/// Of a CLIP (OpenAI's .pt or HuggingFace's directory) it writes the weights and what is next to them, of a
/// ClipCap as its train.py saved it a directory that caption, evaluate and predict open.
///
/// PyTorch files are read without executing anything in them. Names are converted to the official ones
/// from those of the captioning code of 2020, of HuggingFace, of DataParallel and of ROSITA. The configuration is
/// checked against the weights, and missing values are filled in from them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin model import checkpoints/base-vg-labels/ep_67_588997 --out models/oscar-base\n  \
    oscar-bin model import pytorch_model.bin --model-config config.json --out models/bert\n  \
    oscar-bin model import coco_weights.pt --out models/clipcap")]
pub struct ImportArgs {
    /// Weights: a PyTorch or safetensors file, a directory with one, a run, or public weights by name or
    /// as hub:OWNER/NAME
    #[arg(value_name = "SRC")]
    pub source: PathBuf,
    /// Directory to write
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Configuration of the model [default: config.json next to the weights]
    #[arg(long, value_name = "FILE")]
    pub model_config: Option<PathBuf>,
    /// Replace an existing model in DIR
    #[arg(long)]
    pub overwrite: bool,
    #[command(flatten)]
    pub clipcap: ClipCapArgs,
    /// Print a summary as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Imports the checkpoint and prints a summary.
///
/// # Errors
/// If the source cannot be read, or does not fit its configuration.
pub fn run(args: &ImportArgs) -> Result<()> {
    if import_clip::run(args)? {
        return Ok(());
    }
    let options = ImportOptions {
        model_config: args.model_config.clone(),
        overwrite: args.overwrite,
    };
    let source = weights::find(Path::new("runs"), &args.source)?;
    if source.exists() {
        import_clip::refuse_others(args, "BERT or Oscar", &[MODEL_CONFIG])?;
    }
    let imported = checkpoint::import(&source, &args.out, &options)
        .with_context(|| format!("cannot import {}", args.source.display()))?;
    match args.json {
        true => print_json(&serde_json::to_value(&imported)?),
        false => print_import(&imported),
    }
}

fn print_import(imported: &Imported) -> Result<()> {
    let mut out = output::stdout();
    let source = &imported.source;
    writeln!(out, "{}", source.file.display())?;
    print_summary(&mut out, source)?;
    for (key, value) in &imported.filled {
        writeln!(
            out,
            "{} has no {key}; {value} was filled in from the weights",
            imported.config.display()
        )?;
    }
    if let Some(settings) = &imported.training_args {
        writeln!(out, "{}: {}", settings.file.display(), summary(settings))?;
    }
    for note in &imported.notes {
        writeln!(out, "note: {note}")?;
    }
    let vocab = if imported.vocab { ", vocab.txt" } else { "" };
    writeln!(
        out,
        "{}: model.safetensors, config.json{vocab}",
        imported.directory.display()
    )?;
    Ok(())
}

/// The settings that matter to a user of the model, and the number of others.
fn summary(settings: &TrainingArgs) -> String {
    const SHOWN: [&str; 9] = [
        "do_lower_case",
        "model_name_or_path",
        "max_seq_length",
        "max_img_seq_length",
        "learning_rate",
        "num_train_epochs",
        "scst",
        "loss_type",
        "seed",
    ];
    let shown: Vec<_> = SHOWN
        .iter()
        .filter_map(|key| Some(format!("{key} = {}", settings.fields.get(*key)?)))
        .collect();
    match settings.fields.len() - shown.len() {
        0 => shown.join(", "),
        others => format!("{} ({others} more with --json)", shown.join(", ")),
    }
}
