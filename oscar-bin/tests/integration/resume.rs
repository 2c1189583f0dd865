//! A run that is stopped and goes on ends where it would have ended anyway.

use crate::official_support;
use crate::support;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Stdio};

use official_support::Official;
use rstest::rstest;
use support::{MIXED, SMALL, Workplace, assert_fails, stderr, stdout, write};

/// A small run with dropout, so that its random stream is part of what must be repeated.
fn args(name: &str) -> Vec<&str> {
    const DROPOUT: &[&str] = &[
        "--set",
        "model.hidden_dropout_prob=0.1",
        "--set",
        "model.attention_probs_dropout_prob=0.1",
    ];
    [SMALL, DROPOUT, &["--name", name]].concat()
}

fn weights(place: &Workplace, name: &str) -> Vec<u8> {
    let path = place.path("runs").join(name).join("last/model.safetensors");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A program that runs, and what it says.
struct Running {
    child: Child,
    messages: BufReader<ChildStderr>,
}

impl Running {
    /// Starts the program and waits until it has reported `steps` steps.
    fn start(place: &Workplace, args: &[&str], steps: usize) -> Self {
        let mut child = place
            .program()
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut messages = BufReader::new(child.stderr.take().expect("a pipe"));
        let wanted = format!("step {steps}/");
        let mut line = String::new();
        while messages.read_line(&mut line).expect("text") > 0 {
            assert!(!line.contains("error"), "{line}");
            if line.starts_with(&wanted) {
                return Self { child, messages };
            }
            line.clear();
        }
        let code = child.wait().expect("it ends");
        panic!("the program ended before step {steps}: {code}");
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = std::process::Command::new("kill")
            .args([name, &id])
            .status();
        assert!(status.expect("kill is there").success());
    }

    /// Exit code, and what it said since the start.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.messages.read_to_string(&mut rest).expect("text");
        (self.child.wait().expect("it ends").code(), rest)
    }

    fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }
}

fn has_checkpoint(run: &Path) -> bool {
    let entries = std::fs::read_dir(run.join("checkpoint"));
    entries.is_ok_and(|entries| entries.count() > 0)
}

/// Training steps in the log of a run, in its order.
fn logged_steps(place: &Workplace, name: &str) -> Vec<u64> {
    let path = place.path("runs").join(name).join("metrics.jsonl");
    let log = std::fs::read_to_string(path).expect("a log");
    log.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .filter(|line| line["split"] == "train")
        .map(|line| line["step"].as_u64().expect("a step"))
        .collect()
}

