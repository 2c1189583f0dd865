//! The training loop, as a strategy of Burn's learner.
//!
//! Burn's own strategies count epochs. A pre-training run counts optimiser steps: it validates and
//! saves every so many, schedules the learning rate per step whatever the accumulation, and
//! resumes at any step on the same trajectory. What Burn calls an epoch here is a *round*: the
//! steps between two validations.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use burn::data::dataloader::{DataLoaderIterator, Progress};
use burn::module::AutodiffModule;
use burn::optim::{GradientsAccumulator, GradientsParams, Optimizer};
use burn_train::{
    EventProcessorTraining, InferenceStep, ItemLazy, Learner, LearnerEvent,
    LearningComponentsMarker, SupervisedLearningStrategy, SupervisedTrainingEventProcessor,
    TrainLoader, TrainStep, TrainingComponents, TrainingItem, ValidLoader,
};
use oscar_core::checkpoint::Checkpointed;
use oscar_core::ops::TrainBackend;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::loader::{Failure, lock};
use crate::optim::{AdamW, clip_grad_norm};
use crate::run::{Best, FixedSettings, RunDir, TrainState, write_directory};
use crate::schedule::LinearSchedule;
use crate::stats::{LOSS, StepOutput, StepStats};

/// When gradients are clipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClipAt {
    /// Once per optimiser step: official pre-training.
    #[default]
    Step,
    /// After every batch of an accumulation: the official fine-tuning scripts.
    Batch,
}

/// How a run proceeds.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Steps between two validations.
    pub validate_every: usize,
    /// Steps between two checkpoints.
    pub save_every: usize,
    /// Checkpoints to keep.
    pub keep: usize,
    /// Highest norm of the gradients; 0 does not clip.
    pub max_grad_norm: f64,
    /// When to clip.
    pub clip_at: ClipAt,
}

/// By what the best weights of a run are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JudgedBy {
    /// The lowest validation loss.
    #[default]
    Loss,
    /// The highest mean of this statistic; of equal ones the first.
    Highest(&'static str),
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Optimiser steps done.
    pub step: usize,
    /// Whether it was stopped before the last step.
    pub interrupted: bool,
    /// The last validation, if there was one.
    pub validation: Option<StepStats>,
    /// The best validation.
    pub best: Option<Best>,
}

/// A model that this engine trains.
pub trait Trainable<B: TrainBackend>:
    TrainStep<Output = StepOutput<B::InnerBackend>>
    + AutodiffModule<B, InnerModule: InferenceStep<Output = StepOutput<B::InnerBackend>>>
    + Checkpointed<B>
    + std::fmt::Display
    + 'static
{
}

impl<B: TrainBackend, M> Trainable<B> for M where
    M: TrainStep<Output = StepOutput<B::InnerBackend>>
        + AutodiffModule<B, InnerModule: InferenceStep<Output = StepOutput<B::InnerBackend>>>
        + Checkpointed<B>
        + std::fmt::Display
        + 'static
{
}

/// Burn's name for the parts of a learner.
pub type Components<B, M> = LearningComponentsMarker<B, LinearSchedule, M, AdamW<B>>;

type Events<B, M> = SupervisedTrainingEventProcessor<Components<B, M>>;

/// Writes what describes a saved model (configuration, vocabulary) beside its weights.
pub type Describe = Arc<dyn Fn(&std::path::Path) -> Result<(), TrainError> + Send + Sync>;

/// Everything the loop needs beside what Burn hands it.
pub(crate) struct Session<B: TrainBackend> {
    pub run: RunDir,
    pub pace: Pace,
    pub schedule: LinearSchedule,
    pub settings: FixedSettings,
    /// Where to start: the step after the last one done, and the best so far.
    pub start: (usize, Option<Best>),
    /// The learner keeps its optimiser to itself, and checkpoints need its state: the loop drives
    /// this one.
    pub optimizer: AdamW<B>,
    pub device: B::Device,
    pub failure: Failure,
    pub describe: Describe,
    pub judged_by: JudgedBy,
    /// Set by the event thread when it reads a loss that is not finite.
    pub diverged: Arc<AtomicBool>,
}

/// The training loop that counts optimiser steps.
pub(crate) struct StepStrategy<B: TrainBackend, M> {
    /// Taken by `fit`, which Burn calls once, with a shared reference.
    pub session: Mutex<Option<Session<B>>>,
    pub outcome: Arc<Mutex<Option<Result<Outcome, TrainError>>>>,
    pub model: PhantomData<fn() -> M>,
}

