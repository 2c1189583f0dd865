//! One of the workers of a run: its replica, and its share of each step.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use burn::data::dataloader::{DataLoader, DataLoaderIterator};
use burn::optim::{GradientsAccumulator, GradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use burn_train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use oscar_core::model::recompute;
use oscar_core::ops::{TrainBackend, mix};
use serde::{Deserialize, Serialize};

use super::Team;
use super::buckets::Buckets;
use crate::error::TrainError;
use crate::loader::{Failure, lock};
use crate::non_finite::{Broken, MAX_CONSECUTIVE_SKIPPED, NonFinite, Skipped};
use crate::optim::{AdamW, clip_grad_norm, grad_norm};
use crate::run::FixedSettings;
use crate::schedule::LinearSchedule;
use crate::stats::{StepOutput, StepStats};
use crate::strategy::{ClipAt, Trainable};

/// What every worker of a run has alike.
#[derive(Clone)]
pub(crate) struct Numbers {
    pub settings: FixedSettings,
    pub schedule: LinearSchedule,
    /// Highest norm of the gradients; 0 does not clip.
    pub max_grad_norm: f64,
    /// When to clip.
    pub clip_at: ClipAt,
    /// What to do about a step that is not finite.
    pub non_finite: NonFinite,
    /// Whether layers are computed again for their gradients.
    pub gradient_checkpointing: bool,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Optimiser steps done.
    pub step: usize,
    /// Those of them that were left out.
    pub skipped: Skipped,
}

/// A step that was made, or left out.
pub(crate) struct Step {
    /// Statistics of the whole step.
    pub stats: StepStats,
    /// Why it was left out.
    pub broken: Option<Broken>,
}

/// A worker. Alone it is the whole run.
pub(crate) struct Worker<B: TrainBackend, M> {
    pub numbers: Numbers,
    /// `None` only while an update replaces it.
    pub model: Option<M>,
    pub optimizer: AdamW<B>,
    pub device: B::Device,
    /// Where its loader puts an error.
    pub failure: Failure,
    pub team: Team,
    pub done: Done,
    buckets: Buckets,
}

/// The statistics of a step, or of a part of it.
type Output<B> = StepOutput<<B as AutodiffBackend>::InnerBackend>;

/// The norm of gradients, `[1]`, still on the device.
type Norm<B> = Tensor<<B as AutodiffBackend>::InnerBackend, 1>;

/// Gradients and statistics of a worker's batches, and the norms by which it has clipped so far.
type Computed<B> = (GradientsParams, Output<B>, Vec<Norm<B>>);

impl<B: TrainBackend, M: Trainable<B>> Worker<B, M>
where
    M::InnerModule: InferenceStep<Output = StepOutput<B::InnerBackend>>,
{
    pub fn new(
        numbers: Numbers,
        (model, optimizer): (M, AdamW<B>),
        device: B::Device,
        failure: Failure,
        team: Team,
        done: Done,
    ) -> Self {
        Self {
            numbers,
            buckets: Buckets::of(&model),
            model: Some(model),
            optimizer,
            device,
            failure,
            team,
            done,
        }
    }

    /// The model between two steps.
    pub fn model(&self) -> &M {
        self.model.as_ref().expect("no update is under way")
    }

    /// Makes steps until the lead or anybody else stops.
    pub fn follow(
        &mut self,
        train: &dyn DataLoader<B, <M as TrainStep>::Input>,
    ) -> Result<(), TrainError> {
        let trained = self.follow_steps(train);
        if let Err(error) = &trained {
            self.team.tell(error);
        }
        self.team.part();
        trained
    }

    fn follow_steps(
        &mut self,
        train: &dyn DataLoader<B, <M as TrainStep>::Input>,
    ) -> Result<(), TrainError> {
        let mut batches = train.iter();
        while self.done.step < self.numbers.settings.steps && self.team.goes_on(false)? {
            let step = self.train_step(&mut *batches)?;
            if let Some(broken) = step.broken
                && self.gives_up()
            {
                // The lead names the examples.
                return Err(broken.error(self.done.step, &[], Path::new("")));
            }
        }
        Ok(())
    }

    /// Whether the run ends where a step was left out. All workers see the same numbers.
    pub fn gives_up(&self) -> bool {
        match self.numbers.non_finite {
            NonFinite::Stop => true,
            NonFinite::Skip => self.done.skipped.in_a_row >= MAX_CONSECUTIVE_SKIPPED,
        }
    }

    /// One optimiser step: forward and backward of this worker's batches, sum over the workers,
    /// clip, update. Loss and norm of the gradients are looked at before the update, which is left
    /// out if they are not finite.
    pub fn train_step(
        &mut self,
        batches: &mut dyn DataLoaderIterator<<M as TrainStep>::Input>,
    ) -> Result<Step, TrainError> {
        let computed = catch_unwind(AssertUnwindSafe(|| self.compute(batches)));
        let (grads, output, mut norms) = computed.unwrap_or_else(|panic| Err(panicked(&*panic)))?;
        let (mut grads, output) = match self.team.world() {
            1 => (grads, output),
            _ => self.join(grads, output)?,
        };
        norms.push(self.clip(&mut grads));
        let (stats, norms) = output.read_with(norms);
        let broken = Broken::find(&stats, &norms);
        if broken.is_none() {
            let lr = self.numbers.schedule.at(self.done.step);
            let model = self.model.take().expect("no update is under way");
            self.model = Some(self.optimizer.step(lr, model, grads));
        }
        self.done.step += 1;
        self.done.skipped.count(broken.is_some());
        Ok(Step { stats, broken })
    }

    /// Forward and backward of this worker's batches.
    fn compute(
        &self,
        batches: &mut dyn DataLoaderIterator<<M as TrainStep>::Input>,
    ) -> Result<Computed<B>, TrainError> {
        let model = self.model();
        let mut sum = GradientsAccumulator::new();
        let mut outputs: Option<Output<B>> = None;
        let mut norms = Vec::new();
        let parts = self.numbers.settings.parts();
        let own = (self.team.rank()..parts).step_by(self.team.world());
        for part in own.clone() {
            let Some(batch) = batches.next() else {
                let failure = lock(&self.failure).take();
                return Err(failure.unwrap_or(TrainError::Worker));
            };
            self.seed(part as u64);
            let TrainOutput { grads, item } =
                recompute::scope(self.numbers.gradient_checkpointing, || {
                    TrainStep::step(model, batch)
                });
            match &mut outputs {
                None => outputs = Some(item),
                Some(outputs) => outputs.append(item),
            }
            if own.len() == 1 {
                let output = outputs.ok_or(TrainError::Worker)?;
                return Ok((grads, output, norms));
            }
            sum.accumulate(model, grads);
            if self.numbers.clip_at == ClipAt::Batch && part + 1 < parts {
                let mut clipped = sum.grads();
                norms.push(self.clip(&mut clipped));
                sum.accumulate(model, clipped);
            }
        }
        let output = outputs.ok_or(TrainError::Worker)?;
        Ok((sum.grads(), output, norms))
    }

    /// Gradients and statistics of all workers together.
    fn join(
        &mut self,
        grads: GradientsParams,
        output: Output<B>,
    ) -> Result<(GradientsParams, Output<B>), TrainError> {
        let model = self.model.as_ref().expect("no update is under way");
        let flat = self.buckets.flatten::<B, M>(model, grads);
        let (stats, anybody) = self.team.add(output.sync(), self.buckets.present(&flat))?;
        let team = &mut self.team;
        let grads = self
            .buckets
            .sum::<B, M>(model, flat, &anybody, team, &self.device)?;
        Ok((grads, stats.into()))
    }

    /// Dropout of a step depends on the seed and the step alone, so that a resumed run repeats it.
    fn seed(&self, part: u64) {
        let seed = mix(self.numbers.settings.seed, self.done.step as u64);
        oscar_core::ops::seed::<B>(&self.device, mix(seed, part));
    }

    /// Clips the gradients if the recipe says so; gives their norm before. Replicas have the same
    /// gradients here, and so the same norm.
    fn clip(&self, grads: &mut GradientsParams) -> Norm<B> {
        match self.numbers.max_grad_norm {
            max_norm if max_norm > 0.0 => {
                clip_grad_norm::<B, M>(self.model(), grads, max_norm, &self.device)
            }
            _ => grad_norm::<B, M>(self.model(), grads, &self.device),
        }
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> TrainError {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    TrainError::Panicked(text.unwrap_or_else(|| "it gave no reason".into()))
}
