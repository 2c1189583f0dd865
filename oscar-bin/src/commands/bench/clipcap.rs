//! CLIP and ClipCap at their published sizes, with random weights: embeddings of pictures, captions by
//! beam search, and training steps of the MLP variant.

use std::time::Instant;

use anyhow::{Context, Result};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Distribution, Tensor};
use oscar_clipcap::decode::{OfficialSearch, official_beam};
use oscar_clipcap::{CaptionTargets, ClipCap, ClipCapConfig, Gpt2Config};
use oscar_core::config::Activation;
use oscar_core::model::initialize;
use oscar_core::ops::{OscarBackend, TrainBackend};
use oscar_train::{AdamW, AdamWConfig};
use oscar_vision::clip::{VisionConfig, VisionTransformer};

use super::Plan;
use super::device::sync;
use super::report::{Run, Step};

/// Beams, and the tokens that are written: nothing stops before.
const BEAMS: usize = 5;
const WRITTEN: usize = 20;

/// Tokens of a caption that is learned.
const LEARNED: usize = 14;

/// A token that is not in the vocabulary, so that captions have all tokens.
const NEVER: u32 = u32::MAX;

/// ViT-B/32, or a tower that takes little time.
fn tower(tiny: bool) -> VisionConfig {
    let (image_size, patch_size, width, layers) = match tiny {
        true => (32, 8, 64, 2),
        false => (224, 32, 768, 12),
    };
    VisionConfig {
        image_size,
        patch_size,
        width,
        inner: 4 * width,
        layers,
        heads: width / 64,
        embedding_dim: 512,
        activation: Activation::QuickGelu,
    }
}

/// The MLP variant with GPT-2 small, or a model that takes little time.
fn model(tiny: bool) -> ClipCapConfig {
    let published = ClipCapConfig::default();
    match tiny {
        false => published,
        true => ClipCapConfig {
            gpt2: Gpt2Config {
                vocab_size: 2000,
                n_embd: 64,
                n_layer: 2,
                n_head: 4,
                ..Gpt2Config::small()
            },
            ..published
        },
    }
}

/// Times embeddings of batches of pixels.
///
/// # Errors
///
/// If the device fails.
pub fn pictures<B: OscarBackend>(plan: &Plan, device: &B::Device) -> Result<Run> {
    let config = tower(plan.tiny);
    let tower = VisionTransformer::<B>::fresh(config, plan.seed, device);
    let shape = [plan.batch_size, 3, config.image_size, config.image_size];
    let pixels = Tensor::<B, 4>::random(shape, Distribution::Normal(0.0, 1.0), device);
    let positions = plan.batch_size * (config.grid() * config.grid() + 1);
    let flops = plan.batch_size as f64 * flops_of_picture(&config);
    let steps = timed::<B>(plan, device, (positions, flops), || {
        tower.forward(pixels.clone()).into_data();
        Ok(None)
    })?;
    Ok(Run {
        parameters: tower.num_params(),
        steps,
    })
}

/// Times captions of batches of embeddings.
///
/// # Errors
///
/// If the device fails.
pub fn captions<B: OscarBackend>(plan: &Plan, device: &B::Device) -> Result<Run> {
    let config = model(plan.tiny);
    let model = ClipCap::<B>::new(&config, device);
    initialize(&model, device, plan.seed);
    let parameters = model.num_params();
    let model = model.for_inference();
    let embeddings = embeddings::<B>(plan, &config, device);
    let search = OfficialSearch {
        beams: BEAMS,
        max_tokens: WRITTEN,
        temperature: 1.0,
        stop: NEVER,
    };
    let flops = plan.batch_size as f64 * flops_of_caption(&config);
    let steps = timed::<B>(plan, device, (plan.batch_size * WRITTEN, flops), || {
        let mut steps = model.steps(embeddings.clone());
        let found = official_beam(&mut steps, &search);
        anyhow::ensure!(found[0][0].tokens.len() == WRITTEN, "a caption ended early");
        Ok(None)
    })?;
    Ok(Run { parameters, steps })
}

