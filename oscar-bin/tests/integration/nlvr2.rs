//! NLVR2 from recipe to predictions, on a handful of generated images.

use crate::support;

use std::path::Path;
use std::process::Output;

use oscar_datasets::{Boxes, ImageRegions, StoreOptions, StoreWriter};
use rstest::rstest;
use support::{Workplace, assert_fails, json, stderr, stdout, write};

/// Pairs of images; in half of them the left one is red, in half of them the right one.
const PAIRS: usize = 16;

/// Which images of a pair are red.
fn red(pair: usize) -> [bool; 2] {
    [pair & 1 == 0, pair & 2 == 0]
}

/// A store of plainly red and blue images, and two statements about each pair.
fn place() -> Workplace {
    let place = Workplace::new();
    let mut store = StoreWriter::create(&place.path("regions"), StoreOptions::new(8)).unwrap();
    let mut rows = String::new();
    for pair in 0..PAIRS {
        for (side, red) in red(pair).into_iter().enumerate() {
            let mut features = [0.0; 8];
            features[usize::from(red)] = 2.0;
            features[7] = pair as f32 / PAIRS as f32;
            store
                .push(ImageRegions {
                    key: &format!("dev-7-{pair}-img{side}"),
                    width: 100,
                    height: 100,
                    features: &features,
                    boxes: Boxes::Pixels(&[[10.0, 10.0, 60.0, 60.0]]),
                    tags: &[],
                })
                .unwrap();
        }
        for (sentence, (side, red)) in ["left", "right"].into_iter().zip(red(pair)).enumerate() {
            let label = if red { "True" } else { "False" };
            rows += &format!(
                "{{\"sentence\": \"The {side} image is red.\", \
                 \"identifier\": \"dev-7-{pair}-{sentence}\", \"label\": \"{label}\"}}\n"
            );
        }
    }
    store.finish().unwrap();
    write(&place.path("dev.json"), &rows);
    let vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nleft\nright\nimage\nis\nred\n.\n";
    write(&place.path("vocab.txt"), vocab);
    write(
        &place.path("small.toml"),
        "[model]\npreset = 'tiny'\nhidden_size = 64\nintermediate_size = 64\n\
         num_hidden_layers = 2\ninitializer_range = 0.1\nhidden_dropout_prob = 0.0\n\
         attention_probs_dropout_prob = 0.0\nclassifier = 'mlp'\n\
         [data]\nvocab = 'vocab.txt'\n\
         train = { statements = 'dev.json', regions = 'regions' }\n\
         validation = { statements = 'dev.json', regions = 'regions' }\n\
         [encoder]\nmax_seq_length = 16\nuse_tags = false\n\
         [optimizer]\nlearning_rate = 1e-3\nmax_grad_norm = 1.0\n\
         [train]\nsteps = 300\nbatch_size = 16\nvalidate_every = 100\nsave_every = 100\n",
    );
    place
}

fn finetune(place: &Workplace, more: &[&str]) -> Output {
    let args = [
        "finetune",
        "--task",
        "nlvr2",
        "--config",
        "small.toml",
        "--name",
        "run",
    ];
    place.run(&[&args[..], more].concat())
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("a file");
    assert!(text.ends_with('\n'));
    text.lines().map(String::from).collect()
}

#[test]
fn from_recipe_to_predictions() {
    let place = place();
    let trained = json(&finetune(&place, &["--json"]));
    assert_eq!(trained["steps"], 300);
    // Each statement is about one side: whoever mixes them up stays near chance.
    let learned = trained["evaluation"]["accuracy"].as_f64().unwrap();
    assert!(learned > 0.9, "accuracy {learned}");

    let evaluate = [
        "evaluate",
        "--task",
        "nlvr2",
        "--checkpoint",
        "runs/run/best",
        "--data",
        "dev.json",
        "--regions",
        "regions",
        "--out",
        "out",
        "--json",
    ];
    let scores = json(&place.run(&evaluate));
    assert_eq!(scores["accuracy"], trained["evaluation"]["accuracy"]);
    assert_eq!(scores["examples"], 2 * PAIRS);
    let subsets = &scores["accuracy by subset"];
    assert_eq!(subsets["balanced"]["examples"], PAIRS);
    assert_eq!(subsets["unbalanced"]["examples"], PAIRS);

    // The official CSV: every row once, in order, and right as often as the score says.
    let rows = lines(&place.path("out/predictions/nlvr2.csv"));
    let mut right = 0;
    for (index, row) in rows.iter().enumerate() {
        let (pair, sentence) = (index / 2, index % 2);
        let (name, answer) = row.split_once(',').expect("two fields");
        assert_eq!(name, format!("dev-7-{pair}-{sentence}"));
        assert!(["True", "False"].contains(&answer), "{row}");
        right += usize::from((answer == "True") == red(pair)[sentence]);
    }
    assert_eq!(rows.len(), 2 * PAIRS);
    assert_eq!(scores["accuracy"], right as f64 / rows.len() as f64);

    // A red and a blue image, in both orders.
    let ask = |images: [&str; 2], more: &[&str]| {
        let args = [
            "predict",
            "--task",
            "nlvr2",
            "--checkpoint",
            "runs/run/best",
            "--regions",
            "regions",
            "--text",
            "The left image is red.",
            "--image",
            images[0],
            "--image",
            images[1],
        ];
        place.run(&[&args[..], more].concat())
    };
    let (red, blue) = ("dev-7-0-img0", "dev-7-3-img0");
    for (images, expected) in [([red, blue], "True"), ([blue, red], "False")] {
        let answer = json(&ask(images, &["--json"]));
        assert_eq!(answer["classes"][0]["class"], expected);
        let sum: f64 = [0, 1]
            .map(|n| answer["classes"][n]["probability"].as_f64().unwrap())
            .iter()
            .sum();
        assert!((sum - 1.0).abs() < 1e-5, "{answer}");
    }
    assert_fails(&ask([red, "nowhere"], &[]), &["image `nowhere`", "regions"]);
    assert_fails(&ask([red, blue], &["--image", red]), &["3", "2 images"]);
}

