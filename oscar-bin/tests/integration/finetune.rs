//! Fine-tuning from start weights to scores, through the program.

use crate::support;

use oscar_datasets::StoreOptions;
use serde_json::Value;
use support::{Workplace, assert_fails, json, stderr, stdout, toy, write};

fn workplace() -> Workplace {
    let place = Workplace::new();
    let options = StoreOptions::new(toy::DIM);
    toy::write_store(&place.path("regions"), options, 48, |image| toy::Image {
        key: format!("image-{image}"),
        broken: false,
    });
    for (file, images) in [("train.jsonl", 0..32), ("dev.jsonl", 32..48)] {
        // Each image with its class, and with another.
        let pairs: String = images.flat_map(toy::rows).collect();
        write(&place.path(file), &pairs);
    }
    let vocab = [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "there", "is", "a", "dog", "cat", "car",
        "tree",
    ];
    std::fs::write(place.path("vocab.txt"), vocab.join("\n")).expect("it writes");
    std::fs::write(
        place.path("recipe.toml"),
        r#"
[model]
preset = "tiny"
num_hidden_layers = 2
hidden_size = 32
intermediate_size = 64
initializer_range = 0.05
hidden_dropout_prob = 0.0
attention_probs_dropout_prob = 0.0

[data]
vocab = "vocab.txt"
train = { pairs = "train.jsonl", regions = "regions" }
validation = { pairs = "dev.jsonl", regions = "regions" }

[optimizer]
learning_rate = 3e-3
warmup_steps = 10

[train]
batch_size = 16
validate_every = 20
save_every = 20
log_every = 1

[init]
random = ["all"]
"#,
    )
    .expect("it writes");
    place
}

const FINETUNE: &[&str] = &["finetune", "--task", "matching", "--config", "recipe.toml"];

#[test]
fn from_recipe_to_scores() {
    let place = workplace();
    let args = [FINETUNE, &["--set", "epochs=60", "--name", "m", "--json"]].concat();
    let output = place.run(&args);
    let report = json(&output);
    assert!(
        stderr(&output).contains("16 examples per step"),
        "{}",
        stderr(&output)
    );
    // 64 pairs make four batches: sixty times four steps.
    assert_eq!(report["steps"], 240);
    let accuracy = report["evaluation"]["accuracy"].as_f64().expect("a score");
    assert!(accuracy >= 0.9, "{report:#}");
    assert!(report["evaluation"]["roc_auc"].as_f64().expect("a score") >= 0.9);
    assert!(place.path("runs/m/predictions/validation.jsonl").is_file());

    // The best weights alone are enough to score, and give the same.
    let checkpoint = "runs/m/best";
    let args = ["evaluate", "--task", "matching", "--checkpoint", checkpoint];
    let data = ["--data", "dev.jsonl", "--regions", "regions", "--json"];
    let again = place.run(&[&args[..], &data, &["--out", "scored"]].concat());
    let again = json(&again);
    assert_eq!(again["accuracy"], report["evaluation"]["accuracy"]);
    let predictions = std::fs::read_to_string(place.path("scored/predictions/matching.jsonl"));
    assert_eq!(predictions.expect("a file").lines().count(), 32);

    // Shown other images, the same weights fall far behind.
    let swapped = place.run(&[&args[..], &data, &["--swap-images", "1"]].concat());
    let swapped = json(&swapped);
    let accuracy = |document: &Value| document["accuracy"].as_f64().expect("a score");
    assert!(accuracy(&swapped) < accuracy(&again) - 0.2, "{swapped:#}");

    one_pair_is_classified(&place, checkpoint);
    a_file_of_questions_is_answered(&place, checkpoint);
    attention_is_written(&place, checkpoint);
    weights_start_another_run(&place, checkpoint, &report);
}

