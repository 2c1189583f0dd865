//! Training steps through the code that a run uses: prefetching loader, forward and backward pass,
//! clipping, optimiser.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use burn::tensor::ElementConversion;
use burn::tensor::backend::Backend;
use oscar_core::input::OscarInput;
use oscar_core::model::recompute;
use oscar_core::ops::{Guard, Kernels, TrainBackend};
use oscar_train::{AdamW, AdamWConfig, BatchSource, Shard, StepLoader, Trainable, grad_norm};

use super::Plan;
use super::device::sync;
use super::report::Step;

/// Threads that prepare batches, as recipes have it by default.
const WORKERS: usize = 2;

const LEARNING_RATE: f64 = 5e-5;

/// The size of a batch.
pub trait Size {
    /// Rows, and text tokens and regions without padding.
    fn real(&self) -> (usize, usize);
    /// Computed positions, with padding.
    fn padded(&self) -> usize;
}

/// Computed positions of an input, with padding.
pub fn positions<B: Backend>(input: &OscarInput<B>) -> usize {
    if let Some(packing) = &input.packing {
        return packing.places.host.len();
    }
    let [rows, positions] = input.dims();
    rows * positions
}

/// Times steps of `model` on the batches of `source` in order. `flops` is the work of each step;
/// gradients are clipped to a norm of `clip`, if it is not 0.
///
/// # Errors
///
/// If the device fails or a batch cannot be made.
pub fn train<B, M, T>(
    mut model: M,
    source: Arc<dyn BatchSource<B, Batch = T>>,
    plan: &Plan,
    clip: f64,
    flops: &[f64],
    device: &B::Device,
) -> Result<Vec<Step>>
where
    B: TrainBackend,
    T: Size + Send + 'static,
    M: Trainable<B, Batch = T>,
{
    let loader = StepLoader::once(source, plan.batch_size, WORKERS, Shard::ALL, device.clone())?;
    let mut batches = loader.iter();
    let mut optimizer = AdamW::<B>::new(AdamWConfig::default(), &model);
    let mut steps = Vec::with_capacity(plan.steps);
    for (number, flops) in flops.iter().enumerate() {
        oscar_core::ops::seed::<B>(device, number as u64);
        sync::<B>(device)?;
        let start = Instant::now();
        let batch = batches.next().context("the batches ended early")??;
        let ((samples, tokens), padded) = (batch.batch.real(), batch.batch.padded());
        let mut grads = recompute::scope(plan.gradient_checkpointing, || model.step(batch)).grads;
        let norm = grad_norm::<B, M>(&model, &mut grads, device);
        let clip = (clip > 0.0).then(|| (norm.clone(), clip));
        let mut finite = Vec::new();
        // A run looks at it before each update, or leaves that to the device.
        if B::InnerBackend::is_asynchronous(device) {
            finite.push(norm);
        } else {
            let norm: f32 = norm.into_scalar().elem();
            anyhow::ensure!(norm.is_finite(), "step {number}: the gradient is {norm}");
        }
        let guard = Guard { clip, finite };
        sync::<B>(device)?;
        let middle = start.elapsed().as_secs_f64();
        model = optimizer.step_guarded(LEARNING_RATE, model, grads, &guard);
        sync::<B>(device)?;
        let seconds = start.elapsed().as_secs_f64();
        if number >= plan.warmup {
            steps.push(Step {
                samples,
                tokens,
                padded,
                flops: *flops,
                seconds,
                optimizer: Some(seconds - middle),
            });
        }
    }
    Ok(steps)
}
