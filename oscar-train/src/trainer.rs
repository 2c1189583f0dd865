//! The training loop. One type owns it: [`Trainer`] makes steps, validates and saves.
//!
//! A run counts optimiser steps, not epochs: it validates and saves every so many, schedules the
//! learning rate per step whatever the accumulation, and resumes at any step on the same trajectory.
//!
//! With several workers each is a `Trainer` with a replica of the model. All make the same steps;
//! the first of them leads: it alone has a [`Lead`], by which it reports, validates and saves.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use burn::module::AutodiffModule;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn_train::{InferenceStep, TrainOutput, TrainStep};
use oscar_core::model::recompute;
use oscar_core::ops::{Guard, Kernels, TrainBackend, mix};
use oscar_files::write_directory;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::gradients::{clip_grad_norm, grad_norm};
use crate::learner::Monitor;
use crate::loader::{StepIterator, StepLoader};
use crate::non_finite::{MAX_CONSECUTIVE_SKIPPED, NonFinite, NonFiniteStep, Skipped};
use crate::optim::AdamW;
use crate::parallel::{Buckets, Sums, Team};
use crate::run::{Best, MODEL_FILE, RunDir, TrainState};
use crate::save::SaveRequest;
use crate::settings::{ClipAt, StepConfig};
use crate::stats::{LOSS, StepOutput, StepStats, Unread, read_all};
use crate::trainable::Trainable;

/// The statistic by which the best weights of a run are selected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SelectionMetric {
    /// The lowest validation loss.
    #[default]
    Loss,
    /// The highest mean of this statistic; of equal ones the first.
    Highest(&'static str),
}

/// An epoch that begins, or that a resumed run goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Its number, from 0.
    pub number: u64,
    /// Whether none of its steps has been made.
    pub begins: bool,
}

/// What is done with the weights before the first step of each epoch, and of a resumed run; by every worker.
pub type BeforeEpoch<M> =
    Arc<dyn Fn(Epoch, &M) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Send + Sync>;

/// Writes what describes a saved model (configuration, vocabulary) beside its weights.
pub type Describe = Arc<dyn Fn(&Path) -> Result<(), TrainError> + Send + Sync>;

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Optimiser steps done.
    pub step: usize,
    /// Whether it was stopped before the last step.
    pub interrupted: bool,
    /// Whether this process led the run, and so has what was written and measured.
    pub leads: bool,
    /// The last validation, if there was one.
    pub validation: Option<StepStats>,
    /// The best validation.
    pub best: Option<Best>,
    /// Steps that were skipped because their loss or gradients were not finite.
    pub skipped: Skipped,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct StepCount {
    /// Optimiser steps done.
    pub step: usize,
    /// Those of them that were skipped.
    pub skipped: Skipped,
}

/// What training changes.
pub(crate) struct TrainingState<B: TrainBackend, M> {
    pub model: M,
    pub optimizer: AdamW<B>,
    /// How far the run is.
    pub done: StepCount,
    /// The best validation so far.
    pub best: Option<Best>,
    /// The best validation of this step, whose weights could not be written.
    pub unwritten_best: Option<Best>,
}

/// One worker of a run; the only one, unless the run has several.
pub(crate) struct Trainer<B: TrainBackend, M: Trainable<B>> {
    config: StepConfig,
    /// `None` only while an update replaces it.
    model: Option<M>,
    optimizer: AdamW<B>,
    /// How far the run is.
    pub done: StepCount,
    loader: StepLoader<B, M::Batch>,
    device: B::Device,
    pub team: Team,
    buckets: Buckets,
    sums: Sums<B::InnerBackend>,
    /// Whether the host goes on while the device computes: then a step that is not finite is left out
    /// on the device, and what several steps measured is read at once.
    pub reads_late: bool,
    /// Steps that were made but not reported.
    unreported: Vec<Step<B>>,
    /// What the leading worker has beside.
    pub lead: Option<Lead<B, M>>,
    pub before_epoch: Option<BeforeEpoch<M::InnerModule>>,
    /// The epoch of the last step.
    epoch: Option<u64>,
}

