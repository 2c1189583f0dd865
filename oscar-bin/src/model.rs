//! `oscar-bin model`: weights in and out of this project, and a look into any file of them.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use burn_flex::{Flex, FlexDevice};
use clap::{Args, Subcommand};
use oscar_core::checkpoint::{self, ImportOptions, Imported, Inspection, LoadReport, TrainingArgs};
use oscar_core::model::OscarForPretraining;
use oscar_pretraining::PretrainConfig;
use serde_json::{Map, Value, json};

use crate::Ending;
use crate::config::{self, Source};

#[derive(Debug, Args)]
pub struct ModelArgs {
    #[command(subcommand)]
    pub command: ModelCommand,
}

#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Take over a checkpoint: PyTorch or safetensors, with its configuration and vocabulary
    Import(ImportArgs),
    /// Write weights as a file of PyTorch or safetensors
    Export(ExportArgs),
    /// Show what a file of weights holds
    Inspect(InspectArgs),
}

/// Writes DIR/model.safetensors, DIR/config.json and, if it lies beside the weights, vocab.txt.
///
/// Files of PyTorch are read without executing anything in them. Names become the official ones:
/// those of the captioning code of 2020, of HuggingFace and of DataParallel are known. The
/// configuration is held against the weights; what it lacks is filled in from them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin model import checkpoints/base-vg-labels/ep_67_588997 --out models/oscar-base\n  \
    oscar-bin model import pytorch_model.bin --model-config config.json --out models/bert")]
