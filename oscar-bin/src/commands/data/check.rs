//! `oscar-bin data check`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use oscar_datasets::check::{CheckOptions, Report, SHOWN, check, named, of_task};
use oscar_datasets::official::FEATURE_DIM;

use crate::args::Global;
use crate::output::{self, thousands};

/// Validates region stores, corpora, annotations of the tasks, data sets and the official tables. The
/// format is detected from the content. Exits with 1 if there is any problem.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin data check data/dev\n  \
    oscar-bin data check corpus.jsonl --regions regions\n  \
    oscar-bin data check train.jsonl --task vqa --regions regions\n  \
    oscar-bin data check questions.json annotations.json --json")]
pub struct CheckArgs {
    /// Files and directories; related ones are compared with each other
    #[arg(required = true, value_name = "DIR_OR_FILE")]
    pub paths: Vec<PathBuf>,
    /// Region store with the images that corpora and annotations name
    #[arg(long, alias = "store", value_name = "DIR")]
    pub regions: Option<PathBuf>,
    /// Task of the rows: pretraining, vqa, gqa, nlvr2, retrieval, captioning, matching or refer
    /// [default: detected from the content]
    #[arg(long, value_name = "TASK", conflicts_with = "format")]
    pub task: Option<String>,
    /// Format of all paths [default: detected from the content]
    #[arg(long)]
    pub format: Option<String>,
    /// Feature values per region of official features
    #[arg(long, value_name = "N", default_value_t = FEATURE_DIM)]
    pub feature_dim: usize,
    /// List all problems instead of the first hundred
    #[arg(long)]
    pub all: bool,
    /// Print the report as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Validates, prints the problems, and fails if there are any.
///
/// # Errors
/// If there is a problem, or a path cannot be read.
pub fn run(global: &Global, args: &CheckArgs) -> Result<()> {
    let format = match (&args.task, &args.format) {
        (Some(task), _) => Some(of_task(task).map_err(|found| anyhow!("--task: {found}"))?),
        (None, Some(format)) => Some(named(format).map_err(|found| anyhow!("--format: {found}"))?),
        (None, None) => None,
    };
    let options = CheckOptions {
        format,
        regions: args.regions.clone(),
        feature_dim: args.feature_dim,
        limit: if args.all { usize::MAX } else { SHOWN },
        progress: !global.quiet,
    };
    let report = check(&args.paths, &options)?;
    let mut out = output::stdout();
    match args.json {
        true => writeln!(out, "{:#}", serde_json::to_value(&report)?)?,
        false => print(&report, &mut out)?,
    }
    out.flush()?;
    match report.total {
        0 => Ok(()),
        1 => bail!("found 1 problem"),
        n => bail!("found {n} problems"),
    }
}

fn print(report: &Report, out: &mut impl Write) -> Result<()> {
    for problem in &report.problems {
        writeln!(out, "{}", output::escape_message(&problem.to_string()))?;
    }
    match report.total - report.problems.len() {
        0 => {}
        more => writeln!(out, "… and {more} more (list them with --all)")?,
    }
    if report.total > 0 {
        writeln!(out)?;
    }
    for checked in &report.checked {
        writeln!(out, "{} ({})", checked.path.display(), checked.format)?;
        for (name, count) in checked.counts.iter() {
            writeln!(out, "{:>14} {name}", thousands(count))?;
        }
        for note in &checked.notes {
            writeln!(out, "  {note}")?;
        }
    }
    if report.ok {
        writeln!(out, "no problems found")?;
    }
    for (kind, count) in &report.by_kind {
        writeln!(out, "{:>14} {kind}", thousands(count))?;
    }
    Ok(())
}
