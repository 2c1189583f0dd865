//! `oscar-bin predict`: one question, or a file of them.

mod attention;
mod questions;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use clap::Args;
use oscar_core::ops::TrainBackend;
use oscar_datasets::{look_up, open_images};
use oscar_task::{Answer, Ask, Opened, Predictor, Seen};
use serde_json::{Value as Json, json};

use crate::args::{DeviceArgs, Suggested, at_least_one};
use crate::ending::Ending;
use crate::output::{self, print_json};
use crate::tasks::{AnyTask, NAMES, OnTaskAndBackend, dispatch_task};
use crate::weights::{self, PublishedArgs};

/// Asks fine-tuned weights about a text and its image or images, or about each row of a file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin predict --task vqa --checkpoint runs/vqa-scenes/best --regions regions \\\n    \
        --image dev-17 --text \"what colour is the square?\"\n  \
    oscar-bin predict --task nlvr2 --checkpoint runs/nlvr2-scenes/best --regions regions \\\n    \
        --image dev-17 --image dev-18 --text \"both show a black square\"\n  \
    oscar-bin predict --checkpoint vqa-scenes --regions regions --file questions.jsonl > answers.jsonl")]
pub struct PredictArgs {
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
    /// Region store with the image
    #[arg(long, alias = "store", requires = "asked", value_name = "DIR")]
    pub regions: Option<PathBuf>,
    /// Key of the image; twice for a pair; omit to ask about the text alone
    #[arg(long, requires = "regions", group = "asked", value_name = "KEY")]
    pub image: Vec<String>,
    /// Question, statement or caption; not for captioning
    #[arg(long, aliases = ["question", "statement", "caption"])]
    pub text: Option<String>,
    /// Rows to ask about instead, JSON lines or a JSON array: {"image": KEY, or two of them, "text":
    /// ..., "tags": ...}, each with other fields as you like; each is written to standard output as a
    /// line of JSON with its answers
    #[arg(long, value_name = "FILE", group = "asked", conflicts_with_all = ["image", "text", "tags", "json"])]
    pub file: Option<PathBuf>,
    /// Also write what each head of each layer attends to: tensors and words as FILE.safetensors, or
    /// all as FILE.json
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    pub attention: Option<PathBuf>,
    /// Replace the file of --attention if it exists
    #[arg(long, requires = "attention")]
    pub overwrite: bool,
    /// Object tags to use instead of those of the store, separated by spaces
    #[arg(long)]
    pub tags: Option<String>,
    /// Number of answers to show
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = at_least_one)]
    pub top: usize,
    /// Override a key of the task (task.KEY) or of its input (encoder.KEY, padding.KEY); may be
    /// repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print the answers as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Prints the answers of the model.
///
/// # Errors
/// If the weights or an image cannot be read, or the question does not suit the task.
pub fn run(args: &PredictArgs) -> Result<Ending> {
    if let Some(out) = &args.attention {
        output::check_out("--attention", out, args.overwrite)?;
    }
    let task = weights::task(args.task.as_deref(), &args.checkpoint)?;
    if let Some(file) = &args.file {
        dispatch_task(&task, &args.device, AskingAll { args, file })?;
        return Ok(Ending::Done);
    }
    let (kind, answers) = dispatch_task(&task, &args.device, Asking { args })?;
    if args.json {
        let answers: Vec<_> = answers.iter().map(value).collect();
        let mut document = json!({"task": task, "image": args.image, "text": args.text});
        document[kind] = json!(answers);
        print_json(&document)?;
        return Ok(Ending::Done);
    }
    let mut out = output::stdout();
    for Answer { text, score, .. } in &answers {
        writeln!(out, "{score:.4}  {}", output::escape_line(text))?;
    }
    Ok(Ending::Done)
}

/// An answer as JSON.
fn value(answer: &Answer) -> Json {
    let mut value = json!({"class": answer.text, "probability": answer.score});
    if let Some(region) = &answer.region {
        value["relative_box"] = json!(region.relative);
    }
    value
}

/// The images that are named, or the tags alone.
fn seen(args: &PredictArgs) -> Result<Vec<Seen>> {
    let Some(store) = &args.regions else {
        return Ok(args.tags.clone().map(Seen::Tags).into_iter().collect());
    };
    let images = open_images(store)?;
    let image = |key: &String| {
        let (tags, regions) = look_up(&images, key).map_err(|error| anyhow!(error))?;
        Ok(Seen::Regions {
            tags: args.tags.clone().unwrap_or(tags),
            regions,
        })
    };
    args.image.iter().map(image).collect()
}

struct AskingAll<'a> {
    args: &'a PredictArgs,
    file: &'a Path,
}

impl OnTaskAndBackend for AskingAll<'_> {
    type Output = ();

    fn run<T: AnyTask, B: TrainBackend>(self, device: B::Device) -> Result<()> {
        let Self { args, file } = self;
        let questions = questions::read(file, args.regions.as_deref(), args.top)?;
        let checkpoint = weights::open::<T>(&args.checkpoint, &args.published, &args.sets)?;
        let opened = Opened::<T, B::InnerBackend>::load(checkpoint, &device)?;
        questions::answer(&questions, &opened, T::ANSWERS)
    }
}

struct Asking<'a> {
    args: &'a PredictArgs,
}

impl OnTaskAndBackend for Asking<'_> {
    /// What the answers are called in the JSON document, and the answers.
    type Output = (&'static str, Vec<Answer>);

    fn run<T: AnyTask, B: TrainBackend>(self, device: B::Device) -> Result<Self::Output> {
        let args = self.args;
        let checkpoint = weights::open::<T>(&args.checkpoint, &args.published, &args.sets)?;
        let opened = Opened::<T, B::InnerBackend>::load(checkpoint, &device)?;
        let ask = Ask {
            text: args.text.clone(),
            images: seen(args)?,
            top: args.top,
        };
        let answers = match &args.attention {
            None => opened.ask(&[ask])?.remove(0),
            Some(path) => {
                let explanation = opened.explain(&ask)?;
                attention::write(path, &explanation.sequences)?;
                explanation.answers
            }
        };
        Ok((T::ANSWERS, answers))
    }
}
