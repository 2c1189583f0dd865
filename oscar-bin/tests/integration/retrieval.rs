//! Retrieval from a recipe to ranks, through the command line.

use crate::support;

use std::path::Path;
use std::process::Stdio;

use rstest::rstest;
use serde_json::Value;
use support::{Workplace, assert_fails, json, shapes, stderr, stdout, write};

/// A model and a run that take seconds.
const RECIPE: &str = r#"
epochs = 2
[model]
preset = "tiny"
hidden_size = 32
num_hidden_layers = 1
num_attention_heads = 2
intermediate_size = 64
[data]
vocab = "vocab.txt"
[data.train]
captions = "captions.jsonl"
regions = "regions"
[data.validation]
captions = "captions.jsonl"
regions = "regions"
image_keys = "few.tsv"
[encoder]
max_seq_length = 16
max_regions = 4
truncation = "text_b"
[optimizer]
learning_rate = 1e-3
[train]
batch_size = 16
validate_every = 8
save_every = 8
"#;

/// Images with the captions that describe them, and a recipe.
fn workplace(images: usize) -> Workplace {
    let (place, images) = shapes::workplace(images, RECIPE);
    let (mut rows, mut few) = (String::new(), String::new());
    for (number, image) in images.iter().enumerate() {
        let (key, colour, shape) = (&image.key, image.colour, image.shape);
        rows += &format!(
            "{{\"image\": \"{key}\", \"captions\": [\"a {colour} {shape}\", \"the {shape} is {colour}\"]}}\n"
        );
        if number < 16 {
            few += &format!("{key}\n");
        }
    }
    write(&place.path("captions.jsonl"), &rows);
    write(&place.path("few.tsv"), &few);
    place
}

const FINETUNE: &[&str] = &[
    "finetune",
    "--task",
    "retrieval",
    "--config",
    "recipe.toml",
    "--name",
    "run",
    "--json",
];

fn evaluate<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec![
        "evaluate",
        "--task",
        "retrieval",
        "--checkpoint",
        "runs/run/best",
        "--data",
        "captions.jsonl",
        "--regions",
        "regions",
        "--json",
    ];
    args.extend(more);
    args
}

#[test]
fn from_recipe_to_ranks_and_on_after_a_kill() {
    let images = 80;
    let place = workplace(images);
    let trained = json(&place.run(FINETUNE));
    // The best weights are scored on all captions with all images: 16 of two captions each.
    assert_eq!(trained["evaluation"]["examples"], 16 * 32);
    assert!(trained["best"]["score"].is_number(), "{trained}");
    let recall = trained["evaluation"]["i2t_R@1"].as_f64().expect("R@1");
    assert!((0.0..=1.0).contains(&recall));
    assert!(trained["evaluation"]["t2i_R@1"].is_number());
    assert!(place.path("runs/run/predictions/validation.json").is_file());

    let slow = evaluate(&["--out", "killed", "--batch-size", "1"]);
    resumed_after_a_kill(&place, &slow, images);

    // A subset has scores of its own (the official cache would be taken for it).
    let subset = ["--out", "killed", "--set", "data.image_keys=few.tsv"];
    let subset = json(&place.run(&evaluate(&subset)));
    assert_eq!(subset["examples"], 16 * 32);

    // One image and one text.
    let asked = json(&place.run(&[
        "predict",
        "--task",
        "retrieval",
        "--checkpoint",
        "runs/run/best",
        "--regions",
        "regions",
        "--image",
        "image-0",
        "--text",
        "a red circle",
        "--json",
    ]));
    let classes = asked["classes"].as_array().expect("classes");
    let sum: f64 = classes
        .iter()
        .filter_map(|class| class["probability"].as_f64())
        .sum();
    assert!((sum - 1.0).abs() < 1e-5, "{asked}");
    assert!(classes.iter().any(|class| class["class"] == "match"));

    damaged_caches(&place, &slow);
    wrong_input(&place);
}

