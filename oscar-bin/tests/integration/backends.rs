//! The backends of this program from the command line: what there is, what is refused, and that a
//! small model learns alike on each.

use crate::support;

use serde_json::Value;
#[cfg(feature = "tch")]
use support::SMALL;
use support::{Workplace, stderr};

#[test]
fn devices_are_listed() {
    let place = Workplace::new();
    let output = place.run(&["devices", "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let backends = document["backends"].as_array().expect("a list");
    let flex = backends.iter().find(|backend| backend["name"] == "flex");
    let flex = flex.expect("it is compiled in");
    assert_eq!(flex["devices"][0]["number"], 0);
    assert_eq!(flex["devices"][0]["precisions"], serde_json::json!(["f32"]));
    for backend in backends {
        let found = backend["devices"].as_array().expect("a list").len();
        assert_eq!(found == 0, backend["missing"].is_string(), "{backend}");
    }
    let table = place.run(&["devices"]);
    let table = String::from_utf8(table.stdout).expect("text");
    assert!(
        table.starts_with("backend  number  precision  device"),
        "{table}"
    );
}

#[test]
fn flex_does_not_multiply_bf16() {
    let place = Workplace::new();
    let output = place.run(&["train", "--backend", "flex", "--precision", "bf16"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(
        said.contains("--precision bf16") && said.contains("flex"),
        "{said}"
    );
    assert!(!place.path("runs").exists(), "no run was begun");
    let output = place.run(&["train", "--precision", "f16"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("f32 or bf16"));
}

/// The loss of every step of a small run without dropout.
#[cfg(feature = "tch")]
fn losses(place: &Workplace, name: &str, more: &[&str]) -> Vec<f64> {
    const PLAIN: &[&str] = &[
        "--set",
        "model.hidden_dropout_prob=0",
        "--set",
        "model.attention_probs_dropout_prob=0",
    ];
    let output = place.run(&[SMALL, PLAIN, &["--name", name], more].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let log = place.path("runs").join(name).join("metrics.jsonl");
    let log = std::fs::read_to_string(log).expect("a log");
    log.lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter(|line| line["split"] == "train")
        .map(|line| line["Loss"].as_f64().expect("a loss"))
        .collect()
}

/// The first step starts from other weights on another backend, which draws its own; so they start
/// from a run's.
#[cfg(feature = "tch")]
#[test]
fn a_small_model_learns_alike_on_every_backend_and_in_bf16() {
    let place = Workplace::small();
    losses(
        &place,
        "start",
        &["--backend", "flex", "--set", "train.steps=2"],
    );
    let start = ["--init", "runs/start/last"];
    let flex = losses(
        &place,
        "flex",
        &[&start[..], &["--backend", "flex"]].concat(),
    );
    let wide = losses(
        &place,
        "wide",
        &[&start[..], &["--backend", "tch"]].concat(),
    );
    let narrow = ["--backend", "tch", "--precision", "bf16"];
    let narrow = losses(&place, "narrow", &[&start[..], &narrow].concat());
    assert!(flex.len() >= 4 && flex.len() == wide.len() && flex.len() == narrow.len());
    for (step, ((flex, wide), narrow)) in flex.iter().zip(&wide).zip(&narrow).enumerate() {
        assert!(
            (flex - wide).abs() <= 1e-3 * flex,
            "step {step}: {flex}, {wide}"
        );
        assert!(
            (wide - narrow).abs() <= 2e-2 * wide,
            "step {step}: {wide}, {narrow}"
        );
    }
    assert_ne!(wide, narrow, "bf16 was computed in f32");
}
