//! The files of a run: checkpoints, the log, fine-tuned weights with what describes them.

use std::sync::OnceLock;

use burn::backend::Autodiff;
use burn::module::{Initializer, Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn_flex::{Flex, FlexDevice};
use oscar_core::checkpoint::Checkpointed;
use oscar_core::config::ModelConfig;
use oscar_core::input::{PaddingConfig, SequenceConfig};
use oscar_matching::Matching;
use oscar_task::TaskCheckpoint;
use oscar_train::{AdamW, AdamWConfig, Best, FixedSettings, MetricsLog, RunDir, TrainState};
use oscar_vqa::Vqa;
use serde_json::json;

use super::files;
use super::seeds::{Files, numbered, vocabularies};
use super::targets::change;

type B = Autodiff<Flex>;

/// A model of a few numbers.
#[derive(Module, Debug)]
struct Line<B: Backend> {
    scale: Param<Tensor<B, 1>>,
}

impl<B: Backend> Checkpointed<B> for Line<B> {}

/// Model and optimiser as a run starts with them.
fn start() -> (Line<B>, AdamW<B>) {
    let init = Initializer::Constant { value: 0.5 };
    let model = Line {
        scale: init.init([2], &FlexDevice),
    };
    let optimizer = AdamW::new(AdamWConfig::default(), &model);
    (model, optimizer)
}

fn settings() -> FixedSettings {
    FixedSettings {
        seed: 42,
        steps: 10,
        batch_size: 8,
        accumulation: 2,
        examples: vec![40],
        shuffle_window: 0,
        mix: Vec::new(),
    }
}

/// A run directory with a checkpoint of step 2.
fn checkpoint_files() -> Files {
    let place = tempfile::tempdir().expect("a temporary directory");
    let run = RunDir::lock(place.path()).expect("a run");
    let (model, mut optimizer) = start();
    let loss = model.scale.val().sum();
    let grads = GradientsParams::from_grads(loss.backward(), &model);
    let model = optimizer.step(1e-3, model, grads);
    let best = Best {
        step: 2,
        loss: 1.5,
        score: Some(0.5),
    };
    let state = TrainState::new(2, settings(), Some(best));
    run.save(&state, &model, &optimizer, 2)
        .expect("a checkpoint");
    let files = files::collect(place.path()).into_iter();
    files
        .filter(|(name, _)| name.starts_with("checkpoint"))
        .collect()
}

pub(super) fn read_checkpoint(input: &[u8]) {
    static ORIGINAL: OnceLock<Files> = OnceLock::new();
    let original = ORIGINAL.get_or_init(checkpoint_files);
    let Some((directory, _)) = change("run", original, input) else {
        return;
    };
    let (model, optimizer) = start();
    let run = RunDir::lock(directory).expect("nobody else has it");
    if let Ok((_, _, Some(state))) = run.restore(&settings(), model, optimizer, &FlexDevice) {
        assert_eq!(state.step, 2, "a state of another step");
    }
}

pub(super) fn checkpoints() -> Vec<Vec<u8>> {
    numbered(checkpoint_files())
}

pub(super) fn read_metrics_log(input: &[u8]) {
    let _ = MetricsLog::open(&files::file("metrics.jsonl", input), 3);
}

pub(super) fn metrics_logs() -> Vec<Vec<u8>> {
    let lines: String = (1..6)
        .map(|step| json!({"step": step, "split": "train", "Loss": 0.5, "Samples/s": 9.0}))
        .map(|line| format!("{line}\n"))
        .collect();
    vec![lines.into_bytes()]
}

fn description(task: &str, section: serde_json::Value) -> Vec<u8> {
    let description = json!({
        "task": task,
        "section": section,
        "encoder": SequenceConfig::default(),
        "padding": PaddingConfig::default(),
    });
    description.to_string().into_bytes()
}

fn weight_files() -> Files {
    let model = serde_json::to_vec(&ModelConfig::default()).expect("JSON");
    let vocabulary = vocabularies().swap_remove(0);
    let of_vqa = description("vqa", json!({"answers": "answers.json", "loss": "kl"}));
    vec![
        (
            "matching/task.json".into(),
            description("matching", json!({})),
        ),
        ("matching/config.json".into(), model.clone()),
        ("matching/vocab.txt".into(), vocabulary.clone()),
        ("vqa/task.json".into(), of_vqa),
        ("vqa/config.json".into(), model),
        ("vqa/vocab.txt".into(), vocabulary),
    ]
}

pub(super) fn read_task_checkpoint(input: &[u8]) {
    static ORIGINAL: OnceLock<Files> = OnceLock::new();
    let original = ORIGINAL.get_or_init(weight_files);
    if let Some((directory, _)) = change("weights", original, input) {
        let _ = TaskCheckpoint::<Matching>::open(&directory.join("matching"));
        let _ = TaskCheckpoint::<Vqa>::open(&directory.join("vqa"));
    }
}

pub(super) fn task_checkpoints() -> Vec<Vec<u8>> {
    numbered(weight_files())
}
