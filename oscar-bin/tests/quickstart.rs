//! The first command of the README keeps its promise: the model learns from the images.

mod support;

use serde_json::Value;
use support::{Workplace, stderr, stdout};

/// Trains the quickstart for `steps` steps and returns its JSON report.
fn train(place: &Workplace, steps: usize) -> Value {
    let steps = format!("train.steps={steps}");
    let output = place.run(&["train", "--json", "--set", &steps]);
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).expect("one JSON document on standard output")
}

/// Checks what the model reads from the images: masked colours, shapes and numbers of held-out
/// captions are guessed beside the image's own regions and beside another image's; the difference
/// can only come from the image.
fn check(report: &Value, least_own: f64, least_difference: f64, least_contrastive: f64) {
    let number = |pointer: &str| {
        let value = report.pointer(pointer).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("{pointer} is missing from {report:#}"))
    };
    let own = number("/grounding/own_image");
    assert!(number("/grounding/words") >= 1000.0, "{report:#}");
    assert!(own >= least_own, "{report:#}");
    assert!(
        own - number("/grounding/other_image") >= least_difference,
        "{report:#}"
    );
    let contrastive = number("/validation/contrastive_accuracy");
    assert!(contrastive >= least_contrastive, "{report:#}");
    assert_eq!(number("/contrastive_chance"), 0.5);
}

#[test]
fn a_short_quickstart_begins_to_read_the_images() {
    let place = Workplace::new();
    let report = train(&place, 500);
    check(&report, 0.60, 0.10, 0.55);
    let last = place.path("runs/quickstart/last");
    for file in ["model.safetensors", "config.json", "vocab.txt", "task.json"] {
        assert!(last.join(file).is_file(), "{file} is missing");
    }
}

#[test]
#[ignore = "four minutes; .ci/run runs it"]
fn the_quickstart_reads_the_images() {
    let report = train(&Workplace::new(), 2000);
    check(&report, 0.90, 0.25, 0.90);
}
