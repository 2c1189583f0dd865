//! `oscar-bin bench`: speed of training, scoring and captioning on synthetic data of given lengths,
//! through the code that a run uses.

mod caption;
mod clipcap;
mod detector;
mod device;
mod flops;
mod lengths;
mod memory;
mod model_of;
mod pretrain;
mod report;
mod retrieval;
mod search;
mod synthetic;
mod training;
mod vqa;
mod work;

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::backend::AutodiffBackend;
use clap::{Args, ValueEnum};
use oscar_core::config::ModelConfig;
use oscar_core::ops::{Precision, TrainBackend};
use oscar_train::{bytes, peak_memory};
use oscar_vision::detector::DetectorConfig;
use serde_json::json;

use crate::args::DeviceArgs;
use crate::backend::{OnBackend, dispatch};
use crate::ending::Ending;
use crate::output::{self, print_json};
use crate::training::total_memory;

use lengths::{Lengths, Row};
use model_of::{Gpu, Prediction};
use report::{Measured, Report, Run};
pub use work::Work;

/// Text positions, tags and regions of fixed-length examples: the limits of pre-training.
const TEXT: usize = 35;
const TAGS: usize = 30;
const REGIONS: usize = 50;

/// Timed steps, and untimed ones before them.
const STEPS: usize = 5;
const WARMUP: usize = 1;

/// Measures the speed of training steps (pre-training, VQA), of scoring image-text pairs, of captions by
/// beam search, of the region detectors, of CLIP and of ClipCap, and of search in large indexes, on
/// synthetic data.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin bench\n  \
    oscar-bin bench --work pretrain,vqa,retrieval,caption --lengths real\n  \
    oscar-bin bench --batch-size 1,2,4,8 --text 20 --regions 37 --json\n  \
    oscar-bin bench --work detector --batch-size 1 --steps 2 --warmup 0\n  \
    oscar-bin bench --work clip --batch-size 32\n  \
    oscar-bin bench --work search --pictures 10000,1000000\n  \
    oscar-bin bench --model-of h200 --batch-size 32,128 --lengths real --precision bf16")]
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
    /// Model size: tiny, base or large
    #[arg(long, default_value = "base")]
    pub preset: String,
    /// Batch size in examples, pairs or images; each one of a list is measured
    #[arg(long, value_delimiter = ',', default_value = "8", value_name = "N,...")]
    pub batch_size: Vec<usize>,
    /// Lengths of the examples
    #[arg(long, value_enum, default_value_t)]
    pub lengths: LengthsChoice,
    /// Text positions of fixed-length examples [default: 35; captions: 30 for tags]
    #[arg(long, value_name = "N")]
    pub text: Option<usize>,
    /// Regions of fixed-length examples [default: 50]
    #[arg(long, value_name = "N")]
    pub regions: Option<usize>,
    /// Pictures of each index that is searched [default: 10000,100000,1000000]
    #[arg(long, value_delimiter = ',', value_name = "N,...", requires = "work")]
    pub pictures: Option<Vec<usize>>,
    /// Number of timed steps [default: 5]
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Number of untimed steps before them [default: 1]
    #[arg(long, value_name = "N")]
    pub warmup: Option<usize>,
    /// Train with gradient checkpointing
    #[arg(long)]
    pub gradient_checkpointing: bool,
    /// Predict pre-training steps on this GPU instead of measuring anything
    #[arg(long, value_enum, value_name = "GPU")]
    pub model_of: Option<Gpu>,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print the results as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Lengths of the examples of a benchmark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LengthsChoice {
    /// --text and --regions for all of them
    #[default]
    Fixed,
    /// Distributed as in COCO, VQA and Visual Genome
    Real,
}

/// One measurement.
#[derive(Clone, Debug)]
struct Plan {
    model: ModelConfig,
    lengths: Lengths,
    batch_size: usize,
    warmup: usize,
    steps: usize,
    seed: u64,
    gradient_checkpointing: bool,
    /// Whether models of a published size are small ones instead.
    tiny: bool,
    /// The detector to measure, with its name.
    detector: Option<(&'static str, DetectorConfig)>,
}

impl Plan {
    /// Rows of all steps.
    fn rows(&self) -> usize {
        (self.warmup + self.steps) * self.batch_size
    }