#[test]
fn both_images_in_one_sequence() {
    let place = place();
    let joined = [
        "--set",
        "task.images=joined",
        "--set",
        "train.steps=4",
        "--set",
        "train.log_every=2",
    ];
    let trained = json(&finetune(&place, &[&joined[..], &["--json"]].concat()));
    assert_eq!(trained["evaluation"]["examples"], 2 * PAIRS);
    let weights = std::fs::read(place.path("runs/run/best/model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&weights).unwrap();
    // One pooled vector of 64, not two.
    assert_eq!(
        file.tensor("classifier.0.weight").unwrap().shape(),
        [128, 64]
    );
}

#[test]
fn statements_about_one_image() {
    let place = place();
    let row = |pair: usize, red: bool| {
        format!(
            "{{\"image\": \"dev-7-{pair}-img0\", \"text\": \"The image is red.\", \
             \"label\": {red}}}\n"
        )
    };
    let rows: String = (0..PAIRS).map(|pair| row(pair, red(pair)[0])).collect();
    write(&place.path("dev.json"), &rows);
    let refused = finetune(&place, &[]);
    assert_fails(
        &refused,
        &["data.train", "dev.json:1", "task.images = \"joined\""],
    );

    let few = ["--set", "task.images=joined", "--set", "train.steps=4"];
    let trained = finetune(&place, &few);
    assert!(trained.status.success(), "{}", stderr(&trained));
    let said = stdout(&trained);
    assert!(
        said.contains("consistency was not computed: 16 of 16 rows"),
        "{said}"
    );
    let predictions = lines(&place.path("runs/run/predictions/validation.jsonl"));
    assert_eq!(predictions.len(), PAIRS);
}

#[test]
fn a_wrong_file_leaves_no_run() {
    let place = place();
    let text = std::fs::read_to_string(place.path("dev.json")).unwrap();
    write(&place.path("dev.json"), &text[..text.len() - 20]);
    let output = finetune(&place, &[]);
    assert_fails(&output, &["data.train", "dev.json:32"]);
    assert!(!place.path("runs/run").exists());
    let three = ["--set", "model.num_choice=3"];
    assert_fails(&finetune(&place, &three), &["model.num_choice = 3"]);
}

/// Hidden size, layers, region LayerNorm; head's scale; batch, warm-up.
#[rstest]
#[case("nlvr2-base", (768, 12, false), 3, (72, 10_000))]
#[case("nlvr2-large", (1024, 24, false), 2, (48, 5_000))]
#[case("nlvr2-vinvl-base", (768, 12, true), 3, (72, 10_000))]
#[case("nlvr2-vinvl-large", (1024, 24, true), 2, (24, 5_000))]
fn a_recipe_has_the_published_settings(
    #[case] name: &str,
    #[case] (hidden, layers, region_norm): (i64, i64, bool),
    #[case] scale: i64,
    #[case] (batch, warmup): (i64, i64),
) {
    let place = Workplace::new();
    let output = place.run(&[
        "finetune",
        "--task",
        "nlvr2",
        "--config",
        name,
        "--print-config",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let recipe: toml::Table = stdout(&output).parse().expect("TOML on standard output");
    let expected: Vec<(&str, &str, toml::Value)> = vec![
        ("model", "hidden_size", hidden.into()),
        ("model", "num_hidden_layers", layers.into()),
        ("model", "use_img_layernorm", region_norm.into()),
        ("model", "hidden_dropout_prob", 0.3.into()),
        ("model", "attention_probs_dropout_prob", 0.1.into()),
        ("model", "classifier", "mlp".into()),
        ("model", "cls_hidden_scale", scale.into()),
        ("model", "num_choice", 2.into()),
        ("task", "images", "pair".into()),
        ("encoder", "max_seq_length", 55.into()),
        ("encoder", "max_regions", 40.into()),
        ("encoder", "use_tags", false.into()),
        ("optimizer", "learning_rate", 3e-5.into()),
        ("optimizer", "warmup_steps", warmup.into()),
        ("optimizer", "schedule_order", "schedule_first".into()),
        ("optimizer", "weight_decay", 0.05.into()),
        ("optimizer", "epsilon", 1e-8.into()),
        ("optimizer", "max_grad_norm", 1.0.into()),
        ("optimizer", "clip_at", "batch".into()),
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
    assert_eq!(recipe["epochs"].as_integer(), Some(20));
}

#[test]
fn human_statements_are_about_one_image() {
    let place = Workplace::new();
    let recipe = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../config/experiments/nlvr-human.toml"
    );
    let args = ["finetune", "--task", "nlvr2", "--config", recipe];
    let output = place.run(&[&args[..], &["--print-config"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("images = \"joined\""));
    assert_fails(&place.run(&args), &["data.train"]);
}
