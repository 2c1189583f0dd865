//! Every task is learned from its images: the recipe of scenes, and the miniature on drawings of shapes, cut
//! to about half a minute, against the same model when each image is replaced by another one.

use crate::pictures::sample;
use crate::support;

use std::collections::HashMap;

use rstest::rstest;
use serde_json::Value;
use support::{Workplace, json, stderr};

#[rstest]
#[case::matching("matching", "accuracy", 0.95, 0.40)]
#[case::retrieval("retrieval", "t2i_R@1", 0.85, 0.80)]
#[ignore = "a minute each; .ci/run runs them"]
fn a_task_on_scenes_is_learned_from_them(
    #[case] task: &str,
    #[case] score: &str,
    #[case] floor: f64,
    #[case] margin: f64,
) {
    is_learned_from_scenes(task, score, floor, margin);
}

/// Text and scene are read apart, and find each other after a quarter of the recipe's steps.
#[test]
#[ignore = "a minute and a half; run by hand"]
fn scenes_are_searched() {
    let place = Workplace::new();
    let short = ["train.steps=150", "train.validate_every=150"];
    // 1.000 on scenes of known and of new artists, 0.01 with another scene's regions.
    is_learned_from(&place, "search", "retrieval", &short, ("t2i_R@1", 0.9, 0.8));
}

/// Trains the recipe of scenes; names of the scores as they are checked there.
pub fn is_learned_from_scenes(task: &str, score: &str, floor: f64, margin: f64) {
    let place = Workplace::new();
    is_learned_from(&place, task, task, &[], (score, floor, margin));
}

/// Trains the recipe of scenes, changed by `sets`; its score on scenes by the artists of training, and nearly
/// by others, reaches the floor and falls by the margin with other scenes. `file` names the rows.
fn is_learned_from(
    place: &Workplace,
    task: &str,
    file: &str,
    sets: &[&str],
    (score, floor, margin): (&str, f64, f64),
) {
    let recipe = format!("{task}-scenes");
    let mut finetune = vec!["finetune", "--config", &recipe, "--name", "own", "--json"];
    finetune.extend(sets.iter().flat_map(|set| ["--set", *set]));
    let report = json(&place.run(&finetune));
    let own = report["evaluation"][score].as_f64().expect("a number");
    assert!(own >= floor, "{score} {own}");
    for (split, floor) in [("near", floor), ("far", floor - 0.1)] {
        let data = format!("runs/.scenes/tasks/{file}-{split}.jsonl");
        let regions = format!("runs/.scenes/{split}/regions");
        let evaluate = ["evaluate", "--task", task, "--checkpoint", "own", "--json"];
        let on = ["--data", &data, "--regions", &regions];
        let scored = |more: &[&str]| {
            let found = json(&place.run(&[&evaluate[..], &on, more].concat()));
            found[score].as_f64().expect("a number")
        };
        let (own, other) = (scored(&[]), scored(&["--swap-images", "1"]));
        assert!(
            own >= floor && own - other >= margin,
            "{split}: {own}, {other}"
        );
    }
}

