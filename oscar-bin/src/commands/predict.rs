//! `oscar-bin predict`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;
use oscar_core::input::RegionHandle;
use oscar_core::ops::TrainBackend;
use oscar_datasets::{look_up, open_images};
use oscar_task::{AnyTask, Question, open_checkpoint};
use serde_json::json;

use super::evaluate::require_dim;
use crate::args::DeviceArgs;
use crate::backend::{OnBackend, dispatch};
use crate::ending::Ending;
use crate::tasks::{OnTask, on_task};

/// Asks fine-tuned weights about one text and its image or images.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin predict --task vqa --checkpoint runs/vqa-mini/best --regions regions \\\n    \
        --image dev-17 --text \"what colour is the square?\"\n  \
    oscar-bin predict --task nlvr2 --checkpoint runs/nlvr2-mini/best --regions regions \\\n    \
        --image dev-17 --image dev-18 --text \"both show a black square\"")]
pub struct PredictArgs {
    /// Task of the weights
    #[arg(short, long)]
    pub task: String,
    /// The `best` or `last` directory of a fine-tuning run
    #[arg(long, value_name = "DIR")]
    pub checkpoint: PathBuf,
    /// Region store with the image
    #[arg(long, alias = "store", requires = "image", value_name = "DIR")]
    pub regions: Option<PathBuf>,
    /// Key of the image; twice for a pair; omit to ask about the text alone
    #[arg(long, requires = "regions", value_name = "KEY")]
    pub image: Vec<String>,
    /// Question, statement or caption; not for captioning
    #[arg(long)]
    pub text: Option<String>,
    /// Object tags to use instead of those of the store, separated by spaces
    #[arg(long)]
    pub tags: Option<String>,
    /// Number of answers to show
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub top: usize,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print the answers as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Answers one question.
pub fn run(args: &PredictArgs) -> Result<Ending> {
    on_task(&args.task, Predict { args })
}

struct Predict<'a> {
    args: &'a PredictArgs,
}

impl OnTask for Predict<'_> {
    type Output = Ending;

    fn run<T: AnyTask>(self) -> Result<Ending> {
        let args = self.args;
        let computation = Asking::<T> {
            args,
            task: std::marker::PhantomData,
        };
        let answers = dispatch(&args.device, computation)?;
        let mut out = std::io::stdout().lock();
        match args.json {
            true => {
                let answers: Vec<_> = answers
                    .iter()
                    .map(|(name, probability)| json!({"class": name, "probability": probability}))
                    .collect();
                let document = json!({"task": T::NAME, "image": args.image, "text": args.text,
                    T::ANSWERS: answers});
                writeln!(out, "{document:#}")?;
            }
            false => {
                for (name, probability) in &answers {
                    writeln!(out, "{probability:.4}  {name}")?;
                }
            }
        }
        Ok(Ending::Done)
    }
}

/// Tags and regions of the images that were named.
fn show(args: &PredictArgs, region_dim: usize) -> Result<Vec<(String, RegionHandle)>> {
    let Some(store) = &args.regions else {
        return Ok(Vec::new());
    };
    let images = open_images(store)?;
    require_dim(images.region_dim(), region_dim)?;
    let show = |key: &String| {
        let (tags, regions) = look_up(&images, key).map_err(|error| anyhow!(error))?;
        Ok((args.tags.clone().unwrap_or(tags), regions))
    };
    args.image.iter().map(show).collect()
}

struct Asking<'a, T> {
    args: &'a PredictArgs,
    task: std::marker::PhantomData<T>,
}

impl<T: AnyTask> OnBackend for Asking<'_, T> {
    type Output = Vec<(String, f32)>;

    fn run<B: TrainBackend>(self, device: B::Device) -> Result<Self::Output> {
        let args = self.args;
        let checkpoint = open_checkpoint::<T>(&args.checkpoint)?;
        let question = Question {
            text: args.text.clone(),
            images: show(args, checkpoint.model.img_feature_dim)?,
            tags: args.tags.clone(),
            top: args.top,
        };
        T::answer::<B::InnerBackend>(&checkpoint, &question, &device)
            .map_err(|error| anyhow!(error))
    }
}
