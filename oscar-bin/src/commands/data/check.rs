//! `oscar-bin data check`.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use oscar_datasets::check::{CheckOptions, Report, SHOWN, check, named};
use oscar_datasets::official::FEATURE_DIM;

use crate::args::Global;
use crate::output::thousands;

/// Reads files whole: region stores, corpora, data sets, tables of the official data, VQA v2 and
/// NLVR2. Formats are told apart by content. Exits with 1 if anything is wrong.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin data check data/dev\n  \
    oscar-bin data check corpus.jsonl --regions regions\n  \
    oscar-bin data check questions.json annotations.json --json")]
pub struct CheckArgs {
    /// Files and directories; those that belong together are compared with each other
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Images that corpora name
    #[arg(long, value_name = "STORE")]
    pub regions: Option<PathBuf>,
    /// Format of all paths [default: told by content]
    #[arg(long)]
    pub format: Option<String>,
    /// Appearance values per region of official features
    #[arg(long, value_name = "N", default_value_t = FEATURE_DIM)]
    pub feature_dim: usize,
    /// List all problems, not only the first hundred
    #[arg(long)]
    pub all: bool,
    /// Print the report as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Checks, prints the report, and fails if anything is wrong.
pub fn run(global: &Global, args: &CheckArgs) -> Result<()> {
    let format = args.format.as_deref().map(named).transpose();
    let options = CheckOptions {
        format: format.map_err(|found| anyhow!("--format: {found}"))?,
        regions: args.regions.clone(),
        feature_dim: args.feature_dim,
        limit: if args.all { usize::MAX } else { SHOWN },
        progress: !global.quiet,
    };
    let report = check(&args.paths, &options)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    match args.json {
        true => writeln!(out, "{:#}", serde_json::to_value(&report)?)?,
        false => print(&report, &mut out)?,
    }
    out.flush()?;
    match report.total {
        0 => Ok(()),
        1 => bail!("1 problem was found"),
        n => bail!("{n} problems were found"),
    }
}

fn print(report: &Report, out: &mut impl Write) -> Result<()> {
    for problem in &report.problems {
        writeln!(out, "{problem}")?;
    }
    match report.total - report.problems.len() {
        0 => {}
        more => writeln!(out, "… and {more} more; --all lists them")?,
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
        writeln!(out, "no problem found")?;
    }
    for (kind, count) in &report.by_kind {
        writeln!(out, "{:>14} {kind}", thousands(count))?;
    }
    Ok(())
}
