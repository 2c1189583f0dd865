//! Sets of several optimiser steps.
//!
//! A gradient that is itself close to round-off makes an AdamW step of any size up to the learning
//! rate, whatever its own size. An element of a parameter may therefore differ, beyond the usual
//! tolerance, by the learning rate of each step so far times the relative uncertainty of its gradient
//! then: 64 spacings of the largest gradient of its tensor over its own (both from the second moments
//! after the step). For elements within a hundredth of the largest that is less than 0.1 % of their
//! steps.

use std::collections::BTreeMap;

use burn::optim::{GradientsAccumulator, GradientsParams, Optimizer};
use oscar_core::checkpoint::parameters;
use oscar_core::ops::TrainBackend;
use oscar_train::{
    AdamW, AdamWConfig, Formula, LinearSchedule, ScheduleOrder, Warmup, clip_grad_norm,
};
use serde_json::Value;

use crate::check::{Checks, EPSILON, Only, Report, max_abs};
use crate::fault::Fault;
use crate::host::HostTensor;
use crate::model::{self, Named, Official, official_layout};
use crate::set::Set;

/// Round-off of a gradient, in spacings of the largest of its tensor.
const GRADIENT_NOISE: f64 = 64.0 * EPSILON;

/// The two official training loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Clips once per step, if at all; steps the optimiser, then the schedule.
    Pretraining,
    /// Clips what has been accumulated after every batch; steps the schedule, then the optimiser.
    FineTuning,
}

/// The options of a set.
#[derive(Clone, Debug)]
struct Options {
    adamw: AdamWConfig,
    correct_bias: bool,
    lr: f64,
    warmup: usize,
    total: usize,
    max_grad_norm: Option<f64>,
    accumulate: usize,
    /// Steps of an epoch, and the epochs before which the rate decays (ROSITA's fine-tuning).
    epoch_steps: usize,
    decay_epochs: Vec<usize>,
    decay_factor: f64,
    /// Share of the steps that are the warm-up.
    warmup_share: f64,
}

impl Options {
    /// Reads `meta.optim`; an option this suite does not know is an error, not ignored.
    fn read(optim: &Value) -> Result<Self, String> {
        let options = optim
            .as_object()
            .ok_or("meta.json: optim is not an object")?;
        let mut read = Self {
            adamw: AdamWConfig {
                weight_decay: 0.0,
                ..AdamWConfig::default()
            },
            correct_bias: true,
            lr: f64::NAN,
            warmup: 0,
            total: 0,
            max_grad_norm: None,
            accumulate: 1,
            epoch_steps: 0,
            decay_epochs: Vec::new(),
            decay_factor: 1.0,
            warmup_share: 0.0,
        };
        for (key, value) in options {
            let wrong = || format!("meta.json: optim.{key} = {value} is not understood");
            let number = || value.as_f64().ok_or_else(wrong);
            let count = || value.as_u64().map(|count| count as usize).ok_or_else(wrong);
            match key.as_str() {
                "lr" => read.lr = number()?,
                "eps" => read.adamw.epsilon = number()?,
                "weight_decay" => read.adamw.weight_decay = number()?,
                "warmup_steps" => read.warmup = count()?,
                "t_total" => read.total = count()?,
                "correct_bias" => read.correct_bias = value.as_bool().ok_or_else(wrong)?,
                "accumulate" => read.accumulate = count()?.max(1),
                "type" => {
                    read.adamw.formula = match value.as_str() {
                        Some("BertAdam") => Formula::BertAdam,
                        Some("Adam") => Formula::Adam,
                        _ => return Err(wrong()),
                    }
                }
                "e" => read.adamw.epsilon = number()?,
                "b1" => read.adamw.beta1 = number()?,
                "b2" => read.adamw.beta2 = number()?,
                "warmup" => read.warmup_share = number()?,
                "epoch_steps" => read.epoch_steps = count()?,
                "warmup_epochs" => read.warmup = count()?,
                "decay_rate" => read.decay_factor = number()?,
                "decay_epochs" => {
                    let epochs = value.as_array().ok_or_else(wrong)?.iter();
                    let epochs = epochs.map(|epoch| epoch.as_u64().map(|epoch| epoch as usize));
                    read.decay_epochs = epochs.collect::<Option<_>>().ok_or_else(wrong)?;
                }
                // What the loop of ClipCap was given; its batches are in the set.
                "bs" | "epochs" | "captions" => {}
                // -1 and 0 switch clipping off in the official scripts.
                "max_grad_norm" if value.is_null() => {}
                "max_grad_norm" => read.max_grad_norm = Some(number()?).filter(|max| *max > 0.0),
                "betas" => {
                    let beta = |index| value.get(index).and_then(Value::as_f64).ok_or_else(wrong);
                    (read.adamw.beta1, read.adamw.beta2) = (beta(0)?, beta(1)?);
                }
                _ => return Err(wrong()),
            }
        }
        if read.epoch_steps > 0 {
            read.warmup *= read.epoch_steps;
            read.total = usize::MAX;
        }
        if read.warmup_share > 0.0 {
            read.warmup = (read.warmup_share * read.total as f64).round() as usize;
        }
        match read.lr.is_finite() && read.total > 0 {
            true => Ok(read),
            false => Err("meta.json: optim lacks lr or t_total".into()),
        }
    }
}

