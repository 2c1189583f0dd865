//! The list of runs, and what sets runs apart.

use crate::support;

use std::fs::{self, File};

use serde_json::{Value, json};
use support::{Workplace, assert_fails, stderr, stdout, write};

/// Two checkpoints and one validation.
const TWELVE_STEPS: &[&str] = &["--set", "train.steps=12"];

fn train(place: &Workplace, name: &str, more: &[&str]) {
    let output = place.train(name, &[TWELVE_STEPS, more].concat());
    assert!(output.status.success(), "{}", stderr(&output));
}

fn listed(place: &Workplace, args: &[&str]) -> Value {
    let output = place.run(&[&["runs", "--json"], args].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).expect("JSON")
}

fn text(place: &Workplace, args: &[&str]) -> String {
    let output = place.run(&[&["runs"], args].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

/// The last line of a split in the log of a run.
fn logged(place: &Workplace, name: &str, split: &str) -> Value {
    let log = fs::read_to_string(place.path("runs").join(name).join("metrics.jsonl"));
    let log = log.expect("a log");
    let mut lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter(|line| line["split"] == split);
    lines.next_back().expect("a line")
}

#[test]
fn runs_are_listed_with_how_far_they_came_and_compared() {
    let place = Workplace::small();
    train(&place, "ended", &[]);
    train(&place, "stopped", &["--seed", "7"]);
    // As a kill between the two checkpoints leaves it.
    fs::remove_dir_all(place.path("runs/stopped/checkpoint/step-00000012")).expect("a checkpoint");

    let list = listed(&place, &[]);
    let runs = list["runs"].as_array().expect("a list");
    let names: Vec<_> = runs.iter().map(|run| &run["name"]).collect();
    assert_eq!(names, ["stopped", "ended"], "newest first");
    assert!(list.get("differences").is_none());
    let (stopped, ended) = (&runs[0], &runs[1]);
    assert_eq!(stopped["state"], "stopped");
    assert_eq!(
        (&stopped["step"], &stopped["steps"]),
        (&json!(10), &json!(12))
    );
    assert_eq!(
        stopped["best"],
        json!(null),
        "the checkpoint knows of no validation"
    );

    assert_eq!(ended["state"], "done");
    assert_eq!((&ended["step"], &ended["steps"]), (&json!(12), &json!(12)));
    assert_eq!(ended["recipe"], "shapes");
    assert_eq!(ended["loss"], logged(&place, "ended", "train")["Loss"]);
    assert!(ended["samples_per_second"].as_f64() > Some(0.0));
    assert!(ended["written"].as_u64() > Some(0));
    let validation = logged(&place, "ended", "valid");
    assert_eq!(ended["best"]["step"], 12);
    assert_eq!(ended["best"]["by"], "Loss");
    let measured = ended["best"]["metrics"].as_object().expect("metrics");
    assert!(measured.len() > 2);
    for (name, value) in measured {
        assert_eq!(*value, validation[name], "{name}");
    }

    let table = text(&place, &[]);
    assert!(table.contains("stopped at step 10 of 12"), "{table}");
    assert!(table.contains("done, 12 steps"), "{table}");

    // Running: its lock is held, here by this process.
    let lock = File::open(place.path("runs/ended/.lock")).expect("a lock");
    lock.lock().expect("nobody holds it");
    assert_eq!(listed(&place, &["ended"])["runs"][0]["state"], "running");
    assert!(text(&place, &["ended"]).contains("running, step 12 of 12"));
    drop(lock);

    let compared = listed(&place, &["ended", "stopped"]);
    let seeds = json!({"ended": ended_seed(&place), "stopped": 7});
    assert_eq!(
        compared["differences"],
        json!([{"key": "train.seed", "values": seeds}])
    );
    let table = text(&place, &["ended", "stopped"]);
    assert!(table.contains("train.seed"), "{table}");
    assert!(!table.contains("train.steps"), "{table}");
    assert!(table.contains("Masked-token accuracy"), "{table}");

    // Resumed, it is done and still knows its recipe.
    let resumed = place.run(&["train", "--name", "stopped", "--resume"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    let run = &listed(&place, &["stopped"])["runs"][0];
    assert_eq!(run["state"], "done");
    assert_eq!(run["recipe"], "shapes");
}

fn ended_seed(place: &Workplace) -> i64 {
    let config = fs::read_to_string(place.path("runs/ended/config.toml")).expect("a configuration");
    let config: toml::Table = config.parse().expect("TOML");
    config["train"]["seed"].as_integer().expect("a seed")
}

#[test]
fn what_is_no_run_or_broken_is_listed_as_such() {
    let place = Workplace::new();
    let make = |name: &str, files: &[(&str, &str)]| {
        for (file, content) in files {
            let path = place.path("runs").join(name).join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            write(&path, content);
        }
    };
    let config = "[train]\nsteps = 9\n";
    let line = "{\"step\": 1, \"split\": \"train\", \"Loss\": 2.5}\n";
    let state = "checkpoint/step-00000005/state.json";
    make("foreign", &[("notes.txt", "mine")]);
    make("syntax", &[("config.toml", "[train]\nsteps = = 9\n")]);
    let log = format!("{line}gibberish\n{line}");
    make("log", &[("config.toml", config), ("metrics.jsonl", &log)]);
    make(
        "state",
        &[("config.toml", config), (state, "{\"version\": 1")],
    );
    make("red\u{1b}[31m", &[("notes.txt", "mine")]);
    make(".hidden", &[("notes.txt", "mine")]);
    write(&place.path("runs/file"), "no directory");
    // A last line that was torn by a kill is no damage.
    let log = format!("{line}{{\"step\": 2");
    make("torn", &[("config.toml", config), ("metrics.jsonl", &log)]);

    let list = text(&place, &[]);
    for part in [
        "foreign: ",
        "syntax: config.toml line 2 ",
        "log: metrics.jsonl line 2 ",
        "state: ",
        "stopped before a checkpoint",
    ] {
        assert!(list.contains(part), "{part:?} is not in\n{list}");
    }
    assert!(!list.contains('\u{1b}'), "{list:?}");
    assert!(!list.contains("hidden"), "{list}");

    let document = listed(&place, &["torn"]);
    let torn = &document["runs"][0];
    assert_eq!(torn["loss"], 2.5);
    assert_eq!(
        (&torn["state"], &torn["steps"]),
        (&json!("stopped"), &json!(9))
    );
    let broken = &listed(&place, &["foreign"])["runs"][0];
    assert_eq!(broken["state"], "broken");
    assert_fails(
        &place.run(&["runs", "torn", "foreign"]),
        &["foreign", "config.toml"],
    );
}

#[test]
fn runs_that_are_not_there_are_named() {
    let place = Workplace::new();
    assert!(text(&place, &[]).contains("runs"));
    assert_eq!(listed(&place, &[]), json!({"runs": []}));
    assert_fails(&place.run(&["runs", "nowhere"]), &["\"nowhere\"", "runs"]);
    fs::create_dir_all(place.path("runs/twin")).expect("a directory");
    assert_fails(&place.run(&["runs", "twin", "twin"]), &["twin"]);
    assert_fails(&place.run(&["runs", "../runs"]), &["../runs"]);
    write(&place.path("file"), "no directory");
    assert_fails(&place.run(&["runs", "--runs-dir", "file"]), &["file"]);
}
