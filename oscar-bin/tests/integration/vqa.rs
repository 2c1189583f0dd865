//! Questions about images, through the program: VQA and GQA from annotations to the server's file.

use crate::support;

use std::path::Path;

use oscar_datasets::StoreOptions;
use rstest::rstest;
use serde_json::{Value, json};
use support::toy::CLASSES;
use support::{Workplace, assert_fails, stderr, toy, write};

const IMAGES: usize = 32;

fn class(image: usize) -> &'static str {
    CLASSES[image % CLASSES.len()]
}

const RECIPE: &str = r#"
epochs = 20

[model]
preset = "tiny"
num_hidden_layers = 2
hidden_size = 32
intermediate_size = 64
initializer_range = 0.05
hidden_dropout_prob = 0.0

[task]
answers = "answers.json"

[data]
vocab = "vocab.txt"
train = { questions = "train.jsonl", regions = "regions" }
validation = { questions = "dev.jsonl", regions = "regions" }

[optimizer]
learning_rate = 3e-3
warmup_steps = 10

[train]
batch_size = 8
validate_every = 20
save_every = 40
log_every = 20
"#;

const VOCAB: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nwhat\nis\nit\na\n?\ndog\ncat\ncar\ntree\n";

/// Ten answers, of which one or two are another.
fn ten(answer: &str, others: usize) -> Vec<&str> {
    let mut answers = vec![answer; 10 - others];
    answers.extend(vec!["thing"; others]);
    answers
}

/// Plain rows: what each image shows.
fn plain(images: std::ops::Range<usize>, answer: fn(usize) -> Value) -> String {
    let row = |image: usize| {
        let mut row = json!({"image": image, "question": "what is it?", "id": format!("00{image}"),
            "answer_type": "other"});
        for (key, value) in answer(image).as_object().expect("an object") {
            row[key] = value.clone();
        }
        format!("{row}\n")
    };
    images.map(row).collect()
}

fn workplace(answer: fn(usize) -> Value) -> Workplace {
    let place = Workplace::new();
    let options = StoreOptions::new(toy::DIM);
    toy::write_store(&place.path("regions"), options, IMAGES, |image| {
        toy::Image {
            key: image.to_string(),
            broken: false,
        }
    });
    write(&place.path("recipe.toml"), RECIPE);
    write(&place.path("vocab.txt"), VOCAB);
    write(&place.path("train.jsonl"), &plain(0..24, answer));
    write(&place.path("dev.jsonl"), &plain(24..IMAGES, answer));
    let build = ["data", "build", "answers", "--annotations", "train.jsonl"];
    let output = place.run(
        &[
            &build[..],
            &["--minimum", "2", "--out", "answers.json", "--json"],
        ]
        .concat(),
    );
    let built = document(&output);
    assert_eq!(
        (&built["answers"], &built["answered"]),
        (&json!(4), &json!(24))
    );
    let twice = ["--data", "./train.jsonl", "--out", "twice.json"];
    let refused = place.run(&[&build[..], &twice].concat());
    assert_fails(&refused, &["--data ./train.jsonl", "twice"]);
    place
}

fn by_people(image: usize) -> Value {
    json!({"answers": ten(class(image), 1 + image % 2)})
}

fn by_word(image: usize) -> Value {
    json!({"answer": class(image)})
}

/// Standard output of a program that succeeded.
fn document(output: &std::process::Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).expect("one document")
}

fn finetune<'a>(task: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = [
        "finetune",
        "--task",
        task,
        "--config",
        "recipe.toml",
        "--json",
    ];
    [&args[..], more].concat()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

