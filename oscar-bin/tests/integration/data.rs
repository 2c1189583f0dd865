//! `data build` through the command line, and runs on what it builds.

use crate::support;

use std::path::PathBuf;

use support::{Workplace, assert_fails, json, row, stderr, stdout, write};

fn sample(file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../datasets/sample")
        .join(file);
    path.to_string_lossy().into_owned()
}

fn build(
    place: &Workplace,
    images: &str,
    annotations: &str,
    more: &[&str],
) -> std::process::Output {
    let args = [
        "data",
        "build",
        "nlvr1",
        "--images",
        images,
        "--annotations",
        annotations,
    ];
    place.run(&[&args[..], &["--out", "built"], more].concat())
}

#[test]
fn every_object_of_the_held_out_images_is_found() {
    let place = Workplace::new();
    let output = build(
        &place,
        &sample("dev_images.zip"),
        &sample("dev.jsonl.gz"),
        &["--json"],
    );
    let info = json(&output);
    assert_eq!(info["counts"]["images"], 989);
    assert_eq!(info["counts"]["verified"], 989);
    for file in [
        "boxes.jsonl",
        "statements.jsonl",
        "dataset.json",
        "regions/index.safetensors",
    ] {
        assert!(
            place.path("built").join(file).is_file(),
            "{file} is missing"
        );
    }

    // What is there is not overwritten by accident.
    let again = build(
        &place,
        &sample("dev_images.zip"),
        &sample("dev.jsonl.gz"),
        &[],
    );
    assert_fails(&again, &["built"]);
    let some = ["--overwrite", "--limit", "5"];
    let again = build(
        &place,
        &sample("dev_images.zip"),
        &sample("dev.jsonl.gz"),
        &some,
    );
    assert!(again.status.success(), "{}", stderr(&again));
    assert!(stdout(&again).contains("of 5 groups"), "{}", stdout(&again));

    tasks_are_built(&place);
    two_corpora_are_trained_on(&place);
}

/// Small data sets of the tasks on the built boxes.
fn tasks_are_built(place: &Workplace) {
    let tasks = ["dev", "tasks", "--from", "built", "--out", "tasks"];
    let output = place.run(&[&tasks[..], &["--json"]].concat());
    let info = json(&output);
    assert_eq!(info["seed"], 42);
    for task in ["vqa", "gqa", "nlvr2", "retrieval", "matching"] {
        let rows = info["tasks"][task]["rows"]["dev"].as_u64().expect("rows") as usize;
        let file = place.path("tasks").join(format!("{task}-dev.jsonl"));
        let text = std::fs::read_to_string(file).expect("a file of rows");
        assert!(rows > 0 && text.lines().count() == rows, "{task}: {rows}");
    }
    assert_fails(&place.run(&tasks), &["tasks"]);
    assert_fails(
        &place.run(&["dev", "tasks", "--from", "tasks", "--out", "more"]),
        &["tasks/dataset.json"],
    );
}

/// A question-and-answer corpus on the same images, as a second corpus of each step.
fn two_corpora_are_trained_on(place: &Workplace) {
    let rows: String = (0..16)
        .map(|box_| {
            format!(
                "{{\"image\": \"dev-1572-0.b{}\", \"question\": \"one yellow square\", \
             \"answer\": \"one\"}}\n",
                box_ % 3
            )
        })
        .collect();
    write(&place.path("questions.jsonl"), &rows);
    let output = place.run(&[
        "train",
        "--config",
        "shapes",
        "--name",
        "two",
        "--quiet",
        "--json",
        "--set",
        "data.train={corpus='built/boxes.jsonl',regions='built/regions'}",
        "--set",
        "data.validation={corpus='built/boxes.jsonl',regions='built/regions'}",
        "--set",
        "data.extra={corpus='questions.jsonl',regions='built/regions',weight=0.25}",
        "--set",
        "train.steps=4",
        "--set",
        "train.batch_size=8",
        "--set",
        "train.accumulation=2",
        "--set",
        "optimizer.warmup_steps=1",
        "--set",
        "model.num_hidden_layers=1",
    ]);
    let report = json(&output);
    assert_eq!(report["steps"], 4);
    let log = std::fs::read_to_string(place.path("runs/two/metrics.jsonl")).expect("a log");
    // A line per step, whatever the number of corpora and parts; and one of the validation.
    assert_eq!(log.lines().count(), 5, "{log}");
}

#[test]
fn what_is_missing_is_named() {
    let place = Workplace::new();
    let annotations = sample("dev.jsonl.gz");
    assert_fails(
        &build(&place, "nowhere.zip", &annotations, &[]),
        &["built", "nowhere.zip"],
    );
    assert_fails(
        &build(&place, &sample("dev_images.zip"), "nowhere.jsonl", &[]),
        &["nowhere.jsonl"],
    );
    // The images of another split: the first annotation has no image.
    assert_fails(
        &build(&place, &sample("train_images.zip"), &annotations, &[]),
        &["dev.jsonl.gz:1", "1572-0", "train_images.zip"],
    );
    assert!(!place.path("built").exists());
}

#[test]
fn a_caption_of_an_image_that_is_not_there_names_its_row() {
    let place = Workplace::small();
    write(
        &place.path("few.jsonl"),
        &row("dev-0-0.b0", "one black square"),
    );
    assert_fails(&place.train("r", &[]), &["few.jsonl", "dev-0-0.b0"]);
}

#[test]
fn accumulation_does_not_change_what_a_step_sees() {
    let place = Workplace::small();
    let steps = [
        "--set",
        "train.steps=3",
        "--set",
        "optimizer.warmup_steps=1",
    ];
    let halves = ["--set", "train.accumulation=2"];
    for (name, more) in [
        ("whole", &steps[..]),
        ("halves", &[&steps[..], &halves].concat()),
    ] {
        let output = place.train(name, more);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let losses = |name: &str| -> Vec<f64> {
        let path = place.path("runs").join(name).join("metrics.jsonl");
        let log = std::fs::read_to_string(path).expect("a log");
        let rows = log
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        let train = rows.filter(|row: &serde_json::Value| row["split"] == "train");
        train
            .map(|row| row["Contrastive loss"].as_f64().expect("a loss"))
            .collect()
    };
    let (whole, halves) = (losses("whole"), losses("halves"));
    assert_eq!((whole.len(), halves.len()), (3, 3));
    // The first step has the same examples and weights; later ones differ by the masked-token
    // loss, whose mean over a batch is not the mean over its halves.
    assert!((whole[0] - halves[0]).abs() < 1e-4, "{whole:?} {halves:?}");
}