impl<B, M> SupervisedLearningStrategy<Components<B, M>> for StepStrategy<B, M>
where
    B: TrainBackend,
    M: Trainable<B>,
    M::InnerModule: InferenceStep<Output = StepOutput<B::InnerBackend>>,
{
    fn fit(
        &self,
        components: TrainingComponents<Components<B, M>>,
        learner: Learner<Components<B, M>>,
        train: TrainLoader<Components<B, M>>,
        valid: ValidLoader<Components<B, M>>,
        _starting_epoch: usize,
    ) -> (M, Events<B, M>) {
        let model = learner.model();
        // From here on the loop owns the only copy, so that updates may happen in place.
        drop(learner);
        let Some(session) = lock(&self.session).take() else {
            return (model, components.event_processor);
        };
        let mut training = Loop {
            step: session.start.0,
            best: session.start.1,
            session,
            model: Some(model),
            validation: None,
            components,
        };
        let outcome = training.run(&train, &valid);
        *lock(&self.outcome) = Some(outcome);
        let model = training
            .model
            .take()
            .expect("the loop puts the model back after each step");
        (model, training.components.event_processor)
    }
}

/// The state of a run.
struct Loop<B: TrainBackend, M: Trainable<B>>
where
    M::InnerModule: InferenceStep<Output = StepOutput<B::InnerBackend>>,
{
    session: Session<B>,
    /// `None` only while a step replaces it.
    model: Option<M>,
    /// Optimiser steps done.
    step: usize,
    best: Option<Best>,
    validation: Option<StepStats>,
    components: TrainingComponents<Components<B, M>>,
}

