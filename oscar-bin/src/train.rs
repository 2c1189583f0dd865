//! `oscar-bin train`.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use oscar_core::ops::TrainBackend;
use oscar_pretraining::{
    CONTRASTIVE_ACCURACY, MLM_ACCURACY, PretrainConfig, PretrainReport, RunOptions, pretrain,
};
use oscar_train::{Interrupter, RunDir, bytes, duration};
use serde_json::json;

use crate::Ending;
use crate::backend::{self, OnBackend, dispatch};
use crate::cli::{Global, TrainArgs};
use crate::config::{self, Source};
use crate::runs::{self, CONFIG_FILE, LOG_FILE};
use crate::{logging, sample, session};

/// Pre-trains, prints what was learned and where the run lies.
pub fn run(global: &Global, args: &TrainArgs) -> Result<Ending> {
    let source = Source::open(args.config.as_deref().unwrap_or("quickstart"))?;
    if args.print_config && !args.resume {
        let recipe = with_flags(config::resolve(&source, &args.sets)?, args);
        return print_config(&recipe);
    }
    backend::check(&args.device)?;
    match args.resume {
        true => {
            let directory = runs::existing_run(&args.runs_dir, args.name.as_deref())?;
            let recipe = resume(args, &source, &directory)?;
            match args.print_config {
                true => print_config(&recipe),
                false => train(global, args, recipe, &directory),
            }
        }
        false => {
            let recipe = with_flags(config::resolve(&source, &args.sets)?, args);
            recipe.validate().context(UNUSABLE)?;
            let directory = runs::new_run(&args.runs_dir, args.name.as_deref(), &source.name)?;
            train(global, args, recipe, &directory)
        }
    }
}

const UNUSABLE: &str = "the configuration cannot be used";

fn print_config(recipe: &PretrainConfig) -> Result<Ending> {
    recipe.validate().context(UNUSABLE)?;
    write!(std::io::stdout(), "{}", config::to_toml(recipe)?)?;
    Ok(Ending::Done)
}

/// The run's own configuration if it has one, else the recipe; then the flags.
fn resume(args: &TrainArgs, source: &Source, directory: &Path) -> Result<PretrainConfig> {
    let own = directory.join(CONFIG_FILE);
    if !own.exists() {
        return Ok(with_flags(config::resolve(source, &args.sets)?, args));
    }
    if args.config.is_some() {
        tracing::warn!(
            "--config is not read again: the run goes on with {}",
            own.display()
        );
    }
    let own = Source::file(&own)?;
    let recipe = with_flags(config::resolve(&own, &args.sets)?, args);
    if directory.join("checkpoint").exists() {
        let as_started: PretrainConfig = config::resolve(&own, &[])?;
        runs::require_same(directory, &as_started, &recipe)?;
    }
    Ok(recipe)
}

fn with_flags(mut recipe: PretrainConfig, args: &TrainArgs) -> PretrainConfig {
    if let Some(seed) = args.seed {
        recipe.train.seed = seed;
    }
    if let Some(checkpoint) = &args.init {
        recipe.init.checkpoint = Some(checkpoint.clone());
    }
    for part in &args.init_random {
        if !recipe.init.random.contains(part) {
            recipe.init.random.push(part.clone());
        }
    }
    recipe
}

fn train(
    global: &Global,
    args: &TrainArgs,
    mut recipe: PretrainConfig,
    directory: &Path,
) -> Result<Ending> {
    recipe.validate().context(UNUSABLE)?;
    let run = RunDir::lock(directory)?;
    config::write(&directory.join(CONFIG_FILE), &recipe)?;
    tracing::info!("run {}", directory.display());

    let interrupter = Interrupter::new();
    session::stop_on_signal(interrupter.clone())?;
    let options = RunOptions {
        run,
        resume: args.resume,
        interrupter,
        dashboard: !global.quiet && session::has_dashboard(),
        progress: logging::progress(global),
    };
    let trained = sample::provide(&mut recipe, &args.runs_dir).and_then(|()| {
        if options.dashboard {
            logging::to_file(&directory.join(LOG_FILE))?;
        }
        dispatch(&args.device, Pretrain { recipe, options })
    });
    logging::to_screen();
    let report = trained.inspect_err(|_| {
        if !args.resume {
            runs::remove_unused(directory);
        }
    })?;

    if report.outcome.interrupted {
        return Ok(session::interrupted(
            global,
            "train",
            report.outcome.step,
            directory,
            &args.runs_dir,
        ));
    }
    match args.json {
        true => print_json(&report)?,
        false => print(&report)?,
    }
    Ok(Ending::Done)
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
    let validation = report
        .outcome
        .validation
        .iter()
        .flat_map(|stats| stats.means());
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
        report.peak_memory.map_or(String::new(), |peak| format!(
            ", peak memory {}",
            bytes(peak)
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
