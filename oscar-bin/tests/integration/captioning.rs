//! Captioning from a recipe to captions, through the command line.

use crate::support;

use std::fs;

use rstest::rstest;
use serde_json::Value;
use support::{Workplace, assert_fails, json, shapes, write};

/// A model and a run that take seconds.
const RECIPE: &str = r#"
epochs = 200
[model]
preset = "tiny"
hidden_size = 32
num_hidden_layers = 1
num_attention_heads = 2
intermediate_size = 64
hidden_dropout_prob = 0.0
attention_probs_dropout_prob = 0.0
[task]
max_caption_length = 10
tie_weights = true
[task.generation]
max_length = 10
num_beams = 2
[data]
vocab = "vocab.txt"
[data.train]
captions = "captions.jsonl"
regions = "regions"
[data.validation]
captions = "captions.jsonl"
regions = "regions"
[encoder]
max_seq_length = 16
max_regions = 4
[optimizer]
learning_rate = 5e-3
[train]
batch_size = 16
validate_every = 200
save_every = 600
"#;

/// Images with the captions that describe them, and a recipe.
fn workplace(images: usize) -> Workplace {
    let (place, images) = shapes::workplace(images, RECIPE);
    let mut rows = String::new();
    let (mut coco_images, mut annotations) = (Vec::new(), Vec::new());
    for (id, image) in images.iter().enumerate() {
        let (key, caption) = (&image.key, format!("a {} {}", image.colour, image.shape));
        rows += &format!("{{\"image\": \"{key}\", \"captions\": [\"{caption}\"]}}\n");
        coco_images.push(serde_json::json!({"id": id, "open_images_id": key}));
        annotations.push(serde_json::json!({"image_id": id, "id": id, "caption": caption}));
    }
    write(&place.path("captions.jsonl"), &rows);
    let nocaps = serde_json::json!({"images": coco_images, "annotations": annotations});
    write(&place.path("nocaps.json"), &nocaps.to_string());
    place
}

const FINETUNE: &[&str] = &[
    "finetune",
    "--task",
    "captioning",
    "--config",
    "recipe.toml",
    "--name",
    "run",
    "--json",
];

fn evaluate<'a>(data: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec![
        "evaluate",
        "--task",
        "captioning",
        "--checkpoint",
        "runs/run/best",
        "--data",
        data,
        "--regions",
        "regions",
        "--json",
    ];
    args.extend(more);
    args
}

const PREDICT: &[&str] = &[
    "predict",
    "--task",
    "captioning",
    "--checkpoint",
    "runs/run/best",
    "--regions",
    "regions",
];

#[test]
fn from_recipe_to_captions_and_on_by_reward() {
    let place = workplace(48);
    let trained = json(&place.run(FINETUNE));
    let evaluation = &trained["evaluation"];
    for score in ["BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr", "Exact"] {
        assert!(evaluation[score].is_number(), "no {score} in {trained:#}");
    }
    let exact = |document: &Value| document["Exact"].as_f64().expect("a share");
    assert!(exact(evaluation) > 0.9, "{trained:#}");

    // Scored alone, under the images' numbers, with three captions each.
    let more = [
        "--out",
        "out",
        "--set",
        "task.generation.num_beams=3",
        "--set",
        "task.generation.num_keep_best=3",
    ];
    let scored = json(&place.run(&evaluate("nocaps.json", &more)));
    assert!(exact(&scored) > 0.9, "{scored:#}");
    let read = |name: &str| fs::read_to_string(place.path("out/predictions").join(name)).unwrap();
    let table = read("captioning.tsv");
    let (key, captions) = table.lines().next().unwrap().split_once('\t').unwrap();
    assert_eq!(key, "0");
    let captions: Vec<Value> = serde_json::from_str(captions).unwrap();
    assert_eq!(captions.len(), 3);
    let sure = |at: usize| captions[at]["conf"].as_f64().unwrap();
    assert!(sure(0) >= sure(1) && sure(1) >= sure(2) && sure(0) <= 1.0);
    let coco: Vec<Value> = serde_json::from_str(&read("captioning.coco.json")).unwrap();
    assert_eq!((coco.len(), &coco[1]["image_id"]), (48, &Value::from(1)));
    let nocaps: Vec<Value> = serde_json::from_str(&read("captioning.nocaps.json")).unwrap();
    assert_eq!(nocaps[47]["id"], 47);
    assert_eq!(nocaps[47]["caption"], coco[47]["caption"]);

    // Another image's regions say another thing.
    let swapped = json(&place.run(&evaluate("captions.jsonl", &["--swap-images", "1"])));
    assert!(exact(&swapped) < 0.4, "{swapped:#}");

    // One image.
    let mut predict = PREDICT.to_vec();
    predict.extend(["--image", "image-6", "--top", "2", "--json"]);
    let said = json(&place.run(&predict));
    assert_eq!(said["captions"][0]["class"], "a blue square", "{said:#}");
    assert_eq!(said["captions"].as_array().map(Vec::len), Some(2));

    // What it says is worth most already: training by reward keeps it so.
    let rewarded = json(&place.run(&[
        "finetune",
        "--task",
        "captioning",
        "--config",
        "recipe.toml",
        "--name",
        "rewarded",
        "--json",
        "--init",
        "runs/run/best",
        "--set",
        "task.scst.enabled=true",
        "--set",
        "epochs=0",
        "--set",
        "train.steps=6",
        "--set",
        "train.validate_every=3",
        "--set",
        "optimizer.learning_rate=1e-4",
    ]));
    assert!(exact(&rewarded["evaluation"]) > 0.9, "{rewarded:#}");
    let metrics = fs::read_to_string(place.path("runs/rewarded/metrics.jsonl")).unwrap();
    assert!(metrics.contains("\"CIDEr-D\""), "{metrics}");
}

#[rstest]
#[case::text(&["--image", "image-1", "--text", "a star"], "text")]
#[case::two(&["--image", "image-1", "--image", "image-2"], "image")]
fn wrong_questions(#[case] more: &[&str], #[case] wanted: &str) {
    let place = workplace(16);
    let mut train = FINETUNE.to_vec();
    train.extend(["--set", "epochs=1"]);
    json(&place.run(&train));
    let mut args = PREDICT.to_vec();
    args.extend(more);
    assert_fails(&place.run(&args), &[wanted]);
}

#[rstest]
#[case::beams(&["task.generation.num_beams=0"], "task.generation.num_beams")]
#[case::keep(&["task.generation.num_keep_best=9"], "task.generation.num_keep_best")]
#[case::length(&["task.max_caption_length=99"], "task.max_caption_length")]
#[case::samples(&["task.scst.enabled=true", "task.scst.samples=0"], "task.scst.samples")]
#[case::alone(&["task.scst.baseline=\"sample\"", "task.scst.samples=1"], "task.scst.samples")]
#[case::unknown(&["task.beams=3"], "task.beams")]
#[case::frequencies(
    &["task.scst.enabled=true", "task.scst.document_frequencies=other.json"],
    "other.json: it knows"
)]
fn wrong_settings(#[case] sets: &[&str], #[case] wanted: &str) {
    let place = workplace(8);
    write(
        &place.path("other.json"),
        "{\"ref_len\": 9, \"document_frequency\": {\"zebra\": 2.0, \"<eos>\": 9.0}}",
    );
    let mut args = FINETUNE.to_vec();
    for set in sets {
        args.extend(["--set", set]);
    }
    assert_fails(&place.run(&args), &[wanted]);
}