#[test]
fn interrupted_and_killed_runs_end_with_the_same_weights_bit_for_bit() {
    let place = Workplace::small();
    let whole = place.run(&args("whole"));
    assert!(whole.status.success(), "{}", stderr(&whole));
    assert!(
        stdout(&whole).contains("own regions and tags"),
        "{}",
        stdout(&whole)
    );
    let expected = weights(&place, "whole");

    // Asked to stop between two checkpoints: the program saves and ends with 130.
    for (name, signal) in [("interrupted", "-INT"), ("terminated", "-TERM")] {
        let run = Running::start(&place, &args(name), 13);
        run.signal(signal);
        let (code, said) = run.end();
        assert_eq!(code, Some(130), "{said}");
        let hint = format!("oscar-bin train --name {name} --resume");
        assert!(said.contains(&hint), "{said}");
        assert!(has_checkpoint(&place.path("runs").join(name)));
        let resumed = place.run(&["train", "--name", name, "--resume"]);
        assert!(resumed.status.success(), "{}", stderr(&resumed));
        assert!(
            stderr(&resumed).contains("resuming after step"),
            "{}",
            stderr(&resumed)
        );
        assert_eq!(weights(&place, name), expected, "after {signal}");
        assert_eq!(logged_steps(&place, name), (1..=60).collect::<Vec<u64>>());
    }

    // kill -9, once in the first rounds and once after the resume: what was not saved is done
    // again, and logged once.
    Running::start(&place, &args("killed"), 17).kill();
    Running::start(&place, &["train", "--name", "killed", "--resume"], 41).kill();
    let resumed = place.run(&["train", "--name", "killed", "--resume"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(weights(&place, "killed"), expected, "after a kill");
    assert_eq!(
        logged_steps(&place, "killed"),
        (1..=60).collect::<Vec<u64>>()
    );
}

#[test]
fn a_mix_in_windows_is_resumed_within_an_epoch_with_the_same_weights_bit_for_bit() {
    let place = Workplace::new();
    Official::write(place.directory.path(), 40);
    write(&place.path("mixed.toml"), MIXED);
    fn run(name: &str) -> [&str; 5] {
        ["train", "--config", "mixed.toml", "--name", name]
    }
    let whole = place.run(&run("whole"));
    assert!(whole.status.success(), "{}", stderr(&whole));
    assert!(
        stderr(&whole).contains("160 examples (75.0 %) + 160 examples (25.0 %)"),
        "{}",
        stderr(&whole)
    );
    let expected = weights(&place, "whole");
    for step in [3, 17] {
        let name = format!("interrupted-{step}");
        let interrupted = Running::start(&place, &run(&name), step);
        interrupted.signal("-INT");
        let (code, said) = interrupted.end();
        assert_eq!(code, Some(130), "{said}");
        let resumed = place.run(&["train", "--name", &name, "--resume"]);
        assert!(resumed.status.success(), "{}", stderr(&resumed));
        assert!(
            stderr(&resumed).contains("resuming after step"),
            "{}",
            stderr(&resumed)
        );
        assert_eq!(weights(&place, &name), expected, "after step {step}");
    }

    // What decides the order cannot be changed on the way.
    let run = Running::start(&place, &run("other"), 5);
    run.signal("-INT");
    run.end();
    let resume = ["train", "--name", "other", "--resume", "--set"];
    let set = |value: &str| place.run(&[&resume[..], &[value]].concat());
    assert_fails(
        &set("train.shuffle_window=0"),
        &["train.shuffle_window = 24"],
    );
    let other = MIX.replace("weight = 3.0", "weight = 2.0");
    assert_fails(&set(&other), &["started with data.mix = ", "3.0"]);
    // The same corpora elsewhere are no change.
    std::fs::rename(place.path("same.jsonl"), place.path("moved.jsonl")).expect("a move");
    let moved = MIX.replace("same.jsonl", "moved.jsonl");
    let validation = "data.validation.corpus=moved.jsonl";
    let resumed = place.run(&[&resume[..], &[&moved, "--set", validation]].concat());
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(weights(&place, "other"), expected);
}

/// The corpora of [`MIXED`], as `--set` takes them.
const MIX: &str = "data.mix=[\
    {corpus = 'texts/corpus.yaml', regions = 'data', weight = 3.0}, \
    {corpus = 'same.jsonl', regions = 'same', weight = 1.0}]";

#[test]
fn killed_before_the_first_checkpoint_starts_again_and_says_so() {
    let place = Workplace::small();
    Running::start(&place, &args("early"), 1).kill();
    if has_checkpoint(&place.path("runs/early")) {
        return; // A fast machine was at the first checkpoint already; the other test covers it.
    }
    let resumed = place.run(&["train", "--name", "early", "--resume"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert!(
        stderr(&resumed).contains("starting from step 0"),
        "{}",
        stderr(&resumed)
    );
    // With the settings it was started with, not those of the default recipe.
    assert!(
        stderr(&resumed).contains("step 60/60"),
        "{}",
        stderr(&resumed)
    );
}

#[test]
fn a_signal_of_the_scheduler_saves_and_the_run_continues() {
    let place = Workplace::small();
    let steps = ["--set", "train.save_every=1000", "--set", "train.steps=40"];
    let run = Running::start(&place, &[&args("slurm")[..], &steps].concat(), 5);
    run.signal("-USR1");
    let (code, said) = run.end();
    assert_eq!(code, Some(0), "{said}");
    let saved = said
        .lines()
        .find_map(|line| line.split("a checkpoint of step ").nth(1));
    let step = saved
        .and_then(|rest| rest.split(',').next())
        .expect("a checkpoint");
    assert!(step.parse::<usize>().expect("a step") < 40, "{said}");
    let name = format!("runs/slurm/checkpoint/step-{step:0>8}");
    assert!(place.path(&name).is_dir(), "{name}");
}

#[test]
fn a_run_is_not_overwritten_and_not_shared() {
    let place = Workplace::small();
    let run = Running::start(&place, &args("busy"), 1);
    let second = place.run(&["train", "--name", "busy", "--resume"]);
    assert_fails(&second, &["busy", "in use by another process"]);
    assert_eq!(run.end().0, Some(0));
    let again = place.run(&args("busy"));
    assert_fails(&again, &["busy", "exists", "--resume"]);
}

#[rstest]
#[case::batch("train.batch_size=4", &["train.batch_size = 8", "train.batch_size = 4"])]
#[case::model("model.hidden_size=64", &["model.hidden_size = 128", "model.hidden_size = 64"])]
fn other_settings_are_refused_on_resume(#[case] set: &str, #[case] parts: &[&str]) {
    let place = Workplace::small();
    let run = Running::start(&place, &args("other"), 11);
    run.signal("-INT");
    run.end();
    let resumed = place.run(&["train", "--name", "other", "--resume", "--set", set]);
    assert_fails(&resumed, parts);
    // The refusal has not changed the run: without the setting it goes on.
    let resumed = place.run(&["train", "--name", "other", "--resume"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
}

#[test]
fn a_changed_setting_is_named_on_resume() {
    let place = Workplace::small();
    let run = Running::start(&place, &args("changed"), 11);
    run.signal("-INT");
    run.end();
    let decay = [
        "--set",
        "optimizer.weight_decay=0.25",
        "--set",
        "train.workers=1",
    ];
    let resumed = place.run(&[&["train", "--name", "changed", "--resume"][..], &decay].concat());
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert!(stderr(&resumed).contains("optimizer.weight_decay"));
    assert!(!stderr(&resumed).contains("train.workers"));
}

#[test]
fn a_run_that_diverges_ends_with_an_error_and_leaves_no_broken_checkpoint() {
    let place = Workplace::small();
    let output = place.run(
        &[
            &args("diverges")[..],
            &["--set", "optimizer.learning_rate=1e30"],
        ]
        .concat(),
    );
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = stderr(&output);
    assert!(!text.contains("panicked"), "{text}");
    assert!(
        text.contains("not a finite number") || text.contains("NaN at element"),
        "{text}"
    );
    // What was saved before can be resumed from: it fails again for the same reason, not for a file.
    let again = place.run(&["train", "--name", "diverges", "--resume"]);
    assert!(!stderr(&again).contains("panicked"), "{}", stderr(&again));
}
