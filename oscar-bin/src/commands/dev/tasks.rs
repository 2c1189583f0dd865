//! `oscar-bin dev tasks`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use oscar_sample::miniature::{DEFAULT_SEED, build_tasks};

use crate::output::{self, print_json};

/// Builds questions, statements and captions about the boxes of data sets from `data build nlvr1`, or
/// about scenes from `dev scenes`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    oscar-bin dev tasks --from data/train --from data/dev --out data/tasks")]
pub struct TasksArgs {
    /// Data set; one per split
    #[arg(long, required = true, value_name = "DIR")]
    pub from: Vec<PathBuf>,
    /// Directory to write
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Seed of the random choices
    #[arg(long, default_value_t = DEFAULT_SEED)]
    pub seed: u64,
    /// Replace existing data sets
    #[arg(long)]
    pub overwrite: bool,
    /// Print a summary as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Builds the tasks and prints their sizes.
///
/// # Errors
/// If a data set cannot be read or the tasks cannot be written.
pub fn run(args: &TasksArgs) -> Result<()> {
    let info = build_tasks(&args.from, &args.out, args.seed, args.overwrite)
        .with_context(|| format!("cannot build {}", args.out.display()))?;
    if args.json {
        return print_json(&info);
    }
    let mut out = output::stdout();
    for (task, info) in &info.tasks {
        for (split, rows) in &info.rows {
            let blind = info.text_only.get(split);
            let blind = blind.map_or(String::new(), |share| {
                format!(", {:.1} % accuracy from the text alone", 100.0 * share)
            });
            writeln!(out, "{task:<12} {split:<8} {rows:>7} rows{blind}")?;
        }
    }
    writeln!(out, "{}", args.out.display())?;
    Ok(())
}