/// Scores all captions with all images, is killed once something is kept, and gives the same scores
/// when it is resumed.
fn resumed_after_a_kill(place: &Workplace, slow: &[&str], images: usize) {
    let pairs = (images * images * 2) as u64;
    let mut child = place
        .program()
        .args(slow)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let kept = || cache_size(&place.path("killed/cache"));
    while kept() < 4000 {
        assert!(
            child.try_wait().expect("a child").is_none(),
            "it ended too early"
        );
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert!(kept() < 4 * pairs, "it had scored everything");
    assert!(!place.path("killed/predictions").exists());

    let output = place.run(slow);
    let continued = json(&output);
    assert!(
        stderr(&output).contains(&format!("of {pairs} scores are in ")),
        "{}",
        stderr(&output)
    );
    assert!(
        continued["throughput"]["examples"]
            .as_u64()
            .expect("a number")
            < pairs
    );
    assert_eq!(continued["examples"], pairs);

    let at_once = json(&place.run(&evaluate(&["--batch-size", "1"])));
    for name in ["i2t_R@1", "i2t_R@10", "t2i_R@5", "t2i_median_rank"] {
        assert!(at_once[name].is_number(), "{at_once}");
        assert_eq!(at_once[name], continued[name], "{name}");
    }
    let file = place.path("killed/predictions/retrieval.json");
    let text = std::fs::read_to_string(file).expect("predictions");
    let predictions: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(predictions["i2t_retrieval"]["R@1"], continued["i2t_R@1"]);
    assert_eq!(
        predictions["captions"].as_array().map(Vec::len),
        Some(images * 2)
    );
}

/// Bytes of the file of scores.
fn cache_size(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

fn damaged_caches(place: &Workplace, evaluate: &[&str]) {
    let caches = std::fs::read_dir(place.path("killed/cache")).expect("a cache");
    let largest = caches
        .filter_map(|entry| Some(entry.ok()?.path()))
        .max_by_key(|path| path.metadata().map_or(0, |metadata| metadata.len()))
        .expect("a file of scores");
    let whole = std::fs::read(&largest).expect("it can be read");
    std::fs::write(&largest, &whole[..whole.len() - 9]).expect("it can be written");
    let output = place.run(evaluate);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("cut off after"),
        "{}",
        stderr(&output)
    );
    assert_eq!(std::fs::read(&largest).expect("it can be read"), whole);

    let mut damaged = whole;
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&largest, damaged).expect("it can be written");
    let name = largest
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name");
    assert_fails(
        &place.run(evaluate),
        &[name, "is damaged", "delete the file"],
    );
}

fn wrong_input(place: &Workplace) {
    write(&place.path("other.tsv"), "image-3\nimage-900\n");
    assert_fails(
        &place.run(&evaluate(&["--set", "data.image_keys=other.tsv"])),
        &["other.tsv: line 2", "image-900"],
    );
    assert_fails(
        &place.run(&evaluate(&["--set", "data.image_key=other.tsv"])),
        &["unknown key data.image_key", "data.image_keys"],
    );
    write(
        &place.path("captions.jsonl"),
        "{\"image\": \"image-0\", \"captions\": []}\n",
    );
    assert_fails(
        &place.run(&evaluate(&[])),
        &["captions.jsonl:1", "no `captions`"],
    );
    assert_fails(
        &place.run(&[FINETUNE, &["--print-config", "--set", "task.num_labels=3"]].concat()),
        &["task.num_labels = 3"],
    );
}

