//! Search from a recipe to found pictures, through the command line.

use crate::support;

use std::fs;

use serde_json::Value;
use support::{Workplace, assert_fails, json, shapes, stderr, stdout, write};

/// A model and a run that take seconds.
const RECIPE: &str = r#"
[model]
preset = "tiny"
hidden_size = 32
num_hidden_layers = 1
num_attention_heads = 2
intermediate_size = 64
[task]
projection_dim = 16
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
[optimizer]
learning_rate = 1e-3
[train]
steps = 6
batch_size = 8
validate_every = 3
save_every = 3
"#;

const IMAGES: usize = 40;

/// Images with the captions that describe them, and recipes of search and of retrieval.
fn workplace() -> Workplace {
    let (place, images) = shapes::workplace(IMAGES, RECIPE);
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
    let retrieval = RECIPE.replace("projection_dim = 16", "validation_candidates = 4");
    write(&place.path("retrieval.toml"), &retrieval);
    place
}

fn finetune(place: &Workplace, task: &str, config: &str, more: &[&str]) -> Value {
    let args = ["finetune", "--task", task, "--config", config, "--json"];
    json(&place.run(&[&args, more].concat()))
}

const BUILD: &[&str] = &[
    "data",
    "build",
    "index",
    "--regions",
    "regions",
    "--checkpoint",
    "dual",
    "--out",
    "shapes.index",
    "--batch-size",
    "8",
    "--json",
];

const SEARCH: &[&str] = &[
    "search",
    "a red circle",
    "--index",
    "shapes.index",
    "--checkpoint",
    "dual",
    "--top",
    "5",
    "--json",
];

const STAGES: &[&str] = &[
    "evaluate",
    "--checkpoint",
    "cross",
    "--data",
    "captions.jsonl",
    "--regions",
    "regions",
    "--set",
    "data.image_keys=few.tsv",
    "--first-stage",
    "dual",
    "--rerank",
    "4",
    "--json",
];

#[test]
fn from_recipe_to_found_pictures() {
    let place = workplace();
    finetune(&place, "retrieval", "retrieval.toml", &["--name", "cross"]);
    // Taught by the model that re-ranks.
    let teacher = [
        "--set",
        "task.teacher=runs/cross/best",
        "--set",
        "task.teacher_candidates=3",
    ];
    let trained = finetune(
        &place,
        "search",
        "recipe.toml",
        &[&teacher[..], &["--name", "dual"]].concat(),
    );
    assert_eq!(trained["evaluation"]["examples"], 16 + 32);
    assert!(trained["evaluation"]["t2i_R@1"].is_number(), "{trained}");
    let inspected = json(&place.run(&["model", "inspect", "runs/dual/best", "--json"]));
    assert!(
        inspected.to_string().contains("dual_encoder"),
        "{inspected}"
    );

    let built = json(&place.run(BUILD));
    assert_eq!(built["pictures"], IMAGES);
    assert_eq!(built["width"], 16);
    // What is there is not replaced unless that is asked for, and nothing else ever is.
    assert_fails(&place.run(BUILD), &["shapes.index", "--overwrite"]);
    json(&place.run(&[BUILD, &["--overwrite"]].concat()));
    let other = [&BUILD[..BUILD.len() - 4], &["few.tsv", "--overwrite"]].concat();
    assert_fails(&place.run(&other), &["few.tsv", "not an index"]);

    found(&place);
    stages(&place);
    refused(&place);
}

