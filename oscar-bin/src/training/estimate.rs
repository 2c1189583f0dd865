//! The memory that a run takes, told before it is taken.
//!
//! ```text
//! parameters × (weights, gradients, two moments) × 4 bytes
//!   + 2 × word embeddings × 4 bytes
//!   + what one micro-batch of the longest sequences keeps for its gradients
//!   + the program itself
//! ```
//!
//! `docs/memory.md` has the terms; a test compares the sum with what was measured.

use anyhow::{Result, bail};
use oscar_core::config::ModelConfig;
use oscar_train::{TrainConfig, bytes};
use serde_json::Value as Json;

use crate::output::thousands;

/// Weights, gradients and the two moments of the optimiser, in f32.
const BYTES_PER_PARAMETER: f64 = 16.0;

/// Values of a layer that are kept for each token, as a multiple of the hidden size: the input, query, key and
/// value, the context, and the input of the feed-forward half, which comes beside.
const KEPT_PER_TOKEN: f64 = 6.0;

/// Copies of the word embeddings beside their gradient, while it is summed over the places that use them.
const WORD_GRADIENTS: f64 = 2.0;

/// Share of the text whose words pre-training predicts.
const MASKED: f64 = 0.15;

/// Values for each score of a predicted word: the score, its probability and its gradient.
const LOGITS: f64 = 3.0;

/// What the program takes without a model, in bytes.
const PROGRAM: f64 = 20.0 * (1 << 20) as f64;

/// The sizes of a run.
pub struct Estimate {
    /// Without embeddings whose size only the data tells.
    pub parameters: f64,
    /// For weights, gradients and the optimiser.
    pub state: f64,
    /// For the sum of the gradient of the word embeddings.
    pub words: f64,
    /// For one micro-batch of the longest sequences.
    pub activations: f64,
}

impl Estimate {
    /// That of a model which is trained with this configuration.
    pub fn new(model: &ModelConfig, train: &TrainConfig, config: &Json) -> Self {
        let vocabulary = words(model, config);
        let words = vocabulary * model.hidden_size as f64;
        let parameters = words + parameters(model, config);
        let length = |key: &str| config.pointer(key).and_then(Json::as_f64).unwrap_or(0.0);
        let text = length("/encoder/max_seq_length");
        let tokens = text + length("/encoder/max_regions");
        let logits = match config.pointer("/task").is_some() {
            true => 0.0,
            false => MASKED * text * vocabulary * LOGITS,
        };
        let sequences = (train.batch_size / train.accumulation.max(1)) as f64;
        let [hidden, layers, heads, inner] = [
            model.hidden_size,
            model.num_hidden_layers,
            model.num_attention_heads,
            model.intermediate_size,
        ]
        .map(|size| size as f64);
        let per_token = KEPT_PER_TOKEN * hidden + 2.0 * inner + 2.0 * heads * tokens;
        // With gradient checkpointing a layer keeps its input alone, but for the one being computed.
        let per_token = match train.gradient_checkpointing {
            true => hidden * layers + per_token,
            false => per_token * layers,
        };
        Self {
            parameters,
            state: parameters * BYTES_PER_PARAMETER,
            words: WORD_GRADIENTS * words * 4.0,
            activations: sequences * (tokens * per_token + logits) * 4.0,
        }
    }

    /// The memory that the run takes at its peak, in bytes.
    pub fn peak(&self) -> f64 {
        PROGRAM + self.state + self.words + self.activations
    }
}

/// Whether the sizes of the vocabulary and of a region are those of the configuration; else the data tells
/// them.
fn is_of_bert(config: &Json) -> bool {
    let vocabulary = config.pointer("/data/vocab").and_then(Json::as_str);
    matches!(vocabulary, None | Some("bert-base-uncased"))
}

/// Words of the embedding, unless the data tells them.
fn words(model: &ModelConfig, config: &Json) -> f64 {
    match is_of_bert(config) {
        true => model.vocab_size as f64,
        false => 0.0,
    }
}

/// Parameters of the backbone beside the word embeddings, and of the regions if their size does not follow the
/// data.
fn parameters(model: &ModelConfig, config: &Json) -> f64 {
    let [hidden, layers, inner, positions, types, regions, scale] = [
        model.hidden_size,
        model.num_hidden_layers,
        model.intermediate_size,
        model.max_position_embeddings,
        model.type_vocab_size,
        model.img_feature_dim,
        model.cls_hidden_scale,
    ]
    .map(|size| size as f64);
    let layer = 4.0 * hidden * (hidden + 1.0) + 2.0 * hidden * inner + inner + 5.0 * hidden;
    let regions = if is_of_bert(config) { regions } else { 0.0 };
    let classifier = match config.pointer("/task").is_some() {
        true => scale * hidden * hidden,
        false => 0.0,
    };
    layers * layer + (positions + types + regions) * hidden + 2.0 * hidden * hidden + classifier
}

/// Logs what the run takes, and warns if this machine has less.
///
/// # Errors
/// If weights and optimiser alone, or the activations of a single example, are more than this machine
/// has.
pub fn check(model: &ModelConfig, train: &TrainConfig, config: &Json) -> Result<()> {
    let estimate = Estimate::new(model, train, config);
    let Some(available) = total_memory() else {
        return Ok(());
    };
    judge(&estimate, train, available as f64).map(|told| match told {
        Told::Fits(text) => tracing::info!("{text}"),
        Told::IsShort(text) => tracing::warn!("{text}"),
    })
}

enum Told {
    Fits(String),
    IsShort(String),
}

