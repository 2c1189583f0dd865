//! The first command of the README keeps its promise: the model learns from the images.

use crate::support;

use serde_json::Value;
use support::{Workplace, stderr, stdout};

/// Trains the quickstart for `steps` steps and returns its JSON report.
fn train(place: &Workplace, steps: usize) -> Value {
    let steps = format!("train.steps={steps}");
    let output = place.run(&["train", "--json", "--set", &steps]);
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).expect("one JSON document on standard output")
}

fn number(report: &Value, pointer: &str) -> f64 {
    let value = report.pointer(pointer).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("{pointer} is missing from {report:#}"))
}

/// Checks what the model reads from the images: names are masked in captions of new scenes and
/// predicted beside the scene's own regions and tags, and beside another scene's; what is right with
/// the first and wrong with the second was read from the image. `least` is asked of scenes by the
/// artists of training, and by one that the model has never seen.
fn check(report: &Value, least: [f64; 2]) {
    for (least, of) in least.into_iter().zip(["", "/out_of_domain"]) {
        let of = |key: &str| number(report, &format!("{of}/grounding/{key}"));
        assert!(of("words") >= 1000.0, "{report:#}");
        assert!(of("own_image") >= least, "{report:#}");
        assert!(of("other_image") <= 0.06, "{report:#}");
        // Own tags do not help where the regions are another scene's; the regions do without tags.
        assert!(of("other_regions") <= 0.1, "{report:#}");
        assert!(of("without_tags") >= 0.8 * least, "{report:#}");
    }
    assert_eq!(number(report, "/contrastive_chance"), 0.5);
}

#[test]
fn a_short_quickstart_begins_to_read_the_images() {
    let place = Workplace::new();
    check(&train(&place, 500), [0.17, 0.12]);
    let last = place.path("runs/quickstart/last");
    for file in ["model.safetensors", "config.json", "vocab.txt", "task.json"] {
        assert!(last.join(file).is_file(), "{file} is missing");
    }
}

#[test]
#[ignore = "five minutes; .ci/run runs it"]
fn the_quickstart_reads_the_images() {
    let report = train(&Workplace::new(), 2500);
    check(&report, [0.65, 0.42]);
    for pairs in [
        "/validation/contrastive_accuracy",
        "/out_of_domain/contrastive_accuracy",
    ] {
        let least = if pairs.starts_with("/out") { 0.8 } else { 0.93 };
        assert!(number(&report, pairs) >= least, "{report:#}");
    }
}