/// What the leading worker reports to, validates on, and saves to.
pub(crate) struct Lead<B: TrainBackend, M: Trainable<B>> {
    /// Where checkpoints and the best and last weights are written.
    pub run: RunDir,
    pub validation: StepLoader<B::InnerBackend, M::ValidationBatch>,
    pub selection_metric: SelectionMetric,
    pub describe: Describe,
    /// Where statistics are shown and logged.
    pub monitor: Monitor<B>,
    /// The best validation so far, whose weights are in `best/`.
    pub best: Option<Best>,
    /// A better one of the current step, whose weights are not written yet.
    pub unwritten_best: Option<Best>,
    /// The last validation.
    pub last: Option<StepStats>,
    /// The step of the newest checkpoint, if there is one.
    pub saved: Option<usize>,
    /// Asks for a checkpoint between those of the recipe.
    pub save: SaveRequest,
    /// The other workers of this process.
    pub threads: Vec<JoinHandle<()>>,
}

/// Steps whose statistics are read at once, at most. So many are computed in vain at the end of a run
/// that stops for a step that was not finite.
const READ_AT_ONCE: usize = 20;

/// Statistics of a step, and the norms of its gradients.
enum Measured<B: Backend> {
    OnDevice(Unread<B>),
    Read(StepStats, Vec<f64>),
}

/// A step that was made, or skipped, but not reported.
struct Step<B: TrainBackend> {
    /// Its number, from 1.
    number: usize,
    measured: Measured<B::InnerBackend>,
    /// When it ended, as far as the host knows.
    end: Instant,
}

/// The norm of gradients, `[1]`, still on the device.
type Norm<B> = Tensor<<B as AutodiffBackend>::InnerBackend, 1>;

/// The statistics of a step, or of a worker's batches of it.
type Output<B> = StepOutput<<B as AutodiffBackend>::InnerBackend>;

/// Gradients and statistics of a worker's batches, and the norms by which it has clipped so far.
type Computed<B> = (GradientsParams, Output<B>, Vec<Norm<B>>);

/// Gradients of all workers, statistics, and the sum of the losses if these are not in the statistics.
type Summed<B> = (GradientsParams, Output<B>, Vec<Norm<B>>);

impl<B: TrainBackend, M: Trainable<B>> Trainer<B, M> {
    /// A worker that continues from `state`, which is on `device`.
    pub fn new(
        config: StepConfig,
        state: TrainingState<B, M>,
        loader: StepLoader<B, M::Batch>,
        device: B::Device,
        team: Team,
        sums: Sums<B::InnerBackend>,
    ) -> Self {
        let alone = team.world() == 1;
        Self {
            config,
            buckets: Buckets::of(&state.model),
            model: Some(state.model),
            optimizer: state.optimizer,
            done: state.done,
            loader,
            // A sum in main memory is read anyway.
            reads_late: (alone || sums.on_devices()) && B::InnerBackend::is_asynchronous(&device),
            sums,
            unreported: Vec::new(),
            device,
            team,
            lead: None,
            before_epoch: None,
            epoch: None,
        }
    }

    /// Trains to the last step, or until a worker stops.
    ///
    /// # Errors
    ///
    /// Whatever ended this worker or another. Unless weights may be damaged, the last whole step is
    /// saved before.
    pub fn run(&mut self) -> Result<Outcome, TrainError> {
        let trained = caught(|| self.train());
        if let Err(error) = &trained {
            self.team.announce(error);
        }
        let outcome = match trained {
            Ok(()) => caught(|| self.finish()),
            Err(error) => {
                self.save_before_failing(&error);
                Err(error)
            }
        };
        self.team.leave();
        // A worker that is lost may never end.
        let lead = self.lead.as_mut().filter(|_| !self.team.is_lost());
        for thread in lead.into_iter().flat_map(|lead| lead.threads.drain(..)) {
            drop(thread.join());
        }
        outcome
    }

    fn train(&mut self) -> Result<(), TrainError> {
        let steps = self.config.train.steps;
        let mut batches = self.loader.iter();
        // The run that is resumed may have ended since they could not be written.
        self.write_best()?;
        while self.done.step < steps && self.team.agrees_to_continue()? {
            self.begin_epoch()?;
            self.train_step(&mut batches)?;
            let step = self.done.step;
            let due = |every: usize| step == steps || step.is_multiple_of(every);
            let validates = due(self.config.train.validate_every);
            let saves = due(self.config.train.save_every);
            let at_once = self.config.train.log_every.min(READ_AT_ONCE);
            let reports = !self.reads_late || due(at_once) || validates || saves;
            // All workers report at once, and only the lead knows what is wanted of it.
            let lead = self
                .lead
                .as_ref()
                .filter(|_| reports || self.team.world() == 1);
            let is_wanted = lead.is_some_and(|lead| lead.save.take());
            if reports || is_wanted {
                self.report()?;
            }
            if validates {
                self.validate()?;
            }
            if saves || is_wanted {
                self.save()?;
            }
            if is_wanted {
                tracing::info!("saved a checkpoint of step {step}, as requested");
            }
        }
        self.report()
    }