/// A thing that no caption of training names, the shipped captioner names where the search has to, and
/// nowhere else.
#[test]
#[ignore = "half a minute; .ci/run runs it"]
fn novel_things_are_named_by_constraints() {
    let place = Workplace::new();
    let draw = [
        "dev", "scenes", "--out", "novel", "--split", "novel", "--kinds", "novel",
    ];
    json(&place.run(&[&draw[..], &["--count", "300", "--no-pictures", "--json"]].concat()));
    let tasks = [
        "dev", "tasks", "--from", "novel", "--out", "tasks", "--json",
    ];
    json(&place.run(&tasks));
    let names = |scene: &Value| {
        let objects = scene["objects"].as_array().expect("a list").iter();
        let novel = objects.filter(|object| object["novel"] == true);
        let names = novel.map(|object| object["name"].as_str().expect("a name").to_string());
        let key = scene["image"].as_str().expect("a key").to_string();
        (key, names.collect())
    };
    let scenes = rows(&place, "novel/scenes.jsonl");
    let novel: HashMap<String, Vec<String>> = scenes.iter().map(names).collect();
    let captioner = sample().join("scenes/weights/captioning");
    let captioner = captioner.to_string_lossy();
    // The share of scenes in whose caption a novel thing is named, and CIDEr.
    let scored = |out: &str, more: &[String]| {
        let evaluate = [
            "evaluate",
            "--task",
            "captioning",
            "--checkpoint",
            &captioner,
            "--json",
        ];
        let data = [
            "--data",
            "tasks/retrieval-novel.jsonl",
            "--regions",
            "novel/regions",
        ];
        let sets = more.iter().flat_map(|set| ["--set", set]);
        let sets: Vec<&str> = ["--out", out].into_iter().chain(sets).collect();
        let report = json(&place.run(&[&evaluate[..], &data, &sets].concat()));
        let path = report["predictions"].as_str().expect("a prediction file");
        let text = std::fs::read_to_string(place.path(path)).expect("a file");
        let named = text.lines().filter(|line| {
            let (image, captions) = line.split_once('\t').expect("a row");
            let mut names = novel[image].iter();
            names.any(|name| captions.contains(name.as_str()))
        });
        let share = named.count() as f64 / text.lines().count() as f64;
        (share, report["CIDEr"].as_f64().expect("a number"))
    };
    let mut constraints = vec!["task.constraints.enabled=true".to_string()];
    for (name, end) in [
        ("boxes", "tsv"),
        ("hierarchy", "json"),
        ("tokens", "tsv"),
        ("forms", "tsv"),
    ] {
        let file = format!("novel/constraints/{name}.{end}");
        constraints.push(format!("data.constraint_{name}={file}"));
    }
    let (with, cider) = scored("with", &constraints);
    let (without, free) = scored("without", &[]);
    assert!(with >= 0.9 && without <= 0.1, "{with}, {without}");
    assert!(cider >= free + 0.4, "{cider}, {free}");
}

/// Rows of a file of JSON lines.
fn rows(place: &Workplace, path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(place.path(path)).expect("a file");
    let rows = text.lines();
    rows.map(|row| serde_json::from_str(row).expect("JSON"))
        .collect()
}

/// The share of expressions that the best rule answers which knows places alone: one of the leftmost,
/// rightmost, topmost, lowest, largest and smallest thing of a scene, by the words of the expression if
/// `text`, else for all of them.
fn best_guess(place: &Workplace, text: bool) -> f64 {
    let corners = |b: &Value| [0_usize, 1, 2, 3].map(|side| b[side].as_f64().expect("a number"));
    let scenes = rows(place, "runs/.scenes/near/scenes.jsonl");
    let of_image: HashMap<&str, Vec<[f64; 4]>> = scenes
        .iter()
        .map(|scene| {
            let objects = scene["objects"].as_array().expect("a list").iter();
            let boxes = objects.map(|object| corners(&object["box"])).collect();
            (scene["image"].as_str().expect("a key"), boxes)
        })
        .collect();
    let area = |b: &[f64; 4]| (b[2] - b[0]) * (b[3] - b[1]);
    type Rule<'a> = &'a dyn Fn(&[f64; 4]) -> f64;
    let rules: [Rule<'_>; 6] = [&|b| b[0], &|b| -b[2], &|b| b[1], &|b| -b[3], &area, &|b| {
        -area(b)
    }];
    // Rules are chosen for these expressions themselves: no guess does better.
    let mut right: HashMap<String, ([usize; 6], usize)> = HashMap::new();
    let expressions = rows(place, "runs/.scenes/near/expressions.jsonl");
    for row in &expressions {
        let words = row["expression"].as_str().expect("a text");
        let sides = ["left", "right", "above", "below"];
        let side = sides.into_iter().find(|side| text && words.contains(side));
        let (counts, all) = right.entry(side.unwrap_or_default().into()).or_default();
        *all += 1;
        let boxes = &of_image[row["image"].as_str().expect("a key")];
        for (count, rule) in counts.iter_mut().zip(rules) {
            let best = boxes.iter().min_by(|a, b| rule(a).total_cmp(&rule(b)));
            *count += usize::from(best == Some(&corners(&row["box"])));
        }
    }
    let right = right
        .values()
        .map(|(counts, _)| counts.iter().max().expect("six rules"));
    right.sum::<usize>() as f64 / expressions.len() as f64
}

