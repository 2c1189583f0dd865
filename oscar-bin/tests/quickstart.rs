//! The first command of the README keeps its promise: it learns from the images.

mod support;

use support::{Workplace, stderr, stdout};

#[test]
fn the_quickstart_reads_the_images() {
    let place = Workplace::new();
    let output = place.run(&["train", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report: serde_json::Value =
        serde_json::from_str(&stdout(&output)).expect("one JSON document on standard output");
    let number = |pointer: &str| {
        let value = report.pointer(pointer).and_then(serde_json::Value::as_f64);
        value.unwrap_or_else(|| panic!("{pointer} is no number in {report:#}"))
    };

    // Masked colours, shapes and numbers of held-out captions, beside the image's own regions and
    // beside another's: the difference can only come from the image.
    assert!(number("/grounding/words") >= 1000.0, "{report:#}");
    assert!(number("/grounding/own_image") >= 0.90, "{report:#}");
    assert!(number("/grounding/other_image") < 0.70, "{report:#}");
    // Tags of another image are told apart from the image's own.
    assert!(
        number("/validation/contrastive_accuracy") >= 0.90,
        "{report:#}"
    );
    assert_eq!(number("/contrastive_chance"), 0.5);

    let last = place.path("runs/quickstart/last");
    for file in ["model.safetensors", "config.json", "vocab.txt", "task.json"] {
        assert!(last.join(file).is_file(), "{file} is missing");
    }
}
