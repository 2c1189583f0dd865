//! `oscar-bin train`.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use oscar_core::ops::TrainBackend;
use oscar_pretraining::{
    CONTRASTIVE_ACCURACY, MLM_ACCURACY, PretrainConfig, PretrainReport, RunOptions, pretrain,
};
use oscar_train::{Interrupter, RunDir, duration};
use serde_json::json;

use crate::Ending;
use crate::backend::{OnBackend, dispatch};
use crate::cli::{Global, TrainArgs};
use crate::config::{self, Source};
use crate::runs::{self, CONFIG_FILE};
use crate::{logging, sample};

/// Pre-trains, prints what was learned and where the run lies.
pub fn run(global: &Global, args: &TrainArgs) -> Result<Ending> {
    let source = Source::open(args.config.as_deref().unwrap_or("quickstart"))?;
    let directory = match args.resume {
        true => runs::existing_run(&args.runs_dir, args.name.as_deref())?,
        false => runs::new_run(&args.runs_dir, args.name.as_deref(), &source.name)?,
    };
    let mut recipe = resolve(args, &source, &directory)?;
    recipe.validate().context("the configuration cannot be used")?;

    let run = RunDir::lock(&directory)?;
    config::write(&directory.join(CONFIG_FILE), &recipe)?;
    let dashboard = std::io::stdout().is_terminal();
    logging::init(global, dashboard.then(|| log_file(&directory)).transpose()?);
    tracing::info!("run {}", directory.display());
    sample::provide(&mut recipe, &args.runs_dir)?;

    let interrupter = Interrupter::new();
    stop_on_signal(interrupter.clone())?;
    let progress: Box<dyn Write + Send + Sync> = match global.quiet {
        true => Box::new(std::io::sink()),
        false => Box::new(std::io::stderr()),
    };
    let options = RunOptions { run, resume: args.resume, interrupter, progress };
    let report = dispatch(&args.device, Pretrain { recipe, options })?;

    if report.outcome.interrupted {
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        writeln!(
            std::io::stderr(),
            "interrupted after step {}; go on with: oscar-bin train --name {name} --resume",
            report.outcome.step
        )?;
        return Ok(Ending::Interrupted);
    }
    match args.json {
        true => print_json(&report)?,
        false => print(&report)?,
    }
    Ok(Ending::Done)
}

/// The run's own configuration when resuming one that has it, else the recipe; then the flags.
fn resolve(args: &TrainArgs, source: &Source, directory: &Path) -> Result<PretrainConfig> {
    let own = directory.join(CONFIG_FILE);
    let mut recipe = match args.resume && own.exists() {
        true => config::resolve(&Source::file(&own)?, &args.sets)?,
        false => config::resolve(source, &args.sets)?,
    };
    if let Some(seed) = args.seed {
        recipe.train.seed = seed;
    }
    if let Some(checkpoint) = &args.init {
        recipe.init.checkpoint = Some(checkpoint.clone());
    }
    recipe.init.random.extend(args.init_random.iter().cloned());
    Ok(recipe)
}

fn log_file(directory: &Path) -> Result<File> {
    let path = directory.join("oscar.log");
    File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The first signal stops the run after a checkpoint, the second at once.
fn stop_on_signal(interrupter: Interrupter) -> Result<()> {
    ctrlc::set_handler(move || {
        if interrupter.should_stop() {
            std::process::exit(130);
        }
        let _ = writeln!(
            std::io::stderr(),
            "stopping after this step, with a checkpoint; interrupt again to stop at once"
        );
        interrupter.stop(Some("interrupted by a signal"));
    })
    .context("cannot listen to signals")
}

struct Pretrain {
    recipe: PretrainConfig,
    options: RunOptions,
}

impl OnBackend for Pretrain {
    type Output = PretrainReport;

    fn run<B: TrainBackend>(self, device: B::Device) -> Result<PretrainReport> {
        pretrain::<B>(self.recipe, device, self.options).map_err(|error| anyhow!(error))
    }
}

fn print(report: &PretrainReport) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nWhat it learned, on held-out images:")?;
    let validation = report.outcome.validation.iter().flat_map(|stats| stats.means());
    for (name, value) in validation {
        let chance = match name == CONTRASTIVE_ACCURACY {
            true => format!("   (chance {:.3})", 1.0 / report.contrast_classes as f64),
            false => String::new(),
        };
        writeln!(out, "  {name:<24} {value:.3}{chance}")?;
    }
    if let Some(grounding) = report.grounding {
        writeln!(
            out,
            "Masked words read from the image ({} words of {} captions):\n  \
             {:<24} {:.3}\n  {:<24} {:.3}\n  {:<24} {:+.3}",
            grounding.words,
            grounding.captions,
            "own regions and tags",
            grounding.own_image,
            "another image's",
            grounding.other_image,
            "grounding",
            grounding.own_image - grounding.other_image,
        )?;
    }
    let seconds = report.time.as_secs_f64().max(1e-9);
    writeln!(
        out,
        "Trained {} parameters for {} steps in {} ({:.1} samples/s{})",
        report.parameters,
        report.outcome.step,
        duration(report.time),
        report.examples as f64 / seconds,
        report.peak_memory.map_or(String::new(), |bytes| format!(
            ", peak memory {:.2} GiB",
            bytes as f64 / f64::from(1 << 30)
        )),
    )?;
    writeln!(out, "The run lies in {}", report.directory.display())?;
    Ok(())
}

fn print_json(report: &PretrainReport) -> Result<()> {
    let validation: serde_json::Map<String, serde_json::Value> = report
        .outcome
        .validation
        .iter()
        .flat_map(|stats| stats.means())
        .map(|(name, value)| (key(name), json!(value)))
        .collect();
    let document = json!({
        "run": report.directory,
        "steps": report.outcome.step,
        "parameters": report.parameters,
        "validation": validation,
        "contrastive_chance": 1.0 / report.contrast_classes as f64,
        "grounding": report.grounding,
        "best": report.outcome.best,
        "seconds": report.time.as_secs_f64(),
        "samples_per_second": report.examples as f64 / report.time.as_secs_f64().max(1e-9),
        "peak_memory_bytes": report.peak_memory,
    });
    writeln!(std::io::stdout(), "{document:#}")?;
    Ok(())
}

/// `Masked-token accuracy` as a JSON key.
fn key(name: &str) -> String {
    match name {
        MLM_ACCURACY => "masked_token_accuracy".into(),
        other => other.to_lowercase().replace([' ', '-'], "_"),
    }
}
