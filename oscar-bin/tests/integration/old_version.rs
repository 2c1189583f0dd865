//! What version 0.1 wrote still opens: a region store, a recipe, a checkpoint of a task, and runs
//! of both kinds that were stopped in the middle. `fixtures/v0.1/make.py` made them with that
//! version's program.

use crate::support;

use std::fs;
use std::path::Path;

use rstest::rstest;
use safetensors::SafeTensors;
use serde_json::Value;
use support::{Workplace, copy_directory, stderr, stdout};

/// A copy of what version 0.1 left behind.
fn old() -> Workplace {
    let place = Workplace::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v0.1");
    copy_directory(&fixtures, place.directory.path());
    place
}

/// Names and values of a file of f32 weights.
fn weights(path: &Path) -> Vec<(String, Vec<f32>)> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let mut tensors: Vec<_> = file
        .iter()
        .map(|(name, view)| {
            let values = view.data().chunks_exact(4);
            let values = values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            (name.to_string(), values.collect())
        })
        .collect();
    tensors.sort_by(|a: &(String, Vec<f32>), b| a.0.cmp(&b.0));
    tensors
}

#[rstest]
#[case::pretraining("pretrain", &["train"])]
#[case::finetuning("vqa", &["finetune", "--task", "vqa"])]
fn a_run_is_resumed_to_the_same_weights(#[case] name: &str, #[case] command: &[&str]) {
    let place = old();
    // Fine-tuning finds its vocabulary beside the weights that it started from; they stay for it.
    let _ = fs::remove_dir_all(place.path(&format!("runs/{name}/last")));
    let output = place.run(&[command, &["--name", name, "--resume", "--backend", "flex"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let resumed = weights(&place.path(&format!("runs/{name}/last/model.safetensors")));
    let expected = weights(&place.path(&format!("{name}-last.safetensors")));
    assert_eq!(resumed.len(), expected.len());
    for ((name, values), (expected_name, expected)) in resumed.iter().zip(&expected) {
        assert_eq!(name, expected_name);
        assert_eq!(values.len(), expected.len(), "{name}");
        // Other processors add in another order; on the one that made the file all bits agree.
        for (value, expected) in values.iter().zip(expected) {
            let bound = 1e-4 * expected.abs().max(1.0);
            assert!(
                (value - expected).abs() <= bound,
                "{name}: {value}, {expected}"
            );
        }
    }
    let log = fs::read_to_string(place.path(&format!("runs/{name}/metrics.jsonl"))).expect("a log");
    let steps: Vec<u64> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line"))
        .filter(|line| line["split"] == "train")
        .map(|line| line["step"].as_u64().expect("a step"))
        .collect();
    assert_eq!(steps, (1..=8).collect::<Vec<_>>(), "{log}");
}

#[test]
fn a_checkpoint_is_scored_on_an_old_store() {
    let place = old();
    let evaluate = [
        "evaluate",
        "--task",
        "vqa",
        "--checkpoint",
        "checkpoint-vqa",
    ];
    let data = ["--data", "questions.jsonl", "--store", "regions", "--json"];
    let output = place.run(&[&evaluate[..], &data].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let scores: Value = serde_json::from_str(&stdout(&output)).expect("one document");
    let expected = fs::read_to_string(place.path("scores.json")).expect("the scores");
    let expected: Value = serde_json::from_str(&expected).expect("JSON");
    assert_eq!(scores["accuracy"], expected["accuracy"]);
    assert_eq!(scores["examples"], expected["examples"]);
    let output = place.run(&["data", "check", "regions"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

/// Every key of an old table has its value in the new one, which may have more.
fn assert_kept(name: &str, old: Option<&toml::Value>, new: Option<&toml::Value>) {
    match (old, new) {
        (Some(toml::Value::Table(old)), Some(toml::Value::Table(new))) => {
            for (key, value) in old {
                assert_kept(&format!("{name}.{key}"), Some(value), new.get(key));
            }
        }
        (old, new) => assert_eq!(new, old, "{name}"),
    }
}

#[rstest]
#[case("pretrain", &["train"])]
#[case("vqa", &["finetune", "--task", "vqa"])]
fn a_resolved_recipe_is_read(#[case] name: &str, #[case] command: &[&str]) {
    let place = old();
    let path = format!("runs/{name}/config.toml");
    let output = place.run(&[command, &["--config", &path, "--print-config"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let read = |text: &str| text.parse::<toml::Table>().expect("TOML");
    let old = read(&fs::read_to_string(place.path(&path)).expect("a recipe"));
    let new = read(&stdout(&output));
    for section in ["train", "optimizer", "encoder"] {
        assert_kept(section, old.get(section), new.get(section));
    }
}