impl<B: TrainBackend, M: Trainable<B>> Loop<B, M>
where
    M::InnerModule: InferenceStep<Output = StepOutput<B::InnerBackend>>,
{
    fn run(
        &mut self,
        train: &TrainLoader<Components<B, M>>,
        valid: &ValidLoader<Components<B, M>>,
    ) -> Result<Outcome, TrainError> {
        let total = self.session.settings.steps;
        let mut batches = train.iter();
        while self.step < total && !self.components.interrupter.should_stop() {
            self.train_step(&mut *batches)?;
            let last = self.step == total;
            if last || self.step.is_multiple_of(self.session.pace.validate_every) {
                self.validate(valid)?;
            }
            if last || self.step.is_multiple_of(self.session.pace.save_every) {
                self.save()?;
            }
            if self.stops_early() {
                break;
            }
        }
        self.finish()
    }

    /// One optimiser step: forward and backward of its batches, clip, update.
    fn train_step(
        &mut self,
        batches: &mut dyn DataLoaderIterator<<M as TrainStep>::Input>,
    ) -> Result<(), TrainError> {
        let model = self
            .model
            .take()
            .expect("the loop puts the model back after each step");
        let lr = self.session.schedule.at(self.step);
        let parts = self.session.settings.parts();
        let mut sum = GradientsAccumulator::new();
        let mut grads = GradientsParams::new();
        for part in 0..parts {
            let Some(batch) = batches.next() else {
                self.model = Some(model);
                return Err(lock(&self.session.failure)
                    .take()
                    .unwrap_or(TrainError::Worker));
            };
            self.seed(part as u64);
            let output = model.step(batch);
            grads = match parts {
                1 => output.grads,
                _ => {
                    sum.accumulate(&model, output.grads);
                    match (part + 1 == parts, self.session.pace.clip_at) {
                        (true, _) => sum.grads(),
                        (false, ClipAt::Step) => GradientsParams::new(),
                        (false, ClipAt::Batch) => {
                            let mut clipped = sum.grads();
                            self.clip(&model, &mut clipped);
                            sum.accumulate(&model, clipped);
                            GradientsParams::new()
                        }
                    }
                }
            };
            let batch_number = self.step * parts + part + 1;
            self.report(output.item, batch_number, lr);
        }
        self.clip(&model, &mut grads);
        self.model = Some(self.session.optimizer.step(lr, model, grads));
        self.step += 1;
        self.require_finite()
    }

    /// Dropout of a step depends on the seed and the step alone, so that a resumed run repeats it.
    fn seed(&self, part: u64) {
        let step = self.step as u64;
        let seed = self.session.settings.seed;
        oscar_core::ops::seed::<B>(&self.session.device, mix(mix(seed, step), part));
    }

    fn clip(&self, model: &M, grads: &mut GradientsParams) {
        let max_norm = self.session.pace.max_grad_norm;
        if max_norm > 0.0 {
            clip_grad_norm::<B, M>(model, grads, max_norm, &self.session.device);
        }
    }

    fn require_finite(&self) -> Result<(), TrainError> {
        match self.session.diverged.load(Ordering::Relaxed) {
            false => Ok(()),
            true => Err(TrainError::NonFiniteLoss { step: self.step }),
        }
    }

    fn report(&mut self, item: StepOutput<B::InnerBackend>, batch: usize, lr: f64) {
        let total = self.session.settings.steps;
        let item = TrainingItem::new(
            item,
            Progress::new(self.step + 1, total),
            self.round(self.step),
            Some(batch),
            Some(lr),
        );
        self.components
            .event_processor
            .process_train(LearnerEvent::ProcessedItem(item));
    }

    /// The round that step `step`, counted from 0, belongs to, from 1.
    fn round(&self, step: usize) -> Progress {
        let every = self.session.pace.validate_every;
        Progress::new(
            step / every + 1,
            self.session.settings.steps.div_ceil(every),
        )
    }

    fn validate(&mut self, valid: &ValidLoader<Components<B, M>>) -> Result<(), TrainError> {
        let model = self.model.as_ref().expect("no step is under way").valid();
        let round = self.round(self.step - 1);
        let mut stats = StepStats::default();
        let mut batches = valid.iter();
        let mut number = 0;
        while let Some(batch) = batches.next() {
            number += 1;
            let output = InferenceStep::step(&model, batch);
            stats.add(&output.clone().sync());
            let progress = batches.progress();
            let item = TrainingItem::new(output, progress, round.clone(), Some(number), None);
            self.components
                .event_processor
                .process_valid(LearnerEvent::ProcessedItem(item));
        }
        if let Some(error) = lock(&self.session.failure).take() {
            return Err(error);
        }
        let events = &mut self.components.event_processor;
        events.process_valid(LearnerEvent::EndEpoch(round.items_processed));
        events.process_train(LearnerEvent::EndEpoch(round.items_processed));
        self.keep_if_best(&stats)?;
        self.validation = Some(stats);
        Ok(())
    }

    fn keep_if_best(&mut self, stats: &StepStats) -> Result<(), TrainError> {
        let Some(loss) = stats.mean(LOSS).filter(|loss| loss.is_finite()) else {
            return Ok(());
        };
        let score = match self.session.judged_by {
            JudgedBy::Loss => None,
            JudgedBy::Highest(name) => stats.mean(name),
        };
        let as_good = |best: Best| match (best.score, score) {
            (Some(best), Some(score)) => best >= score,
            _ => best.loss <= loss,
        };
        if self.best.is_some_and(as_good) {
            return Ok(());
        }
        self.best = Some(Best {
            step: self.step,
            loss,
            score,
        });
        self.export("best")
    }

    /// Early stopping that was registered with the learner.
    fn stops_early(&mut self) -> bool {
        if !self.step.is_multiple_of(self.session.pace.validate_every) {
            return false;
        }
        let round = self.round(self.step - 1).items_processed;
        let store = &self.components.event_store;
        self.components
            .early_stopping
            .as_mut()
            .is_some_and(|strategy| strategy.should_stop(round, store))
    }

    fn save(&self) -> Result<(), TrainError> {
        let model = self.model.as_ref().expect("no step is under way");
        let state = TrainState::new(self.step, self.session.settings.clone(), self.best);
        self.session.run.save(
            &state,
            model,
            &self.session.optimizer,
            self.session.pace.keep,
        )
    }

    /// Writes the model and its description to `DIRECTORY/NAME`.
    fn export(&self, name: &str) -> Result<(), TrainError> {
        let model = self.model.as_ref().expect("no step is under way");
        write_directory(&self.session.run.path().join(name), |directory| {
            oscar_core::checkpoint::save(model, directory.join(crate::run::MODEL_FILE))?;
            (self.session.describe)(directory)
        })
    }

    fn finish(&mut self) -> Result<Outcome, TrainError> {
        let interrupted = self.step < self.session.settings.steps;
        // A run that stops between two periods keeps what it has done.
        self.save()?;
        self.export("last")?;
        Ok(Outcome {
            step: self.step,
            interrupted,
            validation: self.validation.take(),
            best: self.best,
        })
    }
}

/// A good seed from two numbers (the finaliser of SplitMix64).
pub(crate) fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