    /// Does what is to be done before an epoch, if the next step is the first one that this worker makes of it.
    fn begin_epoch(&mut self) -> Result<(), TrainError> {
        let (Some(before), step) = (&self.before_epoch, self.done.step) else {
            return Ok(());
        };
        let number = self.loader.epoch(step);
        if self.epoch != Some(number) {
            let begins = step == 0 || self.loader.epoch(step - 1) < number;
            let model = self.model().valid();
            before(Epoch { number, begins }, &model).map_err(TrainError::Data)?;
            self.epoch = Some(number);
        }
        Ok(())
    }

    /// One optimiser step: forward and backward of this worker's batches, sum over the workers, clip,
    /// update. The update is skipped if the loss or the norm of the gradients is not finite.
    fn train_step(&mut self, batches: &mut StepIterator<M::Batch>) -> Result<(), TrainError> {
        let (mut grads, mut output, mut norms) = self.forward_backward(batches)?;
        let mut losses = output.losses();
        if self.team.world() > 1 {
            (grads, output, losses) = self.all_reduce(grads, output)?;
        }
        let max_norm = self.config.optimizer.max_grad_norm;
        norms.push(grad_norm::<B, M>(self.model(), &mut grads, &self.device));
        let clip = norms.last().cloned().filter(|_| max_norm > 0.0);
        let mut guard = Guard {
            clip: clip.map(|norm| (norm, max_norm)),
            finite: Vec::new(),
        };
        let (measured, updates);
        if self.reads_late {
            if self.config.train.non_finite == NonFinite::Skip {
                // How the next step corrects the moments depends on whether the last one was made.
                self.report()?;
            }
            guard.finite = norms.iter().cloned().chain(losses).collect();
            (measured, updates) = (Measured::OnDevice((output, norms)), true);
        } else {
            let (stats, norms) = output.read_with(norms)?;
            updates = NonFiniteStep::find(&stats, &norms).is_none();
            measured = Measured::Read(stats, norms);
        }
        if updates && let Some(model) = self.model.take() {
            let lr = self.config.schedule.at(self.done.step);
            self.model = Some(self.optimizer.step_guarded(lr, model, grads, &guard));
        }
        self.done.step += 1;
        self.unreported.push(Step {
            number: self.done.step,
            measured,
            end: Instant::now(),
        });
        Ok(())
    }

    /// Forward and backward of this worker's batches.
    fn forward_backward(
        &self,
        batches: &mut StepIterator<M::Batch>,
    ) -> Result<Computed<B>, TrainError> {
        let model = self.model();
        let mut sum = GradientsAccumulator::new();
        let mut output = StepOutput::from(StepStats::default());
        let mut norms = Vec::new();
        let count = self.config.settings.micro_batches();
        let own = (self.team.rank()..count).step_by(self.team.world());
        for number in own.clone() {
            let batch = batches.next().ok_or(TrainError::LoaderPanicked)??;
            self.seed_dropout(number);
            let checkpointing = self.config.train.gradient_checkpointing;
            let TrainOutput { grads, item } =
                recompute::scope(checkpointing, || TrainStep::step(model, batch));
            output.append(item);
            if own.len() == 1 {
                return Ok((grads, output, norms));
            }
            sum.accumulate(model, grads);
            if self.config.optimizer.clip_at == ClipAt::Batch && number + 1 < count {
                let mut clipped = sum.grads();
                norms.push(self.clip(&mut clipped));
                sum.accumulate(model, clipped);
            }
        }
        Ok((sum.grads(), output, norms))
    }

    /// Gradients and statistics of all workers together, or, where these are read late, the worker's
    /// own statistics and the sum of all losses.
    fn all_reduce(
        &mut self,
        grads: GradientsParams,
        output: Output<B>,
    ) -> Result<Summed<B>, TrainError> {
        let (mut values, present) = self
            .buckets
            .flatten::<B, M>(self.model(), grads, &self.device);
        let mut own = StepStats::default();
        let unread = match self.reads_late {
            true => {
                // What is not finite in one worker is so in all, and all leave the step out.
                values.extend(output.losses().into_iter().reduce(|sum, loss| sum + loss));
                Some(output)
            }
            false => {
                own = output.read_with(Vec::new())?.0;
                None
            }
        };
        let (mut values, (stats, present)) =
            self.sums
                .sum(values, &self.device, &mut self.team, |team| {
                    team.add(own, present)
                })?;
        let losses = values.split_off(self.buckets.len());
        let grads = self
            .buckets
            .unflatten::<B, M>(self.model(), values, &present);
        Ok((grads, unread.unwrap_or_else(|| stats.into()), losses))
    }