/// Losses, gradient norms, learning rates, parameters and moments of every step.
pub fn check<B: TrainBackend, M: Official<B>>(
    set: &Set,
    script: Script,
    fault: Option<Fault>,
    device: &B::Device,
) -> Result<Report, String> {
    let mut checks = Checks::new(set.expected()?, &set.meta);
    let mut options = Options::read(&set.meta["optim"])?;
    match fault {
        Some(Fault::NoDecay) => options.adamw.weight_decay = 0.0,
        Some(Fault::OptimizerEpsilon(epsilon)) => options.adamw.epsilon = epsilon,
        Some(Fault::OtherBiasCorrection) => options.correct_bias = !options.correct_bias,
        Some(Fault::NoClipping) => options.max_grad_norm = None,
        _ => {}
    }
    let model = M::build(set, fault, device)?;
    let model = model::load::<B, M>(model, set, &mut checks)?;
    let mut run = Run {
        official: AdamW::new(options.adamw.clone(), &model)
            .with_bias_correction(options.correct_bias),
        schedule: schedule(&options, script, fault),
        clip_each: (script == Script::FineTuning) != (fault == Some(Fault::OtherClipping)),
        model,
        options,
        fault,
        checks,
        losses: Vec::new(),
        norms: Vec::new(),
        rates: Vec::new(),
        slack: BTreeMap::new(),
    };
    run.all_steps(set, device)?;
    Ok(run.finish())
}

fn schedule(options: &Options, script: Script, fault: Option<Fault>) -> LinearSchedule {
    let schedule_first =
        (script == Script::FineTuning) != (fault == Some(Fault::OtherScheduleOrder));
    let order = match schedule_first {
        true => ScheduleOrder::ScheduleFirst,
        false => ScheduleOrder::OptimizerFirst,
    };
    let schedule = LinearSchedule::new(options.lr, options.warmup, options.total, order);
    if options.epoch_steps == 0 {
        return schedule;
    }
    let decays = options.decay_epochs.iter();
    let decays = decays.map(|epoch| epoch * options.epoch_steps);
    schedule
        .with_warmup(Warmup::Thirds)
        .with_decay_steps(decays.collect(), options.decay_factor)
}

struct Run<B: TrainBackend, M> {
    model: M,
    official: AdamW<B>,
    schedule: LinearSchedule,
    clip_each: bool,
    options: Options,
    fault: Option<Fault>,
    checks: Checks,
    losses: Vec<f64>,
    norms: Vec<f64>,
    rates: Vec<f64>,
    /// Of each parameter's elements, in the official layout.
    slack: BTreeMap<String, Vec<f64>>,
}

