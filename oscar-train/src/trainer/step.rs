//! One step: gradients of this worker's batches, their sum over the workers, clipping, update.

use std::time::Instant;

use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use burn_train::{TrainOutput, TrainStep};
use oscar_core::model::recompute;
use oscar_core::ops::{Guard, TrainBackend, mix};

use super::Trainer;
use super::report::{Measured, Step};
use crate::error::TrainError;
use crate::gradients::{clip_grad_norm, grad_norm};
use crate::loader::StepIterator;
use crate::non_finite::{NonFinite, NonFiniteStep};
use crate::settings::ClipAt;
use crate::stats::{StepOutput, StepStats};
use crate::trainable::Trainable;

/// A norm of gradients or a sum of losses, `[1]`, still on the device.
type Scalar<B> = Tensor<<B as AutodiffBackend>::InnerBackend, 1>;

/// The statistics of a step, or of a worker's batches of it.
type Output<B> = StepOutput<<B as AutodiffBackend>::InnerBackend>;

/// Gradients and statistics of a worker's batches, and the norms by which it has clipped so far.
type Computed<B> = (GradientsParams, Output<B>, Vec<Scalar<B>>);

/// Gradients of all workers, statistics, and the sum of the losses if these are not in the statistics.
type Summed<B> = (GradientsParams, Output<B>, Option<Scalar<B>>);

impl<B: TrainBackend, M: Trainable<B>> Trainer<B, M> {
    /// One optimiser step: forward and backward of this worker's batches, sum over the workers, clip,
    /// update. The update is skipped if the loss or the norm of the gradients is not finite.
    pub(super) fn train_step(
        &mut self,
        batches: &mut StepIterator<M::Batch>,
    ) -> Result<(), TrainError> {
        let (mut grads, mut output, mut norms) = self.forward_backward(batches)?;
        let mut loss_of_all = None;
        if self.team.world() > 1 {
            (grads, output, loss_of_all) = self.all_reduce(grads, output)?;
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
            let losses = loss_of_all.map_or_else(|| output.losses(), |loss| vec![loss]);
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
        let loss = values.split_off(self.buckets.len()).pop();
        let grads = self
            .buckets
            .unflatten::<B, M>(self.model(), values, &present);
        Ok((grads, unread.unwrap_or_else(|| stats.into()), loss))
    }

    /// Dropout of a step depends on the seed and the step alone, so that a resumed run repeats it.
    fn seed_dropout(&self, micro_batch: usize) {
        let step = mix(self.config.train.seed, self.done.step as u64);
        oscar_core::ops::seed::<B>(&self.device, mix(step, micro_batch as u64));
    }

    /// Clips the gradients if the recipe says so; returns their norm before. Replicas have the same
    /// gradients here, and so the same norm.
    fn clip(&self, grads: &mut GradientsParams) -> Scalar<B> {
        match self.config.optimizer.max_grad_norm {
            max_norm if max_norm > 0.0 => {
                clip_grad_norm::<B, M>(self.model(), grads, max_norm, &self.device)
            }
            _ => grad_norm::<B, M>(self.model(), grads, &self.device),
        }
    }
}
