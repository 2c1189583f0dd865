//! The memory that a run takes, told before it is taken.
//!
//! ```text
//! parameters × (weights, gradients, two moments) × 4 bytes + what one micro-batch keeps for its gradients
//! ```

use anyhow::{Result, bail};
use oscar_core::config::ModelConfig;
use oscar_train::{TrainConfig, bytes};
use serde_json::Value as Json;

use crate::output::thousands;

/// Weights, gradients and the two moments of the optimiser, in f32.
const BYTES_PER_PARAMETER: f64 = 16.0;

/// Values of a layer that are kept for each token, as a multiple of the hidden size: inputs and outputs of
/// the projections, the residuals and what the norms need. The feed-forward half comes beside.
const KEPT_PER_TOKEN: f64 = 12.0;

/// The sizes of a run.
pub struct Estimate {
    /// Without embeddings whose size only the data tells.
    pub parameters: f64,
    /// For weights, gradients and the optimiser.
    pub state: f64,
    /// For one micro-batch of the longest sequences.
    pub activations: f64,
}

impl Estimate {
    /// That of a model which is trained with this configuration.
    pub fn new(model: &ModelConfig, train: &TrainConfig, config: &Json) -> Self {
        let parameters = parameters(model, config);
        let tokens = ["/encoder/max_seq_length", "/encoder/max_regions"]
            .iter()
            .filter_map(|key| config.pointer(key)?.as_f64())
            .sum::<f64>();
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
            activations: sequences * tokens * per_token * 4.0,
        }
    }

    /// The memory that the run takes at its peak, in bytes.
    pub fn peak(&self) -> f64 {
        self.state + self.activations
    }
}

/// Parameters of the backbone, and of the word embedding if its size does not follow the data.
fn parameters(model: &ModelConfig, config: &Json) -> f64 {
    let [
        hidden,
        layers,
        inner,
        positions,
        types,
        words,
        regions,
        scale,
    ] = [
        model.hidden_size,
        model.num_hidden_layers,
        model.intermediate_size,
        model.max_position_embeddings,
        model.type_vocab_size,
        model.vocab_size,
        model.img_feature_dim,
        model.cls_hidden_scale,
    ]
    .map(|size| size as f64);
    let layer = 4.0 * hidden * (hidden + 1.0) + 2.0 * hidden * inner + inner + 5.0 * hidden;
    let of_bert = matches!(
        config.pointer("/data/vocab").and_then(Json::as_str),
        None | Some("bert-base-uncased")
    );
    let words = if of_bert { words } else { 0.0 };
    let regions = if of_bert { regions } else { 0.0 };
    let classifier = match config.pointer("/task").is_some() {
        true => scale * hidden * hidden,
        false => 0.0,
    };
    layers * layer
        + (positions + types + words + regions) * hidden
        + 2.0 * hidden * hidden
        + classifier
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
             model.hidden_size, model.intermediate_size, model.num_hidden_layers or encoder.max_seq_length",
            thousands(estimate.parameters.min(1e18) as u64),
            shown(estimate.state),
            shown(one),
            shown(available)
        );
    }
    let text = format!(
        "about {} of memory at the peak: {} for weights, gradients and the optimiser's state, {} for the \
         activations of a micro-batch of {sequences}; this machine has {}",
        shown(estimate.peak()),
        shown(estimate.state),
        shown(estimate.activations),
        shown(available)
    );
    if estimate.peak() <= available {
        return Ok(Told::Fits(text));
    }
    let fits = |parts: &usize| {
        let examples = (train.batch_size / parts) as f64;
        train.batch_size.is_multiple_of(*parts) && estimate.state + one * examples < 0.8 * available
    };
    let advice = (train.accumulation..=train.batch_size)
        .find(fits)
        .map_or(String::new(), |parts| {
            format!(". The same run fits with --set train.accumulation={parts}")
        });
    Ok(Told::IsShort(format!("{text}{advice}")))
}

/// The memory that this process may have: the machine's, or what its control group allows.
fn total_memory() -> Option<u64> {
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

    #[test]
    fn a_run_that_does_not_fit_is_told_how_it_would() {
        let base = ModelConfig::base();
        let told = |available: f64| judge(&estimate(&base, 768), &train(768), available);
        assert!(matches!(told(1000.0 * GIB), Ok(Told::Fits(_))));
        match told(16.0 * GIB) {
            Ok(Told::IsShort(text)) => assert!(text.contains("train.accumulation="), "{text}"),
            _ => panic!("it does not fit as it is"),
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
