//! `oscar-bin`: train, fine-tune and inspect Oscar from the command line.
//!
//! ```text
//! main ─▶ cli ─▶ commands ─▶ training, config, run_dir, output, backend, tasks ─▶ args
//! ```

// Unit tests need nothing that computes. Without `run` and what only it reaches, the compiler makes
// the code of models, trainings and backends once, for the program, and not again for these tests.
#![cfg_attr(test, allow(dead_code, unused_imports))]

mod allocator;
mod args;
mod backend;
mod cli;
mod commands;
mod config;
mod detector;
mod ending;
mod hub;
mod logging;
mod openmp;
mod output;
mod run_dir;
mod serve;
mod sight;
mod tasks;
mod training;
mod weights;

use std::io::Write;

use oscar_pretraining::PretrainError;
use oscar_task::FinetuneError;
use oscar_train::TrainError;

use self::cli::Cli;
pub use self::ending::Ending;
pub use self::tasks::open_predictor;
use self::training::processes;

/// Runs the command that the arguments of the process name, and prints the error if it fails.
///
/// Wrong usage ends the process with exit code 2.
#[cfg(not(test))]
pub fn run() -> Ending {
    let mut cli = Cli::read().unwrap_or_else(|error| refuse(&error));
    openmp::sleep_between_operations();
    oscar_files::report_shrunk_maps();
    oscar_files::report_file_size_limit();
    if cli.command.runs_batches() {
        allocator::keep_freed_memory();
    }
    // Of several processes that train together only the first prints.
    cli.global.quiet |= processes::is_follower();
    logging::init(&cli.global);
    match cli.run() {
        Ok(ending) => ending,
        Err(error) if is_broken_pipe(&error) => Ending::Done,
        Err(error) if processes::is_follower() && is_of_all(&error) => Ending::Failed,
        Err(error) => {
            let text = chain(&error);
            logging::print_error(cli.global.log_format, &text);
            Ending::Failed
        }
    }
}

/// Prints wrong usage, or help, and ends the process. Arguments may be names of files, as a shell
/// expands `*`.
fn refuse(error: &clap::Error) -> ! {
    let is_plain =
        |argument: std::ffi::OsString| !argument.to_string_lossy().contains(char::is_control);
    if std::env::args_os().all(is_plain) {
        error.exit();
    }
    let _ = write!(output::stderr(), "{}", error.render());
    std::process::exit(error.exit_code());
}

/// `a: b: c`, without a cause that is already quoted.
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

/// Whether every process of a run fails with this error, so that the first one prints it.
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

/// Whether the reader of our output closed it, as `head` does.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests;
