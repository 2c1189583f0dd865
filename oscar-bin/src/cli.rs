//! Commands and flags.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use oscar_core::ops::Precision;

use crate::backend::BackendChoice;
use crate::bench::Work;
use crate::data_answers::AnswersArgs;
use crate::data_check::CheckArgs;
use crate::data_inspect::InspectArgs;
use crate::data_regions::RegionsArgs;
use crate::devices::DevicesArgs;
use crate::evaluate::{EvaluateArgs, PredictArgs};
use crate::finetune::FinetuneArgs;
use crate::launch::RunArgs;
use crate::miniature::TasksArgs;
use crate::model::ModelArgs;
use crate::probe::ProbeArgs;
use crate::report::ReportArgs;
use crate::runs_list::RunsArgs;
use crate::score::ScoreArgs;
use crate::shell::{CompletionsArgs, ManualArgs};

/// Vision-language pre-training with object tags (Oscar, Oscar+), in Rust on Burn.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub global: Global,
}

/// Flags of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// Say more (-v debug, -vv trace)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but warnings, errors and results
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Form of the messages on standard error
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Pre-train Oscar or Oscar+
    Train(TrainArgs),
    /// Measure what a pre-trained run reads from images
    Probe(ProbeArgs),
    /// Fine-tune a task
    Finetune(FinetuneArgs),
    /// Score fine-tuned weights
    Evaluate(EvaluateArgs),
    /// Ask fine-tuned weights about one image
    Predict(PredictArgs),
    /// Score files of predictions, without a model
    Score(ScoreArgs),
    /// Build, check and look at data sets
    Data(DataArgs),
    /// Import, export and inspect weights
    Model(ModelArgs),
    /// List what can compute on this machine
    Devices(DevicesArgs),
    /// Measure how fast this machine trains, scores and captions
    Bench(BenchArgs),
    /// List the built-in recipes, or print one
    Recipes(RecipesArgs),
    /// Write one HTML page of a run
    Report(ReportArgs),
    /// List the runs, or compare some
    Runs(RunsArgs),
    /// Print what lets a shell complete commands and flags
    Completions(CompletionsArgs),
    /// Print the manual page, or write one for each command
    Manual(ManualArgs),
}

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

#[derive(Clone, Debug, Args)]
pub struct DeviceArgs {
    /// What computes
    #[arg(short, long, value_enum, default_value_t, env = "OSCAR_BACKEND")]
    pub backend: BackendChoice,
    /// Devices of the backend, by number: one computes, several train together
    #[arg(long, value_delimiter = ',', default_value = "0", value_name = "N,...")]
    pub devices: Vec<usize>,
    /// What matrices are multiplied in, f32 or bf16; the rest is always f32 [default: the recipe's,
    /// else f32]
    #[arg(long, value_name = "PRECISION")]
    pub precision: Option<Precision>,
}

#[derive(Debug, Args)]
pub struct DataArgs {
    #[command(subcommand)]
    pub command: DataCommand,
}

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Build a region store and its corpora
    #[command(subcommand)]
    Build(BuildCommand),
    /// Read files whole and list what is wrong with them, line by line
    Check(CheckArgs),
    /// Show an image of a region store: regions and tags as tables, and drawn on its picture
    Inspect(InspectArgs),
    /// Make the sample that ships with the repository from the whole of NLVR v1
    Sample(SampleArgs),
    /// Make the start weights that ship with the sample from a run of the quickstart
    SampleWeights(SampleWeightsArgs),
}

#[derive(Debug, Subcommand)]
pub enum BuildCommand {
    /// NLVR v1: described boxes and human statements from the drawings' pixels
    Nlvr1(Nlvr1Args),
    /// Region features that exist already: official tables, VinVL, LXMERT, .npz, .npy, .pt
    Regions(RegionsArgs),
    /// An answer vocabulary of what people answered
    Answers(AnswersArgs),
    /// A miniature of every fine-tuning task, on described boxes
    Tasks(TasksArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    oscar-bin data build nlvr1 --images dev_images.zip --annotations dev.jsonl.gz --out data/dev")]
pub struct Nlvr1Args {
    /// Zip archive or directory of PNG files
    #[arg(long, value_name = "ZIP_OR_DIR")]
    pub images: PathBuf,
    /// Annotations, JSON lines, plain or gzip
    #[arg(long, value_name = "FILE")]
    pub annotations: PathBuf,
    /// Directory to make
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Replace a data set that is there already
    #[arg(long)]
    pub overwrite: bool,
    /// Only images whose names begin with this split's name
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
    /// Leave out the first N sentence groups
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub skip: usize,
    /// Take at most N sentence groups
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Leave out boxes that look exactly like one of this data set (the training split)
    #[arg(long, value_name = "DIR")]
    pub held_out_from: Option<PathBuf>,
    /// Print what was built as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct SampleArgs {
    /// Training images: zip archive or directory
    #[arg(long)]
    pub train_images: PathBuf,
    /// Their annotations
    #[arg(long)]
    pub train_annotations: PathBuf,
    /// Held-out images
    #[arg(long)]
    pub dev_images: PathBuf,
    /// Their annotations
    #[arg(long)]
    pub dev_annotations: PathBuf,
    /// Directory to make
    #[arg(long)]
    pub out: PathBuf,
    /// Replace a sample that is there already
    #[arg(long)]
    pub overwrite: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    oscar-bin data sample-weights --from runs/quickstart/best --out datasets/sample/weights")]
pub struct SampleWeightsArgs {
    /// The `best` directory of the run
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Directory to make
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Replace weights that are there already
    #[arg(long)]
    pub overwrite: bool,
}

/// Measures how fast the device trains, scores and captions, on made-up data: pre-training and VQA
/// steps, pairs of image and caption, captions by beam search.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin bench\n  \
    oscar-bin bench --work pretrain,vqa,retrieval,caption --lengths real\n  \
    oscar-bin bench --batch-size 1,2,4,8 --text 20 --regions 37 --json")]
pub struct BenchArgs {
    /// What to measure
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "pretrain",
        value_name = "WORK,..."
    )]
    pub work: Vec<Work>,
    /// Size of the model: tiny, base or large
    #[arg(long, default_value = "base")]
    pub preset: String,
    /// Examples, pairs or images at once; a list measures each
    #[arg(long, value_delimiter = ',', default_value = "8", value_name = "N,...")]
    pub batch_size: Vec<usize>,
    /// Whether all rows are alike, or as long as those of real data
    #[arg(long, value_enum, default_value_t)]
    pub lengths: LengthsChoice,
    /// Text positions of rows that are all alike [default: 35; captions: 30 of tags]
    #[arg(long, value_name = "N")]
    pub text: Option<usize>,
    /// Regions of rows that are all alike [default: 50]
    #[arg(long, value_name = "N")]
    pub regions: Option<usize>,
    /// Timed steps
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub steps: usize,
    /// Steps before the timed ones
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub warmup: usize,
    /// Train as with train.gradient_checkpointing = true
    #[arg(long)]
    pub gradient_checkpointing: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print the results as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// How long the rows of a benchmark are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LengthsChoice {
    /// All of --text and --regions
    #[default]
    Fixed,
    /// As COCO, VQA and Visual Genome have them
    Real,
}

#[derive(Debug, Args)]
pub struct RecipesArgs {
    /// Recipe to print
    pub name: Option<String>,
}
