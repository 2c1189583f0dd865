//! The command line: all commands, and the flags that each of them has.

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

use crate::args::Global;
use crate::commands::bench::{self, BenchArgs};
use crate::commands::completions::{self, CompletionsArgs};
use crate::commands::data::{self, DataArgs};
use crate::commands::dev::{self, DevArgs};
use crate::commands::devices::{self, DevicesArgs};
use crate::commands::evaluate::{self, EvaluateArgs};
use crate::commands::finetune::{self, FinetuneArgs};
use crate::commands::manual::{self, ManualArgs};
use crate::commands::model::{self, ModelArgs};
use crate::commands::predict::{self, PredictArgs};
use crate::commands::probe::{self, ProbeArgs};
use crate::commands::recipes::{self, RecipesArgs};
use crate::commands::report::{self, ReportArgs};
use crate::commands::runs::{self, RunsArgs};
use crate::commands::score::{self, ScoreArgs};
use crate::commands::train::{self, TrainArgs};
use crate::ending::Ending;

/// Vision-language pre-training with object tags (Oscar, Oscar+), in Rust on Burn.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub global: Global,
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
    /// Make the shipped sample and small demonstration data sets
    #[command(hide = true)]
    Dev(DevArgs),
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

impl Cli {
    /// Runs the command.
    pub fn run(&self) -> Result<Ending> {
        let global = &self.global;
        match &self.command {
            Command::Train(args) => train::run(global, args),
            Command::Probe(args) => probe::run(global, args),
            Command::Finetune(args) => finetune::run(global, args),
            Command::Evaluate(args) => evaluate::run(global, args),
            Command::Predict(args) => predict::run(args),
            Command::Score(args) => score::run(args),
            Command::Data(args) => data::run(global, args),
            Command::Dev(args) => dev::run(args),
            Command::Model(args) => model::run(args),
            Command::Devices(args) => devices::run(args),
            Command::Bench(args) => bench::run(args),
            Command::Recipes(args) => recipes::run(args),
            Command::Report(args) => report::run(global, args),
            Command::Runs(args) => runs::run(args),
            Command::Completions(args) => completions::run(args, Self::command()),
            Command::Manual(args) => manual::run(args, Self::command()),
        }
    }
}