    /// Refuses what cannot fit: all rows are made before the first step, with 4 bytes at least for each
    /// position, and the positions of a batch have the values of one layer.
    fn check_memory(&self, work: Work) -> Result<()> {
        let positions = match self.lengths {
            Lengths::Fixed { text, regions } => text as f64 + regions as f64,
            Lengths::Real => (TEXT + REGIONS) as f64,
        };
        let rows = (self.warmup as f64 + self.steps as f64) * self.batch_size as f64;
        let values = rows + self.batch_size as f64 * self.model.hidden_size as f64;
        let needed = 4.0 * positions * values;
        match total_memory() {
            Some(available) if needed > available as f64 => bail!(
                "{} in batches of {} takes {} at least, and this machine has {}; lower --batch-size, \
                 --steps or --regions",
                work.name(),
                self.batch_size,
                bytes(needed.min(1e18) as u64),
                bytes(available),
            ),
            _ => Ok(()),
        }
    }

    /// The sum of a number over the rows of each step.
    fn per_step(&self, rows: &[Row], of: impl Fn(&Row) -> f64) -> Vec<f64> {
        let batches = rows.chunks(self.batch_size);
        batches.map(|batch| batch.iter().map(&of).sum()).collect()
    }
}

/// Measures and prints.
///
/// # Errors
///
/// If a flag's value is out of range or the device fails.
pub fn run(args: &BenchArgs) -> Result<Ending> {
    if args.work.contains(&Work::Search) {
        ensure!(
            args.work == [Work::Search],
            "--work search has results of its own; measure it by itself"
        );
    }
    refuse_unused(args)?;
    if args.work.contains(&Work::Search) {
        search::run(args)?;
        return Ok(Ending::Done);
    }
    let bench = Bench::new(args)?;
    if let Some(gpu) = args.model_of {
        return predict(gpu, args, &bench);
    }
    for (work, plan) in &bench.plans {
        plan.check_memory(*work)?;
    }
    let report = dispatch(&args.device, bench)?;
    match args.json {
        true => print_json(&report.json())?,
        false => report.print(&mut output::stdout())?,
    }
    Ok(Ending::Done)
}

/// Refuses flags that would have no effect on what is measured or predicted.
fn refuse_unused(args: &BenchArgs) -> Result<()> {
    let searches = args.work == [Work::Search];
    let predicts = args.model_of.is_some();
    let names: Vec<&str> = args.work.iter().map(|work| work.name()).collect();
    let what = match (searches, predicts) {
        (false, true) => "what --model-of predicts".into(),
        _ => format!("--work {}", names.join(",")),
    };
    let has = |works: &[Work]| args.work.iter().any(|work| works.contains(work));
    let reads_texts = has(&[Work::Pretrain, Work::Vqa, Work::Retrieval, Work::Caption]);
    let trains = has(&[Work::Pretrain, Work::Vqa, Work::ClipcapTrain]);
    // The mean of steps is predicted, which differ by their lengths alone.
    let steps_differ = args.lengths == LengthsChoice::Real;
    for (flag, is_given, is_used) in [
        ("--model-of", predicts, !searches),
        ("--text", args.text.is_some(), reads_texts),
        ("--regions", args.regions.is_some(), reads_texts),
        (
            "--gradient-checkpointing",
            args.gradient_checkpointing,
            trains,
        ),
        ("--pictures", args.pictures.is_some(), searches),
        ("--warmup", args.warmup.is_some(), !searches && !predicts),
        (
            "--steps",
            args.steps.is_some(),
            !searches && (!predicts || steps_differ),
        ),
    ] {
        ensure!(
            is_used || !is_given,
            "{flag} has no effect on {what}; leave it out"
        );
    }
    Ok(())
}

/// Predicts and prints.
fn predict(gpu: Gpu, args: &BenchArgs, bench: &Bench) -> Result<Ending> {
    let precision = args.device.precision.unwrap_or_default();
    let plans = bench.plans.iter();
    let predictions = plans.map(|(work, plan)| Prediction::new(gpu, *work, plan, precision));
    let predictions = predictions.collect::<Result<Vec<_>>>()?;
    if args.json {
        let results: Vec<_> = predictions.iter().map(Prediction::json).collect();
        print_json(&json!({ "preset": args.preset, "results": results }))?;
        return Ok(Ending::Done);
    }
    for prediction in &predictions {
        prediction.print(&mut output::stdout())?;
    }
    Ok(Ending::Done)
}

struct Bench {
    preset: String,
    gradient_checkpointing: bool,
    plans: Vec<(Work, Plan)>,
}

impl Bench {
    fn new(args: &BenchArgs) -> Result<Self> {
        let model = ModelConfig::preset(&args.preset)
            .with_context(|| format!("--preset {:?}: must be tiny, base or large", args.preset))?;
        let steps = args.steps.unwrap_or(STEPS);
        ensure!(steps > 0, "--steps must be at least 1");
        for batch_size in &args.batch_size {
            ensure!(*batch_size > 0, "--batch-size must be at least 1");
        }
        let mut plans = Vec::new();
        for work in &args.work {
            let lengths = match args.lengths {
                LengthsChoice::Real => real(args)?,
                LengthsChoice::Fixed => fixed(*work, args, &model)?,
            };
            let plan = |batch_size: &usize| Plan {
                model: model.clone(),
                lengths,
                batch_size: *batch_size,
                warmup: args.warmup.unwrap_or(WARMUP),
                steps,
                seed: 42,
                gradient_checkpointing: args.gradient_checkpointing,
                tiny: args.preset == "tiny",
                detector: None,
            };
            let sized = args.batch_size.iter().map(plan);
            match work {
                Work::Detector => plans.extend(sized.flat_map(|plan| {
                    detector::FLAVOURS.map(|flavour| {
                        let config = detector::config(flavour, args.preset == "tiny");
                        let detector = Some((detector::name(flavour), config));
                        (
                            Work::Detector,
                            Plan {
                                detector,
                                ..plan.clone()
                            },
                        )
                    })
                })),
                _ => plans.extend(sized.map(|plan| (*work, plan))),
            }
        }
        Ok(Self {
            preset: args.preset.clone(),
            gradient_checkpointing: args.gradient_checkpointing,
            plans,
        })
    }
}

/// Lengths of real data.
fn real(args: &BenchArgs) -> Result<Lengths> {
    for (flag, value) in [("--text", args.text), ("--regions", args.regions)] {
        ensure!(
            value.is_none(),
            "{flag} does not apply to --lengths real; remove one of them"
        );
    }
    Ok(Lengths::Real)
}

/// Fixed lengths.
fn fixed(work: Work, args: &BenchArgs, model: &ModelConfig) -> Result<Lengths> {
    let (before, default) = match work {
        Work::Caption => (caption::CAPTION_LENGTH, TAGS),
        _ => (0, TEXT),
    };
    let text = args.text.unwrap_or(default);
    let most = model.max_position_embeddings - before;
    ensure!(
        (5..=most).contains(&text),
        "--text {text}: must be from 5 to {most} for {}",
        work.name()
    );
    let regions = args.regions.unwrap_or(REGIONS);
    ensure!(regions > 0, "--regions must be at least 1");
    Ok(Lengths::Fixed { text, regions })
}

impl OnBackend for Bench {
    type Output = Report;

