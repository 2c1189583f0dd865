//! `oscar-bin model inspect`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use burn_flex::{Flex, FlexDevice};
use clap::Args;
use oscar_core::checkpoint::{self, Inspection, LoadReport};
use oscar_core::model::OscarForPretraining;
use oscar_pretraining::PretrainConfig;
use oscar_vision::detector::DetectorFiles;
use serde_json::{Map, Value, json};

use super::summary::print_summary;
use crate::config::{self, Source};
use crate::output::{self, cells, print_json, print_table, thousands};
use crate::weights;

/// Shows the format, model, tensors and parameter counts of a weights file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin model inspect pytorch_model.bin\n  \
    oscar-bin model inspect models/oscar-base --for oscarplus-base")]
pub struct InspectArgs {
    /// Weights: a PyTorch or safetensors file, a directory with one, a run, or public weights by name
    /// or as hub:OWNER/NAME
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Show which parameters the model of this recipe (a built-in name or a TOML file) would load from
    /// the file
    #[arg(long = "for", value_name = "RECIPE")]
    pub recipe: Option<String>,
    /// Print the results as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Inspects the file and prints the result.
///
/// # Errors
/// If the file or the recipe cannot be read.
pub fn run(args: &InspectArgs) -> Result<()> {
    let file = file_of(&args.file)?;
    let described = checkpoint::inspect(&file)?;
    let transfer = match &args.recipe {
        Some(recipe) => Some((recipe, compare(&file, recipe)?)),
        None => None,
    };
    if args.json {
        let mut document = serde_json::to_value(&described)?;
        if let Some((recipe, report)) = &transfer {
            document["for"] = report_json(recipe, report);
        }
        return print_json(&document);
    }
    let mut out = output::stdout();
    writeln!(out, "{}", described.file.display())?;
    print_summary(&mut out, &described)?;
    print_sections(&mut out, &described)?;
    match transfer {
        Some((recipe, report)) => print_report(&mut out, recipe, &report),
        None => print_tensors(&mut out, &described),
    }
}

/// The weights that `named` names; in the directory of a detector they have names of their own.
fn file_of(named: &Path) -> Result<PathBuf> {
    let found = weights::find(Path::new("runs"), named)?;
    let detector = match found.is_dir() && checkpoint::locate(&found).is_err() {
        true => DetectorFiles::find(&found).ok(),
        false => None,
    };
    Ok(detector.map_or(found, |files| files.weights))
}

/// What the pre-training model of a recipe would load. Its parameters are not initialised for this.
fn compare(file: &Path, recipe: &str) -> Result<LoadReport> {
    let recipe: PretrainConfig = config::resolve(&Source::open(recipe)?, &[])?;
    recipe.model.validate()?;
    let model = OscarForPretraining::<Flex>::new(&recipe.model, &FlexDevice);
    Ok(checkpoint::compare(&model, file)?)
}

fn print_sections(out: &mut impl Write, described: &Inspection) -> Result<()> {
    writeln!(out)?;
    let mut rows = vec![cells("module parameters")];
    for section in &described.parts {
        rows.push(vec![
            section.name.to_string(),
            thousands(section.parameters),
        ]);
    }
    rows.push(vec!["all".into(), thousands(described.parameters)]);
    Ok(print_table(out, &rows)?)
}

fn print_tensors(out: &mut impl Write, described: &Inspection) -> Result<()> {
    writeln!(out)?;
    let mut rows = vec![cells("tensor type shape")];
    for tensor in &described.tensors {
        let shape = format!("{:?}", tensor.shape);
        rows.push(vec![tensor.name.clone(), tensor.dtype.clone(), shape]);
    }
    Ok(print_table(out, &rows)?)
}

fn print_report(out: &mut impl Write, recipe: &str, report: &LoadReport) -> Result<()> {
    let total = report.loaded.len() + report.missing.len() + report.mismatched.len();
    writeln!(
        out,
        "\nThe model of {recipe} would load {} of its {total} parameters from this file",
        report.loaded.len()
    )?;
    for name in &report.missing {
        writeln!(out, "missing, would be initialised randomly: {name}")?;
    }
    for mismatch in &report.mismatched {
        writeln!(out, "shape mismatch: {mismatch}")?;
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
