//! `oscar-bin finetune`.

use std::io::Write;
use std::marker::PhantomData;

use anyhow::{Result, anyhow};
use clap::Args;
use oscar_core::ops::TrainBackend;
use oscar_task::{AnyTask, FinetuneConfig, FinetuneReport, finetune};
use oscar_train::{Outcome, RunOptions};
use serde_json::json;

use crate::args::Global;
use crate::config::{self, Source};
use crate::ending::Ending;
use crate::output;
use crate::tasks::{OnTask, on_task};
use crate::training::{Closing, RunArgs, Training, launch};

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
    #[command(flatten)]
    pub run: RunArgs,
}

/// Fine-tunes, and prints what came of it.
pub fn run(global: &Global, args: &FinetuneArgs) -> Result<Ending> {
    on_task(&args.task, Finetune { global, args })
}

struct Finetune<'a> {
    global: &'a Global,
    args: &'a FinetuneArgs,
}

impl OnTask for Finetune<'_> {
    type Output = Ending;

    fn run<T: AnyTask>(self) -> Result<Ending> {
        let Self { global, args } = self;
        let training = Finetuning::<T> {
            scored: output::bar(global),
            task: PhantomData,
        };
        launch(global, &args.run, training)
    }
}

struct Finetuning<T> {
    scored: Box<dyn Fn(usize, usize) + Send + Sync>,
    task: PhantomData<T>,
}

impl<T: AnyTask> Training for Finetuning<T> {
    type Recipe = FinetuneConfig<T>;
    type Report = FinetuneReport;

    fn command(&self) -> String {
        format!("finetune --task {}", T::NAME)
    }

    fn default_recipe(&self) -> String {
        format!("{}-mini", T::NAME)
    }

    fn announce(&self, source: &Source, recipe: &FinetuneConfig<T>) -> Result<()> {
        warn_of_batch(source, recipe)
    }

    fn train<B: TrainBackend>(
        self,
        recipe: FinetuneConfig<T>,
        options: RunOptions,
        device: B::Device,
    ) -> Result<FinetuneReport> {
        finetune::<B, T>(recipe, device, options, self.scored.into())
            .map_err(|error| anyhow!(error))
    }

    fn outcome(report: &FinetuneReport) -> &Outcome {
        &report.outcome
    }

    fn print(report: &FinetuneReport, json: bool) -> Result<()> {
        match json {
            true => print_json::<T>(report),
            false => print(report),
        }
    }
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

fn print(report: &FinetuneReport) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if let (Some(best), Some(evaluation)) = (&report.outcome.best, &report.evaluation) {
        writeln!(out, "\nThe best weights, of step {}:", best.step)?;
        output::print(&mut out, evaluation)?;
    }
    if let Some(predictions) = &report.predictions {
        writeln!(out, "Predictions: {}", predictions.display())?;
    }
    Closing {
        parameters: report.parameters,
        examples: report.examples,
        time: report.time,
        peak_memory: report.peak_memory,
        outcome: &report.outcome,
        directory: &report.directory,
    }
    .print(&mut out)
}

fn print_json<T: AnyTask>(report: &FinetuneReport) -> Result<()> {
    let document = json!({
        "task": T::NAME,
        "run": report.directory,
        "steps": report.outcome.step,
        "parameters": report.parameters,
        "best": report.outcome.best,
        "skipped_steps": report.outcome.skipped.total,
        "evaluation": report.evaluation.as_ref().map(output::json),
        "predictions": report.predictions,
        "seconds": report.time.as_secs_f64(),
        "samples_per_second": report.examples as f64 / report.time.as_secs_f64().max(1e-9),
        "peak_memory_bytes": report.peak_memory,
    });
    writeln!(std::io::stdout(), "{document:#}")?;
    Ok(())
}
