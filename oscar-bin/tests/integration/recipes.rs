//! What the recipes resolve to, and in which order settings win.

use crate::support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rstest::rstest;
use support::{Workplace, assert_fails, stderr, stdout, write};
use toml::Value;

/// The resolved configuration of `train` with `args`, by dotted key.
fn resolved(place: &Workplace, args: &[&str], env: &[(&str, &str)]) -> BTreeMap<String, Value> {
    printed(place, &[&["train"], args].concat(), env)
}

/// The configuration that a command prints, by dotted key.
fn printed(place: &Workplace, args: &[&str], env: &[(&str, &str)]) -> BTreeMap<String, Value> {
    let mut program = place.program();
    program
        .args(args)
        .arg("--print-config")
        .envs(env.iter().copied());
    let output = program.output().expect("the program starts");
    assert!(output.status.success(), "{}", stderr(&output));
    let table: toml::Table = stdout(&output).parse().expect("TOML on standard output");
    let mut keys = BTreeMap::new();
    flatten("", Value::Table(table), &mut keys);
    keys
}

fn flatten(path: &str, value: Value, keys: &mut BTreeMap<String, Value>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                let path = if path.is_empty() {
                    key
                } else {
                    format!("{path}.{key}")
                };
                flatten(&path, value, keys);
            }
        }
        value => {
            keys.insert(path.into(), value);
        }
    }
}

/// The published settings (steps, batch, rate, region LayerNorm, classes, clipping).
#[rstest]
#[case("oscar-base", (768, 12), (1_000_000, 768, 5e-5), false, 2, 0.0)]
#[case("oscar-large", (1024, 24), (900_000, 512, 1e-5), false, 2, 0.0)]
#[case("oscarplus-base", (768, 12), (1_000_000, 1024, 1e-4), true, 3, 10.0)]
#[case("oscarplus-large", (1024, 24), (1_000_000, 1024, 3e-5), true, 3, 10.0)]
fn a_recipe_has_the_published_settings(
    #[case] name: &str,
    #[case] (hidden, layers): (i64, i64),
    #[case] (steps, batch, rate): (i64, i64, f64),
    #[case] region_norm: bool,
    #[case] classes: i64,
    #[case] clip: f64,
) {
    let place = Workplace::new();
    let keys = resolved(&place, &["--config", name], &[]);
    let mode = if classes == 3 {
        "text_b"
    } else {
        "text_a_or_b"
    };
    let expected: Vec<(&str, Value)> = vec![
        ("model.hidden_size", hidden.into()),
        ("model.num_hidden_layers", layers.into()),
        ("model.use_img_layernorm", region_norm.into()),
        ("model.num_contrast_classes", classes.into()),
        ("model.hidden_dropout_prob", 0.1.into()),
        ("data.vocab", "bert-base-uncased".into()),
        ("encoder.max_seq_length", 35.into()),
        ("encoder.max_regions", 50.into()),
        ("encoder.mask_probability", 0.15.into()),
        (
            "encoder.contrast.texta_false_prob",
            (if classes == 3 { 0.25 } else { 0.0 }).into(),
        ),
        ("encoder.contrast.textb_sample_mode", mode.into()),
        ("optimizer.learning_rate", rate.into()),
        ("optimizer.warmup_steps", 0.into()),
        ("optimizer.weight_decay", 0.01.into()),
        ("optimizer.epsilon", 1e-8.into()),
        ("optimizer.beta1", 0.9.into()),
        ("optimizer.beta2", 0.999.into()),
        ("optimizer.max_grad_norm", clip.into()),
        ("train.steps", steps.into()),
        ("train.batch_size", batch.into()),
    ];
    for (key, value) in expected {
        assert_eq!(keys.get(key), Some(&value), "{key} of {name}");
    }
}