/// Image 33 shows a cat.
fn one_pair_is_classified(place: &Workplace, checkpoint: &str) {
    let ask = |text: &str| {
        let output = place.run(&[
            "predict",
            "--task",
            "matching",
            "--checkpoint",
            checkpoint,
            "--regions",
            "regions",
            "--image",
            "image-33",
            "--text",
            text,
            "--json",
        ]);
        json(&output)["classes"][0]["class"]
            .as_str()
            .expect("a class")
            .to_string()
    };
    assert_eq!(ask("there is a cat"), "match");
    assert_eq!(ask("there is a tree"), "no match");

    // What the task has no use for is refused.
    let about = ["predict", "--checkpoint", checkpoint, "--text", "a cat"];
    let two = [
        "--regions",
        "regions",
        "--image",
        "image-33",
        "--image",
        "image-1",
    ];
    let refused = place.run(&[&about[..], &two].concat());
    assert_fails(&refused, &["matching takes at most 1 image", "2"]);
    let refused = place.run(&[&about[..], &["--answers", "words.json"]].concat());
    assert_fails(&refused, &["--answers words.json", "matching"]);
    let evaluate = [
        "evaluate",
        "--checkpoint",
        checkpoint,
        "--data",
        "dev.jsonl",
    ];
    let refused = place.run(&[&evaluate[..], &["--out", "dev.jsonl"]].concat());
    assert_fails(&refused, &["--out dev.jsonl", "directory"]);
}

/// Each head's attention is written as data: rows that sum to one, between the named positions.
fn attention_is_written(place: &Workplace, checkpoint: &str) {
    let ask = |file: &str| {
        let weights = ["predict", "--checkpoint", checkpoint, "--attention", file];
        let image = [
            "--regions",
            "regions",
            "--image",
            "image-33",
            "--text",
            "there is a cat",
        ];
        place.run(&[&weights[..], &image].concat())
    };
    assert_fails(&ask("a.npz"), &["a.npz", ".safetensors"]);
    for file in ["a.json", "a.safetensors"] {
        assert!(ask(file).status.success());
    }
    let document = std::fs::read_to_string(place.path("a.json")).expect("a document");
    let document: Value = serde_json::from_str(&document).expect("JSON");
    let sequence = &document["sequences"][0];
    let positions = sequence["positions"].as_array().expect("positions");
    assert!(positions.iter().any(|position| position["token"] == "cat"));
    assert!(
        positions
            .iter()
            .any(|position| position["image"] == "image-33")
    );
    let mut values = Vec::new();
    for row in sequence["attention"]
        .as_array()
        .expect("layers")
        .iter()
        .flat_map(|layer| {
            let heads = layer.as_array().expect("heads").iter();
            heads.flat_map(|head| head.as_array().expect("rows"))
        })
    {
        let row: Vec<f64> = row
            .as_array()
            .expect("a row")
            .iter()
            .filter_map(Value::as_f64)
            .collect();
        assert_eq!(row.len(), positions.len());
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-4, "{row:?}");
        values.extend(row.iter().map(|value| *value as f32));
    }
    let file = std::fs::read(place.path("a.safetensors")).expect("a file");
    let file = safetensors::SafeTensors::deserialize(&file).expect("safetensors");
    let tensor = file.tensor("attention.0").expect("a tensor");
    let [.., heads, rows, columns] = *tensor.shape() else {
        panic!("{:?}", tensor.shape())
    };
    assert!(heads > 1 && rows == columns && rows == positions.len());
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    assert!(tensor.data() == bytes);
}

/// Each row of a file comes back with the answers that the same question alone gets.
fn a_file_of_questions_is_answered(place: &Workplace, checkpoint: &str) {
    let rows = "{\"image\": \"image-33\", \"text\": \"there is a cat\", \"note\": 7}\n\
                {\"image\": [\"image-33\"], \"sentence\": \"there is a tree\"}\n";
    let ask = |rows: &str| {
        write(&place.path("asked.jsonl"), rows);
        let weights = [
            "predict",
            "--checkpoint",
            checkpoint,
            "--file",
            "asked.jsonl",
        ];
        place.run(&[&weights[..], &["--regions", "regions"]].concat())
    };
    let output = ask(rows);
    assert!(output.status.success(), "{}", stderr(&output));
    let answered: Vec<Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a row"))
        .collect();
    let best = |row: &Value| row["classes"][0]["class"].clone();
    assert_eq!(answered.len(), 2);
    assert_eq!(
        (best(&answered[0]), best(&answered[1])),
        ("match".into(), "no match".into())
    );
    assert_eq!(answered[0]["note"], 7);

    // A wrong row is named before anything is answered.
    let unknown = rows.replace("[\"image-33\"]", "\"image-99\"");
    let output = ask(&unknown);
    assert_fails(&output, &["asked.jsonl, row 2", "image-99"]);
    assert!(output.stdout.is_empty());
    assert_fails(&ask("{\"note\": 1}\n"), &["asked.jsonl, row 1", "text"]);
    assert_fails(
        &ask("{\"image\": {}, \"text\": \"x\"}\n"),
        &["asked.jsonl, row 1", "image"],
    );
}

