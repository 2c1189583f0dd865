//! `oscar-bin evaluate`.

mod stages;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use oscar_core::ops::TrainBackend;
use oscar_datasets::ImagesAt;
use oscar_task::{EvaluateOptions, Evaluation, Opened, Role, Split, TaskError, write_predictions};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::args::{DeviceArgs, Global, Suggested, at_least_one};
use crate::config;
use crate::ending::Ending;
use crate::output;
use crate::tasks::{AnyTask, NAMES, OnTaskAndBackend, dispatch_task};
use crate::weights::{self, PublishedArgs};

/// Evaluates fine-tuned weights on a data set, as the official evaluators do.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin evaluate --task nlvr2 --checkpoint runs/nlvr2-scenes/best \\\n    \
        --data test.json --regions regions --out predictions\n  \
    oscar-bin evaluate --task vqa --checkpoint published/vqa --answers trainval_label2ans.pkl \\\n    \
        --data questions.json --regions regions\n  \
    oscar-bin evaluate --checkpoint retrieval --first-stage search --rerank 100 \\\n    \
        --data captions.json --regions regions")]
pub struct EvaluateArgs {
    /// Task of the weights [default: the one that they were fine-tuned for]
    #[arg(short, long, value_parser = Suggested(|| NAMES.to_vec()))]
    pub task: Option<String>,
    /// Fine-tuned weights: the `best` or `last` directory of a run, the name of a run, a directory as
    /// it was published, or public weights by name (`oscar-bin model pull` lists them) or as
    /// hub:OWNER/NAME
    #[arg(long, value_name = "DIR|NAME")]
    pub checkpoint: PathBuf,
    #[command(flatten)]
    pub published: PublishedArgs,
    /// Annotations
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Answers to the questions in --data, if they are in a separate file
    #[arg(long, value_name = "FILE")]
    pub annotations: Option<PathBuf>,
    /// Region store with the images; omit to evaluate on text only
    #[arg(long, alias = "store", value_name = "DIR")]
    pub regions: Option<PathBuf>,
    /// Replace each image by a random other one (seeded), to measure how much the score depends on
    /// the image
    #[arg(long, value_name = "SEED", requires = "regions")]
    pub swap_images: Option<u64>,
    /// Override a key of the data (data.KEY), of the task (task.KEY) or of its input (encoder.KEY,
    /// padding.KEY); may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Directory for the prediction file
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Directory for partial scores, so that an interrupted evaluation can resume [default:
    /// OUT/cache]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Weights of search that find; those of --checkpoint, of retrieval or matching, re-rank what they
    /// find. Prints the recall of one stage and of both
    #[arg(
        long,
        value_name = "DIR|NAME",
        requires = "rerank",
        conflicts_with_all = ["out", "cache", "swap_images", "annotations", "config", "answers"],
        help_heading = "Two stages"
    )]
    pub first_stage: Option<PathBuf>,
    /// Images of each text, and texts of each image, that are re-ranked
    #[arg(
        long,
        value_name = "K",
        requires = "first_stage",
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Two stages"
    )]
    pub rerank: Option<u32>,
    /// Also have the weights of --checkpoint read every pair
    #[arg(long, requires = "first_stage", help_heading = "Two stages")]
    pub every_pair: bool,
    /// Batch size
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub batch_size: usize,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print the scores as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Scores a data set.
///
/// # Errors
/// If the weights or the data cannot be read, or do not fit each other.
pub fn run(global: &Global, args: &EvaluateArgs) -> Result<Ending> {
    for (flag, directory) in [("--out", &args.out), ("--cache", &args.cache)] {
        if let Some(path) = directory.as_deref().filter(|path| path.is_file()) {
            bail!("{flag} {}: it is a file; name a directory", path.display());
        }
    }
    if let Some(first) = &args.first_stage {
        return stages::run(global, args, first);
    }
    let task = weights::task(args.task.as_deref(), &args.checkpoint)?;
    let scoring = Scoring {
        args,
        progress: output::bar(global),
    };
    let evaluation = dispatch_task(&task, &args.device, scoring)?;
    if let Some(cache) = args.cache.as_deref().filter(|cache| !cache.exists()) {
        tracing::warn!(
            "--cache {} has no effect: the task {task} keeps no partial scores",
            cache.display()
        );
    }
    let predictions = match &args.out {
        None => None,
        Some(out) => write_predictions(out, &task, &evaluation)?,
    };
    if args.json {
        let mut document = output::json(&evaluation);
        document["task"] = json!(task);
        document["predictions"] = json!(predictions.as_deref().map(output::shown));
        output::print_json(&document)?;
        return Ok(Ending::Done);
    }
    let mut out = output::stdout();
    output::print(&mut out, &evaluation)?;
    if let Some(predictions) = predictions {
        writeln!(out, "Predictions: {}", predictions.display())?;
    }
    Ok(Ending::Done)
}

struct Scoring<'a> {
    args: &'a EvaluateArgs,
    progress: Box<dyn Fn(usize, usize) + Send + Sync>,
}

/// What `--set` may change besides what describes the weights.
#[derive(Serialize, Deserialize)]
#[serde(bound = "T: AnyTask")]
struct Scored<T: AnyTask> {
    data: T::Split,
}

impl OnTaskAndBackend for Scoring<'_> {
    type Output = Evaluation;

    fn run<T: AnyTask, B: TrainBackend>(self, device: B::Device) -> Result<Evaluation> {
        let args = self.args;
        let (of_data, of_weights): (Vec<String>, Vec<String>) = args
            .sets
            .iter()
            .cloned()
            .partition(|set| set.trim_start().starts_with("data."));
        let checkpoint = weights::open::<T>(&args.checkpoint, &args.published, &of_weights)?;
        let mut regions = args.regions.clone();
        if let (Some(path), Some(seed)) = (&mut regions, args.swap_images) {
            let mut images = ImagesAt::of(path)?;
            images.view.swap = Some(seed);
            *path = images.to_path();
        }
        let mut split = T::Split::new(args.data.clone(), regions);
        if let Some(annotations) = &args.annotations
            && !split.add_annotations(annotations.clone())
        {
            bail!(
                "--annotations does not apply to {}, whose data is one file; remove it",
                T::NAME
            );
        }
        let Scored { data } = config::overridden(Scored::<T> { data: split }, &of_data)?;
        let opened = Opened::<T, B::InnerBackend>::load(checkpoint, &device)?;
        let data = opened.open_split(&data, Role::Evaluate)?;
        let in_out = args.out.as_ref().map(|out| out.join("cache"));
        let options = EvaluateOptions {
            batch_size: args.batch_size,
            progress: &*self.progress,
            cache: args.cache.as_deref().or(in_out.as_deref()),
        };
        Ok(T::score(&opened, &data, &options).map_err(TaskError::Score)?)
    }
}
