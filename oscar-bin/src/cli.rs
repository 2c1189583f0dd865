//! The command line: all commands, and the flags that each of them has.

use anyhow::Result;
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};

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
use crate::commands::pictures::ask::{self, AskArgs};
use crate::commands::pictures::caption::{self, CaptionArgs};
use crate::commands::pictures::find::{self, FindArgs};
use crate::commands::pictures::matching::{self, MatchArgs};
use crate::commands::predict::{self, PredictArgs};
use crate::commands::probe::{self, ProbeArgs};
use crate::commands::recipes::{self, RecipesArgs};
use crate::commands::report::{self, ReportArgs};
use crate::commands::runs::{self, RunsArgs};
use crate::commands::score::{self, ScoreArgs};
use crate::commands::search::{self, SearchArgs};
use crate::commands::serve::{self, ServeArgs};
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
    /// Measure how much a pre-trained model reads from images
    Probe(ProbeArgs),
    /// Fine-tune a task
    Finetune(FinetuneArgs),
    /// Evaluate fine-tuned weights
    Evaluate(EvaluateArgs),
    /// Run a fine-tuned model on one image
    Predict(PredictArgs),
    /// Describe pictures
    Caption(CaptionArgs),
    /// Answer a question about pictures
    Ask(AskArgs),
    /// Tell how well a text matches pictures
    Match(MatchArgs),
    /// Find the thing in a picture that an expression means
    Find(FindArgs),
    /// Find pictures that a text describes
    Search(SearchArgs),
    /// Answer over HTTP, with a page for the browser
    Serve(ServeArgs),
    /// Score prediction files, without a model
    Score(ScoreArgs),
    /// Build, check and inspect data sets
    Data(DataArgs),
    /// Make the shipped sample and small demonstration data sets
    #[command(hide = true)]
    Dev(DevArgs),
    /// Import, export and inspect weights
    Model(ModelArgs),
    /// List the devices of this machine
    Devices(DevicesArgs),
    /// Measure the speed of training, scoring and captioning on this machine
    Bench(BenchArgs),
    /// List the built-in recipes, or print one
    Recipes(RecipesArgs),
    /// Write a report of a run as one HTML page
    Report(ReportArgs),
    /// List runs, or compare some of them
    Runs(RunsArgs),
    /// Generate shell completions
    Completions(CompletionsArgs),
    /// Print the manual page, or write one for each command
    Manual(ManualArgs),
}

impl Command {
    /// Whether it runs a model on many batches in turn.
    pub fn runs_batches(&self) -> bool {
        use Command::{Bench, Evaluate, Finetune, Probe, Serve, Train};
        matches!(
            self,
            Train(_) | Finetune(_) | Evaluate(_) | Probe(_) | Serve(_) | Bench(_)
        )
    }
}

/// An empty variable is one that is not set, as in `OSCAR_RUNS_DIR= oscar-bin runs`; but for a secret:
/// nothing may be open because its variable came out empty.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &Arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        value.is_some_and(|value| value.is_empty()) && !arg.is_hide_env_values_set()
    };
    command
        .mut_args(|arg| match is_empty(&arg) {
            true => arg.env(None::<&'static str>),
            false => arg,
        })
        .mut_subcommands(without_empty_variables)
}

impl Cli {
    /// Reads the arguments of the process, and the variables that stand for some.
    ///
    /// # Errors
    /// If they are wrong, or ask for help.
    pub fn read() -> Result<Self, clap::Error> {
        let matches = without_empty_variables(Self::command()).try_get_matches()?;
        Self::from_arg_matches(&matches).map_err(|error| {
            // The usage is that of the command which is meant.
            let all = Self::command();
            let meant = matches.subcommand_name();
            let meant = meant.and_then(|name| all.find_subcommand(name).cloned());
            error.format(&mut meant.unwrap_or(all))
        })
    }

    /// Runs the command.
    ///
    /// # Errors
    /// Whatever makes it fail.
    pub fn run(&self) -> Result<Ending> {
        let global = &self.global;
        match &self.command {
            Command::Train(args) => train::run(global, args),
            Command::Probe(args) => probe::run(global, args),
            Command::Finetune(args) => finetune::run(global, args),
            Command::Evaluate(args) => evaluate::run(global, args),
            Command::Predict(args) => predict::run(args),
            Command::Caption(args) => caption::run(global, args),
            Command::Ask(args) => ask::run(global, args),
            Command::Match(args) => matching::run(global, args),
            Command::Find(args) => find::run(global, args),
            Command::Search(args) => search::run(args),
            Command::Serve(args) => serve::run(args),
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
