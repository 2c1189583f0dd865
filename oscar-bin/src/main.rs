//! `oscar-bin`: train, fine-tune and inspect Oscar from the command line.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted (after a checkpoint).

mod allocator;
mod backend;
mod bench;
mod cli;
mod config;
mod data;
mod data_answers;
mod data_check;
mod data_inspect;
mod data_regions;
mod devices;
mod evaluate;
mod finetune;
#[cfg(test)]
mod fuzz;
mod launch;
mod logging;
mod miniature;
mod model;
mod openmp;
mod probe;
mod processes;
mod recipes;
mod report;
mod run_config;
mod run_facts;
mod runs;
mod runs_list;
mod sample;
mod score;
mod scores;
mod session;
mod shell;
mod tasks;
mod train;

use std::process::ExitCode;

use clap::Parser;
use oscar_pretraining::PretrainError;
use oscar_train::TrainError;
use oscar_train::finetune::FinetuneError;

use cli::{Cli, Command, LogFormat};

/// How a command that did not fail ended.
pub enum Ending {
    /// It did what it was asked to.
    Done,
    /// It was interrupted and can be resumed.
    Interrupted,
}

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    let mut cli = Cli::parse();
    openmp::rest_between_operations();
    // Of several processes that train together one speaks.
    cli.global.quiet |= processes::is_follower();
    logging::init(&cli.global);
    let result = match &cli.command {
        Command::Train(args) => train::run(&cli.global, args),
        Command::Probe(args) => probe::run(&cli.global, args),
        Command::Finetune(args) => finetune::run(&cli.global, args),
        Command::Evaluate(args) => evaluate::run(&cli.global, args),
        Command::Predict(args) => evaluate::predict(args),
        Command::Score(args) => score::run(args),
        Command::Data(args) => data::run(&cli.global, args),
        Command::Model(args) => model::run(args),
        Command::Devices(args) => devices::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Recipes(args) => recipes::run(args),
        Command::Report(args) => report::run(&cli.global, args),
        Command::Runs(args) => runs_list::run(args),
        Command::Completions(args) => shell::completions(args),
        Command::Manual(args) => shell::manual(args),
    };
    match result {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::Interrupted) => ExitCode::from(130),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if processes::is_follower() && is_of_all(&error) => ExitCode::FAILURE,
        Err(error) => {
            // The whole chain: what was being done, then why it failed.
            let text = chain(&error);
            logging::say(
                cli.global.log_format,
                &match cli.global.log_format {
                    LogFormat::Text => format!("error: {text}"),
                    LogFormat::Json => text,
                },
            );
            ExitCode::FAILURE
        }
    }
}

/// `a: b: c`, without a cause that its error has already quoted.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Whether every process of a run fails with this, and the one that speaks knows more of it.
fn is_of_all(error: &anyhow::Error) -> bool {
    let of_pretraining = match error.downcast_ref() {
        Some(PretrainError::Train(error)) => Some(error),
        _ => None,
    };
    let of_task = match error.downcast_ref() {
        Some(FinetuneError::Train(error)) => Some(error),
        _ => None,
    };
    matches!(
        of_pretraining.or(of_task),
        Some(TrainError::NonFinite { .. })
    )
}

/// Whoever read our output has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
