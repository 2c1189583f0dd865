//! What the program says about itself and about wrong usage.

use crate::support;

use rstest::rstest;
use support::{Workplace, assert_fails, stderr, stdout, write};

#[test]
fn help_names_every_command_and_has_examples() {
    let place = Workplace::new();
    let output = place.run(&["--help"]);
    assert!(output.status.success());
    for command in ["train", "data", "bench", "recipes"] {
        assert!(stdout(&output).contains(command), "{command} is missing");
    }
    let train = stdout(&place.run(&["train", "--help"]));
    for part in [
        "Examples:",
        "--resume",
        "--set",
        "--init",
        "--backend",
        "--devices",
        "--seed",
    ] {
        assert!(
            train.contains(part),
            "{part} is missing in the help of train"
        );
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let place = Workplace::new();
    assert_eq!(
        place.run(&["train", "--no-such-flag"]).status.code(),
        Some(2)
    );
    assert_eq!(place.run(&[]).status.code(), Some(2));
    assert_eq!(
        place.run(&["train", "--backend", "abacus"]).status.code(),
        Some(2)
    );
}

#[test]
fn recipes_are_listed_and_printed() {
    let place = Workplace::new();
    let list = stdout(&place.run(&["recipes"]));
    for name in [
        "quickstart",
        "shapes",
        "oscar-base",
        "oscar-large",
        "oscarplus-base",
        "oscarplus-large",
    ] {
        assert!(list.contains(name), "{name} is missing");
        let printed = stdout(&place.run(&["recipes", name]));
        assert!(
            printed.contains("[model]"),
            "{name} is no recipe: {printed}"
        );
    }
    assert_fails(&place.run(&["recipes", "oscar-huge"]), &["oscar-huge"]);
}

#[test]
fn only_recipes_that_are_alike_are_suggested() {
    let place = Workplace::new();
    let asked = |name: &str| {
        let said = ["train", "recipes"].map(|command| {
            let args = match command {
                "train" => vec!["train", "--config", name],
                _ => vec!["recipes", name],
            };
            let output = place.run(&args);
            assert_fails(&output, &[&format!("{name:?}")]);
            stderr(&output).to_lowercase()
        });
        said.map(|said| said.contains("did you mean"))
    };
    for name in ["zz", "", "nosuch"] {
        assert_eq!(asked(name), [false, false], "{name}");
    }
    for name in ["vqa", "oscar-bse", "quikstart"] {
        assert_eq!(asked(name), [true, true], "{name}");
    }
}

#[test]
fn an_empty_variable_is_one_that_is_not_set() {
    let place = Workplace::new();
    let mut program = place.program();
    program.args(["train", "--print-config"]);
    program.env("OSCAR_RUNS_DIR", "").env("OSCAR_BACKEND", "");
    let output = program.output().expect("the program starts");
    assert!(output.status.success(), "{}", stderr(&output));
    // A secret that is empty is a mistake.
    let output = place
        .program()
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("OSCAR_TOKEN", "")
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn a_missing_text_shows_the_usage_of_its_command() {
    let place = Workplace::new();
    let output = place.run(&["match", "photo.jpg"]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(
        said.contains("oscar-bin match [OPTIONS] <PICTURE>"),
        "{said}"
    );
}

#[rstest]
#[case::section("trian.steps=5", &["trian.steps", "train.steps"])]
#[case::key("train.batchsize=5", &["train.batchsize", "train.batch_size"])]
#[case::model("model.hiden_size=5", &["model.hiden_size", "model.hidden_size"])]
#[case::nested("encoder.contrast.texta_false=0.1", &["encoder.contrast.texta_false_prob"])]
#[case::no_value("train.steps", &["--set train.steps", "KEY=VALUE"])]
#[case::wrong_type("train.steps=many", &["train.steps", "many"])]
#[case::zero_steps("train.steps=0", &["train.steps = 0"])]
#[case::accumulation("train.accumulation=7", &["train.accumulation = 7", "64"])]
#[case::dropout("model.hidden_dropout_prob=1.5", &["hidden_dropout_prob = 1.5"])]
#[case::heads("model.num_attention_heads=5", &["hidden_size = 128", "num_attention_heads = 5"])]
#[case::preset("model.preset=huge", &["model.preset", "huge", "tiny, base, large or rosita-base"])]
#[case::warmup("optimizer.warmup_steps=9999999", &["optimizer.warmup_steps", "train.steps"])]
#[case::length("encoder.max_seq_length=500", &["encoder.max_seq_length = 500", "128"])]
#[case::mode("encoder.contrast.textb_sample_mode=3", &["textb_sample_mode", "text_b"])]
#[case::word("grounding.words=['zebra']", &["grounding.words", "zebra"])]
fn a_wrong_setting_names_its_key(#[case] set: &str, #[case] parts: &[&str]) {
    let place = Workplace::new();
    assert_fails(
        &place.run(&["train", "--config", "shapes", "--set", set]),
        parts,
    );
    assert!(!place.path("runs/shapes/checkpoint").exists());
}

#[test]
fn a_key_misspelt_in_a_file_names_the_file_and_the_nearest_key() {
    let place = Workplace::new();
    write(
        &place.path("mine.toml"),
        "[optimizer]\nlearningrate = 1e-4\n",
    );
    let output = place.run(&["train", "--config", "mine.toml"]);
    assert_fails(
        &output,
        &[
            "optimizer.learningrate",
            "mine.toml",
            "optimizer.learning_rate",
        ],
    );
}

#[test]
fn a_key_misspelt_in_the_environment_is_refused() {
    let place = Workplace::new();
    let output = place
        .program()
        .arg("train")
        .env("OSCAR__TRAIN__STEP", "5")
        .output();
    assert_fails(
        &output.expect("it starts"),
        &["train.step", "the environment", "train.steps"],
    );
}

#[rstest]
#[case::missing("nowhere.toml", &["nowhere.toml"])]
#[case::recipe("oscar-bse", &["oscar-bse", "oscar-base"])]
fn a_configuration_that_is_not_there(#[case] config: &str, #[case] parts: &[&str]) {
    let place = Workplace::new();
    assert_fails(&place.run(&["train", "--config", config]), parts);
}

#[test]
fn a_configuration_that_is_no_toml_names_the_line() {
    let place = Workplace::new();
    write(&place.path("broken.toml"), "[train]\nsteps = = 5\n");
    assert_fails(
        &place.run(&["train", "-c", "broken.toml"]),
        &["broken.toml", "line 2"],
    );
}

#[test]
fn a_recipe_without_data_says_what_to_set() {
    let place = Workplace::new();
    let output = place.run(&["train", "--config", "oscar-base"]);
    assert_fails(&output, &["data.train", "corpus"]);
}

#[test]
fn files_that_are_missing_are_named() {
    let place = Workplace::new();
    // A small sample: that of the quickstart is drawn before its first use.
    let base = ["train", "--config", "shapes", "--name", "r", "--set"];
    let run = |set: &str| place.run(&[&base[..], &[set]].concat());
    assert_fails(&run("data.train.corpus=nowhere.jsonl"), &["nowhere.jsonl"]);
    assert_fails(&run("data.train.regions=nowhere"), &["nowhere"]);
    assert_fails(&run("data.vocab=nowhere.txt"), &["nowhere.txt"]);
    assert_fails(
        &run("init.checkpoint=nowhere.safetensors"),
        &["nowhere.safetensors"],
    );
}

#[test]
fn devices_are_refused_where_they_cannot_share_the_work() {
    let place = Workplace::new();
    let output = place.run(&["train", "--devices", "0,0"]);
    assert_fails(&output, &["--devices", "0"]);
    let odd = ["--devices", "0,1,2", "--set", "train.batch_size=16"];
    let output = place.run(&[&["train"], &odd[..]].concat());
    assert_fails(&output, &["train.batch_size = 16", "3 devices"]);
    let output = place.run(&["bench", "--devices", "0,1"]);
    assert_fails(&output, &["--devices", "2"]);
}

#[test]
fn resuming_nothing_says_so() {
    let place = Workplace::new();
    let output = place.run(&["train", "--resume"]);
    assert_fails(&output, &["runs"]);
    let text = stderr(&output);
    assert!(
        text.contains("no run") || text.contains("cannot list"),
        "{text}"
    );
}

/// Nothing is answered, and no batch is empty, because somebody wrote 0.
#[rstest]
#[case("--top", &["predict", "--checkpoint", "c", "--text", "t"])]
#[case("--batch-size", &["evaluate", "--checkpoint", "c", "--data", "d"])]
#[case("--batch-size", &["search", "t", "--index", "i", "--checkpoint", "c"])]
#[case("--batch-size", &["data", "build", "index", "--regions", "r", "--checkpoint", "c", "--out", "o"])]
fn zero_is_no_number_of_things(#[case] flag: &str, #[case] args: &[&str]) {
    let place = Workplace::new();
    let output = place.run(&[args, &[flag, "0"]].concat());
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains(flag), "{}", stderr(&output));
}

/// Flags of older versions.
#[rstest]
#[case(&["evaluate", "--task", "vqa", "--checkpoint", "c", "--data", "d", "--store", "s"])]
#[case(&["predict", "--task", "vqa", "--checkpoint", "c", "--store", "s", "--image", "i", "--text", "t"])]
#[case(&["data", "build", "answers", "--annotations", "a", "--out", "o"])]
fn older_spellings_are_understood(#[case] args: &[&str]) {
    let place = Workplace::new();
    assert_fails(&place.run(args), &[]);
}
