//! How fast captions are written and learned, at the published sizes with random weights.
//!
//! `cargo bench -p oscar-clipcap --bench speed [pictures | captions | step]`: pictures/s of ViT-B/32,
//! captions/s of GPT-2 small with 5 beams, steps/s of the MLP variant. `benches/pytorch/clipcap.py` does
//! the same with HuggingFace's classes. One line of JSON for each.

use std::io::Write;
use std::time::Instant;

use burn::backend::Autodiff;
use burn::optim::GradientsParams;
use burn::tensor::{Distribution, Tensor};
use burn_flex::{Flex, FlexDevice};
use oscar_clipcap::decode::{OfficialSearch, official_beam};
use oscar_clipcap::{CaptionTargets, ClipCap, ClipCapConfig};
use oscar_core::config::Activation;
use oscar_core::model::initialize;
use oscar_train::{AdamW, AdamWConfig};
use oscar_vision::clip::{VisionConfig, VisionTransformer};

/// Pictures, and captions, at a time.
const PICTURES: usize = 32;
const CAPTIONS: usize = 8;
const BEAMS: usize = 5;
/// Tokens that are written: nothing stops before.
const WRITTEN: usize = 20;
/// Captions of a training step, and their tokens.
const BATCH: usize = 40;
const LEARNED: usize = 14;
const ROUNDS: usize = 3;
/// A token that is not in the vocabulary, so that captions have all tokens.
const NEVER: u32 = u32::MAX;

/// Measures a rate.
type Run = fn() -> f64;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let runs = [
        ("pictures", pictures as Run),
        ("captions", captions),
        ("step", step),
    ];
    let mut out = std::io::stdout().lock();
    for (name, run) in runs {
        let named = |other: &String| runs.iter().any(|(known, _)| known == other);
        if wanted.iter().any(named) && !wanted.iter().any(|other| other == name) {
            continue;
        }
        let rate = run();
        writeln!(out, "{{\"work\": \"{name}\", \"per_second\": {rate:.3}}}")
            .expect("stdout is open");
    }
}

/// The best rate of some rounds, after one that touches the weights.
fn rate(count: usize, mut work: impl FnMut()) -> f64 {
    work();
    let times = (0..ROUNDS).map(|_| {
        let started = Instant::now();
        work();
        started.elapsed().as_secs_f64()
    });
    count as f64 / times.fold(f64::INFINITY, f64::min)
}

fn pictures() -> f64 {
    let config = VisionConfig {
        image_size: 224,
        patch_size: 32,
        width: 768,
        inner: 3072,
        layers: 12,
        heads: 12,
        embedding_dim: 512,
        activation: Activation::QuickGelu,
    };
    let tower = VisionTransformer::<Flex>::fresh(config, 1, &FlexDevice);
    let shape = [PICTURES, 3, 224, 224];
    let pixels = Tensor::<Flex, 4>::random(shape, Distribution::Normal(0.0, 1.0), &FlexDevice);
    rate(PICTURES, || {
        let embeddings = tower.forward(pixels.clone());
        assert_eq!(embeddings.into_data().shape[0], PICTURES);
    })
}

fn captions() -> f64 {
    let config = ClipCapConfig::default();
    let model = ClipCap::<Flex>::new(&config, &FlexDevice);
    initialize(&model, &FlexDevice, 1);
    let model = model.for_inference();
    let shape = [CAPTIONS, config.embedding_dim];
    let embeddings = Tensor::<Flex, 2>::random(shape, Distribution::Normal(0.0, 1.0), &FlexDevice);
    let search = OfficialSearch {
        beams: BEAMS,
        max_tokens: WRITTEN,
        temperature: 1.0,
        stop: NEVER,
    };
    rate(CAPTIONS, || {
        let mut steps = model.steps(embeddings.clone());
        let found = official_beam(&mut steps, &search);
        assert_eq!(found[0][0].tokens.len(), WRITTEN);
    })
}

fn step() -> f64 {
    type Training = Autodiff<Flex>;
    let config = ClipCapConfig::default();
    let mut model = ClipCap::<Training>::new(&config, &FlexDevice);
    initialize(&model, &FlexDevice, 1);
    let mut optimizer = AdamW::<Training>::new(
        AdamWConfig {
            epsilon: 1e-6,
            weight_decay: 0.0,
            ..AdamWConfig::default()
        },
        &model,
    );
    let shape = [BATCH, config.embedding_dim];
    let embeddings =
        Tensor::<Training, 2>::random(shape, Distribution::Normal(0.0, 1.0), &FlexDevice);
    let caption: Vec<u32> = (1..=LEARNED as u32).map(|token| token * 97).collect();
    let captions = [&caption[..]; BATCH];
    rate(1, || {
        let targets = CaptionTargets::new(&captions, config.prefix_length, &FlexDevice);
        let loss = model.loss(embeddings.clone(), targets);
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(1e-6, model.clone(), grads);
    })
}