    fn run<B: TrainBackend>(self, device: B::Device) -> Result<Report> {
        type Inner<B> = <B as AutodiffBackend>::InnerBackend;
        let peak_flops = device::peak_flops::<Inner<B>>(&device)?;
        let mut results = Vec::with_capacity(self.plans.len());
        for (work, plan) in &self.plans {
            tracing::info!("{}, batch {}", work.name(), plan.batch_size);
            memory::forget_peak();
            B::seed(&device, plan.seed);
            let run: Run = match work {
                Work::Pretrain => pretrain::run::<B>(plan, &device)?,
                Work::Vqa => vqa::run::<B>(plan, &device)?,
                Work::Retrieval => retrieval::run::<Inner<B>>(plan, &device)?,
                Work::Caption => caption::run::<Inner<B>>(plan, &device)?,
                Work::Detector => {
                    let (_, config) = plan.detector.as_ref().context("a detector is measured")?;
                    detector::run::<Inner<B>>(plan, config, &device)?
                }
                Work::Clip => clipcap::pictures::<Inner<B>>(plan, &device)?,
                Work::Clipcap => clipcap::captions::<Inner<B>>(plan, &device)?,
                Work::ClipcapTrain => clipcap::training::<B>(plan, &device)?,
                Work::Search => bail!("search is measured by itself"),
            };
            let peak_memory = peak_memory();
            let optimizer_floor = match work {
                Work::Pretrain | Work::Vqa | Work::ClipcapTrain => {
                    Some(device::adamw_floor::<Inner<B>>(run.parameters, &device)?)
                }
                _ => None,
            };
            results.push(Measured {
                work: *work,
                model: plan.detector.as_ref().map(|(name, _)| *name),
                batch_size: plan.batch_size,
                run,
                peak_memory,
                optimizer_floor,
            });
        }
        Ok(Report {
            preset: self.preset,
            device: device::name::<Inner<B>>(&device),
            backend: <Inner<B> as burn::tensor::backend::Backend>::name(&device),
            dtype: Precision::current().name(),
            gradient_checkpointing: self.gradient_checkpointing,
            peak_flops,
            results,
        })
    }
}
