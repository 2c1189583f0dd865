//! Run directories of another version, of another task, or put together by hand: refused or read, never
//! misread.

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use rstest::rstest;
use serde_json::Value;
use support::{Workplace, assert_fails, stderr, stdout, toy, write};

const MATCHING: &[&str] = &["finetune", "--task", "matching"];

/// Two finished runs: `pretrained` and `matched`.
fn workplace() -> Workplace {
    let place = toy::workplace(|_| false);
    for (command, config, name) in [
        (&["train"][..], "train.toml", "pretrained"),
        (MATCHING, "matching.toml", "matched"),
    ] {
        let few = ["--set", "train.steps=4", "--config", config, "--name", name];
        let output = place.run(&[command, &few].concat());
        assert!(output.status.success(), "{}", stderr(&output));
    }
    place
}

fn resume(place: &Workplace, command: &[&str], name: &str) -> Output {
    place.run(&[command, &["--name", name, "--resume"]].concat())
}

const CHECKPOINT: &str = "checkpoint/step-00000004";

fn run(place: &Workplace, file: &str) -> PathBuf {
    place.path("runs/pretrained").join(file)
}

/// Changes a JSON file.
fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let text = fs::read_to_string(path).expect("a file");
    let mut value = serde_json::from_str(&text).expect("JSON");
    change(&mut value);
    write(path, &value.to_string());
}

/// What was done to a checkpoint by hand.
#[derive(Clone, Copy)]
enum Hand {
    NoState,
    NewVersion,
    NoVersion,
    OtherStep,
    TooFar,
    NoOptimizer,
    ForeignOptimizer,
    OtherModel,
    NoConfig,
    CutConfig,
}

#[rstest]
#[case(Hand::NoState, &["cannot read", "step-00000004/state.json"])]
#[case(Hand::NewVersion, &["state.json", "2", "1"])]
#[case(Hand::NoVersion, &["state.json", "version"])]
#[case(Hand::OtherStep, &["step-00000006/state.json", "step 4", "step 6"])]
#[case(Hand::TooFar, &["state.json", "step 4"])]
#[case(Hand::NoOptimizer, &["optimizer.safetensors"])]
#[case(Hand::ForeignOptimizer, &[])]
#[case(Hand::OtherModel, &["model.safetensors"])]
#[case(Hand::NoConfig, &["runs/pretrained", "config.toml", "--config"])]
#[case(Hand::CutConfig, &["config.toml"])]
fn a_run_put_together_by_hand_is_not_resumed(#[case] hand: Hand, #[case] parts: &[&str]) {
    let place = workplace();
    let file = |name: &str| run(&place, CHECKPOINT).join(name);
    let state = file("state.json");
    let listed = match hand {
        Hand::NoState => fs::remove_file(&state).map(|()| true),
        Hand::NewVersion => {
            // With keys of which this version knows nothing.
            write(&state, r#"{"version": 2, "steps": {"done": 4}}"#);
            Ok(true)
        }
        Hand::NoVersion => {
            edit(&state, |state| {
                drop(state.as_object_mut().expect("a table").remove("version"))
            });
            Ok(true)
        }
        Hand::OtherStep => {
            let other = run(&place, "checkpoint/step-00000006");
            fs::rename(run(&place, CHECKPOINT), other).map(|()| true)
        }
        Hand::TooFar => {
            edit(&state, |state| state["settings"]["steps"] = 3.into());
            Ok(true)
        }
        Hand::NoOptimizer => fs::remove_file(file("optimizer.safetensors")).map(|()| false),
        Hand::ForeignOptimizer => {
            fs::copy(file("model.safetensors"), file("optimizer.safetensors")).map(|_| false)
        }
        Hand::OtherModel => {
            let other = place.path("runs/matched/last/model.safetensors");
            fs::copy(other, file("model.safetensors")).map(|_| false)
        }
        Hand::NoConfig => fs::remove_file(run(&place, "config.toml")).map(|()| true),
        Hand::CutConfig => {
            let config = fs::read_to_string(run(&place, "config.toml")).expect("a file");
            // In the middle of a line.
            let half = config.len() / 2;
            let cut = half + config[half..].find('=').expect("a key") + 1;
            write(&run(&place, "config.toml"), &config[..cut]);
            Ok(false)
        }
    };
    let broken = listed.expect("it is changed");
    let weights = fs::read(run(&place, "last/model.safetensors")).expect("weights");
    assert_fails(&resume(&place, &["train"], "pretrained"), parts);
    assert_eq!(
        fs::read(run(&place, "last/model.safetensors")).expect("weights"),
        weights
    );
    if broken {
        let list = place.run(&["runs", "--json"]);
        let list: Value = serde_json::from_str(&stdout(&list)).expect("JSON");
        let runs = list["runs"].as_array().expect("a list");
        let of = |run: &&Value| run["name"] == "pretrained";
        assert_eq!(
            runs.iter().find(of).expect("it is listed")["state"],
            "broken",
            "{list}"
        );
    }
}

#[test]
fn a_run_is_resumed_by_its_own_command() {
    let place = workplace();
    let started_by = [
        "runs/pretrained was started by `oscar-bin train`",
        "finetune --task matching",
    ];
    assert_fails(&resume(&place, MATCHING, "pretrained"), &started_by);
    let other = ["finetune", "--task", "nlvr2"];
    assert_fails(
        &resume(&place, &other, "matched"),
        &["runs/matched", "`oscar-bin finetune --task matching`"],
    );
    assert_fails(
        &resume(&place, &["train"], "nowhere"),
        &["runs/nowhere", "config.toml"],
    );
    assert!(!place.path("runs/nowhere").exists());
    // Where an older version did not say, the keys do.
    let config = place.path("runs/matched/config.toml");
    let text = fs::read_to_string(&config).expect("a file");
    let rest: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("# Command"))
        .collect();
    write(&config, &rest.join("\n"));
    assert_fails(
        &resume(&place, &["train"], "matched"),
        &["unknown key", "matched/config.toml"],
    );
    assert!(resume(&place, MATCHING, "matched").status.success());
}

