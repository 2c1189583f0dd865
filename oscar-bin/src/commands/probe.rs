//! `oscar-bin probe`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use oscar_core::ops::TrainBackend;
use oscar_pretraining::{PretrainConfig, Probed, Share, probe};
use serde_json::json;

use crate::args::{DeviceArgs, Global};
use crate::backend::{OnBackend, dispatch};
use crate::config::{self, Source, sample};
use crate::ending::Ending;
use crate::output;
use crate::run_dir::{self, CONFIG_FILE};

/// Measures how much a pre-trained model reads from images: its accuracy on masked words with the
/// regions and tags of the right image, and with those of another image.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin probe runs/quickstart\n  \
    oscar-bin probe runs/quickstart --every --json\n  \
    oscar-bin probe runs/quickstart --set data.validation.corpus=test.jsonl \\\n    \
        --set data.validation.regions=test/regions")]
pub struct ProbeArgs {
    /// Pre-training run, by name or directory
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Directory of the runs
    #[arg(
        long,
        default_value = "runs",
        env = "OSCAR_RUNS_DIR",
        value_name = "DIR"
    )]
    pub runs_dir: PathBuf,
    /// Measure every checkpoint that the run kept (see train.keep_checkpoints), not only the last
    /// weights
    #[arg(long)]
    pub every: bool,
    /// Override a key of the run's configuration; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print the results as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Measures, and prints a table.
///
/// # Errors
/// If it is not a pre-training run, or its data or weights cannot be used.
pub fn run(global: &Global, args: &ProbeArgs) -> Result<Ending> {
    let run = run_dir::run_at(&args.runs_dir, &args.run);
    let config = run_dir::newest_config(&run);
    if !config.exists() {
        bail!(
            "{} is not a pre-training run: it has no {CONFIG_FILE}",
            run.display()
        );
    }
    let mut recipe: PretrainConfig = config::resolve(&Source::file(&config)?, &args.sets)?;
    recipe.validate().context("invalid configuration")?;
    run_dir::anchor(&mut recipe, &run);
    sample::provide(&mut recipe, &run_dir::runs_of(&run))?;
    let probed = dispatch(
        &args.device,
        Probe {
            recipe,
            run: &run,
            every: args.every,
            bar: output::bar(global),
        },
    )?;
    match args.json {
        true => output::print_json(&json!({"run": output::shown(&run), "checkpoints": probed}))?,
        false => print(&mut output::stdout(), &probed)?,
    }
    Ok(Ending::Done)
}

struct Probe<'a> {
    recipe: PretrainConfig,
    run: &'a Path,
    every: bool,
    bar: Box<dyn Fn(usize, usize) + Send + Sync>,
}

impl OnBackend for Probe<'_> {
    type Output = Vec<Probed>;

    fn run<B: TrainBackend>(self, device: B::Device) -> Result<Vec<Probed>> {
        let Self {
            recipe,
            run,
            every,
            bar,
        } = self;
        probe::<B::InnerBackend>(&recipe, run, every, &*bar, &device)
            .map_err(|error| anyhow!(error))
    }
}

fn print(out: &mut dyn Write, probed: &[Probed]) -> Result<()> {
    for probed in probed {
        writeln!(
            out,
            "Step {}: accuracy on masked words ({} words of {} captions) given",
            probed.step, probed.own_image.of, probed.own_image.groups
        )?;
        let mut line = |name: &str, share: Option<Share>| match share {
            None => Ok(()),
            Some(Share {
                share,
                interval: [low, high],
                ..
            }) => writeln!(out, "  {name:<40} {share:.3}  [{low:.3}, {high:.3}]"),
        };
        line("own regions and tags", Some(probed.own_image))?;
        line("those of another image", Some(probed.other_image))?;
        line("own regions, no tags", probed.without_tags)?;
        line("own regions, tags of another image", probed.other_tags)?;
        line("regions of another image, own tags", probed.other_regions)?;
        line("accuracy of the contrastive head", Some(probed.relation))?;
    }
    Ok(())
}
