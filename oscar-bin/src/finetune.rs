//! `oscar-bin finetune`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use oscar_core::ops::TrainBackend;
use oscar_train::finetune::{AnyTask, FinetuneConfig, FinetuneReport, FinetuneRun, finetune};
use oscar_train::{Interrupter, RunDir, bytes, duration};
use serde_json::json;

use crate::backend::{self, OnBackend, dispatch};
use crate::cli::{DeviceArgs, Global};
use crate::config::{self, Source};
use crate::runs::{self, CONFIG_FILE, LOG_FILE};
use crate::tasks::{OnTask, on_task};
use crate::{Ending, logging, sample, scores, session};

/// Fine-tunes pre-trained weights for a task, scores the best ones and writes the task's prediction
/// file. Without --config it runs the task's miniature on the shipped sample, in minutes on a CPU.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin finetune --task nlvr2\n  \
    oscar-bin finetune --task vqa --config vqa-base --init oscar-base \\\n    \
        --set task.answers=answers.json \\\n        \
        --set data.train.questions=train.json --set data.train.regions=regions \\\n        \
        --set data.validation.questions=val.json --set data.validation.regions=regions")]
pub struct FinetuneArgs {
    /// The task
    #[arg(short, long)]
    pub task: String,
    /// Recipe: a built-in name (see `oscar-bin recipes`) or a TOML file [default: the miniature]
    #[arg(short, long, value_name = "RECIPE")]
    pub config: Option<String>,
    /// Override a key of the recipe; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Name of the run, written to RUNS_DIR/NAME [default: the recipe's, numbered]
    #[arg(short, long)]
    pub name: Option<String>,
    /// Where runs are written
    #[arg(
        long,
        default_value = "runs",
        env = "OSCAR_RUNS_DIR",
        value_name = "DIR"
    )]
    pub runs_dir: PathBuf,
    /// Go on from the newest checkpoint of the run NAME, or of the newest run
    #[arg(short, long)]
    pub resume: bool,
    /// Start weights: a file, or a directory with weights and config.json
    #[arg(long, value_name = "CHECKPOINT")]
    pub init: Option<PathBuf>,
    /// Part of the model, by official name, that may start random if CHECKPOINT lacks it, or `all`
    #[arg(long, value_name = "PART")]
    pub init_random: Vec<String>,
    /// Seed of everything random [default: the recipe's]
    #[arg(long)]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print the configuration that the recipe and the flags make, and do nothing else
    #[arg(long)]
    pub print_config: bool,
    /// Print the results as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Fine-tunes, and prints what came of it.
pub fn run(global: &Global, args: &FinetuneArgs) -> Result<Ending> {
    on_task(&args.task, Finetune { global, args })
}

struct Finetune<'a> {
    global: &'a Global,
    args: &'a FinetuneArgs,
}

const UNUSABLE: &str = "the configuration cannot be used";

impl OnTask for Finetune<'_> {
    type Output = Ending;

    fn run<T: AnyTask>(self) -> Result<Ending> {
        let Self { global, args } = self;
        let miniature = format!("{}-mini", T::NAME);
        let source = Source::open(args.config.as_deref().unwrap_or(&miniature))?;
        backend::check(&args.device)?;
        let (recipe, directory) = match args.resume {
            false => (resolve::<T>(&source, args)?, None),
            true => {
                let directory = runs::existing_run(&args.runs_dir, args.name.as_deref())?;
                let recipe = resume::<T>(args, &source, &directory)?;
                (recipe, Some(directory))
            }
        };
        recipe.validate().context(UNUSABLE)?;
        if args.print_config {
            write!(std::io::stdout(), "{}", config::to_toml(&recipe)?)?;
            return Ok(Ending::Done);
        }
        warn_of_batch::<T>(&source, &recipe)?;
        let directory = match directory {
            Some(directory) => directory,
            None => runs::new_run(&args.runs_dir, args.name.as_deref(), &source.name)?,
        };
        train(global, args, recipe, &directory)
    }
}

/// The recipe with the flags, which are shorthands for keys.
fn resolve<T: AnyTask>(source: &Source, args: &FinetuneArgs) -> Result<FinetuneConfig<T>> {
    let mut sets = args.sets.clone();
    if let Some(checkpoint) = &args.init {
        // Before the layers are merged: the model's sizes are those beside the weights.
        let path = toml::Value::String(checkpoint.display().to_string());
        sets.push(format!("init.checkpoint={path}"));
    }
    if let Some(seed) = args.seed {
        sets.push(format!("train.seed={seed}"));
    }
    let mut recipe: FinetuneConfig<T> = config::resolve(source, &sets)?;
    for part in &args.init_random {
        if !recipe.init.random.contains(part) {
            recipe.init.random.push(part.clone());
        }
    }
    Ok(recipe)
}

