//! Features that overflow: the run stops and names their examples, or leaves the step out.

use crate::support;

use std::process::Output;

use rstest::rstest;
use serde_json::Value;
use support::{Workplace, assert_fails, stderr, stdout, toy};

const TASKS: [(&[&str], &str); 2] = [
    (&["train", "--config", "train.toml"], "image image-5"),
    (
        &[
            "finetune",
            "--task",
            "matching",
            "--config",
            "matching.toml",
        ],
        "train.jsonl:1",
    ),
];

fn run(place: &Workplace, command: &[&str], name: &str, more: &[&str]) -> Output {
    place.run(&[command, &["--name", name], more].concat())
}

fn weights(place: &Workplace, name: &str) -> Vec<u8> {
    let path = place.path("runs").join(name).join("last/model.safetensors");
    std::fs::read(path).expect("weights")
}

fn named(place: &Workplace, name: &str) -> Vec<Value> {
    let path = place.path("runs").join(name).join("non-finite.jsonl");
    let text = std::fs::read_to_string(path).expect("a file");
    let line = |line| serde_json::from_str(line).expect("JSON");
    text.lines().map(line).collect()
}

#[rstest]
fn the_examples_of_a_step_are_named(#[values(0, 1)] task: usize) {
    let place = toy::workplace(|image| image == 5);
    let (command, part) = TASKS[task];
    let output = run(&place, command, "stops", &[]);
    assert_fails(
        &output,
        &["step", "runs/stops/non-finite.jsonl", "learning_rate"],
    );
    let lines = named(&place, "stops");
    assert_eq!(lines.len(), 1);
    let examples = lines[0]["examples"].to_string();
    assert!(examples.contains(part), "{examples}");
    // The run can be resumed, and fails at the same step again.
    let again = run(
        &place,
        &command[..command.len() - 2],
        "stops",
        &["--resume"],
    );
    assert_fails(&again, &["step"]);
    assert_eq!(named(&place, "stops"), lines);

    let skip = ["--resume", "--set", "train.non_finite=skip"];
    let output = run(&place, &command[..command.len() - 2], "stops", &skip);
    assert!(output.status.success(), "{}", stderr(&output));
    let skipped = named(&place, "stops").len();
    let expected = format!("{skipped} of 24 steps");
    assert!(stdout(&output).contains(&expected), "{}", stdout(&output));
    assert!(
        stderr(&output).contains("1 in a row"),
        "{}",
        stderr(&output)
    );

    // From the start it comes to the same.
    let skip = ["--json", "--set", "train.non_finite=skip"];
    let output = run(&place, command, "skips", &skip);
    let report: Value = serde_json::from_str(&stdout(&output)).expect("one document");
    assert_eq!(report["skipped_steps"], skipped);
    assert_eq!(weights(&place, "skips"), weights(&place, "stops"));
}

#[test]
fn a_run_without_a_finite_step_keeps_its_weights() {
    let place = toy::workplace(|image| image < 24);
    let (command, _) = TASKS[0];
    let few = [
        "--set",
        "train.steps=6",
        "--set",
        "data.validation.corpus=dev.jsonl",
    ];
    let skip = [&few[..], &["--set", "train.non_finite=skip"]].concat();
    let output = run(&place, command, "skips", &skip);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("6 of 6 steps"),
        "{}",
        stdout(&output)
    );

    // Weights that no step has changed.
    let good = toy::workplace(|_| false);
    let still = [&few[..], &["--set", "optimizer.learning_rate=0"]].concat();
    let output = run(&good, command, "still", &still);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(weights(&place, "skips"), weights(&good, "still"));

    // Beyond ten in a row a run ends all the same.
    let output = run(&place, command, "more", &["--set", "train.non_finite=skip"]);
    assert_fails(&output, &["step 10"]);
}