/// Times training steps on captions of one length.
///
/// # Errors
///
/// If the device fails.
pub fn training<B: TrainBackend>(plan: &Plan, device: &B::Device) -> Result<Run> {
    let config = model(plan.tiny);
    let model = ClipCap::<B>::new(&config, device);
    initialize(&model, device, plan.seed);
    let parameters = model.num_params();
    let settings = AdamWConfig {
        epsilon: 1e-6,
        weight_decay: 0.0,
        ..AdamWConfig::default()
    };
    let mut optimizer = AdamW::<B>::new(settings, &model);
    let embeddings = embeddings::<B>(plan, &config, device);
    let vocabulary = config.gpt2.vocab_size as u32;
    let caption: Vec<u32> = (1..=LEARNED as u32)
        .map(|token| token * 97 % vocabulary)
        .collect();
    let captions = vec![&caption[..]; plan.batch_size];
    let positions = plan.batch_size * (config.prefix_length + LEARNED);
    let flops = plan.batch_size as f64 * 3.0 * flops_of_learning(&config);
    // Taken out for each update, which is in place only where nobody else holds the weights.
    let mut trained = Some(model);
    let steps = timed::<B>(plan, device, (positions, flops), || {
        let model = trained.take().context("an update failed")?;
        let targets = CaptionTargets::new(&captions, config.prefix_length, device);
        let loss = model.loss(embeddings.clone(), targets);
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        sync::<B>(device)?;
        let start = Instant::now();
        trained = Some(optimizer.step(1e-6, model, grads));
        sync::<B>(device)?;
        Ok(Some(start.elapsed().as_secs_f64()))
    })?;
    Ok(Run { parameters, steps })
}

fn embeddings<B: OscarBackend>(
    plan: &Plan,
    config: &ClipCapConfig,
    device: &B::Device,
) -> Tensor<B, 2> {
    let shape = [plan.batch_size, config.embedding_dim];
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

/// Times the steps of a plan, each of so many positions and operations; `work` may say how long its
/// optimiser took.
fn timed<B: OscarBackend>(
    plan: &Plan,
    device: &B::Device,
    (positions, flops): (usize, f64),
    mut work: impl FnMut() -> Result<Option<f64>>,
) -> Result<Vec<Step>> {
    let mut steps = Vec::with_capacity(plan.steps);
    for number in 0..plan.warmup + plan.steps {
        sync::<B>(device)?;
        let start = Instant::now();
        let optimizer = work()?;
        sync::<B>(device)?;
        let seconds = start.elapsed().as_secs_f64();
        if number >= plan.warmup {
            steps.push(Step {
                samples: plan.batch_size,
                tokens: positions,
                padded: positions,
                flops,
                seconds,
                optimizer,
            });
        }
    }
    Ok(steps)
}

fn flops_of_picture(config: &VisionConfig) -> f64 {
    let (width, inner) = (config.width as f64, config.inner as f64);
    let patches = (config.grid() * config.grid()) as f64;
    let positions = patches + 1.0;
    let values = (3 * config.patch_size * config.patch_size) as f64;
    let layer = positions * (4.0 * width * width + 2.0 * width * inner)
        + 2.0 * positions * positions * width;
    2.0 * (patches * values * width
        + config.layers as f64 * layer
        + width * config.embedding_dim as f64)
}

/// Products of a position of GPT-2 that reads `context` positions, without the output matrix.
fn products_of_position(config: &ClipCapConfig, context: usize) -> f64 {
    let width = config.gpt2.n_embd as f64;
    config.gpt2.n_layer as f64 * (12.0 * width * width + 2.0 * context as f64 * width)
}

fn products_of_mapper(config: &ClipCapConfig) -> f64 {
    let outputs = (config.gpt2.n_embd * config.prefix_length) as f64;
    config.embedding_dim as f64 * outputs / 2.0 + outputs / 2.0 * outputs
}

fn products_of_word(config: &ClipCapConfig) -> f64 {
    (config.gpt2.vocab_size * config.gpt2.n_embd) as f64
}

/// The prefix once, then each beam's words one by one; the last word is not read.
fn flops_of_caption(config: &ClipCapConfig) -> f64 {
    let prefix = config.prefix_length;
    let position = |context| products_of_position(config, context);
    let first: f64 = (1..=prefix).map(position).sum();
    let words = (1..WRITTEN).map(|word| position(prefix + word) + products_of_word(config));
    let words: f64 = words.sum();
    2.0 * (products_of_mapper(config) + first + products_of_word(config) + BEAMS as f64 * words)
}

/// The forward pass, with logits of the words alone.
fn flops_of_learning(config: &ClipCapConfig) -> f64 {
    let positions = 1..=config.prefix_length + LEARNED;
    let positions: f64 = positions
        .map(|context| products_of_position(config, context))
        .sum();
    2.0 * (products_of_mapper(config) + positions + LEARNED as f64 * products_of_word(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counted by hand: 4.4 billion products of ViT-B/32, 0.12 billion a token of GPT-2
    /// small with its output matrix.
    #[test]
    fn the_work_of_both_models() {
        let close = |found: f64, expected: f64| (found / expected - 1.0).abs() < 0.02;
        assert!(close(flops_of_picture(&tower(false)), 8.8e9));
        let config = model(false);
        let token = products_of_position(&config, 10) + products_of_word(&config);
        assert!(close(token, 0.1237e9), "{token}");
        assert!(close(products_of_mapper(&config), 31.4e6));
    }
}