/// The run's own configuration if it has one, else the recipe; then the flags.
fn resume<T: AnyTask>(
    args: &FinetuneArgs,
    source: &Source,
    directory: &Path,
) -> Result<FinetuneConfig<T>> {
    let own = directory.join(CONFIG_FILE);
    if !own.exists() {
        return resolve(source, args);
    }
    if args.config.is_some() {
        tracing::warn!(
            "--config is not read again: the run goes on with {}",
            own.display()
        );
    }
    let own = Source::file(&own)?;
    let recipe = resolve(&own, args)?;
    if directory.join("checkpoint").exists() {
        let as_started: FinetuneConfig<T> = config::resolve(&own, &[])?;
        runs::require_same(directory, &as_started, &recipe)?;
    }
    Ok(recipe)
}

/// States the effective batch, and warns where it is not the recipe's: published learning rates
/// belong to published batches.
fn warn_of_batch<T: AnyTask>(source: &Source, recipe: &FinetuneConfig<T>) -> Result<()> {
    let published: FinetuneConfig<T> = config::resolve_alone(source)?;
    let (batch, published) = (recipe.train.batch_size, published.train.batch_size);
    tracing::info!(
        "effective batch: {batch} examples per step, in {} part(s)",
        recipe.train.accumulation
    );
    if batch != published {
        tracing::warn!(
            "the recipe {} has {published} examples per step, this run {batch}: its learning rate \
             of {} was chosen for {published}; keep the batch and raise train.accumulation if \
             memory is short",
            source.name,
            recipe.optimizer.learning_rate
        );
    }
    Ok(())
}

fn train<T: AnyTask>(
    global: &Global,
    args: &FinetuneArgs,
    mut recipe: FinetuneConfig<T>,
    directory: &Path,
) -> Result<Ending> {
    let run = RunDir::lock(directory)?;
    config::write(&directory.join(CONFIG_FILE), &recipe)?;
    tracing::info!("run {}", directory.display());
    let interrupter = Interrupter::new();
    session::stop_on_signal(interrupter.clone())?;
    let options = FinetuneRun {
        run,
        resume: args.resume,
        interrupter,
        dashboard: !global.quiet && session::has_dashboard(),
        progress: logging::progress(global),
        scored: scores::bar(global),
    };
    let trained = sample::provide(&mut recipe, &args.runs_dir).and_then(|()| {
        if options.dashboard {
            logging::to_file(&directory.join(LOG_FILE))?;
        }
        dispatch(&args.device, Computation { recipe, options })
    });
    logging::to_screen();
    let report = trained.inspect_err(|_| {
        if !args.resume {
            runs::remove_unused(directory);
        }
    })?;
    if report.outcome.interrupted {
        let command = format!("finetune --task {}", T::NAME);
        let step = report.outcome.step;
        return Ok(session::interrupted(
            global,
            &command,
            step,
            directory,
            &args.runs_dir,
        ));
    }
    match args.json {
        true => print_json::<T>(&report)?,
        false => print(&report)?,
    }
    Ok(Ending::Done)
}

struct Computation<T: AnyTask> {
    recipe: FinetuneConfig<T>,
    options: FinetuneRun,
}

impl<T: AnyTask> OnBackend for Computation<T> {
    type Output = FinetuneReport;

    fn run<B: TrainBackend>(self, device: B::Device) -> Result<FinetuneReport> {
        finetune::<B, T>(self.recipe, device, self.options).map_err(|error| anyhow!(error))
    }
}

fn print(report: &FinetuneReport) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if let (Some(best), Some(evaluation)) = (&report.outcome.best, &report.evaluation) {
        writeln!(out, "\nThe best weights, of step {}:", best.step)?;
        scores::print(&mut out, evaluation)?;
    }
    if let Some(predictions) = &report.predictions {
        writeln!(out, "Predictions: {}", predictions.display())?;
    }
    writeln!(
        out,
        "Trained {} parameters for {} steps in {} ({:.1} samples/s{})",
        report.parameters,
        report.outcome.step,
        duration(report.time),
        report.examples as f64 / report.time.as_secs_f64().max(1e-9),
        report.peak_memory.map_or(String::new(), |peak| format!(
            ", peak memory {}",
            bytes(peak)
        )),
    )?;
    writeln!(out, "The run lies in {}", report.directory.display())?;
    Ok(())
}

fn print_json<T: AnyTask>(report: &FinetuneReport) -> Result<()> {
    let document = json!({
        "task": T::NAME,
        "run": report.directory,
        "steps": report.outcome.step,
        "parameters": report.parameters,
        "best": report.outcome.best,
        "evaluation": report.evaluation.as_ref().map(scores::json),
        "predictions": report.predictions,
        "seconds": report.time.as_secs_f64(),
        "samples_per_second": report.examples as f64 / report.time.as_secs_f64().max(1e-9),
        "peak_memory_bytes": report.peak_memory,
    });
    writeln!(std::io::stdout(), "{document:#}")?;
    Ok(())
}