/// One stage, two stages, several texts.
fn found(place: &Workplace) {
    let one = json(&place.run(SEARCH));
    assert_eq!(one["pictures"], IMAGES);
    let pictures = |document: &Value, query: usize| -> Vec<String> {
        let found = document["queries"][query]["found"]
            .as_array()
            .expect("a list");
        found
            .iter()
            .map(|found| found["picture"].as_str().expect("a key").to_string())
            .collect()
    };
    assert_eq!(pictures(&one, 0).len(), 5);
    let similarity = |at: usize| one["queries"][0]["found"][at]["similarity"].as_f64();
    assert!(similarity(0) >= similarity(4) && similarity(0) <= Some(1.0 + 1e-3));

    let rerank = [
        "--regions",
        "regions",
        "--rerank",
        "3",
        "--reranker",
        "cross",
    ];
    let two = json(&place.run(&[SEARCH, &rerank].concat()));
    let (mut before, mut after) = (pictures(&one, 0), pictures(&two, 0));
    assert_eq!(
        before[3..],
        after[3..],
        "what is not re-ranked stays behind"
    );
    before[..3].sort();
    after[..3].sort();
    assert_eq!(before, after, "the same pictures in another order");
    let score = |at: usize| two["queries"][0]["found"][at]["match_score"].as_f64();
    assert!(score(0) >= score(1) && score(1) >= score(2) && score(3).is_none());

    write(
        &place.path("queries.txt"),
        "a red circle\n\nthe square is blue\n",
    );
    let file = [&["search", "--file", "queries.txt"], &SEARCH[2..]].concat();
    let several = json(&place.run(&file));
    assert_eq!(pictures(&several, 0), pictures(&one, 0));
    assert_eq!(several["queries"][1]["text"], "the square is blue");

    let table: Vec<&str> = SEARCH
        .iter()
        .copied()
        .filter(|arg| *arg != "--json")
        .collect();
    let table = stdout(&place.run(&table));
    assert_eq!(table.lines().count(), 6, "{table}");
    assert!(table.contains(&pictures(&one, 0)[0]), "{table}");
}

/// Recall of one stage, of two, and of all pairs.
fn stages(place: &Workplace) {
    let document = json(&place.run(&[STAGES, &["--every-pair"]].concat()));
    assert_eq!(document["images"], 16);
    assert_eq!(document["captions"], 32);
    let stages = document["stages"].as_array().expect("a list");
    let names: Vec<&str> = stages
        .iter()
        .filter_map(|stage| stage["name"].as_str())
        .collect();
    assert_eq!(names, ["one stage", "two stages", "every pair"]);
    let pairs: Vec<u64> = stages
        .iter()
        .filter_map(|stage| stage["pairs"].as_u64())
        .collect();
    assert_eq!((pairs[0], pairs[2]), (0, 16 * 32));
    assert!(pairs[1] >= 4 * 32 && pairs[1] <= 4 * (16 + 32), "{pairs:?}");
    // All pairs are what the cross-encoder is evaluated on by itself.
    let alone = json(&place.run(&[
        "evaluate",
        "--checkpoint",
        "cross",
        "--data",
        "captions.jsonl",
        "--regions",
        "regions",
        "--set",
        "data.image_keys=few.tsv",
        "--json",
    ]));
    for name in ["i2t_R@1", "i2t_R@10", "t2i_R@1", "t2i_R@5"] {
        assert_eq!(stages[2]["scores"][name], alone[name], "{name}");
    }
    // Re-ranking all there is, is the same as well.
    let all: Vec<&str> = STAGES
        .iter()
        .map(|arg| if *arg == "4" { "99" } else { *arg })
        .collect();
    let all = json(&place.run(&all));
    assert_eq!(all["stages"][1]["scores"]["t2i_R@1"], alone["t2i_R@1"]);
    assert_eq!(all["stages"][1]["pairs"], 16 * 32);
}

/// What does not belong together is refused by name.
fn refused(place: &Workplace) {
    finetune(
        place,
        "search",
        "recipe.toml",
        &["--name", "other", "--set", "train.seed=7"],
    );
    let with = |from: &str, to: &'static str| -> Vec<&'static str> {
        SEARCH
            .iter()
            .map(|arg| if *arg == from { to } else { *arg })
            .collect()
    };
    assert_fails(
        &place.run(&with("dual", "other")),
        &["shapes.index", "other weights"],
    );
    assert_fails(&place.run(&with("dual", "cross")), &["retrieval"]);
    assert_fails(&place.run(&with("a red circle", " ")), &["text"]);
    let reranker = [
        "--regions",
        "regions",
        "--rerank",
        "3",
        "--reranker",
        "other",
    ];
    assert_fails(
        &place.run(&[SEARCH, &reranker].concat()),
        &["task search", "retrieval"],
    );

    let whole = fs::read(place.path("shapes.index")).expect("an index");
    fs::write(place.path("shapes.index"), &whole[..whole.len() - 9]).expect("a cut index");
    let cut = place.run(SEARCH);
    assert_fails(&cut, &["shapes.index"]);
    assert!(!stderr(&cut).contains("panicked"), "{}", stderr(&cut));
}
