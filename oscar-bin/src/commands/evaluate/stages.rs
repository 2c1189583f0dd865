//! `oscar-bin evaluate --first-stage`: retrieval in one stage and in two.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use oscar_core::ops::TrainBackend;
use oscar_search::{Search, Split, Stage, StageOptions, evaluate_stages};
use oscar_task::{CrossEncoder, Role, Split as _, TaskError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::EvaluateArgs;
use crate::args::Global;
use crate::backend::{OnBackend, dispatch};
use crate::config;
use crate::ending::Ending;
use crate::output::{self, print_json, print_table, thousands};
use crate::weights;

/// The recalls that are printed.
const SHOWN: [&str; 6] = [
    "i2t_R@1", "i2t_R@5", "i2t_R@10", "t2i_R@1", "t2i_R@5", "t2i_R@10",
];

/// What `--set` may change.
#[derive(Serialize, Deserialize)]
struct Scored {
    data: Split,
}

/// Evaluates the stages and prints them.
///
/// # Errors
/// If weights or data cannot be read, or do not fit each other.
pub fn run(global: &Global, args: &EvaluateArgs, first: &Path) -> Result<Ending> {
    let staged = Staged {
        args,
        first,
        progress: output::bar(global),
    };
    let (stages, images, captions) = dispatch(&args.device, staged)?;
    if args.json {
        print_json(&json!({
            "task": "retrieval",
            "images": images,
            "captions": captions,
            "rerank": args.rerank,
            "stages": stages.iter().map(document).collect::<Vec<_>>(),
        }))?;
        return Ok(Ending::Done);
    }
    let titles = ["stages", "pairs", "seconds"].into_iter().chain(SHOWN);
    let mut rows = vec![titles.map(String::from).collect()];
    rows.extend(stages.iter().map(row));
    let mut out = output::stdout();
    writeln!(
        out,
        "{} images, {} captions",
        thousands(images),
        thousands(captions)
    )?;
    print_table(&mut out, &rows)?;
    Ok(Ending::Done)
}

fn document(stage: &Stage) -> Value {
    let mut scores = serde_json::Map::new();
    scores.extend(
        stage
            .scores
            .iter()
            .map(|(name, value)| (name.clone(), json!(value))),
    );
    json!({
        "name": stage.name,
        "pairs": stage.pairs,
        "seconds": stage.seconds,
        "scores": scores,
    })
}

fn row(stage: &Stage) -> Vec<String> {
    let recall = |name: &str| {
        let found = stage.scores.iter().find(|(found, _)| found == name);
        found.map_or(output::UNKNOWN.into(), |(_, value)| format!("{value:.3}"))
    };
    let taken = [
        stage.name.to_string(),
        thousands(stage.pairs),
        format!("{:.2}", stage.seconds),
    ];
    taken
        .into_iter()
        .chain(SHOWN.into_iter().map(recall))
        .collect()
}

struct Staged<'a> {
    args: &'a EvaluateArgs,
    first: &'a Path,
    progress: Box<dyn Fn(usize, usize) + Send + Sync>,
}

impl OnBackend for Staged<'_> {
    /// The stages, number of images and of captions.
    type Output = (Vec<Stage>, usize, usize);

    fn run<B: TrainBackend>(self, device: B::Device) -> Result<Self::Output> {
        let args = self.args;
        let Some(candidates) = args.rerank else {
            bail!("--first-stage needs --rerank, the number of its findings that are re-ranked");
        };
        let reader: PathBuf = weights::locate(&args.checkpoint)?;
        let reader = CrossEncoder::<B::InnerBackend>::open(&reader, &device)?;
        let first = weights::load::<Search, B::InnerBackend>(self.first, &device)?;
        let split = Split::new(args.data.clone(), args.regions.clone());
        let Scored { data } = config::overridden(Scored { data: split }, &args.sets)?;
        let data = first.open_split(&data, Role::Evaluate)?;
        let options = StageOptions {
            candidates: candidates as usize,
            every_pair: args.every_pair,
            batch_size: args.batch_size,
            progress: &*self.progress,
        };
        let stages = evaluate_stages(&first, &reader, &data, &options).map_err(TaskError::Score)?;
        Ok((stages, data.split().images.len(), data.used().len()))
    }
}
