//! `train.gradient_checkpointing` changes what a run holds in memory, and nothing that it learns.

use crate::support;

use support::{Workplace, assert_fails, stderr};

#[test]
fn a_run_ends_with_the_same_weights_bit_for_bit() {
    let place = Workplace::small();
    let weights = |name: &str, more: &[&str]| {
        // Two corpora of one step and two parts of each: gradients of several backward passes add up.
        let few = [
            "--set",
            "train.steps=6",
            "--set",
            "train.accumulation=2",
            "--set",
            "model.num_hidden_layers=3",
            "--set",
            "model.hidden_dropout_prob=0.1",
            "--set",
            "model.attention_probs_dropout_prob=0.1",
            "--backend",
            "flex",
        ];
        let output = place.train(name, &[&few, more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let path = place.path("runs").join(name).join("last/model.safetensors");
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let expected = weights("plain", &[]);
    let recompute = ["--set", "train.gradient_checkpointing=true"];
    assert!(weights("recomputed", &recompute) == expected);
    let two = [&recompute[..], &["--devices", "0,1"]].concat();
    assert!(weights("by-two", &two) == weights("by-two-plain", &["--devices", "0,1"]));
}

#[test]
fn training_by_reward_is_refused_by_name() {
    let place = Workplace::new();
    let output = place.run(&[
        "finetune",
        "--task",
        "captioning",
        "--config",
        "captioning-base-scst",
        "--set",
        "train.gradient_checkpointing=true",
    ]);
    assert_fails(
        &output,
        &["train.gradient_checkpointing", "task.scst.enabled"],
    );
}