#[rstest]
#[case("bce", "linear")]
#[case("kl", "mlp")]
#[case("ce", "linear")]
fn vqa_from_annotations_to_the_servers_file(#[case] loss: &str, #[case] head: &str) {
    let place = workplace(by_people);
    let (loss, head) = (
        format!("task.loss={loss}"),
        format!("task.classifier={head}"),
    );
    let sets = ["--name", "v", "--set", &loss, "--set", &head];
    let report = document(&place.run(&finetune("vqa", &sets)));
    // 24 questions make three batches: twenty times three steps.
    assert_eq!(report["steps"], 60);
    let evaluation = &report["evaluation"];
    for score in ["vqa_accuracy", "accuracy"] {
        assert!(
            evaluation[score].as_f64().expect("a score") > 0.9,
            "{report:#}"
        );
    }
    assert_eq!(evaluation["answer type"]["other"]["examples"], 8);
    assert!(place.path("runs/v/best/answers.json").is_file());

    write_published_form(&place);
    let evaluate = [
        "evaluate",
        "--task",
        "vqa",
        "--checkpoint",
        "runs/v/best",
        "--data",
        "q.json",
    ];
    let with_answers = [
        "--annotations",
        "a.json",
        "--regions",
        "regions",
        "--out",
        "out",
        "--json",
    ];
    let scored = document(&place.run(&[&evaluate[..], &with_answers].concat()));
    assert!(
        scored["vqa_accuracy"].as_f64().expect("a score") > 0.9,
        "{scored:#}"
    );
    assert_eq!(scored["question type"]["what is"]["examples"], 8);
    let rows = read(&place.path("out/predictions/vqa.json"));
    let rows = rows.as_array().expect("a list");
    assert_eq!(rows.len(), 8);
    for (row, image) in rows.iter().zip(24..) {
        assert_eq!(row["question_id"], json!(image), "a number");
        assert!(CLASSES.contains(&row["answer"].as_str().expect("a text")));
        assert_eq!(row.as_object().expect("an object").len(), 2);
    }

    // A test split has no answers: predictions, and no score.
    let blind =
        document(&place.run(&[&evaluate[..], &["--regions", "regions", "--json"]].concat()));
    assert!(blind.get("accuracy").is_none() && blind.get("vqa_accuracy").is_none());
    assert_eq!(blind["examples"], 8);

    let ask = [
        "predict",
        "--task",
        "vqa",
        "--checkpoint",
        "runs/v/best",
        "--regions",
        "regions",
    ];
    let about = ["--image", "26", "--text", "what is it?", "--json"];
    let answer = document(&place.run(&[&ask[..], &about].concat()));
    assert_eq!(answer["classes"][0]["class"], "car");
}

/// The published form: questions have numbers, and their answers are in another file.
fn write_published_form(place: &Workplace) {
    let asked = |id: usize| json!({"image_id": id, "question": "what is it?", "question_id": id});
    let answered = |id: usize| {
        let answer = |(number, said)| json!({"answer": said, "answer_confidence": "yes", "answer_id": number});
        let answers: Vec<Value> = (1..).zip(ten(class(id), 1)).map(answer).collect();
        json!({"image_id": id, "question_id": id, "question_type": "what is", "answer_type": "other",
            "multiple_choice_answer": class(id), "answers": answers})
    };
    let questions: Vec<Value> = (24..IMAGES).map(asked).collect();
    let annotations: Vec<Value> = (24..IMAGES).map(answered).collect();
    write(
        &place.path("q.json"),
        &json!({"questions": questions}).to_string(),
    );
    write(
        &place.path("a.json"),
        &json!({"annotations": annotations}).to_string(),
    );
}

#[test]
fn gqa_from_annotations_to_the_servers_file() {
    let place = workplace(by_word);
    let report = document(&place.run(&finetune("gqa", &["--name", "g"])));
    let accuracy = report["evaluation"]["accuracy"].as_f64().expect("a score");
    assert!(accuracy > 0.9, "{report:#}");
    let file = read(&place.path("runs/g/predictions/validation.json"));
    for (row, image) in file.as_array().expect("a list").iter().zip(24..) {
        assert_eq!(row["questionId"], format!("00{image}"), "zeros stay");
        assert!(CLASSES.contains(&row["prediction"].as_str().expect("a text")));
        assert_eq!(row.as_object().expect("an object").len(), 2);
    }

    // The official form; the second stage starts from the best weights of the first.
    let official = |images: std::ops::Range<usize>| {
        let labels = read(&place.path("answers.json"));
        let labels = labels.as_array().expect("a list");
        let label = |image| labels.iter().position(|answer| answer == class(image));
        let row = |image: usize| {
            json!({"q": "what is it?", "o": class(image), "an": [label(image)],
            "img_id": image.to_string(), "q_id": format!("0{image}")})
        };
        Value::from_iter(images.map(row)).to_string()
    };
    write(&place.path("balanced.json"), &official(0..8));
    write(&place.path("testdev.json"), &official(24..IMAGES));
    let second = [
        "--init",
        "runs/g/best",
        "--name",
        "second",
        "--set",
        "epochs=2",
        "--set",
        "optimizer.warmup_steps=0",
        "--set",
        "data.train.questions=balanced.json",
        "--set",
        "data.test={questions='testdev.json', regions='regions'}",
    ];
    let second = document(&place.run(&finetune("gqa", &second)));
    assert_eq!(second["steps"], 2);
    assert!(second["evaluation"]["accuracy"].as_f64().expect("a score") > 0.9);
    assert!(place.path("runs/second/predictions/test.json").is_file());

    let args = [
        "evaluate",
        "--task",
        "gqa",
        "--checkpoint",
        "runs/g/best",
        "--data",
        "dev.jsonl",
    ];
    let output = place.run(&[&args[..], &["--annotations", "a.json"]].concat());
    assert_fails(&output, &["--annotations", "gqa"]);
}

