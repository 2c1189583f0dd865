//! What steps measured: read, shared among the workers, reported, and judged.

use std::path::Path;
use std::time::Instant;

use burn::tensor::backend::Backend;
use oscar_core::ops::TrainBackend;

use super::{StepCount, Trainer};
use crate::error::TrainError;
use crate::non_finite::{MAX_CONSECUTIVE_SKIPPED, NonFinite, NonFiniteStep, Skipped};
use crate::parallel::{Team, Watch, give_up_devices};
use crate::stats::{StepStats, Unread, read_all};
use crate::trainable::Trainable;

/// Statistics of a step, and the norms of its gradients.
pub(super) enum Measured<B: Backend> {
    OnDevice(Unread<B>),
    Read(StepStats, Vec<f64>),
}

/// A step that was made, or skipped, but not reported.
pub(super) struct Step<B: TrainBackend> {
    /// Its number, from 1.
    pub number: usize,
    pub measured: Measured<B::InnerBackend>,
    /// When it ended, as far as the host knows.
    pub end: Instant,
}

impl<B: TrainBackend, M: Trainable<B>> Trainer<B, M> {
    /// Reads what all workers measured since the last report, and reports it. All see the same
    /// numbers, and so agree whether the run ends at a step that was not finite.
    pub(super) fn report(&mut self) -> Result<(), TrainError> {
        self.report_with(|team, stats| Ok(team.add(stats, Vec::new())?.0))
    }

    /// As [`report`](Self::report), where `join` makes of what this worker measured late what all did.
    pub(super) fn report_with(
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
        let measured = {
            let _watch = self.watch(unread.len());
            read_all(unread)?
        };
        for (stats, norms) in measured {
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

    /// Watches the wait for this many steps, which does not end by itself if a device fails in a sum.
    fn watch(&self, steps: usize) -> Option<Watch> {
        let may_hang = steps > 0 && self.lead.is_some() && self.sums.on_devices();
        let limit = self.team.limit() * steps as u32;
        may_hang.then(|| Watch::start(limit, move || give_up_devices(limit)))
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
}
