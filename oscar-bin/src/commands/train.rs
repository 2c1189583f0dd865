//! `oscar-bin train`.

use std::io::Write;

use anyhow::{Result, anyhow};
use clap::Args;
use oscar_core::ops::TrainBackend;
use oscar_pretraining::{
    CONTRASTIVE_ACCURACY, MLM_ACCURACY, PretrainConfig, PretrainReport, pretrain,
};
use oscar_train::{Outcome, RunOptions};
use serde_json::json;

use crate::args::Global;
use crate::ending::Ending;
use crate::training::{Closing, RunArgs, Training, launch};

/// Pre-trains on masked tokens and the image-text relation. Without --config it runs the
/// quickstart: a small model on the shipped sample, in minutes on a CPU.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin train\n  \
    oscar-bin train --set train.steps=2000 --name longer\n  \
    oscar-bin train --name longer --resume\n  \
    oscar-bin train --config oscar-base --set data.train.corpus=corpus.jsonl \\\n    \
        --set data.train.regions=regions --init bert/model.safetensors \\\n    \
        --init-random bert.img_embedding --init-random cls.seq_relationship")]
pub struct TrainArgs {
    #[command(flatten)]
    pub run: RunArgs,
}

/// Pre-trains, prints what was learned and where the run lies.
pub fn run(global: &Global, args: &TrainArgs) -> Result<Ending> {
    launch(global, &args.run, Pretraining)
}

struct Pretraining;

impl Training for Pretraining {
    type Recipe = PretrainConfig;
    type Report = PretrainReport;

    fn command(&self) -> String {
        "train".into()
    }

    fn default_recipe(&self) -> String {
        "quickstart".into()
    }

    fn train<B: TrainBackend>(
        self,
        recipe: PretrainConfig,
        options: RunOptions,
        device: B::Device,
    ) -> Result<PretrainReport> {
        pretrain::<B>(recipe, device, options).map_err(|error| anyhow!(error))
    }

    fn outcome(report: &PretrainReport) -> &Outcome {
        &report.outcome
    }

    fn print(report: &PretrainReport, json: bool) -> Result<()> {
        match json {
            true => print_json(report),
            false => print(report),
        }
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
        "skipped_steps": report.outcome.skipped.total,
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
