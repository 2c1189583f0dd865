//! `oscar-bin bench`: whole training steps on synthetic batches.

use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use burn::module::Module;
use burn::optim::Optimizer;
use burn::tensor::backend::Backend;
use burn::tensor::{Distribution, Int, Tensor, TensorData};
use burn_train::TrainStep;
use oscar_core::config::ModelConfig;
use oscar_core::input::{AttentionMask, OscarInput, PretrainBatch};
use oscar_core::ops::TrainBackend;
use oscar_pretraining::PretrainingTask;
use oscar_train::{AdamW, AdamWConfig, Weighted, bytes, peak_memory};
use serde_json::json;

use crate::Ending;
use crate::backend::{OnBackend, dispatch};
use crate::cli::BenchArgs;

/// Masked positions per row: 15 % of the text, as in pre-training.
const MASKED_SHARE: f64 = 0.15;

/// Measures and prints.
pub fn run(args: &BenchArgs) -> Result<Ending> {
    let config = ModelConfig::preset(&args.preset)
        .with_context(|| format!("--preset {:?}: must be tiny, base or large", args.preset))?;
    ensure!(
        args.text >= 3 && args.text <= config.max_position_embeddings,
        "--text {}: must be between 3 and {}",
        args.text,
        config.max_position_embeddings
    );
    for (flag, value) in [
        ("--batch-size", args.batch_size),
        ("--regions", args.regions),
        ("--steps", args.steps),
    ] {
        ensure!(value > 0, "{flag} must be at least 1");
    }
    let result = dispatch(&args.device, Bench { config, args })?;
    let mut out = std::io::stdout().lock();
    match args.json {
        true => writeln!(out, "{:#}", result.json(args))?,
        false => result.print(&mut out, args)?,
    }
    Ok(Ending::Done)
}

struct Bench<'a> {
    config: ModelConfig,
    args: &'a BenchArgs,
}

/// Seconds of each timed step, by phase.
struct Measured {
    parameters: usize,
    gradients: Vec<f64>,
    update: Vec<f64>,
    total: Vec<f64>,
}

impl OnBackend for Bench<'_> {
    type Output = Measured;

    fn run<B: TrainBackend>(self, device: B::Device) -> Result<Measured> {
        B::seed(&device, 42);
        let args = self.args;
        let mut model = PretrainingTask::<B>::new(&self.config, &device);
        let mut optimizer = AdamW::<B>::new(AdamWConfig::default(), &model);
        let mut measured = Measured {
            parameters: model.num_params(),
            gradients: Vec::new(),
            update: Vec::new(),
            total: Vec::new(),
        };
        for step in 0..args.warmup + args.steps {
            let batch = synthetic::<B>(&self.config, args, &device);
            B::sync(&device).context("the device failed")?;
            let start = Instant::now();
            let output = model.step(Weighted {
                batch,
                loss_weight: 1.0,
            });
            B::sync(&device).context("the device failed")?;
            let middle = start.elapsed().as_secs_f64();
            model = optimizer.step(5e-5, model, output.grads);
            B::sync(&device).context("the device failed")?;
            let total = start.elapsed().as_secs_f64();
            if step >= args.warmup {
                measured.gradients.push(middle);
                measured.update.push(total - middle);
                measured.total.push(total);
            }
        }
        Ok(measured)
    }
}

fn synthetic<B: Backend>(
    config: &ModelConfig,
    args: &BenchArgs,
    device: &B::Device,
) -> PretrainBatch<B> {
    let (rows, text, regions) = (args.batch_size, args.text, args.regions);
    let seq = text + regions;
    let ids = |count: usize, below: usize| -> Vec<i32> {
        (0..count)
            .map(|i| ((i * 7919 + 13) % below) as i32)
            .collect()
    };
    let ints = |values: Vec<i32>| {
        let shape = [values.len()];
        Tensor::<B, 1, Int>::from_data(TensorData::new(values, shape), device)
    };
    let per_row = ((text as f64 * MASKED_SHARE).round() as usize).max(1);
    let stride = (text / per_row).max(1);
    let positions: Vec<i32> = (0..rows * per_row)
        .map(|i| ((i / per_row) * seq + (i % per_row) * stride) as i32)
        .collect();
    let masked = positions.len();
    PretrainBatch {
        input: OscarInput {
            input_ids: ints(ids(rows * text, config.vocab_size)).reshape([rows, text]),
            token_type_ids: ints(ids(rows * text, 2)).reshape([rows, text]),
            position_ids: None,
            attention_mask: AttentionMask::Padding(Tensor::ones([rows, seq], device)),
            region_features: Some(Tensor::random(
                [rows, regions, config.img_feature_dim],
                Distribution::Uniform(0.0, 1.0),
                device,
            )),
        },
        masked_positions: ints(positions),
        masked_labels: ints(ids(masked, config.vocab_size)),
        masked_weights: Tensor::ones([masked], device),
        relation: ints(ids(rows, config.num_contrast_classes)),
        num_examples: rows,
        num_tokens: rows * seq,
        origins: Vec::new(),
    }
}

impl Measured {
    fn print(&self, out: &mut impl Write, args: &BenchArgs) -> std::io::Result<()> {
        let seconds = median(&self.total);
        writeln!(
            out,
            "{} ({} parameters), {} examples of {} + {} positions per step",
            args.preset, self.parameters, args.batch_size, args.text, args.regions
        )?;
        writeln!(
            out,
            "  step            {seconds:.3} s (median of {}; {:.3} to {:.3})",
            self.total.len(),
            self.total.iter().copied().fold(f64::INFINITY, f64::min),
            self.total.iter().copied().fold(0.0, f64::max),
        )?;
        writeln!(out, "  gradients       {:.3} s", median(&self.gradients))?;
        writeln!(out, "  update          {:.3} s", median(&self.update))?;
        writeln!(
            out,
            "  samples/s       {:.2}",
            args.batch_size as f64 / seconds
        )?;
        if let Some(peak) = peak_memory() {
            writeln!(out, "  peak memory     {}", bytes(peak))?;
        }
        Ok(())
    }

    fn json(&self, args: &BenchArgs) -> serde_json::Value {
        json!({
            "preset": args.preset,
            "parameters": self.parameters,
            "batch_size": args.batch_size,
            "text": args.text,
            "regions": args.regions,
            "step_seconds": self.total,
            "gradient_seconds": self.gradients,
            "update_seconds": self.update,
            "samples_per_second": args.batch_size as f64 / median(&self.total),
            "peak_memory_bytes": peak_memory(),
        })
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