#[test]
fn questions_can_be_asked_without_images() {
    let place = workplace(by_people);
    let recipe = RECIPE.replace(", regions = \"regions\"", "");
    write(&place.path("recipe.toml"), &recipe);
    let short = ["--set", "epochs=2", "--set", "optimizer.warmup_steps=0"];
    let output = place.run(&finetune(
        "vqa",
        &[&["--name", "blind"], &short[..]].concat(),
    ));
    let log = stderr(&output);
    let report = document(&output);
    assert_eq!(report["evaluation"]["examples"], 8);
    assert!(log.contains("train.jsonl: no `regions`"), "{log}");

    let ask = [
        "predict",
        "--task",
        "vqa",
        "--checkpoint",
        "runs/blind/best",
        "--json",
    ];
    let answer = document(&place.run(&[&ask[..], &["--text", "what is it?"]].concat()));
    assert_eq!(answer["classes"].as_array().expect("a list").len(), 4);
}

#[test]
fn questions_outside_the_vocabulary_are_counted() {
    let place = workplace(by_people);
    let rows = std::fs::read_to_string(place.path("dev.jsonl")).expect("a file");
    let foreign = json!({"image": 1, "question": "what is it?", "answers": ten("cow", 0)});
    write(&place.path("dev.jsonl"), &format!("{rows}{foreign}\n"));
    let output = place.run(&finetune("vqa", &[]));
    let log = stderr(&output);
    let report = document(&output);
    let left_out = "1 of 9 questions have no answer in the vocabulary (0 of them none at all)";
    assert!(log.contains(left_out), "{log}");
    let scores = &report["evaluation"];
    let score = |name: &str| scores[name].as_f64().expect("a score");
    // One of nine questions cannot be answered: the published accuracy counts it.
    assert_eq!(scores["examples"], 9);
    assert!(
        (score("vqa_accuracy") - score("accuracy") * 8.0 / 9.0).abs() < 0.02,
        "{report:#}"
    );
}

