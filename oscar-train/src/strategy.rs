//! The training loop, as a strategy of Burn's learner.
//!
//! Burn's own strategies count epochs. A pre-training run counts optimiser steps: it validates and
//! saves every so many, schedules the learning rate per step whatever the accumulation, and
//! resumes at any step on the same trajectory. What Burn calls an epoch here is a *round*: the
//! steps between two validations.
//!
//! The steps themselves are those of the first [`Worker`](crate::parallel). This loop is the lead:
//! what is reported, validated and saved, and when.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use burn::data::dataloader::{DataLoader, Progress};
use burn::module::AutodiffModule;
use burn_train::{
    EventProcessorTraining, InferenceStep, ItemLazy, Learner, LearnerEvent,
    LearningComponentsMarker, SupervisedLearningStrategy, SupervisedTrainingEventProcessor,
    TrainLoader, TrainStep, TrainingComponents, TrainingItem, ValidLoader,
};
use oscar_core::checkpoint::Checkpointed;
use oscar_core::ops::{Precision, TrainBackend};
use oscar_files::write_directory;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::loader::lock;
use crate::metrics_log::Written;
use crate::non_finite::{Broken, NonFinite, SKIPPED, Skipped};
use crate::optim::AdamW;
use crate::parallel::Worker;
use crate::run::{Best, RunDir, TrainState};
use crate::schedule::LinearSchedule;
use crate::stats::{LOSS, Statistic, StepOutput, StepStats};

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
pub(crate) struct Pace {
    /// Steps between two validations.
    pub validate_every: usize,
    /// Steps between two checkpoints.
    pub save_every: usize,
    /// Checkpoints to keep.
    pub keep: usize,
}

/// By what the best weights of a run are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SelectionMetric {
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
    /// Whether this process led the run, and so has what was written and measured.
    pub leads: bool,
    /// The last validation, if there was one.
    pub validation: Option<StepStats>,
    /// The best validation.
    pub best: Option<Best>,
    /// Steps that were left out because their loss or gradients were not finite.
    pub skipped: Skipped,
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

/// What the examples of an optimiser step, counted from 0, are called.
pub(crate) type Names = Arc<dyn Fn(usize) -> Vec<String> + Send + Sync>;

/// Everything the loop needs beside what Burn hands it.
pub(crate) struct Session<B: TrainBackend, M: TrainStep> {
    pub run: RunDir,
    pub pace: Pace,
    pub best: Option<Best>,
    /// This process's first worker, which leads. Burn's learner keeps its optimiser to itself, and
    /// checkpoints need its state: the loop drives the worker's.
    pub lead: Worker<B, M>,
    /// The other workers of this process, and their batches.
    pub others: Vec<Follower<B, M>>,
    pub describe: Describe,
    pub selection_metric: SelectionMetric,
    pub names: Names,
    /// How far the log is written, which is done on another thread.
    pub written: Written,
}

/// A worker beside the lead, and what it learns from.
pub(crate) type Follower<B, M> = (
    Worker<B, M>,
    Arc<dyn DataLoader<B, <M as TrainStep>::Input>>,
);

/// The training loop that counts optimiser steps.
pub(crate) struct StepStrategy<B: TrainBackend, M: TrainStep> {
    /// Taken by `fit`, which Burn calls once, with a shared reference.
    pub session: Mutex<Option<Session<B, M>>>,
    pub outcome: Arc<Mutex<Option<Result<Outcome, TrainError>>>>,
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
        let Some(session) = lock(&self.session).take() else {
            return (learner.model(), components.event_processor);
        };
        // From here on the worker owns the only copy, so that updates may happen in place.
        drop(learner);
        let threads = session.others.into_iter().map(follow).collect();
        let mut training = Loop {
            first_step: session.lead.done.step,
            worker: session.lead,
            threads,
            run: session.run,
            pace: session.pace,
            best: session.best,
            describe: session.describe,
            selection_metric: session.selection_metric,
            names: session.names,
            written: session.written,
            reported: 0,
            validation: None,
            components,
        };
        let outcome = training.run(&train, &valid);
        *lock(&self.outcome) = Some(outcome);
        let model = training
            .worker
            .model
            .take()
            .expect("no update is under way");
        (model, training.components.event_processor)
    }
}

