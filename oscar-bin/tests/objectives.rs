//! A pre-training recipe lists its objectives: `[[objective]]`.

mod support;

use std::fs;

use serde_json::Value;
use support::{Workplace, stderr, toy};

/// The toy recipe with `objectives` appended, trained; the workplace it ran in.
fn train(objectives: &str) -> (Workplace, std::process::Output) {
    let place = toy::workplace(|_| false);
    let recipe = fs::read_to_string(place.path("train.toml")).expect("the toy recipe");
    fs::write(place.path("own.toml"), format!("{recipe}\n{objectives}\n")).expect("written");
    let output = place.run(&["train", "--config", "own.toml", "--name", "own"]);
    (place, output)
}

/// Names of the metrics of the last training step.
fn metrics(place: &Workplace) -> Vec<String> {
    let log = fs::read_to_string(place.path("runs/own/metrics.jsonl")).expect("a log");
    let last = log.lines().rfind(|line| line.contains("\"train\""));
    let line: Value = serde_json::from_str(last.expect("a step")).expect("JSON");
    line.as_object().expect("a line").keys().cloned().collect()
}

#[test]
fn one_objective_is_trained_alone() {
    let (place, output) = train("[[objective]]\nname = \"masked_tokens\"\n");
    assert!(output.status.success(), "{}", stderr(&output));
    let names = metrics(&place);
    assert!(names.iter().any(|name| name == "MLM loss"), "{names:?}");
    assert!(
        !names.iter().any(|name| name == "Contrastive loss"),
        "{names:?}"
    );
}

#[test]
fn the_default_list_is_the_published_one() {
    let published = "[[objective]]\nname = \"masked_tokens\"\n\n\
                     [[objective]]\nname = \"contrastive\"\nweight = 1.0\n";
    let weights = |objectives| {
        let (place, output) = train(objectives);
        assert!(output.status.success(), "{}", stderr(&output));
        fs::read(place.path("runs/own/last/model.safetensors")).expect("weights")
    };
    let default = weights("");
    assert!(default == weights(published));
    let half = published.replace("1.0", "0.5");
    assert!(
        default != weights(&half),
        "the weight of a loss has no effect"
    );
}

#[test]
fn an_unknown_or_repeated_objective_is_refused() {
    for (objectives, named) in [
        ("[[objective]]\nname = \"regions\"\n", "regions"),
        (
            "[[objective]]\nname = \"contrastive\"\nweight = 0\n",
            "objective.weight",
        ),
    ] {
        let (place, output) = train(objectives);
        assert_eq!(output.status.code(), Some(1), "{objectives}");
        assert!(stderr(&output).contains(named), "{}", stderr(&output));
        assert!(!place.path("runs/own/last").exists());
    }
}