#[test]
fn weights_of_another_task_or_shape_are_not_scored() {
    let place = workplace();
    let evaluate = |checkpoint: &str| {
        let data = [
            "--data",
            "dev.jsonl",
            "--regions",
            "regions",
            "--checkpoint",
            checkpoint,
        ];
        place.run(&[&["evaluate", "--task", "matching"], &data[..]].concat())
    };
    assert!(evaluate("runs/matched/best").status.success());
    assert_fails(
        &evaluate("runs/pretrained/last"),
        &["pretrained/last/task.json", "pretraining"],
    );
    // The directory of a run stands for its best checkpoint.
    assert!(evaluate("runs/matched").status.success());
    assert_fails(
        &evaluate("runs/matched/checkpoint/step-00000004"),
        &["step-00000004", "config.json"],
    );

    let file = |name: &str| place.path("runs/matched/best").join(name);
    let config = fs::read_to_string(file("config.json")).expect("a file");
    for (key, value, parts) in [
        ("hidden_size", 64_u64, &["model.safetensors"][..]),
        (
            "num_hidden_layers",
            1_000_000_000,
            &["num_hidden_layers", "at most"],
        ),
        ("vocab_size", 1 << 40, &["best"]),
        ("intermediate_size", 1 << 40, &["best"]),
        ("num_labels", 7, &["best"]),
    ] {
        edit(&file("config.json"), |config| config[key] = value.into());
        assert_fails(&evaluate("runs/matched/best"), parts);
        write(&file("config.json"), &config);
    }
    for name in ["vocab.txt", "config.json", "model.safetensors"] {
        fs::rename(file(name), file("aside")).expect("moved");
        assert_fails(&evaluate("runs/matched/best"), &[name]);
        fs::rename(file("aside"), file(name)).expect("moved back");
    }
    assert!(evaluate("runs/matched/best").status.success());
}

#[test]
fn what_is_no_pretraining_run_is_not_probed() {
    let place = workplace();
    let probe = |run: &str| place.run(&["probe", run]);
    assert_fails(&probe("runs/matched"), &["matched/config.toml"]);
    assert_fails(&probe("runs"), &["runs", "config.toml"]);
    fs::remove_dir_all(run(&place, "best")).expect("a directory");
    fs::remove_dir_all(run(&place, "last")).expect("a directory");
    assert_fails(&probe("runs/pretrained"), &["runs/pretrained"]);
}
