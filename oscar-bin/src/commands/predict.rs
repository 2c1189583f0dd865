//! `oscar-bin predict`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;
use oscar_core::ops::TrainBackend;
use oscar_datasets::{look_up, open_images};
use oscar_task::{Answer, Ask, Opened, Predictor, Seen};
use serde_json::json;

use crate::args::DeviceArgs;
use crate::backend::{OnBackend, dispatch};
use crate::ending::Ending;
use crate::tasks::{AnyTask, OnTask, on_task};

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
                    .map(|answer| json!({"class": answer.text, "probability": answer.score}))
                    .collect();
                let document = json!({"task": T::NAME, "image": args.image, "text": args.text,
                    T::ANSWERS: answers});
                writeln!(out, "{document:#}")?;
            }
            false => {
                for Answer { text, score, .. } in &answers {
                    writeln!(out, "{score:.4}  {text}")?;
                }
            }
        }
        Ok(Ending::Done)
    }
}

/// The images that are named, or the tags in the place of one.
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

struct Asking<'a, T> {
    args: &'a PredictArgs,
    task: std::marker::PhantomData<T>,
}

impl<T: AnyTask> OnBackend for Asking<'_, T> {
    type Output = Vec<Answer>;

    fn run<B: TrainBackend>(self, device: B::Device) -> Result<Self::Output> {
        let args = self.args;
        let opened = Opened::<T, B::InnerBackend>::open(&args.checkpoint, &device)?;
        let ask = Ask {
            text: args.text.clone(),
            images: seen(args)?,
            top: args.top,
        };
        Ok(opened.ask(&[ask])?.remove(0))
    }
}
