//! `oscar-bin train`.

use std::io::Write;

use anyhow::{Result, anyhow};
use clap::Args;
use oscar_core::ops::TrainBackend;
use oscar_pretraining::{
    CONTRASTIVE_ACCURACY, Grounding, MLM_ACCURACY, PretrainConfig, PretrainReport, pretrain,
};
use oscar_train::RunOptions;
use serde_json::{Map, Value, json};

use crate::args::Global;
use crate::ending::Ending;
use crate::training::{Results, RunArgs, Training, check, launch, sweep};

/// Pre-trains with masked tokens (MLM) and the contrastive image-text loss. Without --config it runs
/// the quickstart: a small model on scenes of everyday things, which takes minutes on a CPU.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin train\n  \
    oscar-bin train --steps 5000 --name longer\n  \
    oscar-bin train --name longer --resume\n  \
    oscar-bin train --sweep optimizer.learning_rate=2e-4,5e-4,1e-3 --steps 500\n  \
    oscar-bin train --config oscar-base --set data.train.corpus=corpus.jsonl \\\n    \
        --set data.train.regions=regions --init bert/model.safetensors \\\n    \
        --init-random bert.img_embedding --init-random cls.seq_relationship")]
pub struct TrainArgs {
    #[command(flatten)]
    pub run: RunArgs,
}

/// Pre-trains, and prints the results and the directory of the run.
///
/// # Errors
/// Whatever ends the training.
pub fn run(global: &Global, args: &TrainArgs) -> Result<Ending> {
    sweep::over(
        &args.run,
        |run| check(run, &Pretraining),
        |run| launch(global, run, Pretraining),
    )
}

struct Pretraining;

impl Training for Pretraining {
    type Recipe = PretrainConfig;

    fn command(&self) -> String {
        "train".into()
    }

    fn default_recipe(&self) -> String {
        "quickstart".into()
    }

    // A recipe without `[init]` starts from nothing, as the quickstart does.
    const STARTS_FROM_WEIGHTS: bool = false;

    fn train<B: TrainBackend>(
        self,
        recipe: PretrainConfig,
        options: RunOptions,
        device: B::Device,
    ) -> Result<Results> {
        let report = pretrain::<B>(recipe, device, options).map_err(|error| anyhow!(error))?;
        Ok(Results {
            text: text(&report)?,
            json: json(&report),
            parameters: report.parameters,
            examples: report.examples,
            time: report.time,
            peak_memory: report.peak_memory,
            outcome: report.outcome,
            directory: report.directory,
        })
    }
}

fn text(report: &PretrainReport) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    if report.outcome.validation.is_some() {
        writeln!(out, "\nValidation:")?;
    }
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
            "Accuracy on masked words ({} words of {} captions) given",
            grounding.words, grounding.captions
        )?;
        let other = report.out_of_domain.map(|other| other.grounding);
        if other.is_some() {
            writeln!(out, "  {:<36} validation  out of domain", "")?;
        }
        for (name, value) in lines(&grounding) {
            let same = |(other, _): &(&str, f64)| *other == name;
            let other = other.and_then(|other| lines(&other).into_iter().find(same));
            let other = other.map_or(String::new(), |(_, value)| format!("       {value:.3}"));
            writeln!(out, "  {name:<36} {value:.3}{other}")?;
        }
    }
    if let Some(other) = report.out_of_domain {
        let name = "Contrastive accuracy out of domain";
        writeln!(out, "{name:<38} {:.3}", other.contrastive_accuracy)?;
    }
    Ok(out)
}

/// What was measured, by what the captions were shown with.
fn lines(grounding: &Grounding) -> Vec<(&'static str, f64)> {
    let measured = [
        ("own regions and tags", Some(grounding.own_image)),
        ("those of another image", Some(grounding.other_image)),
        ("own regions, no tags", grounding.without_tags),
        ("own regions, tags of another image", grounding.other_tags),
        (
            "regions of another image, own tags",
            grounding.other_regions,
        ),
    ];
    let measured = measured.into_iter();
    measured
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

fn json(report: &PretrainReport) -> Value {
    let validation = report.outcome.validation.iter();
    let validation: Map<String, Value> = validation
        .flat_map(|stats| stats.means())
        .map(|(name, value)| (key(name), json!(value)))
        .collect();
    json!({
        "validation": validation,
        "contrastive_chance": 1.0 / report.contrast_classes as f64,
        "grounding": report.grounding,
        "out_of_domain": report.out_of_domain,
    })
}

/// `Masked-token accuracy` as a JSON key.
fn key(name: &str) -> String {
    match name {
        MLM_ACCURACY => "masked_token_accuracy".into(),
        other => other.to_lowercase().replace([' ', '-'], "_"),
    }
}
