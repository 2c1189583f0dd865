//! A run that is stopped and goes on ends where it would have ended anyway.

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use support::{Workplace, assert_fails, stderr, stdout};

const STEPS: &str = "train.steps=14";

/// A run of the quickstart that is small in everything but its data.
const ARGS: &[&str] = &[
    "train",
    "--set", STEPS,
    "--set", "train.batch_size=8",
    "--set", "train.validate_every=6",
    "--set", "train.save_every=4",
    "--set", "train.log_every=1",
    "--set", "optimizer.warmup_steps=2",
    "--set", "grounding.examples=16",
    // Dropout on, so that its random stream is part of what must be repeated.
    "--set", "model.hidden_dropout_prob=0.1",
    "--set", "model.attention_probs_dropout_prob=0.1",
    "--set", "model.num_hidden_layers=1",
];

fn args(name: &str) -> Vec<&str> {
    [ARGS, &["--name", name]].concat()
}

fn weights(place: &Workplace, name: &str) -> Vec<u8> {
    let path = place.path("runs").join(name).join("last/model.safetensors");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Starts the program and waits until it has reported `steps` steps.
fn start_and_wait(place: &Workplace, args: &[&str], steps: usize) -> Child {
    let mut child = place
        .program()
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let reader = BufReader::new(child.stderr.take().expect("a pipe"));
    let wanted = format!("step {steps}/");
    for line in reader.lines() {
        let line = line.expect("text");
        assert!(!line.contains("error"), "{line}");
        if line.starts_with(&wanted) {
            return child;
        }
    }
    panic!("the program ended before step {steps}");
}

fn interrupt(child: &Child) {
    let status = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill is there");
    assert!(status.success());
}

fn last_checkpoint(run: &Path) -> Option<String> {
    let mut names: Vec<String> = std::fs::read_dir(run.join("checkpoint"))
        .ok()?
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names.pop()
}

#[test]
fn interrupted_and_killed_runs_end_with_the_same_weights_bit_for_bit() {
    let place = Workplace::new();
    let whole = place.run(&args("whole"));
    assert!(whole.status.success(), "{}", stderr(&whole));
    assert!(stdout(&whole).contains("own regions and tags"), "{}", stdout(&whole));
    let expected = weights(&place, "whole");

    // Ctrl-C between two checkpoints: the program saves and ends with 130.
    let mut child = start_and_wait(&place, &args("stopped"), 5);
    interrupt(&child);
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert!(last_checkpoint(&place.path("runs/stopped")).is_some());
    let resumed = place.run(&["train", "--name", "stopped", "--resume"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert!(stderr(&resumed).contains("resuming after step"), "{}", stderr(&resumed));
    assert_eq!(weights(&place, "stopped"), expected, "after an interrupt");

    // kill -9: what was not saved is done again.
    let mut child = start_and_wait(&place, &args("killed"), 7);
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    let resumed = place.run(&["train", "--name", "killed", "--resume"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(weights(&place, "killed"), expected, "after a kill");

    // The log has each step once, whatever happened in between.
    let log = std::fs::read_to_string(place.path("runs/killed/metrics.jsonl")).expect("a log");
    let steps: Vec<u64> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .filter(|line| line["split"] == "train")
        .map(|line| line["step"].as_u64().expect("a step"))
        .collect();
    assert_eq!(steps, (1..=14).collect::<Vec<u64>>());
}

#[test]
fn killed_before_the_first_checkpoint_starts_again_and_says_so() {
    let place = Workplace::new();
    let mut child = start_and_wait(&place, &args("early"), 1);
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    if last_checkpoint(&place.path("runs/early")).is_some() {
        return; // A fast machine was at the first checkpoint already; the other test covers it.
    }
    let resumed = place.run(&["train", "--name", "early", "--resume"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert!(stderr(&resumed).contains("starting from step 0"), "{}", stderr(&resumed));
}

#[test]
fn a_run_is_not_overwritten_and_not_shared() {
    let place = Workplace::new();
    let mut child = start_and_wait(&place, &args("busy"), 1);
    let second = place.run(&["train", "--name", "busy", "--resume"]);
    assert_fails(&second, &["busy", "in use by another process"]);
    child.wait().expect("it ends");
    let again = place.run(&args("busy"));
    assert_fails(&again, &["busy", "exists", "--resume"]);
}

#[test]
fn other_settings_are_refused_on_resume() {
    let place = Workplace::new();
    let mut child = start_and_wait(&place, &args("other"), 5);
    interrupt(&child);
    child.wait().expect("it ends");
    let resumed =
        place.run(&["train", "--name", "other", "--resume", "--set", "train.batch_size=4"]);
    assert_fails(&resumed, &["train.batch_size = 8", "this run has 4"]);
}