pub struct ImportArgs {
    /// Weights: a PyTorch or safetensors file, or a directory with one
    #[arg(value_name = "SRC")]
    pub source: PathBuf,
    /// Directory to write
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Configuration of the model [default: config.json beside the weights]
    #[arg(long, value_name = "FILE")]
    pub model_config: Option<PathBuf>,
    /// Replace a model that is in DIR already
    #[arg(long)]
    pub overwrite: bool,
    /// Print what was done as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Writes weights under official names and in their own type.
///
/// A `.bin` file is what torch.save writes (PyTorch 1.6 and later reads it, with weights_only);
/// tied names share their values in it.
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
    /// Print what was written as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Shows a file's format, tensors, parameters by part and which model they make.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin model inspect pytorch_model.bin\n  \
    oscar-bin model inspect models/oscar-base --for oscarplus-base")]
pub struct InspectArgs {
    /// Weights: a PyTorch or safetensors file, or a directory with one
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Show what the model of this recipe would take from the file: a built-in name or a TOML file
    #[arg(long = "for", value_name = "RECIPE")]
    pub recipe: Option<String>,
    /// Print everything as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Does what was asked for.
pub fn run(args: &ModelArgs) -> Result<Ending> {
    match &args.command {
        ModelCommand::Import(args) => import(args)?,
        ModelCommand::Export(args) => export(args)?,
        ModelCommand::Inspect(args) => inspect(args)?,
    }
    Ok(Ending::Done)
}

fn import(args: &ImportArgs) -> Result<()> {
    let options = ImportOptions {
        model_config: args.model_config.clone(),
        overwrite: args.overwrite,
    };
    let imported = checkpoint::import(&args.source, &args.out, &options)
        .with_context(|| format!("cannot import {}", args.source.display()))?;
    match args.json {
        true => print_json(&serde_json::to_value(&imported)?),
        false => print_import(&imported),
    }
}

fn print_import(imported: &Imported) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let source = &imported.source;
    writeln!(out, "{}", source.file.display())?;
    print_summary(&mut out, source)?;
    for (key, value) in &imported.filled {
        writeln!(
            out,
            "{} lacked {key}; {value} is filled in from the weights",
            imported.config.display()
        )?;
    }
    if let Some(settings) = &imported.training_args {
        writeln!(out, "{}: {}", settings.file.display(), told(settings))?;
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

/// The settings that matter to a reader of the model, and how many others there are.
fn told(settings: &TrainingArgs) -> String {
    const TOLD: [&str; 9] = [
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
    let shown: Vec<_> = TOLD
        .iter()
        .filter_map(|key| Some(format!("{key} = {}", settings.fields.get(*key)?)))
        .collect();
    match settings.fields.len() - shown.len() {
        0 => shown.join(", "),
        others => format!("{} ({others} others with --json)", shown.join(", ")),
    }
}

fn export(args: &ExportArgs) -> Result<()> {
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
    let mut out = std::io::stdout().lock();
    for change in changes {
        writeln!(out, "{change}")?;
    }
    for names in &exported.tied {
        writeln!(out, "{}", names.join(" = "))?;
    }
    writeln!(out, "{}: {} tensors", args.out.display(), exported.names)?;
    Ok(())
}

fn inspect(args: &InspectArgs) -> Result<()> {
    let described = checkpoint::inspect(&args.file)?;
    let transfer = match &args.recipe {
        Some(recipe) => Some((recipe, compare(args, recipe)?)),
        None => None,
    };
    if args.json {
        let mut document = serde_json::to_value(&described)?;
        if let Some((recipe, report)) = &transfer {
            document["for"] = report_json(recipe, report);
        }
        return print_json(&document);
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", described.file.display())?;
    print_summary(&mut out, &described)?;
    print_parts(&mut out, &described)?;
    match transfer {
        Some((recipe, report)) => print_report(&mut out, recipe, &report),
        None => print_tensors(&mut out, &described),
    }
}

/// What the pre-training model of a recipe would take. Its parameters are not drawn for this.
fn compare(args: &InspectArgs, recipe: &str) -> Result<LoadReport> {
    let recipe: PretrainConfig = config::resolve(&Source::open(recipe)?, &[])?;
    recipe.model.validate()?;
    let model = OscarForPretraining::<Flex>::new(&recipe.model, &FlexDevice);
    Ok(checkpoint::compare(&model, &args.file)?)
}

fn print_summary(out: &mut impl Write, described: &Inspection) -> Result<()> {
    writeln!(
        out,
        "{} file: {}; {} parameters in {} tensors of {}",
        described.format.name(),
        described.model,
        thousands(described.parameters),
        described.tensors.len(),
        types(described)
    )?;
    let sizes = described.sizes;
    if let Some(hidden) = sizes.hidden_size {
        let image = match sizes.img_feature_dim {
            Some(values) if sizes.use_img_layernorm => {
                format!("regions of {values} values, normalised")
            }
            Some(values) => format!("regions of {values} values"),
            None => "no image input (a text-only BERT)".into(),
        };
        writeln!(
            out,
            "{} layers of {hidden}, vocabulary {}, {image}",
            sizes.num_hidden_layers,
            sizes.vocab_size.unwrap_or_default(),
        )?;
    }
    for names in &described.tied {
        writeln!(out, "tied: {}", names.join(" = "))?;
    }
    for change in &described.changes {
        writeln!(out, "changed: {change}")?;
    }
    Ok(())
}

/// The types of the tensors, `F32` or `F16, F32`.
fn types(described: &Inspection) -> String {
    let types: std::collections::BTreeSet<_> = described
        .tensors
        .iter()
        .map(|tensor| tensor.dtype.as_str())
        .collect();
    types.into_iter().collect::<Vec<_>>().join(", ")
}

fn print_parts(out: &mut impl Write, described: &Inspection) -> Result<()> {
    writeln!(out)?;
    for part in &described.parts {
        writeln!(out, "{:<20} {:>13}", part.name, thousands(part.parameters))?;
    }
    writeln!(out, "{:<20} {:>13}", "all", thousands(described.parameters))?;
    Ok(())
}

fn print_tensors(out: &mut impl Write, described: &Inspection) -> Result<()> {
    let names = described.tensors.iter().map(|tensor| tensor.name.len());
    let width = names.max().unwrap_or(0);
    writeln!(out)?;
    for tensor in &described.tensors {
        writeln!(
            out,
            "{:<width$}  {:<4}  {:?}",
            tensor.name, tensor.dtype, tensor.shape
        )?;
    }
    Ok(())
}

fn print_report(out: &mut impl Write, recipe: &str, report: &LoadReport) -> Result<()> {
    let total = report.loaded.len() + report.missing.len() + report.mismatched.len();
    writeln!(
        out,
        "\nThe model of {recipe} takes {} of its {total} parameters from here",
        report.loaded.len()
    )?;
    for name in &report.missing {
        writeln!(out, "missing, would start random: {name}")?;
    }
    for mismatch in &report.mismatched {
        writeln!(out, "of another shape: {mismatch}")?;
    }
    for name in &report.skipped {
        writeln!(out, "skipped: {name}")?;
    }
    Ok(())
}

fn report_json(recipe: &str, report: &LoadReport) -> Value {
    let mismatched = report.mismatched.iter().map(
        |mismatch| json!({"name": mismatch.name, "file": mismatch.file, "model": mismatch.model}),
    );
    let mut document = Map::new();
    document.insert("recipe".into(), json!(recipe));
    document.insert("loaded".into(), json!(report.loaded));
    document.insert("missing".into(), json!(report.missing));
    document.insert("mismatched".into(), mismatched.collect());
    document.insert("skipped".into(), json!(report.skipped));
    Value::Object(document)
}

fn print_json(document: &Value) -> Result<()> {
    writeln!(std::io::stdout(), "{document:#}")?;
    Ok(())
}

/// `111,684,668`
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut output = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            output.push(',');
        }
        output.push(digit);
    }
    output
}
