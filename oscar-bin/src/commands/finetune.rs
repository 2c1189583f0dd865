//! `oscar-bin finetune`.

use std::io::Write;
use std::marker::PhantomData;

use anyhow::{Result, anyhow};
use clap::Args;
use oscar_core::ops::TrainBackend;
use oscar_task::{FinetuneConfig, FinetuneReport, finetune};
use oscar_train::RunOptions;
use serde_json::json;

use crate::args::Global;
use crate::config::{self, Source};
use crate::ending::Ending;
use crate::output;
use crate::tasks::{AnyTask, OnTask, on_task};
use crate::training::{Results, RunArgs, Training, launch};

/// Fine-tunes pre-trained weights for a task, evaluates the best ones and writes the task's
/// prediction file. Without --config it runs a small example of the task on the shipped sample, which
/// takes minutes on a CPU.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin finetune --task nlvr2\n  \
    oscar-bin finetune --task vqa --config vqa-base --init oscar-base \\\n    \
        --set task.answers=answers.json \\\n        \
        --set data.train.questions=train.json --set data.train.regions=regions \\\n        \
        --set data.validation.questions=val.json --set data.validation.regions=regions")]
pub struct FinetuneArgs {
    /// Task to fine-tune for
    #[arg(short, long)]
    pub task: String,
    #[command(flatten)]
    pub run: RunArgs,
}

/// Fine-tunes, and prints the results.
///
/// # Errors
/// Whatever ends the training.
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
    ) -> Result<Results> {
        let report = finetune::<B, T>(recipe, device, options, self.scored.into())
            .map_err(|error| anyhow!(error))?;
        Ok(Results {
            text: text(&report)?,
            json: json!({
                "task": T::NAME,
                "evaluation": report.evaluation.as_ref().map(output::json),
                "predictions": report.predictions,
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
    let (batch, published) = (recipe.train.batch_size, published.train.batch_size);
    tracing::info!(
        "effective batch size: {batch} examples per step, in {} micro-batch(es)",
        recipe.train.accumulation
    );
    if batch != published {
        tracing::warn!(
            "the recipe {} has {published} examples per step, this run has {batch}; the learning \
             rate {} was chosen for {published}. If memory is short, keep train.batch_size and raise \
             train.accumulation",
            source.name,
            recipe.optimizer.learning_rate
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