    /// Dropout of a step depends on the seed and the step alone, so that a resumed run repeats it.
    fn seed_dropout(&self, micro_batch: usize) {
        let step = mix(self.config.train.seed, self.done.step as u64);
        oscar_core::ops::seed::<B>(&self.device, mix(step, micro_batch as u64));
    }

    /// Clips the gradients if the recipe says so; returns their norm before. Replicas have the same
    /// gradients here, and so the same norm.
    fn clip(&self, grads: &mut GradientsParams) -> Norm<B> {
        match self.config.optimizer.max_grad_norm {
            max_norm if max_norm > 0.0 => {
                clip_grad_norm::<B, M>(self.model(), grads, max_norm, &self.device)
            }
            _ => grad_norm::<B, M>(self.model(), grads, &self.device),
        }
    }

    /// Reads what all workers measured since the last report, and reports it. All see the same
    /// numbers, and so agree whether the run ends at a step that was not finite.
    fn report(&mut self) -> Result<(), TrainError> {
        self.report_with(|team, stats| Ok(team.add(stats, Vec::new())?.0))
    }

    /// As [`report`](Self::report), where `join` makes of what this worker measured late what all did.
    fn report_with(
        &mut self,
        join: impl Fn(&mut Team, StepStats) -> Result<StepStats, TrainError>,
    ) -> Result<(), TrainError> {
        let steps = std::mem::take(&mut self.unreported);
        let (mut ends, mut unread, mut read) = (Vec::new(), Vec::new(), Vec::new());
        for step in steps {
            ends.push((step.number, step.end));
            match step.measured {
                Measured::OnDevice(measured) => unread.push(measured),
                Measured::Read(stats, norms) => read.push((stats, norms)),
            }
        }
        for (stats, norms) in read_all(unread)? {
            let all = match self.team.world() {
                1 => stats,
                _ => join(&mut self.team, stats)?,
            };
            read.push((all, norms));
        }
        for ((number, end), (stats, norms)) in ends.into_iter().zip(read) {
            let found = NonFiniteStep::find(&stats, &norms);
            self.done.skipped.count(found.is_some());
            if let Some(lead) = &mut self.lead {
                let (step, skipped) = (number, self.done.skipped);
                let lr = self.config.schedule.at(number - 1);
                lead.monitor
                    .step(stats, StepCount { step, skipped }, lr, end);
            }
            if let Some(found) = found {
                if self.reads_late {
                    self.optimizer.uncount();
                }
                self.skip_or_stop(found, number)?;
            }
        }
        Ok(())
    }

    /// Names the examples of `step`, which was skipped.
    fn skip_or_stop(&self, found: NonFiniteStep, step: usize) -> Result<(), TrainError> {
        let Skipped { total, in_a_row } = self.done.skipped;
        let stop = match self.config.train.non_finite {
            NonFinite::Stop => true,
            NonFinite::Skip => in_a_row >= MAX_CONSECUTIVE_SKIPPED,
        };
        let error = match &self.lead {
            None => found.error(step, &[], Path::new("")),
            Some(lead) => {
                let names = self.loader.names(step - 1);
                if let Err(error) = found.record(lead.run.path(), step, &names) {
                    tracing::warn!("{error}");
                }
                found.error(step, &names, lead.run.path())
            }
        };
        if stop {
            return Err(error);
        }
        if self.lead.is_some() {
            tracing::warn!("skipped a step ({in_a_row} in a row, {total} in all): {error}");
        }
        Ok(())
    }

    /// Validates on all of the validation data, and writes `best/` if no validation was better.
    fn validate(&mut self) -> Result<(), TrainError> {
        let Some(lead) = &mut self.lead else {
            return Ok(());
        };
        let Some(model) = self.model.as_ref().map(AutodiffModule::valid) else {
            return Ok(());
        };
        let mut stats = StepStats::default();
        let mut batches = lead.validation.iter();
        let total = batches.len();
        while let Some(batch) = batches.next() {
            let output = InferenceStep::step(&model, batch?);
            let (batch, _) = output.read_with(Vec::new())?;
            stats.add(&batch);
            lead.monitor
                .validation_batch(batch, total - batches.len(), total, self.done.step);
        }
        lead.monitor.validation_end(self.done.step);
        lead.unwritten_best = lead.improves(&stats, self.done.step);
        lead.last = Some(stats);
        self.write_best()
    }