fn judge(estimate: &Estimate, train: &TrainConfig, available: f64) -> Result<Told> {
    let shown = |size: f64| bytes(size.min(1e18) as u64);
    let sequences = (train.batch_size / train.accumulation.max(1)).max(1) as f64;
    let one = estimate.activations / sequences;
    if estimate.state > available || one > available {
        bail!(
            "a model of these sizes has about {} parameters, which take {} with their gradients and the \
             optimiser's state, and {} for each example of a batch; this machine has {}. Lower \
             model.hidden_size, model.intermediate_size, model.num_hidden_layers, encoder.max_seq_length or \
             encoder.max_regions",
            thousands(estimate.parameters.min(1e18) as u64),
            shown(estimate.state),
            shown(one),
            shown(available)
        );
    }
    let text = format!(
        "about {} parameters, and {} of memory at the peak: {} for weights, gradients and the optimiser's \
         state, {} for the activations of a micro-batch of {sequences}; this machine has {}",
        thousands(estimate.parameters.min(1e18) as u64),
        shown(estimate.peak()),
        shown(estimate.state + estimate.words),
        shown(estimate.activations),
        shown(available)
    );
    if estimate.peak() <= available {
        return Ok(Told::Fits(text));
    }
    // The largest micro-batch that leaves a fifth for everything else.
    let fits = |parts: &usize| {
        let examples = (train.batch_size / parts) as f64;
        let peak = estimate.peak() - estimate.activations + one * examples;
        train.batch_size.is_multiple_of(*parts) && peak < 0.8 * available
    };
    let advice = match (train.accumulation..=train.batch_size).find(fits) {
        Some(parts) => format!(
            ". The same run fits in micro-batches of {}: --set train.accumulation={parts}",
            train.batch_size / parts
        ),
        None if train.gradient_checkpointing => {
            ". No micro-batch fits: take a smaller model or shorter sequences".into()
        }
        None => ". No micro-batch fits: try --set train.gradient_checkpointing=true".into(),
    };
    Ok(Told::IsShort(format!("{text}{advice}")))
}

/// The memory that this process may have: the machine's, or what its control group allows.
pub fn total_memory() -> Option<u64> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let of_group = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let limit = of_group
        .iter()
        .filter_map(|path| number(&read(path)?))
        .min();
    let machine = read("/proc/meminfo").and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        Some(number(line.trim().strip_suffix("kB")?)? * 1024)
    });
    limit.into_iter().chain(machine).min()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    const GIB: f64 = (1_u64 << 30) as f64;

    fn train(batch_size: usize) -> TrainConfig {
        TrainConfig {
            batch_size,
            ..TrainConfig::default()
        }
    }

    fn estimate(model: &ModelConfig, batch_size: usize) -> Estimate {
        let config = json!({"encoder": {"max_seq_length": 35, "max_regions": 50}});
        Estimate::new(model, &train(batch_size), &config)
    }

    #[test]
    fn the_parameters_of_the_published_models_are_counted() {
        for (model, published) in [
            (ModelConfig::base(), 111_684_668.0),
            (ModelConfig::large(), 338_330_428.0),
        ] {
            let counted = estimate(&model, 1).parameters;
            assert!(
                (counted / published - 1.0).abs() < 0.01,
                "{counted} of {published}"
            );
        }
    }

    /// What `oscar-bin bench` measured of pre-training, in MiB; docs/memory.md lists it.
    #[rstest]
    #[case::few(ModelConfig::base(), 8, false, 2160.0)]
    #[case::many(ModelConfig::base(), 32, false, 3360.0)]
    #[case::few_recomputed(ModelConfig::base(), 8, true, 2040.0)]
    #[case::many_recomputed(ModelConfig::base(), 32, true, 2220.0)]
    #[case::tiny(ModelConfig::tiny(), 64, false, 444.0)]
    #[case::large(ModelConfig::large(), 4, false, 5734.0)]
    fn the_peak_is_within_an_eighth_of_what_was_measured(
        #[case] model: ModelConfig,
        #[case] batch_size: usize,
        #[case] gradient_checkpointing: bool,
        #[case] measured: f64,
    ) {
        let train = TrainConfig {
            gradient_checkpointing,
            ..train(batch_size)
        };
        let config = json!({"encoder": {"max_seq_length": 35, "max_regions": 50}});
        let peak = Estimate::new(&model, &train, &config).peak() / f64::from(1 << 20);
        assert!(
            (peak / measured - 1.0).abs() < 0.125,
            "{peak} MiB, {measured} measured"
        );
    }

    #[test]
    fn a_run_that_does_not_fit_is_told_how_it_would() {
        let base = ModelConfig::base();
        let told = |available: f64| judge(&estimate(&base, 768), &train(768), available);
        assert!(matches!(told(1000.0 * GIB), Ok(Told::Fits(_))));
        match told(16.0 * GIB) {
            Ok(Told::IsShort(text)) => {
                assert!(text.contains("train.accumulation="), "{text}");
                assert!(text.contains("micro-batches of "), "{text}");
            }
            _ => panic!("it does not fit as it is"),
        }
        match told(1.7 * GIB) {
            Ok(Told::IsShort(text)) => assert!(text.contains("gradient_checkpointing"), "{text}"),
            _ => panic!("the weights fit, and hardly an example"),
        }
        assert!(told(GIB).is_err(), "the weights alone do not fit");
    }

    #[test]
    fn absurd_sizes_are_refused_by_name() {
        let huge = ModelConfig {
            hidden_size: usize::MAX,
            ..ModelConfig::base()
        };
        let refused = judge(&estimate(&huge, 1), &train(1), 16.0 * GIB);
        let error = refused.err().expect("no machine has that");
        assert!(error.to_string().contains("model.hidden_size"), "{error}");
    }
}
