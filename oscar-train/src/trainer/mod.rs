//! The training loop. One type owns it: [`Trainer`] makes steps, validates and saves.
//!
//! A run counts optimiser steps, not epochs: it validates and saves every so many, schedules the
//! learning rate per step whatever the accumulation, and resumes at any step on the same trajectory.
//!
//! With several workers each is a `Trainer` with a replica of the model. All make the same steps;
//! the first of them leads: it alone has a [`Lead`], by which it reports and saves.
//!
//! | file | holds |
//! |---|---|
//! | `step` | one step |
//! | `report` | what steps measured |
//! | `lead` | validations, the best weights, checkpoints |

mod lead;
mod report;
mod step;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use burn::tensor::backend::AutodiffBackend;
use oscar_core::ops::{Kernels, TrainBackend};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::loader::StepLoader;
use crate::non_finite::Skipped;
use crate::optim::AdamW;
use crate::parallel::{Buckets, Sums, Team};
use crate::run::Best;
use crate::settings::StepConfig;
use crate::stats::StepStats;
use crate::trainable::Trainable;

pub(crate) use lead::Lead;
use report::Step;

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

/// A worker's share of the training and of the validation data.
pub(crate) type Data<B, M> = (
    StepLoader<B, <M as Trainable<B>>::Batch>,
    StepLoader<<B as AutodiffBackend>::InnerBackend, <M as Trainable<B>>::ValidationBatch>,
);

/// One worker of a run; the only one, unless the run has several.
pub(crate) struct Trainer<B: TrainBackend, M: Trainable<B>> {
    config: StepConfig,
    /// `None` only while an update replaces it.
    model: Option<M>,
    optimizer: AdamW<B>,
    /// How far the run is.
    pub done: StepCount,
    loader: StepLoader<B, M::Batch>,
    validation: StepLoader<B::InnerBackend, M::ValidationBatch>,
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
    pub lead: Option<Lead<B>>,
    pub before_epoch: Option<BeforeEpoch<M::InnerModule>>,
    /// The epoch of the last step.
    epoch: Option<u64>,
}

/// Steps whose statistics are read at once, at most. So many are computed in vain at the end of a run
/// that stops for a step that was not finite.
const READ_AT_ONCE: usize = 20;

impl<B: TrainBackend, M: Trainable<B>> Trainer<B, M> {
    /// A worker that continues from `state`, which is on `device`.
    pub fn new(
        config: StepConfig,
        state: TrainingState<B, M>,
        (loader, validation): Data<B, M>,
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
            validation,
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
