//! Every task is learned from its images: the miniature that runs without a configuration, cut to
//! about half a minute, against the same model shown other images.

mod support;

use serde_json::Value;
use support::{Workplace, stderr};

/// Task, steps, score, what it must reach, and how far it must fall when the images are swapped.
const MINIATURES: &[(&str, &str, &str, f64, f64)] = &[
    ("vqa", "700", "accuracy", 0.58, 0.20),
    ("gqa", "500", "accuracy", 0.58, 0.20),
    ("nlvr2", "900", "accuracy", 0.68, 0.18),
    ("matching", "200", "accuracy", 0.85, 0.30),
    // A hundred images: ten times what chance finds.
    ("retrieval", "150", "t2i_R@1", 0.10, 0.10),
    ("captioning", "250", "CIDEr", 1.4, 0.5),
];

#[test]
fn every_miniature_is_learned_from_its_images() {
    let place = Workplace::new();
    for (task, steps, score, floor, margin) in MINIATURES {
        let of = |output: std::process::Output| -> Value {
            assert!(output.status.success(), "{task}: {}", stderr(&output));
            serde_json::from_slice(&output.stdout).expect("one document")
        };
        let steps = format!("train.steps={steps}");
        let report = of(place.run(&[
            "finetune", "--task", task, "--name", task, "--json", "--set", "epochs=0", "--set",
            &steps,
        ]));
        let number = |document: &Value| {
            let value = document.get(*score).and_then(Value::as_f64);
            value.unwrap_or_else(|| panic!("{task}: no {score} in {document:#}"))
        };
        let own = number(&report["evaluation"]);
        assert!(own >= *floor, "{task}: {score} {own}");
        let predictions = report["predictions"].as_str().expect("a prediction file");
        assert!(place.path(predictions).is_file(), "{task}: {predictions}");

        let checkpoint = format!("runs/{task}/best");
        let file = match *task {
            "captioning" => "retrieval",
            task => task,
        };
        let data = format!("runs/.sample/tasks/{file}-dev.jsonl");
        let swapped = of(place.run(&[
            "evaluate",
            "--task",
            task,
            "--checkpoint",
            &checkpoint,
            "--data",
            &data,
            "--store",
            "runs/.sample/dev/regions",
            "--swap-images",
            "1",
            "--json",
        ]));
        let other = number(&swapped);
        assert!(
            own - other >= *margin,
            "{task}: {score} {own}, swapped {other}"
        );
    }
}
