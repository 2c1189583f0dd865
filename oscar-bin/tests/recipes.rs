//! What the recipes resolve to, and in which order settings win.

mod support;

use std::collections::BTreeMap;

use rstest::rstest;
use support::{Workplace, assert_fails, stderr, stdout, write};
use toml::Value;

/// The resolved configuration of `train` with `args`, by dotted key.
fn resolved(place: &Workplace, args: &[&str], env: &[(&str, &str)]) -> BTreeMap<String, Value> {
    let mut program = place.program();
    program
        .args(["train", "--print-config"])
        .args(args)
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
