//! The learning rate, per optimiser step: a warm-up, then a decay.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether a step uses the factor of the steps done before it, or counts itself.
///
/// The official pre-training steps the optimiser, then the schedule; the fine-tuning scripts do
/// it the other way round, so their last update has learning rate 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleOrder {
    /// Step `n` (from 0) uses `factor(n)`: official pre-training.
    #[default]
    OptimizerFirst,
    /// Step `n` (from 0) uses `factor(n + 1)`: official fine-tuning.
    ScheduleFirst,
}

/// The learning rate after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// It decays linearly to 0 at the last step.
    #[default]
    Linear,
    /// It stays at its peak.
    Constant,
    /// It is multiplied by a factor at each of some steps.
    Steps,
}

/// The learning rate during the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Warmup {
    /// It rises linearly.
    #[default]
    Linear,
    /// Its thirds have a quarter, a half and three quarters of the peak (ROSITA's fine-tuning).
    Thirds,
}

/// Linear warm-up over `warmup` steps to `peak`, then by default linear decay to 0 at `total`.
///
/// ```
/// use oscar_train::{LinearSchedule, ScheduleOrder};
///
/// let schedule = LinearSchedule::new(5e-5, 10, 110, ScheduleOrder::ScheduleFirst);
/// assert_eq!(schedule.at(9), 5e-5);
/// assert_eq!(schedule.at(59), 2.5e-5);
/// assert_eq!(schedule.at(109), 0.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LinearSchedule {
    /// Highest learning rate.
    pub peak: f64,
    /// Steps of warm-up.
    pub warmup: usize,
    /// Step at which the rate is 0.
    pub total: usize,
    /// Which factor a step uses.
    pub order: ScheduleOrder,
    /// What comes after the warm-up.
    pub decay: Decay,
    /// How the rate rises.
    pub shape: Warmup,
    /// [`Decay::Steps`]: the steps after which the rate is multiplied by `decay_factor`.
    pub decay_steps: Vec<usize>,
    /// [`Decay::Steps`]: the factor.
    pub decay_factor: f64,
}

impl LinearSchedule {
    /// A schedule with linear decay.
    pub fn new(peak: f64, warmup: usize, total: usize, order: ScheduleOrder) -> Self {
        Self {
            peak,
            warmup,
            total,
            order,
            decay: Decay::Linear,
            shape: Warmup::Linear,
            decay_steps: Vec::new(),
            decay_factor: 0.1,
        }
    }

    /// Replaces what comes after the warm-up.
    pub fn with_decay(self, decay: Decay) -> Self {
        Self { decay, ..self }
    }

    /// Replaces how the rate rises.
    pub fn with_warmup(self, shape: Warmup) -> Self {
        Self { shape, ..self }
    }

    /// Decays by `factor` after each of `steps`.
    pub fn with_decay_steps(self, steps: Vec<usize>, factor: f64) -> Self {
        Self {
            decay: Decay::Steps,
            decay_steps: steps,
            decay_factor: factor,
            ..self
        }
    }

    /// The learning rate of optimiser step `step`, counted from 0.
    pub fn at(&self, step: usize) -> f64 {
        let done = match self.order {
            ScheduleOrder::OptimizerFirst => step,
            ScheduleOrder::ScheduleFirst => step + 1,
        };
        self.peak * self.factor(done)
    }

    fn factor(&self, done: usize) -> f64 {
        match self.shape {
            Warmup::Linear if done < self.warmup => return done as f64 / self.warmup as f64,
            // A third includes its last step.
            Warmup::Thirds if done <= self.warmup && self.warmup > 0 => {
                let third = (3 * done).div_ceil(self.warmup).max(1);
                return third as f64 / 4.0;
            }
            _ => {}
        }
        match self.decay {
            Decay::Linear => {}
            Decay::Constant => return 1.0,
            Decay::Steps => {
                let passed = self.decay_steps.iter().filter(|step| done > **step);
                return passed.fold(1.0, |factor, _| factor * self.decay_factor);
            }
        }
        let left = self.total.saturating_sub(done) as f64;
        left / self.total.saturating_sub(self.warmup).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_then_decays_to_zero() {
        let schedule = LinearSchedule::new(1.0, 2, 10, ScheduleOrder::OptimizerFirst);
        let rates: Vec<f64> = (0..=10).map(|step| schedule.at(step)).collect();
        assert_eq!(
            rates,
            [
                0.0, 0.5, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0
            ]
        );
    }

    #[test]
    fn fine_tuning_scripts_are_one_step_ahead() {
        let pretrain = LinearSchedule::new(1.0, 2, 10, ScheduleOrder::OptimizerFirst);
        let finetune = LinearSchedule::new(1.0, 2, 10, ScheduleOrder::ScheduleFirst);
        for step in 0..10 {
            assert_eq!(finetune.at(step), pretrain.at(step + 1));
        }
    }

    #[test]
    fn a_constant_rate_stays() {
        let schedule = LinearSchedule::new(1.0, 2, 10, ScheduleOrder::OptimizerFirst);
        let schedule = schedule.with_decay(Decay::Constant);
        let rates: Vec<f64> = [0, 1, 2, 9, 10].map(|step| schedule.at(step)).into();
        assert_eq!(rates, [0.0, 0.5, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn thirds_and_steps() {
        let schedule = LinearSchedule::new(1.0, 3, 9, ScheduleOrder::ScheduleFirst);
        let schedule = schedule.with_warmup(Warmup::Thirds);
        let schedule = schedule.with_decay_steps(vec![6, 7], 0.5);
        let rates: Vec<f64> = (0..9).map(|step| schedule.at(step)).collect();
        assert_eq!(rates, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.5, 0.25, 0.25]);
    }

    #[test]
    fn without_warm_up_starts_at_the_peak() {
        let schedule = LinearSchedule::new(5e-5, 0, 4, ScheduleOrder::OptimizerFirst);
        assert_eq!(schedule.at(0), 5e-5);
        assert_eq!(schedule.at(4), 0.0);
        assert_eq!(schedule.at(9), 0.0, "after the end the rate stays 0");
    }
}
