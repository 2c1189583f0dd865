//! `oscar-bin report`: one self-contained HTML page of a run.
//!
//! ```text
//! summary, metrics.jsonl, config.toml ─┐
//! best weights ─ exhibits ───────────┼─▶ Report ─ page ─▶ report.html
//! region stores, pictures ───────────┘
//! ```

mod collect;
mod comparison;
mod curves;
mod differences;
mod example;
mod gallery;
mod map;
mod page;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use oscar_files::write_file;
use oscar_task::explain::Choice;
use serde_json::json;

use self::gallery::Gallery;
use self::page::Report;
use crate::args::{DeviceArgs, Global};
use crate::ending::Ending;
use crate::output::{self, check_out, print_json, repeated};
use crate::run_dir::{self, Summary};
use crate::tasks::task_of_weights;

/// The page in a run directory.
const PAGE: &str = "report.html";

/// The page of several runs, in the directory of the runs.
const COMPARISON: &str = "comparison.html";

/// Number of answers and predictions shown for an example.
const TOP: usize = 5;

/// Writes a self-contained HTML page of a run: curves, speed, the configuration and its differences
/// from the recipe, and held-out examples with pictures, regions, tags, predictions and attention of
/// the best weights. Of several runs, it shows the differences of their configurations, their best
/// steps, and their curves over each other.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin report quickstart\n  \
    oscar-bin report quickstart longer --out both.html\n  \
    oscar-bin report runs/vqa-scenes --examples 24 --out vqa.html\n  \
    oscar-bin report runs/mine --images coco/val2014\n  \
    oscar-bin report runs/mine --examples 0      # without running the model")]
pub struct ReportArgs {
    /// Run, by name or directory; several are compared
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// Directory of the runs
    #[arg(
        long,
        default_value = "runs",
        env = "OSCAR_RUNS_DIR",
        value_name = "DIR"
    )]
    pub runs_dir: PathBuf,
    /// File to write [default: RUN/report.html; of several runs RUNS_DIR/comparison.html]
    #[arg(short, long, value_name = "FILE.html")]
    pub out: Option<PathBuf>,
    /// Replace the file of --out if it exists
    #[arg(long, requires = "out")]
    pub overwrite: bool,
    /// Number of held-out examples to show; 0 skips everything that needs to run the model
    #[arg(long, default_value_t = 8, value_name = "N")]
    pub examples: usize,
    /// Number of held-out examples whose words and regions are put on the map
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub mapped: usize,
    /// Pictures: a directory, a zip archive, or a table of key and base64 [default: the picture
    /// location recorded in the data set]
    #[arg(long, value_name = "DIR_OR_ZIP")]
    pub images: Option<PathBuf>,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print a summary as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Writes the page.
///
/// # Errors
/// If the run, its data or its weights cannot be read, or the page cannot be written.
pub fn run(global: &Global, args: &ReportArgs) -> Result<Ending> {
    let runs = args
        .runs
        .iter()
        .map(|run| run_dir::run_at(&args.runs_dir, run));
    let runs: Vec<PathBuf> = runs.collect();
    if let Some(out) = &args.out {
        check_out("--out", out, args.overwrite)?;
    }
    if args.images.is_some() && (args.examples == 0 || runs.len() > 1) {
        tracing::warn!("--images has no effect: no examples are shown");
    }
    let [run] = runs.as_slice() else {
        return compare(args, &runs);
    };
    let name = name_of(run, &args.runs_dir)?;
    let summary =
        Summary::read(run).with_context(|| format!("cannot report on {}", run.display()))?;
    let curves = curves::read(run)?;
    let weights = weights(run);
    let task = weights.as_deref().map(task_of_weights).transpose()?;
    let choice = Choice {
        examples: args.examples.max(args.mapped),
        attended: args.examples,
        top: TOP,
    };
    let shown = match (&weights, &task) {
        (Some(weights), Some(task)) if args.examples > 0 => {
            let source = collect::Source {
                run,
                weights,
                choice,
                quiet: global.quiet,
            };
            Some(collect::take(task, &source, &args.device)?)
        }
        _ => None,
    };
    let mut gallery = match &shown {
        None => Gallery::default(),
        Some(shown) => Gallery::open(&shown.stores, args.images.as_deref())?,
    };
    let exhibits = shown.as_ref().map_or(&[][..], |shown| &shown.exhibits);
    let report = Report {
        name: &name,
        task: task.as_deref(),
        weights: weights.as_deref(),
        differences: differences::differences(&summary, task.as_deref())?,
        summary: &summary,
        curves: &curves,
        map: map::draw(exhibits, &gallery)?,
        probed: shown.as_ref().and_then(|shown| shown.probed),
        exhibits: &exhibits[..exhibits.len().min(args.examples)],
    };
    let html = report.render(&mut gallery)?;
    gallery.warn_of_other_images();
    let out = args.out.clone().unwrap_or_else(|| run.join(PAGE));
    write_file(&out, html.as_bytes())?;
    tracing::info!(
        "report: {} ({} KiB)",
        out.display(),
        html.len().div_ceil(1024)
    );
    if args.json {
        print_json(&json!({
            "run": output::shown(run),
            "report": output::shown(&out),
            "task": task,
            "examples": report.exhibits.len(),
            "pictures": gallery.pictures_found(),
            "bytes": html.len(),
        }))?;
    }
    Ok(Ending::Done)
}

/// Writes the page of several runs.
fn compare(args: &ReportArgs, runs: &[PathBuf]) -> Result<Ending> {
    if let Some(run) = repeated(runs) {
        bail!("{} is named twice; name each run once", run.display());
    }
    let html = comparison::page(runs)?;
    let out = args.out.clone();
    let out = out.unwrap_or_else(|| args.runs_dir.join(COMPARISON));
    write_file(&out, html.as_bytes())?;
    tracing::info!(
        "report: {} ({} KiB)",
        out.display(),
        html.len().div_ceil(1024)
    );
    if args.json {
        let runs: Vec<String> = runs.iter().map(|run| output::shown(run)).collect();
        print_json(&json!({ "runs": runs, "report": output::shown(&out), "bytes": html.len() }))?;
    }
    Ok(Ending::Done)
}

/// The last component of the path, also for `.` and `runs/x/..`.
fn name_of(run: &Path, runs: &Path) -> Result<String> {
    let whole = run.canonicalize().ok().with_context(|| {
        format!(
            "cannot find the run {}: it is not a directory, nor the name of a run in {}; `oscar-bin runs` \
             lists the runs",
            run.display(),
            runs.display()
        )
    })?;
    let name = whole.file_name().unwrap_or(whole.as_os_str());
    Ok(name.to_string_lossy().into_owned())
}

/// The weights to report on: the best, else the last.
fn weights(run: &Path) -> Option<PathBuf> {
    let names = ["best", "last"].map(|name| run.join(name));
    names.into_iter().find(|path| path.is_dir())
}