#[test]
fn wrong_input_is_named() {
    let place = workplace(by_people);
    let rows = std::fs::read_to_string(place.path("train.jsonl")).expect("a file");
    let with = |task, row: &str| {
        write(&place.path("wrong.jsonl"), &format!("{rows}{row}\n"));
        place.run(&finetune(
            task,
            &["--set", "data.train.questions=wrong.jsonl"],
        ))
    };
    for (task, row, wanted) in [
        (
            "vqa",
            r#"{"image": 99, "question": "what?", "answer": "dog"}"#,
            "wrong.jsonl:25: image `99` is not in regions",
        ),
        (
            "vqa",
            r#"{"image": 1, "question": "?", "answer": "dog"}"#,
            "wrong.jsonl:25: `question` is \"?\"",
        ),
        (
            "vqa",
            r#"{"image": 1, "question": "what?", "answer": "dog", "id": "007"}"#,
            "wrong.jsonl:25: the id 007 occurs in row 8 too",
        ),
        (
            "vqa",
            r#"{"q": "what?", "img_id": 1, "an": [7], "s": [1.0]}"#,
            "wrong.jsonl:25: label 7, but the vocabulary has 4 answers",
        ),
        (
            "gqa",
            r#"{"image": 1, "question": "what?", "answer": "cow"}"#,
            "wrong.jsonl:25: the answer \"cow\" is not in answers.json",
        ),
        (
            "gqa",
            r#"{"image": 1, "question": "what?"}"#,
            "wrong.jsonl:25: no `answer`",
        ),
        ("vqa", r#"{"image": 1, "quest"#, "wrong.jsonl:25: column"),
    ] {
        assert_fails(&with(task, row), &["data.train", wanted]);
    }
    let set = |set| place.run(&finetune("vqa", &["--set", set]));
    assert_fails(&set("task.answers="), &["task.answers is not set"]);
    assert_fails(
        &set("data.validation.questions="),
        &["data.validation", "`questions` is not set"],
    );
    write(&place.path("hole.json"), r#"{"dog": 0, "cat": 2}"#);
    assert_fails(
        &set("task.answers=hole.json"),
        &[
            "hole.json",
            "\"cat\" has the label 2, but 2 are given",
            "without a hole",
        ],
    );
    write(&place.path("none.json"), r#"["cow", "horse"]"#);
    assert_fails(
        &set("task.answers=none.json"),
        &["no question has an answer of none.json"],
    );
    assert_fails(&set("task.hidden_scale=0"), &["task.hidden_scale = 0"]);
}

/// The published settings: batch, epochs, rate, text and regions, region LayerNorm.
#[rstest]
#[case("vqa-base", "vqa", (128, 25, 5e-5), (128, 50), false)]
#[case("vqa-large", "vqa", (96, 25, 3e-5), (128, 50), false)]
#[case("vqa-vinvl-base", "vqa", (128, 25, 5e-5), (128, 50), true)]
#[case("vqa-vinvl-large", "vqa", (96, 25, 3e-5), (128, 50), true)]
#[case("gqa-base", "gqa", (128, 5, 5e-5), (165, 45), false)]
#[case("gqa-balanced", "gqa", (128, 2, 5e-5), (165, 45), false)]
#[case("gqa-vinvl-base", "gqa", (128, 5, 5e-5), (165, 45), true)]
#[case("gqa-vinvl-balanced", "gqa", (128, 2, 5e-5), (165, 45), true)]
fn a_recipe_has_the_published_settings(
    #[case] name: &str,
    #[case] task: &str,
    #[case] (batch, epochs, rate): (i64, i64, f64),
    #[case] (text, regions): (i64, i64),
    #[case] region_norm: bool,
) {
    let place = Workplace::new();
    let args = [
        "finetune",
        "--task",
        task,
        "--config",
        name,
        "--print-config",
    ];
    let output = place.run(&args);
    assert!(output.status.success(), "{}", stderr(&output));
    let recipe: toml::Table = support::stdout(&output).parse().expect("TOML");
    let large = name.ends_with("large");
    let expected: Vec<(&str, &str, toml::Value)> = vec![
        (
            "model",
            "hidden_size",
            (if large { 1024 } else { 768 }).into(),
        ),
        ("model", "use_img_layernorm", region_norm.into()),
        ("model", "hidden_dropout_prob", 0.3.into()),
        ("model", "attention_probs_dropout_prob", 0.1.into()),
        ("task", "classifier", "linear".into()),
        ("encoder", "max_seq_length", text.into()),
        ("encoder", "max_regions", regions.into()),
        ("encoder", "truncation", "longer".into()),
        ("optimizer", "learning_rate", rate.into()),
        ("optimizer", "warmup_steps", 0.into()),
        ("optimizer", "weight_decay", 0.05.into()),
        ("optimizer", "epsilon", 1e-8.into()),
        ("optimizer", "max_grad_norm", 1.0.into()),
        ("optimizer", "clip_at", "batch".into()),
        ("optimizer", "schedule_order", "schedule_first".into()),
        ("train", "batch_size", batch.into()),
        ("train", "seed", 88.into()),
    ];
    for (section, key, value) in expected {
        assert_eq!(
            recipe[section].get(key),
            Some(&value),
            "{section}.{key} of {name}"
        );
    }
    assert_eq!(recipe["epochs"].as_integer(), Some(epochs));
    let first = name.replace("balanced", "base");
    let start = (first != name).then(|| format!("runs/{first}/best"));
    let init = recipe["init"]
        .get("checkpoint")
        .and_then(toml::Value::as_str);
    assert_eq!(init.map(str::to_owned), start);
    if task == "vqa" {
        assert_eq!(recipe["task"]["loss"].as_str(), Some("bce"));
    }
}