/// A run that resumes within an epoch goes on with the negatives that the epoch began with.
#[test]
fn hard_negatives_are_found_again_after_a_kill() {
    let place = workplace(40);
    let hard = [
        "task.negatives=hard",
        "task.hard_candidates=8",
        "task.hard_kept=2",
    ];
    let hard = hard.iter().flat_map(|setting| ["--set", *setting]);
    let args: Vec<&str> = FINETUNE.iter().copied().chain(hard).collect();
    // Two epochs of five steps, and a checkpoint in the middle of the second one.
    let every = ["--set", "train.save_every=4"];
    json(&place.run(&[&args[..], &every].concat()));
    let weights = || std::fs::read(place.path("runs/run/last/model.safetensors")).expect("weights");
    let whole = weights();
    let negatives = place.path("runs/run/cache/hard-negatives.bin");
    // Two captions of each image, and two images of each caption.
    let length = std::fs::metadata(&negatives).expect("the negatives").len();
    assert_eq!(length, 24 + 4 * (2 * 40 + 2 * 80));

    let checkpoints = place
        .path("runs/run/checkpoint")
        .read_dir()
        .expect("checkpoints");
    let newest = checkpoints
        .map(|entry| entry.expect("an entry").path())
        .max();
    std::fs::remove_dir_all(newest.expect("a checkpoint")).expect("removed");
    let output = place.run(&[&args[..], &every, &["--resume"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("step 8"), "{}", stderr(&output));
    assert!(weights() == whole, "the resumed run has other weights");
}

#[test]
fn a_regression_has_one_label() {
    let place = workplace(20);
    let one = ["--set", "task.num_labels=1", "--set", "epochs=1"];
    let trained = json(&place.run(&[FINETUNE, &one].concat()));
    assert!(trained["evaluation"]["i2t_R@1"].is_number(), "{trained}");
    let asked = json(&place.run(&[
        "predict",
        "--task",
        "retrieval",
        "--checkpoint",
        "runs/run/best",
        "--regions",
        "regions",
        "--image",
        "image-0",
        "--text",
        "a red circle",
        "--json",
    ]));
    let classes = asked["classes"].as_array().expect("classes");
    assert_eq!(classes.len(), 1);
    assert_eq!(classes[0]["class"], "match");
    assert_ne!(classes[0]["probability"], 1.0);
}

/// The published settings: layers, region LayerNorm, rate, regions.
#[rstest]
#[case("retrieval-base", 12, false, 2e-5, 50)]
#[case("retrieval-large", 24, false, 1e-5, 50)]
#[case("retrieval-vinvl-base", 12, true, 2e-5, 70)]
#[case("retrieval-vinvl-large", 24, true, 7.5e-6, 70)]
fn a_recipe_has_the_published_settings(
    #[case] name: &str,
    #[case] layers: i64,
    #[case] region_norm: bool,
    #[case] rate: f64,
    #[case] regions: i64,
) {
    let place = Workplace::new();
    let printed = place.run(&[
        "finetune",
        "--task",
        "retrieval",
        "--config",
        name,
        "--print-config",
    ]);
    assert!(printed.status.success(), "{}", stderr(&printed));
    let config: toml::Table = stdout(&printed).parse().expect("TOML on standard output");
    let expected: [(&str, &str, toml::Value); 16] = [
        ("model", "num_hidden_layers", layers.into()),
        ("model", "use_img_layernorm", region_norm.into()),
        ("model", "hidden_dropout_prob", 0.1.into()),
        ("task", "num_labels", 2.into()),
        ("task", "captions_per_image", 5.into()),
        ("task", "validation_candidates", 20.into()),
        ("encoder", "max_seq_length", 70.into()),
        ("encoder", "max_regions", regions.into()),
        ("encoder", "truncation", "text_b".into()),
        ("encoder", "attention", "CLR".into()),
        ("optimizer", "learning_rate", rate.into()),
        ("optimizer", "weight_decay", 0.05.into()),
        ("optimizer", "max_grad_norm", 1.0.into()),
        ("train", "batch_size", 128.into()),
        ("train", "validate_every", 5000.into()),
        ("train", "seed", 88.into()),
    ];
    for (section, key, value) in expected {
        assert_eq!(config[section][key], value, "{section}.{key} of {name}");
    }
    assert_eq!(config["epochs"], 30.into());
}