/// ROSITA's schedules (rate, epochs of warm-up, epochs of decay), batch, and length of texts.
#[rstest]
#[case("vqa-rosita", 5e-5, 3, &[6, 9], 128, 20)]
#[case("retrieval-rosita", 4e-5, 1, &[2, 4], 256, 30)]
#[case("retrieval-rosita-flickr", 4e-5, 1, &[2, 4], 256, 30)]
#[case("refer-refcoco", 7e-5, 1, &[4, 6], 128, 20)]
#[case("refer-refcocoplus", 5e-5, 1, &[6, 8], 128, 20)]
#[case("refer-refcocog", 5e-5, 1, &[8, 10], 128, 20)]
fn a_recipe_of_rosita_has_the_published_settings(
    #[case] name: &str,
    #[case] rate: f64,
    #[case] warmup: i64,
    #[case] decay: &[i64],
    #[case] batch: i64,
    #[case] text: i64,
) {
    let place = Workplace::new();
    let task = name.split('-').next().expect("a task");
    let keys = printed(&place, &["finetune", "--task", task, "--config", name], &[]);
    let expected: Vec<(&str, Value)> = vec![
        ("epochs", 15.into()),
        ("warmup_epochs", warmup.into()),
        ("decay_epochs", decay.to_vec().into()),
        ("model.region_projection", "split".into()),
        ("model.use_img_layernorm", true.into()),
        ("model.padding_gets_gradient", true.into()),
        ("model.hidden_dropout_prob", 0.1.into()),
        ("encoder.max_seq_length", text.into()),
        ("encoder.max_regions", 36.into()),
        ("encoder.use_tags", false.into()),
        ("encoder.drop_punctuation", true.into()),
        ("optimizer.formula", "adam".into()),
        ("optimizer.learning_rate", rate.into()),
        ("optimizer.beta1", 0.9.into()),
        ("optimizer.beta2", 0.98.into()),
        ("optimizer.epsilon", 1e-9.into()),
        ("optimizer.weight_decay", 0.0.into()),
        ("optimizer.max_grad_norm", 1.0.into()),
        ("optimizer.warmup", "thirds".into()),
        ("optimizer.decay", "steps".into()),
        ("optimizer.decay_factor", 0.1.into()),
        ("optimizer.schedule_order", "schedule_first".into()),
        ("train.batch_size", batch.into()),
    ];
    for (key, value) in expected {
        assert_eq!(keys.get(key), Some(&value), "{key} of {name}");
    }
}

#[test]
fn a_new_file_and_nothing_else_changes_a_run() {
    let place = Workplace::new();
    let before = resolved(&place, &[], &[]);
    let mut recipe: toml::Table = stdout(&place.run(&["recipes", "quickstart"]))
        .parse()
        .expect("a recipe is TOML");
    recipe["train"]["seed"] = 7.into();
    write(&place.path("mine.toml"), &recipe.to_string());
    let after = resolved(&place, &["--config", "mine.toml"], &[]);
    let differing: Vec<&String> = after
        .keys()
        .filter(|key| before.get(*key) != after.get(*key))
        .collect();
    assert_eq!(differing, ["train.seed"]);
    assert_eq!(before.len(), after.len());
}

#[test]
fn what_is_printed_is_a_recipe_of_the_same_run() {
    let place = Workplace::new();
    let printed = stdout(&place.run(&["train", "--print-config", "--config", "oscarplus-base"]));
    write(&place.path("again.toml"), &printed);
    assert_eq!(
        stdout(&place.run(&["train", "--print-config", "-c", "again.toml"])),
        printed
    );
}

#[test]
fn set_wins_over_the_environment_over_the_file_over_the_preset() {
    let place = Workplace::new();
    let file = "[model]\npreset = 'tiny'\n";
    write(&place.path("preset.toml"), file);
    write(
        &place.path("file.toml"),
        &format!("{file}hidden_size = 64\n"),
    );
    let env = [
        ("OSCAR__MODEL__HIDDEN_SIZE", "96"),
        ("OSCAR__TRAIN__STEPS", "5"),
    ];
    let set = ["--config", "file.toml", "--set", "model.hidden_size=32"];
    let hidden = |args: &[&str], env: &[(&str, &str)]| {
        resolved(&place, args, env)["model.hidden_size"].as_integer()
    };
    assert_eq!(hidden(&["--config", "preset.toml"], &[]), Some(128));
    assert_eq!(hidden(&["--config", "file.toml"], &[]), Some(64));
    assert_eq!(hidden(&["--config", "file.toml"], &env), Some(96));
    assert_eq!(hidden(&set, &env), Some(32));
    let steps = &resolved(&place, &set, &env)["train.steps"];
    assert_eq!(steps.as_integer(), Some(5));
}

#[test]
fn printing_touches_nothing_and_still_checks() {
    let place = Workplace::new();
    resolved(&place, &[], &[]);
    assert!(!place.path("runs").exists());
    let output = place.run(&["train", "--print-config", "--set", "train.steps=0"]);
    assert_fails(&output, &["train.steps = 0"]);
}

/// What each recipe sets: the keys of its resolved configuration that an empty one has otherwise.
#[test]
fn recipes_resolve_to_what_they_always_did() {
    let place = Workplace::new();
    write(&place.path("empty.toml"), "");
    let folder = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
        let files = path.join(name).read_dir().expect("a folder");
        let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
        // The list of public weights is no recipe.
        files.retain(|file| file.extension().is_some_and(|end| end == "toml"));
        files.retain(|file| file.file_stem().is_some_and(|stem| stem != "weights"));
        files.sort();
        files
    };
    let mut snapshot = String::new();
    for file in ["", "pretrain", "finetune", "experiments"]
        .into_iter()
        .flat_map(folder)
    {
        let name = file.file_stem().expect("a name").to_string_lossy();
        let task = match name.split('-').next() {
            Some(
                "quickstart" | "oscar" | "oscarplus" | "rosita" | "shapes" | "scenes" | "structure"
                | "tags",
            ) => None,
            Some("nocaps") => Some("captioning"),
            Some("nlvr") => Some("nlvr2"),
            task => task,
        };
        let command = task.map_or(vec!["train"], |task| vec!["finetune", "--task", task]);
        let with = |config: &str| printed(&place, &[&command[..], &["-c", config]].concat(), &[]);
        let empty = with("empty.toml");
        snapshot += &format!("[{name}]\n");
        for (key, value) in with(&file.to_string_lossy()) {
            if empty.get(&key) != Some(&value) {
                snapshot += &format!("{key} = {value}\n");
            }
        }
    }
    insta::assert_snapshot!(snapshot);
}

