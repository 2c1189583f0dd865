//! `oscar-bin finetune`.

use std::io::Write;
use std::marker::PhantomData;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use oscar_core::ops::TrainBackend;
use oscar_task::{FinetuneConfig, FinetuneReport, finetune};
use oscar_train::RunOptions;
use serde_json::json;

use crate::args::{Global, Suggested};
use crate::config::{self, Recipe, Source};
use crate::ending::Ending;
use crate::output;
use crate::run_dir;
use crate::tasks::{AnyTask, NAMES, OnTask, on_task};
use crate::training::{Results, RunArgs, Training, check, launch, sweep};

/// Fine-tunes pre-trained weights for a task, evaluates the best ones and writes the task's
/// prediction file. Without --config it runs a small example of the task on the shipped sample, which
/// takes minutes on a CPU.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin finetune --task nlvr2\n  \
    oscar-bin finetune --config vqa-base --init oscar-base \\\n    \
        --set task.answers=answers.json \\\n        \
        --set data.train.questions=train.json --set data.train.regions=regions \\\n        \
        --set data.validation.questions=val.json --set data.validation.regions=regions")]
pub struct FinetuneArgs {
    /// Task to fine-tune for [default: that of the recipe, or of the run to resume]
    #[arg(short, long, value_parser = Suggested(|| NAMES.to_vec()))]
    pub task: Option<String>,
    #[command(flatten)]
    pub run: RunArgs,
}

/// Fine-tunes, and prints the results.
///
/// # Errors
/// Whatever ends the training.
pub fn run(global: &Global, args: &FinetuneArgs) -> Result<Ending> {
    on_task(&task_of(args)?, Finetune { global, args })
}

/// The task that is named, else that of the recipe, else that of the run to resume.
fn task_of(args: &FinetuneArgs) -> Result<String> {
    if let Some(task) = &args.task {
        return Ok(task.clone());
    }
    let source = match (&args.run.config, args.run.resume) {
        (_, true) => {
            let run = run_dir::existing_run(&args.run.runs_dir, args.run.name.as_deref())?;
            let config = run_dir::newest_config(&run);
            config.exists().then(|| Source::file(&config)).transpose()?
        }
        (Some(config), false) => Some(Source::open(config)?),
        (None, false) => None,
    };
    let Some(source) = source else {
        bail!(
            "name the task with --task ({}), or a recipe with --config",
            NAMES.join(", ")
        );
    };
    match source.task() {
        Some(Ok(task)) => Ok(task.into()),
        Some(Err(command)) => bail!(
            "{} is a recipe for `oscar-bin {command}`, not for fine-tuning",
            source.name
        ),
        None => only_task_of(&source),
    }
}

/// The one task that has all keys of the recipe.
fn only_task_of(source: &Source) -> Result<String> {
    let has_keys = |task: &&&str| on_task(task, HasKeys { source }).unwrap_or(false);
    let possible: Vec<&str> = NAMES.iter().filter(has_keys).copied().collect();
    match possible.as_slice() {
        [task] => Ok((*task).into()),
        [] => bail!(
            "no task has all keys of the recipe {}; name its task with --task to see which it lacks",
            source.name
        ),
        several => bail!(
            "the recipe {} may be of several tasks: name one with --task ({})",
            source.name,
            several.join(", ")
        ),
    }
}

struct HasKeys<'a> {
    source: &'a Source,
}

impl OnTask for HasKeys<'_> {
    type Output = bool;

    fn run<T: AnyTask>(self) -> Result<bool> {
        Ok(config::resolve::<FinetuneConfig<T>>(self.source, &[]).is_ok())
    }
}

struct Finetune<'a> {
    global: &'a Global,
    args: &'a FinetuneArgs,
}

impl OnTask for Finetune<'_> {
    type Output = Ending;

    fn run<T: AnyTask>(self) -> Result<Ending> {
        let Self { global, args } = self;
        let training = || Finetuning::<T> {
            scored: output::bar(global),
            task: PhantomData,
        };
        sweep::over(
            &args.run,
            |run| check(run, &training()),
            |run| launch(global, run, training()),
        )
    }
}

struct Finetuning<T> {
    scored: Box<dyn Fn(usize, usize) + Send + Sync>,
    task: PhantomData<T>,
}

impl<T: AnyTask> Training for Finetuning<T> {
    type Recipe = FinetuneConfig<T>;

    fn command(&self) -> String {
        format!("finetune --task {}", T::NAME)
    }

    /// The one on scenes; of tasks that have none there, the one on shapes.
    fn default_recipe(&self) -> String {
        let scenes = format!("{}-scenes", T::NAME);
        match Recipe::find(&scenes) {
            Some(_) => scenes,
            None => format!("{}-mini", T::NAME),
        }
    }

    const STARTS_FROM_WEIGHTS: bool = true;

    fn announce(&self, source: &Source, recipe: &FinetuneConfig<T>) -> Result<()> {
        warn_of_batch(source, recipe)
    }

    fn train<B: TrainBackend>(
        self,
        recipe: FinetuneConfig<T>,
        options: RunOptions,
        device: B::Device,
    ) -> Result<Results> {
        let report = finetune::<B, T>(recipe, device, options, self.scored.into())
            .map_err(|error| anyhow!(error))?;
        Ok(Results {
            text: text(&report)?,
            json: json!({
                "task": T::NAME,
                "evaluation": report.evaluation.as_ref().map(output::json),
                "predictions": report.predictions.as_deref().map(output::shown),
            }),
            parameters: report.parameters,
            examples: report.examples,
            time: report.time,
            peak_memory: report.peak_memory,
            outcome: report.outcome,
            directory: report.directory,
        })
    }
}

/// Logs the effective batch size, and warns if it is not the recipe's: a published learning rate
/// belongs to the published batch size.
fn warn_of_batch<T: AnyTask>(source: &Source, recipe: &FinetuneConfig<T>) -> Result<()> {
    let published: FinetuneConfig<T> = config::resolve_alone(source)?;
    let published_batch = published.train.batch_size;
    let published_rate = published.optimizer.learning_rate;
    let (batch, rate) = (recipe.train.batch_size, recipe.optimizer.learning_rate);
    tracing::info!(
        "effective batch size: {batch} examples per step, in {} micro-batch(es)",
        recipe.train.accumulation
    );
    // Who sets a learning rate has chosen it for this batch.
    if batch != published_batch && rate == published_rate {
        tracing::warn!(
            "the recipe {} has {published_batch} examples per step, this run has {batch}; the recipe's \
             learning rate {published_rate} was chosen for {published_batch}. If memory is short, keep \
             train.batch_size and raise train.accumulation",
            source.name,
        );
    }
    Ok(())
}

fn text(report: &FinetuneReport) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    if let (Some(best), Some(evaluation)) = (&report.outcome.best, &report.evaluation) {
        writeln!(out, "\nBest weights (step {}):", best.step)?;
        output::print(&mut out, evaluation)?;
    }
    if let Some(predictions) = &report.predictions {
        writeln!(out, "Predictions: {}", predictions.display())?;
    }
    Ok(out)
}
