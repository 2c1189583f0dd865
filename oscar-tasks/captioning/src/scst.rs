//! Self-critical sequence training (Rennie et al., CVPR 2017): captions are sampled, and those with a
//! higher reward than a baseline become more likely.
//!
//! The reward of a caption is its CIDEr-D against the image's captions. The baseline is the reward of
//! the greedy caption, or the mean of the other captions sampled for the image. The loss is the mean
//! log-probability of a caption's words times how much lower its reward is than the baseline:
//! officially the mean, not the sum.

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread;

use burn::tensor::{Tensor, TensorData};
use oscar_core::config::{ConfigError, require};
use oscar_core::input::SpecialIds;
use oscar_core::model::{CaptionSteps, OscarForCaptioning};
use oscar_core::ops::TrainBackend;
use oscar_task::optional_path;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::batch::ImageBatch;
use oscar_core::decode::{
    Decoder, Draws, GenerationConfig, Hypothesis, SampleConfig, greedy, sample,
};

pub use crate::scores::Reward;

/// `[task.scst]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScstSection {
    /// Train by reward, starting from a trained captioner.
    pub enabled: bool,
    /// Captions to sample for each image.
    pub samples: usize,
    /// The baseline of their rewards.
    pub baseline: Baseline,
    /// Document frequencies of n-grams: the official pickle, or JSON; by default they are counted in the
    /// training captions.
    #[serde(with = "optional_path")]
    #[schemars(with = "Option<PathBuf>")]
    pub document_frequencies: Option<PathBuf>,
}

/// The reward that the reward of a sampled caption is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// That of the greedy caption, without dropout.
    #[default]
    Greedy,
    /// The mean of the other captions sampled for the image.
    Sample,
}

impl Default for ScstSection {
    fn default() -> Self {
        Self {
            enabled: false,
            samples: 5,
            baseline: Baseline::default(),
            document_frequencies: None,
        }
    }
}

impl ScstSection {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let least = match self.baseline {
            Baseline::Greedy => 1,
            Baseline::Sample => 2,
        };
        require(
            (least..=64).contains(&self.samples),
            "task.scst.samples",
            self.samples,
            &format!("must be from {least} to 64"),
        )
    }
}

/// The result of a step of training by reward.
#[derive(Debug)]
pub struct ScstStep<B: TrainBackend> {
    /// To be minimised, `[1]`.
    pub loss: Tensor<B, 1>,
    /// CIDEr-D of each sampled caption, those of an image one after the other.
    pub rewards: Vec<f64>,
}

/// Samples captions, with dropout, and compares their rewards with the baseline.
///
/// The baseline is scored on another thread while captions are sampled.
pub fn step<B: TrainBackend>(
    (model, inner): (&OscarForCaptioning<B>, &OscarForCaptioning<B::InnerBackend>),
    batch: &ImageBatch<B>,
    section: &ScstSection,
    max_length: usize,
    (reward, special): (&Reward, SpecialIds),
    decode: impl Fn(&[u32]) -> String + Sync,
) -> ScstStep<B> {
    let samples = section.samples;
    let texts = |captions: Vec<Hypothesis>, each: usize| -> Vec<(usize, String)> {
        let captions = captions.iter().enumerate();
        let text =
            |(at, caption): (usize, &Hypothesis)| (batch.images[at / each], decode(&caption.ids));
        captions.map(text).collect()
    };
    let best = match section.baseline {
        Baseline::Sample => None,
        Baseline::Greedy => {
            let context = batch.context.clone().inner();
            let mut steps = CaptionSteps::new(inner, context, special.mask);
            let config = GenerationConfig::greedy(max_length);
            Some(greedy(&mut steps, &config, special))
        }
    };
    let (sampled, best) = thread::scope(|scope| {
        let best = scope.spawn(|| best.map(|captions| reward.cider_d(&texts(captions, 1))));
        let mut steps = CaptionSteps::new(model, batch.context.clone(), special.mask);
        let rows = 0..batch.images.len() * samples;
        steps.select(
            None,
            &rows.clone().map(|row| row / samples).collect::<Vec<_>>(),
        );
        let draws = Draws {
            rows: rows
                .map(|row| {
                    let image = row / samples;
                    // A number for each caption of each image of the split.
                    let number = batch.images[image] * samples + row % samples;
                    (batch.seeds[image], number)
                })
                .collect(),
        };
        let config = SampleConfig {
            max_length,
            ..SampleConfig::default()
        };
        let sampled = sample(&mut steps, &config, special, &draws);
        let best = best.join().unwrap_or_else(|panic| resume_unwind(panic));
        (sampled, best)
    });
    let rewards = reward.cider_d(&texts(sampled.texts, samples));
    let baseline = match best {
        Some(best) => greedy_baseline(&best, samples),
        None => sample_baseline(&rewards, samples),
    };
    ScstStep {
        loss: loss(sampled.mean_log_probs, &rewards, &baseline),
        rewards,
    }
}

/// The baseline of each of `samples` captions of an image: the reward of its greedy caption.
pub fn greedy_baseline(best: &[f64], samples: usize) -> Vec<f64> {
    let repeated = best
        .iter()
        .flat_map(|best| std::iter::repeat_n(*best, samples));
    repeated.collect()
}

/// The baseline of each of `samples` captions of an image: the mean of the others.
pub fn sample_baseline(rewards: &[f64], samples: usize) -> Vec<f64> {
    let of_image = |own: &[f64]| {
        let sum: f64 = own.iter().sum();
        let others = own.len().saturating_sub(1).max(1) as f64;
        own.iter()
            .map(|own| (sum - own) / others)
            .collect::<Vec<_>>()
    };
    rewards.chunks(samples.max(1)).flat_map(of_image).collect()
}

/// `mean(-log_prob * (reward - baseline))`, `[1]`; `log_probs` are those of whole captions, `[rows]`.
pub fn loss<B: burn::tensor::backend::Backend>(
    log_probs: Tensor<B, 1>,
    rewards: &[f64],
    baseline: &[f64],
) -> Tensor<B, 1> {
    let advantages = rewards.iter().zip(baseline);
    let advantages: Vec<f32> = advantages
        .map(|(own, other)| (own - other) as f32)
        .collect();
    let shape = [advantages.len()];
    let advantages = TensorData::new(advantages, shape);
    let advantages = Tensor::<B, 1>::from_data(advantages, &log_probs.device());
    (log_probs * advantages).mean().neg()
}
