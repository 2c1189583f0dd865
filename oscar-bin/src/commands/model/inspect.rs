//! `oscar-bin model inspect`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use burn_flex::{Flex, FlexDevice};
use clap::Args;
use oscar_core::checkpoint::{self, Inspection, LoadReport};
use oscar_core::model::OscarForPretraining;
use oscar_pretraining::PretrainConfig;
use serde_json::{Map, Value, json};

use super::summary::print_summary;
use crate::config::{self, Source};
use crate::output::{print_json, thousands};

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

/// Inspects the file and prints what it holds.
pub fn run(args: &InspectArgs) -> Result<()> {
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