impl<B: TrainBackend, M: Official<B>> Run<B, M> {
    fn all_steps(&mut self, set: &Set, device: &B::Device) -> Result<(), String> {
        let batches = set.inputs()?.batches();
        let accumulate = self.options.accumulate;
        if !batches.len().is_multiple_of(accumulate) {
            return Err(format!(
                "{} batches make no steps of {accumulate}",
                batches.len()
            ));
        }
        let mut burns = burn::optim::AdamWConfig::new()
            .with_epsilon(self.options.adamw.epsilon as f32)
            .with_weight_decay(self.options.adamw.weight_decay as f32)
            .init::<B, M>();
        for (step, batches) in batches.chunks(accumulate).enumerate() {
            let mut sum = GradientsAccumulator::new();
            for (index, batch) in batches.iter().enumerate() {
                let loss = self.model.loss(batch, self.fault, device)?;
                let loss = match self.fault {
                    Some(Fault::NoLossScaling) => loss,
                    _ => loss / accumulate as f64,
                };
                self.losses.extend(HostTensor::read(loss.clone()).data);
                let grads = GradientsParams::from_grads(loss.backward(), &self.model);
                sum.accumulate(&self.model, grads);
                if self.clip_each || index + 1 == accumulate {
                    let mut grads = sum.grads();
                    self.clip(&mut grads, device);
                    sum.accumulate(&self.model, grads);
                }
            }
            let lr = self.schedule.at(step);
            self.rates.push(lr);
            let (model, grads) = (self.model.clone(), sum.grads());
            self.model = match self.fault {
                Some(Fault::BurnAdamW) => burns.step(lr, model, grads),
                _ => self.official.step(lr, model, grads),
            };
            self.add_slack(lr);
            self.compare_parameters(step + 1);
        }
        Ok(())
    }

    fn clip(&mut self, grads: &mut GradientsParams, device: &B::Device) {
        let max_norm = self.options.max_grad_norm.unwrap_or(f64::INFINITY);
        let norm = clip_grad_norm::<B, M>(&self.model, grads, max_norm, device);
        self.norms.extend(HostTensor::read(norm).data);
    }

    /// Compares with what the set has of the state after `step` steps.
    fn compare_parameters(&mut self, step: usize) {
        let prefix = format!("param.after{step}.");
        let names = self.checks.expected_under(&prefix);
        let weights = Named::weights::<B, M>(&self.model);
        for name in names {
            let full = format!("{prefix}{name}");
            if name.ends_with("key.bias") {
                // Its gradient is round-off, which AdamW makes into steps of full size.
                self.checks.round_off(&full);
                continue;
            }
            let Some(got) = weights.get(&name) else {
                self.checks
                    .exact(&full, &"no such parameter", &"a parameter of this name");
                continue;
            };
            let only = Only {
                rows: None,
                slack: self.slack.get(&name).map(Vec::as_slice),
            };
            self.checks.tensor_where(&full, got, only);
        }
    }

    /// What an uncertain gradient in a step at rate `lr` may add to the error of each element; see
    /// the module.
    fn add_slack(&mut self, lr: f64) {
        for (name, moment) in self.moments("exp_avg_sq") {
            let largest = max_abs(&moment.data).sqrt();
            let slack = self.slack.entry(name).or_default();
            slack.resize(moment.data.len(), 0.0);
            for (slack, square) in slack.iter_mut().zip(&moment.data) {
                if *square > 0.0 {
                    *slack += lr * (GRADIENT_NOISE * largest / square.sqrt()).min(1.0);
                }
            }
        }
    }

    /// The optimiser's `exp_avg` or `exp_avg_sq` of every parameter, in the official layout.
    fn moments(&self, kind: &str) -> Vec<(String, HostTensor)> {
        let state = self.official.state();
        let moment = |parameter: oscar_core::checkpoint::Parameter| {
            let name = format!("{kind}.{}", parameter.name);
            let found = state.iter().find(|tensor| tensor.name == name)?;
            let data = found.data.iter().map(|&value| f64::from(value)).collect();
            let data = official_layout(&parameter, data);
            Some((
                parameter.name,
                HostTensor {
                    shape: parameter.shape,
                    data,
                },
            ))
        };
        parameters::<B, M>(&self.model)
            .into_iter()
            .filter_map(moment)
            .collect()
    }

    fn finish(mut self) -> Report {
        for kind in ["exp_avg", "exp_avg_sq"] {
            for (name, moment) in self.moments(kind) {
                let full = format!("{kind}.{name}");
                match name.ends_with("key.bias") {
                    true => self.checks.round_off(&full),
                    false => self.checks.tensor(&full, &moment),
                }
            }
        }
        for (step, norm) in self.norms.iter().enumerate() {
            let norm = HostTensor {
                shape: Vec::new(),
                data: vec![*norm],
            };
            self.checks
                .tensor(&format!("grad.norm.{}", step + 1), &norm);
        }
        let list = |values: Vec<f64>| HostTensor {
            shape: vec![values.len()],
            data: values,
        };
        self.checks.tensor("losses", &list(self.losses));
        self.checks.tensor("lrs", &list(self.rates));
        self.checks.tensor("grad_norms", &list(self.norms));
        self.checks.finish()
    }
}
