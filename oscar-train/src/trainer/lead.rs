//! What comes of steps: validations, the best weights, checkpoints; the leading worker alone writes them.

use std::thread::JoinHandle;

use burn_train::InferenceStep;
use oscar_core::ops::TrainBackend;
use oscar_files::write_directory;

use super::{Describe, Outcome, SelectionMetric, Trainer, caught};
use crate::error::TrainError;
use crate::learner::Monitor;
use crate::run::{Best, MODEL_FILE, RunDir, TrainState};
use crate::save::SaveRequest;
use crate::stats::{LOSS, StepStats};
use crate::trainable::Trainable;

/// What the leading worker reports to, and saves to.
pub(crate) struct Lead<B: TrainBackend> {
    /// Where checkpoints and the best and last weights are written.
    pub run: RunDir,
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

impl<B: TrainBackend, M: Trainable<B>> Trainer<B, M> {
    /// Validates on all of the validation data, each worker on its share; the lead writes `best/` if no
    /// validation was better.
    pub(super) fn validate(&mut self) -> Result<(), TrainError> {
        let model = self.model().valid();
        let mut stats = StepStats::default();
        let mut batches = self.validation.iter();
        let rounds = self.validation.rounds();
        for round in 1..=rounds {
            // In the last round there may be none left for this worker.
            let measured = match batches.next() {
                Some(batch) => InferenceStep::step(&model, batch?).read_with(Vec::new())?.0,
                None => StepStats::default(),
            };
            let measured = match self.team.world() {
                1 => measured,
                _ => self.team.add(measured, Vec::new())?.0,
            };
            stats.add(&measured);
            if let Some(lead) = &mut self.lead {
                let step = self.done.step;
                lead.monitor.validation_batch(measured, round, rounds, step);
            }
        }
        if let Some(lead) = &mut self.lead {
            lead.monitor.validation_end(self.done.step);
            lead.unwritten_best = lead.improves(&stats, self.done.step);
            lead.last = Some(stats);
        }
        self.write_best()
    }

    /// Writes `best/` if the weights of the current step are the best and not written yet.
    pub(super) fn write_best(&mut self) -> Result<(), TrainError> {
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
    pub(super) fn save(&mut self) -> Result<(), TrainError> {
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

    pub(super) fn finish(&mut self) -> Result<Outcome, TrainError> {
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
    pub(super) fn save_before_failing(&mut self, error: &TrainError) {
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
}

impl<B: TrainBackend> Lead<B> {
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