/// Starts a worker beside the lead. How it ends it tells the lead.
fn follow<B, M>((mut worker, train): Follower<B, M>) -> JoinHandle<()>
where
    B: TrainBackend,
    M: Trainable<B>,
    M::InnerModule: InferenceStep<Output = StepOutput<B::InnerBackend>>,
{
    // What matrices are multiplied in is a matter of the thread.
    let precision = Precision::current();
    std::thread::spawn(move || {
        let _ = precision.scope(|| worker.follow(&*train));
    })
}

/// The state of a run.
struct Loop<B: TrainBackend, M: Trainable<B>>
where
    M::InnerModule: InferenceStep<Output = StepOutput<B::InnerBackend>>,
{
    worker: Worker<B, M>,
    /// The other workers of this process.
    threads: Vec<JoinHandle<()>>,
    run: RunDir,
    pace: Pace,
    best: Option<Best>,
    describe: Describe,
    selection_metric: SelectionMetric,
    names: Names,
    written: Written,
    /// Lines of the log that were given to the event thread.
    reported: usize,
    /// Optimiser steps done when the run started or went on.
    first_step: usize,
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
        let trained = self.steps(train, valid);
        if let Err(error) = &trained {
            self.worker.team.tell(error);
        }
        let outcome = match trained {
            Ok(()) => self.finish(),
            Err(error) => Err(self.fail(error)),
        };
        self.worker.team.part();
        if !self.worker.team.is_lost() {
            // A worker that is lost may never end.
            self.threads
                .drain(..)
                .for_each(|thread| drop(thread.join()));
        }
        outcome
    }

    fn steps(
        &mut self,
        train: &TrainLoader<Components<B, M>>,
        valid: &ValidLoader<Components<B, M>>,
    ) -> Result<(), TrainError> {
        let total = self.total();
        let mut batches = train.iter();
        let mut early = false;
        while self.worker.done.step < total && self.worker.team.goes_on(early)? {
            let made = self.worker.train_step(&mut *batches)?;
            self.report(made.stats);
            if let Some(broken) = made.broken {
                self.leave_out(broken)?;
            }
            let step = self.worker.done.step;
            let last = step == total;
            if last || step.is_multiple_of(self.pace.validate_every) {
                self.validate(valid)?;
            }
            if last || step.is_multiple_of(self.pace.save_every) {
                self.save()?;
            }
            early = self.stops_early();
        }
        Ok(())
    }

    /// Optimiser steps of the whole run.
    fn total(&self) -> usize {
        self.worker.numbers.settings.steps
    }

    /// Names the examples of the last step, whose update was not made.
    fn leave_out(&self, broken: Broken) -> Result<(), TrainError> {
        let (run, step) = (self.run.path(), self.worker.done.step);
        let names = (self.names)(step - 1);
        if let Err(error) = broken.record(run, step, &names) {
            tracing::warn!("{error}");
        }
        let error = broken.error(step, &names, run);
        if self.worker.gives_up() {
            return Err(error);
        }
        let Skipped { total, in_a_row } = self.worker.done.skipped;
        tracing::warn!("left out, {in_a_row} in a row, {total} in all: {error}");
        Ok(())
    }

    fn report(&mut self, mut stats: StepStats) {
        let done = self.worker.done;
        if self.worker.numbers.non_finite == NonFinite::Skip {
            stats.entries.push(Statistic {
                name: SKIPPED,
                sum: done.skipped.total as f64,
                weight: 1.0,
            });
        }
        let item = TrainingItem::new(
            stats.into(),
            Progress::new(done.step, self.total()),
            self.round(done.step - 1),
            Some(done.step),
            Some(self.worker.numbers.schedule.at(done.step - 1)),
        );
        self.components
            .event_processor
            .process_train(LearnerEvent::ProcessedItem(item));
        self.reported += 1;
    }

    /// The round that step `step`, counted from 0, belongs to, from 1.
    fn round(&self, step: usize) -> Progress {
        let every = self.pace.validate_every;
        Progress::new(step / every + 1, self.total().div_ceil(every))
    }

    fn validate(&mut self, valid: &ValidLoader<Components<B, M>>) -> Result<(), TrainError> {
        let model = self.worker.model().valid();
        let round = self.round(self.worker.done.step - 1);
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
        if let Some(error) = lock(&self.worker.failure).take() {
            return Err(error);
        }
        let events = &mut self.components.event_processor;
        events.process_valid(LearnerEvent::EndEpoch(round.items_processed));
        events.process_train(LearnerEvent::EndEpoch(round.items_processed));
        self.reported += 1;
        self.keep_if_best(&stats)?;
        self.validation = Some(stats);
        Ok(())
    }

    fn keep_if_best(&mut self, stats: &StepStats) -> Result<(), TrainError> {
        let Some(loss) = stats.mean(LOSS).filter(|loss| loss.is_finite()) else {
            return Ok(());
        };
        let score = match self.selection_metric {
            SelectionMetric::Loss => None,
            SelectionMetric::Highest(name) => stats.mean(name),
        };
        let as_good = |best: Best| match (best.score, score) {
            (Some(best), Some(score)) => best >= score,
            _ => best.loss <= loss,
        };
        if self.best.is_some_and(as_good) {
            return Ok(());
        }
        self.best = Some(Best {
            step: self.worker.done.step,
            loss,
            score,
        });
        self.export("best")
    }

    /// Early stopping that was registered with the learner.
    fn stops_early(&mut self) -> bool {
        if !self
            .worker
            .done
            .step
            .is_multiple_of(self.pace.validate_every)
        {
            return false;
        }
        let round = self.round(self.worker.done.step - 1).items_processed;
        let store = &self.components.event_store;
        self.components
            .early_stopping
            .as_mut()
            .is_some_and(|strategy| strategy.should_stop(round, store))
    }

    fn save(&self) -> Result<(), TrainError> {
        let worker = &self.worker;
        let settings = worker.numbers.settings.clone();
        let mut state = TrainState::new(worker.done.step, settings, self.best);
        state.skipped = worker.done.skipped;
        // A run that goes on from here does not write the lines before it again.
        self.written.wait(self.reported)?;
        let keep = self.pace.keep;
        self.run
            .save(&state, worker.model(), &worker.optimizer, keep)
    }

    /// Writes the model and its description to `DIRECTORY/NAME`.
    fn export(&self, name: &str) -> Result<(), TrainError> {
        write_directory(&self.run.path().join(name), |directory| {
            let file = directory.join(crate::run::MODEL_FILE);
            oscar_core::checkpoint::save(self.worker.model(), file)?;
            (self.describe)(directory)
        })
    }

    fn finish(&mut self) -> Result<Outcome, TrainError> {
        // A run that stops between two periods keeps what it has done.
        self.save()?;
        self.export("last")?;
        Ok(Outcome {
            step: self.worker.done.step,
            interrupted: self.worker.done.step < self.total(),
            leads: true,
            validation: self.validation.take(),
            best: self.best,
            skipped: self.worker.done.skipped,
        })
    }

    /// Keeps the last whole step of a run that failed, and gives back why it did.
    fn fail(&self, error: TrainError) -> TrainError {
        // Weights that led to such a loss are no place to go on from.
        let diverged = matches!(error, TrainError::NonFinite { .. });
        let step = self.worker.done.step;
        if diverged || step == self.first_step {
            return error;
        }
        match self.save() {
            Ok(()) => tracing::warn!("what was learned up to step {step} can be resumed"),
            Err(error) => tracing::warn!("step {step} is lost: {error}"),
        }
        error
    }
}