/// With the expression of another scene the same model finds no more than chance, and no guess by places
/// does as well as the model.
#[test]
#[ignore = "draws all scenes and trains for a minute"]
fn expressions_are_understood() {
    let place = Workplace::new();
    let finetune = ["finetune", "--task", "refer", "--name", "own", "--json"];
    let report = json(&place.run(&finetune));
    let own = report["evaluation"]["accuracy"].as_f64().expect("a number");
    let mut expressions = rows(&place, "runs/.scenes/near/expressions.jsonl");
    let texts: Vec<Value> = expressions
        .iter()
        .map(|row| row["expression"].clone())
        .collect();
    let half = texts.len() / 2;
    let mut other = String::new();
    for (at, row) in expressions.iter_mut().enumerate() {
        row["expression"] = texts[(at + half) % texts.len()].clone();
        other += &format!("{row}\n");
    }
    support::write(&place.path("other.jsonl"), &other);
    let evaluate = [
        "evaluate",
        "--task",
        "refer",
        "--checkpoint",
        "own",
        "--json",
    ];
    let on = [
        "--data",
        "other.jsonl",
        "--regions",
        "runs/.scenes/near/regions",
    ];
    let report = json(&place.run(&[&evaluate[..], &on].concat()));
    let other = report["accuracy"].as_f64().expect("a number");
    let guesses = [best_guess(&place, false), best_guess(&place, true)];
    // 0.897 with its own expression, 0.323 with another one; guesses find 0.317 and 0.414.
    assert!(
        own >= 0.85 && own >= other + 0.45,
        "{own}, with another expression {other}"
    );
    for guess in guesses {
        assert!(own > guess + 0.35, "{own}, by place {guess}");
    }
}

/// Trains a miniature for `steps` steps. Its `score` must reach `floor`, and must fall by `margin`
/// when the images are swapped.
fn is_learned_from_its_images(task: &str, steps: usize, score: &str, floor: f64, margin: f64) {
    let place = Workplace::new();
    let json = |output: std::process::Output| -> Value {
        assert!(output.status.success(), "{task}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).expect("one JSON document on standard output")
    };
    let number = |document: &Value| {
        let value = document.get(score).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("{task}: {score} is missing from {document:#}"))
    };
    let steps = format!("train.steps={steps}");
    let recipe = format!("{task}-mini");
    let finetune = ["finetune", "--config", &recipe, "--name", task, "--json"];
    let length = ["--set", "epochs=0", "--set", &steps];
    let report = json(place.run(&[&finetune[..], &length].concat()));
    let own = number(&report["evaluation"]);
    assert!(own >= floor, "{task}: {score} {own}");
    let predictions = report["predictions"].as_str().expect("a prediction file");
    assert!(place.path(predictions).is_file(), "{task}: {predictions}");

    let checkpoint = format!("runs/{task}/best");
    let file = match task {
        "captioning" => "retrieval",
        task => task,
    };
    let data = format!("runs/.sample/tasks/{file}-dev.jsonl");
    let evaluate = ["evaluate", "--task", task, "--checkpoint", &checkpoint];
    let regions = "runs/.sample/dev/regions";
    let swapped = ["--data", &data, "--regions", regions, "--swap-images", "1"];
    let other = number(&json(
        place.run(&[&evaluate[..], &swapped, &["--json"]].concat()),
    ));
    assert!(
        own - other >= margin,
        "{task}: {score} {own}, swapped {other}"
    );
}

#[rstest]
#[case::matching("matching", 200, "accuracy", 0.85, 0.30)]
#[case::captioning("captioning", 150, "CIDEr", 0.9, 0.3)]
fn a_miniature_is_learned(
    #[case] task: &str,
    #[case] steps: usize,
    #[case] score: &str,
    #[case] floor: f64,
    #[case] margin: f64,
) {
    is_learned_from_its_images(task, steps, score, floor, margin);
}

#[rstest]
#[case::vqa("vqa", 700, "accuracy", 0.58, 0.20)]
#[case::gqa("gqa", 500, "accuracy", 0.58, 0.20)]
#[case::nlvr2("nlvr2", 900, "accuracy", 0.68, 0.18)]
// A hundred images: ten times what chance finds.
#[case::retrieval("retrieval", 150, "t2i_R@1", 0.10, 0.10)]
#[case::captioning("captioning", 250, "CIDEr", 1.4, 0.5)]
#[ignore = "half a minute to a minute each; .ci/run runs two"]
fn a_longer_miniature_is_learned(
    #[case] task: &str,
    #[case] steps: usize,
    #[case] score: &str,
    #[case] floor: f64,
    #[case] margin: f64,
) {
    is_learned_from_its_images(task, steps, score, floor, margin);
}