    /// Writes `best/` if the weights of the current step are the best and not written yet.
    fn write_best(&mut self) -> Result<(), TrainError> {
        let Some(best) = self.lead.as_ref().and_then(|lead| lead.unwritten_best) else {
            return Ok(());
        };
        self.export("best")?;
        // Only now: a checkpoint must not claim weights that could not be written.
        if let Some(lead) = &mut self.lead {
            (lead.best, lead.unwritten_best) = (Some(best), None);
        }
        Ok(())
    }

    /// Writes a checkpoint, unless the newest is of this step.
    fn save(&mut self) -> Result<(), TrainError> {
        let (Some(lead), Some(model)) = (&mut self.lead, &self.model) else {
            return Ok(());
        };
        if lead.saved == Some(self.done.step) {
            return Ok(());
        }
        let mut state = TrainState::new(self.done.step, self.config.settings.clone(), lead.best);
        state.skipped = self.done.skipped;
        state.unwritten_best = lead.unwritten_best;
        // A run that resumes here does not write the lines before it again.
        lead.monitor.wait_until_written()?;
        let keep = self.config.train.keep_checkpoints;
        lead.run.save(&state, model, &self.optimizer, keep)?;
        lead.saved = Some(self.done.step);
        Ok(())
    }

    /// Writes the model and its description to `name` in the run directory.
    fn export(&self, name: &str) -> Result<(), TrainError> {
        let Some(lead) = &self.lead else {
            return Ok(());
        };
        write_directory(&lead.run.path().join(name), |directory| {
            oscar_core::checkpoint::save(self.model(), directory.join(MODEL_FILE))?;
            (lead.describe)(directory)
        })
    }

    fn finish(&mut self) -> Result<Outcome, TrainError> {
        // A run that stops between two checkpoints keeps what it has done.
        self.save()?;
        self.export("last")?;
        Ok(Outcome {
            step: self.done.step,
            interrupted: self.done.step < self.config.train.steps,
            leads: self.lead.is_some(),
            validation: self.lead.as_mut().and_then(|lead| lead.last.take()),
            best: self.lead.as_ref().and_then(|lead| lead.best),
            skipped: self.done.skipped,
        })
    }

    /// Saves the last whole step of a run that ends with `error`.
    fn save_before_failing(&mut self, error: &TrainError) {
        // A run cannot resume from weights that led to such a loss, and a device that failed may
        // have damaged them.
        let damaged = matches!(
            error,
            TrainError::NonFinite { .. } | TrainError::Panicked(_) | TrainError::Device(_)
        );
        let step = self.done.step;
        let saved = self
            .lead
            .as_ref()
            .is_none_or(|lead| lead.saved.unwrap_or(0) == step);
        if damaged || saved {
            return;
        }
        // Of the last steps only what this worker measured can be known.
        match caught(|| {
            self.report_with(|_, own| Ok(own))
                .and_then(|()| self.save())
        }) {
            Ok(()) => {
                tracing::warn!("a checkpoint of step {step} was saved; the run can be resumed")
            }
            Err(error) => tracing::warn!("step {step} could not be saved: {error}"),
        }
    }

    /// The model between two updates.
    pub fn model(&self) -> &M {
        self.model.as_ref().expect("no update is under way")
    }

    /// Gives up the model; `None` if an update of it failed.
    pub fn take_model(&mut self) -> Option<M> {
        self.model.take()
    }
}

/// Does `work`, and makes an error of a panic: those of a device come as panics too, from wherever its
/// work is waited for.
fn caught<T>(work: impl FnOnce() -> Result<T, TrainError>) -> Result<T, TrainError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(TrainError::panicked(&*panic)))
}

impl<B: TrainBackend, M: Trainable<B>> Lead<B, M> {
    /// The validation `stats` after `step` as the best one, if none before was as good.
    fn improves(&self, stats: &StepStats, step: usize) -> Option<Best> {
        let loss = stats.mean(LOSS).filter(|loss| loss.is_finite())?;
        let score = match self.selection_metric {
            SelectionMetric::Loss => None,
            SelectionMetric::Highest(name) => stats.mean(name),
        };
        let as_good = |best: Best| match (best.score, score) {
            (Some(best), Some(score)) => best >= score,
            _ => best.loss <= loss,
        };
        (!self.best.is_some_and(as_good)).then_some(Best { step, loss, score })
    }
}