/// Weights of a run are start weights of another: sizes and vocabulary come with them.
fn weights_start_another_run(place: &Workplace, checkpoint: &str, report: &Value) {
    let recipe = std::fs::read_to_string(place.path("recipe.toml")).expect("a file");
    let (_, rest) = recipe.split_once("[data]").expect("a section");
    let rest = rest.replace("vocab = \"vocab.txt\"", "");
    std::fs::write(
        place.path("second.toml"),
        format!("epochs = 3\n[data]{rest}"),
    )
    .expect("it writes");
    let second = place.run(&[
        "finetune",
        "--task",
        "matching",
        "--config",
        "second.toml",
        "--init",
        checkpoint,
        "--json",
    ]);
    let second = json(&second);
    assert_eq!(second["parameters"], report["parameters"]);
    assert!(second["evaluation"]["accuracy"].as_f64().expect("a score") >= 0.9);
}

#[test]
fn an_interrupted_run_goes_on() {
    let place = workplace();
    let sets = [
        "--set",
        "epochs=10",
        "--set",
        "model.hidden_dropout_prob=0.1",
    ];
    let whole = place.run(&[FINETUNE, &sets, &["--name", "whole"]].concat());
    assert!(whole.status.success(), "{}", stderr(&whole));

    let mut child = place
        .program()
        .args([FINETUNE, &sets, &["--name", "killed"]].concat())
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    let checkpoint = place.path("runs/killed/checkpoint");
    while std::fs::read_dir(&checkpoint).map_or(0, Iterator::count) == 0 {
        if child.try_wait().expect("a child").is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let _ = child.kill();
    child.wait().expect("it ends");
    let resumed = place.run(&[FINETUNE, &["--name", "killed", "--resume"]].concat());
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    let weights = |name: &str| {
        let path = place.path("runs").join(name).join("last/model.safetensors");
        std::fs::read(path).expect("weights")
    };
    assert!(weights("whole") == weights("killed"));
}

#[test]
fn wrong_input_is_named() {
    let place = workplace();
    let rows = std::fs::read_to_string(place.path("dev.jsonl")).expect("a file");
    let with = |text: &str| {
        std::fs::write(place.path("wrong.jsonl"), format!("{rows}{text}\n")).expect("it writes");
        let set = "data.validation.pairs=wrong.jsonl";
        place.run(&[FINETUNE, &["--set", set, "--set", "epochs=1"]].concat())
    };
    for (row, wanted) in [
        (
            r#"{"image": "image-99", "text": "a", "label": true}"#,
            "wrong.jsonl:33: image `image-99` is not in regions",
        ),
        (
            r#"{"image": "image-1", "text": " ", "label": true}"#,
            "wrong.jsonl:33: an empty `text`",
        ),
        (
            r#"{"image": "image-1", "text": "a"}"#,
            "wrong.jsonl:33: no `label`",
        ),
        (
            r#"{"image": "image-1", "text": "a", "label": 3}"#,
            "wrong.jsonl:33: column 44: invalid type",
        ),
        (r#"{"image": "image-1", "#, "wrong.jsonl:33: column"),
    ] {
        assert_fails(&with(row), &["data.validation", wanted]);
    }
    let unknown = place.run(&["finetune", "--task", "machting"]);
    assert_fails(&unknown, &["\"machting\"", "matching"]);
    let other = place.run(&[
        "evaluate",
        "--task",
        "matching",
        "--checkpoint",
        "nowhere",
        "--data",
        "dev.jsonl",
        "--regions",
        "regions",
    ]);
    assert_fails(&other, &["nowhere", "no such directory"]);
}