#[test]
fn a_recipe_starts_from_what_it_extends() {
    let place = Workplace::new();
    std::fs::create_dir_all(place.path("mine/deep")).expect("a directory");
    write(
        &place.path("mine/base.toml"),
        "extends = 'oscarplus-base'\n[train]\nsteps = 7\nseed = 8\n",
    );
    write(
        &place.path("mine/deep/top.toml"),
        "extends = '../base.toml'\n[train]\nseed = 9\n",
    );
    let keys = resolved(&place, &["-c", "mine/deep/top.toml"], &[]);
    for (key, value) in [
        ("train.seed", 9.into()),
        ("train.steps", 7.into()),
        ("train.batch_size", 1024.into()),
        ("model.use_img_layernorm", true.into()),
    ] {
        assert_eq!(keys[key], value, "{key}");
    }
    assert!(!keys.contains_key("extends"));
}

#[rstest]
#[case::unknown("extends = 'oscar-bse'", &["top.toml", "extends", "oscar-bse", "oscar-base"])]
#[case::missing("extends = 'nowhere.toml'", &["nowhere.toml"])]
#[case::itself("extends = 'top.toml'", &["top.toml extends top.toml"])]
#[case::circle("extends = './other.toml'", &["top.toml extends", "other.toml extends"])]
#[case::number("extends = 3", &["top.toml", "extends = 3"])]
#[case::key("extends = 'bad.toml'", &["bad.toml", "train.step", "train.steps"])]
#[case::value("extends = 'wrong.toml'", &["in wrong.toml", "train.steps", "many"])]
fn a_wrong_base_is_refused_with_its_place(#[case] toml: &str, #[case] parts: &[&str]) {
    let place = Workplace::new();
    write(&place.path("top.toml"), toml);
    write(&place.path("other.toml"), "extends = 'top.toml'");
    write(&place.path("bad.toml"), "[train]\nstep = 3");
    write(&place.path("wrong.toml"), "[train]\nsteps = 'many'");
    assert_fails(&place.run(&["train", "-c", "top.toml"]), parts);
}

#[rstest]
#[case::number("2024")]
#[case::float("1e5")]
#[case::boolean("true")]
#[case::date("2024-01-01")]
#[case::list("[a]")]
fn a_value_that_toml_reads_otherwise_is_a_string_where_one_is_wanted(#[case] name: &str) {
    let place = Workplace::new();
    for key in ["data.train.corpus", "data.vocab", "init.checkpoint"] {
        let set = format!("{key}={name}");
        let keys = resolved(
            &place,
            &["--set", &set, "--set", "data.train.regions=r"],
            &[],
        );
        assert_eq!(keys[key].as_str(), Some(name), "{key}");
    }
}

#[rstest]
#[case("train.steps=1.5", "1.5")]
#[case("train.steps=-1", "-1")]
#[case("train.batch_size=true", "true")]
#[case("optimizer.learning_rate=[1]", "a list")]
#[case("model=3", "3")]
fn a_wrong_type_is_named_without_the_types_of_rust(#[case] set: &str, #[case] found: &str) {
    let place = Workplace::new();
    let output = place.run(&["train", "--set", set]);
    let key = set.split('=').next().expect("a key");
    assert_fails(&output, &[&format!("--set {set}"), key, found]);
    let text = stderr(&output);
    for word in ["usize", "u64", "f64", "struct", "enum", "i128"] {
        assert!(!text.contains(word), "{text}");
    }
}

/// The quickstart masks the names of all things that captions of training name, and no others.
#[test]
fn the_quickstart_masks_the_names_of_all_things() {
    let place = Workplace::new();
    let recipe: toml::Table = stdout(&place.run(&["recipes", "quickstart"]))
        .parse()
        .expect("a recipe is TOML");
    let words = recipe["grounding"]["words"].as_array().expect("a list");
    let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
    let kinds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../datasets/sample/scenes/kinds.json");
    let kinds = std::fs::read_to_string(kinds).expect("the kinds");
    let kinds: Vec<serde_json::Value> = serde_json::from_str(&kinds).expect("JSON");
    for kind in kinds {
        let name = kind["name"].as_str().expect("a name");
        assert_eq!(words.contains(&name), kind["novel"] == false, "{name}");
    }
}
