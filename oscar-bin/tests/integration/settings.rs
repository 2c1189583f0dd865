//! What the user sets is used, or answered.

use crate::support;

use std::fs;

use rstest::rstest;
use support::{Workplace, assert_fails, json, stderr, stdout, toy, write};

/// The configuration that a command prints, and what it says beside it.
fn printed(place: &Workplace, args: &[&str]) -> (toml::Table, String) {
    let output = place.run(&[args, &["--print-config"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let table = stdout(&output).parse().expect("TOML on standard output");
    (table, stderr(&output))
}

fn whole(table: &toml::Table, key: &str) -> i64 {
    let mut parts = key.split('.');
    let last = parts.next_back().expect("a key");
    let table = parts.fold(table, |table, part| {
        table[part].as_table().expect("a table")
    });
    table[last].as_integer().expect("a whole number")
}

#[rstest]
#[case::set(&["--set", "train.steps=3"])]
#[case::flag(&["--steps", "3"])]
#[case::inline(&["--set", "train={steps=3}"])]
fn steps_that_are_asked_for_win_over_the_epochs_of_the_recipe(#[case] args: &[&str]) {
    let place = toy::workplace(|_| false);
    let recipe = fs::read_to_string(place.path("matching.toml")).expect("a recipe");
    write(&place.path("epochs.toml"), &format!("epochs = 5\n{recipe}"));
    let finetune = ["finetune", "--task", "matching", "--config", "epochs.toml"];
    let (config, said) = printed(&place, &[&finetune[..], args].concat());
    assert_eq!(
        (whole(&config, "train.steps"), whole(&config, "epochs")),
        (3, 0)
    );
    assert!(
        said.contains("train.steps = 3") && said.contains("epochs = 5"),
        "{said}"
    );
    let run = [&finetune[..], args, &["--name", "r", "--json"]].concat();
    assert_eq!(json(&place.run(&run))["steps"], 3);
    // The file repeats the run.
    let again = ["finetune", "--config", "runs/r/config.toml"];
    let (config, _) = printed(&place, &again);
    assert_eq!(
        (whole(&config, "train.steps"), whole(&config, "epochs")),
        (3, 0)
    );
}

#[test]
fn epochs_win_where_they_are_set_last_and_both_at_once_are_refused() {
    let place = Workplace::new();
    let vqa = ["finetune", "--config", "vqa-mini"];
    let (config, said) = printed(&place, &[&vqa[..], &["--set", "epochs=2"]].concat());
    assert_eq!(whole(&config, "epochs"), 2);
    assert!(!said.contains("train.steps"), "{said}");
    let both = ["--set", "epochs=2", "--set", "train.steps=7"];
    assert_fails(
        &place.run(&[&vqa[..], &both].concat()),
        &["epochs = 2", "train.steps = 7"],
    );
    write(
        &place.path("base.toml"),
        "extends = 'vqa-mini'\n[train]\nsteps = 9\n",
    );
    let (config, said) = printed(&place, &["finetune", "-c", "base.toml"]);
    assert_eq!(
        (whole(&config, "epochs"), whole(&config, "train.steps")),
        (0, 9)
    );
    assert!(said.contains("epochs = 8"), "{said}");
    write(&place.path("both.toml"), "epochs = 2\n[train]\nsteps = 9\n");
    let (config, said) = printed(&place, &["finetune", "--task", "vqa", "-c", "both.toml"]);
    assert_eq!(whole(&config, "epochs"), 2);
    assert!(said.contains("train.steps = 9"), "{said}");
}

#[test]
fn a_warm_up_that_is_longer_than_a_short_run_is_shortened() {
    let place = Workplace::new();
    for (steps, warmup) in [("5", 0), ("30", 3), ("100", 100)] {
        let (config, said) = printed(&place, &["train", "--steps", steps]);
        assert_eq!(whole(&config, "optimizer.warmup_steps"), warmup);
        assert_eq!(
            said.contains("optimizer.warmup_steps = 100"),
            warmup < 100,
            "{said}"
        );
    }
    // Who sets both has made a mistake.
    let both = [
        "train",
        "--steps",
        "30",
        "--set",
        "optimizer.warmup_steps=40",
    ];
    assert_fails(
        &place.run(&both),
        &["optimizer.warmup_steps = 40", "train.steps = 30"],
    );
}

#[rstest]
#[case::vocabulary(&["train", "--set", "model.vocab_size=7"], "model.vocab_size")]
#[case::repeated(&["train", "--set", "train.seed=2", "--set", "train.seed=3"], "train.seed=2")]
#[case::flag(&["train", "--set", "train.seed=2", "--seed", "3"], "train.seed=2")]
#[case::reward(&["finetune", "-c", "captioning-mini", "--set", "task.scst.samples=2"], "task.scst.samples")]
#[case::clipping(&["train", "--set", "optimizer.max_grad_norm=0", "--set", "optimizer.clip_at=batch"], "optimizer.clip_at")]
fn a_key_without_effect_is_named(#[case] args: &[&str], #[case] key: &str) {
    let place = Workplace::new();
    let (_, said) = printed(&place, args);
    assert!(
        said.contains("has no effect") && said.contains(key),
        "{said}"
    );
}

#[test]
fn what_has_an_effect_is_not_complained_of() {
    let place = Workplace::new();
    for args in [
        &["train"][..],
        &[
            "train",
            "--set",
            "train.seed=3",
            "--set",
            "optimizer.learning_rate=1e-4",
        ],
        &["finetune", "-c", "vqa-mini", "--set", "epochs=3"],
        &[
            "finetune",
            "-c",
            "captioning-base-scst",
            "--set",
            "task.scst.samples=2",
        ],
    ] {
        let (_, said) = printed(&place, args);
        assert_eq!(said, "", "{args:?}");
    }
}

#[rstest]
#[case("lr=1e-4", "optimizer.learning_rate")]
#[case("optimizer.lr=1e-4", "optimizer.learning_rate")]
#[case("train.batch=8", "train.batch_size")]
#[case("bs=8", "train.batch_size")]
#[case("train.max_steps=8", "train.steps")]
#[case("steps=8", "train.steps")]
#[case("model.dropout=0", "model.hidden_dropout_prob")]
#[case("num-workers=3", "train.workers")]
fn another_name_of_a_key_is_answered_with_the_key(#[case] set: &str, #[case] key: &str) {
    let place = Workplace::new();
    assert_fails(
        &place.run(&["train", "--set", set]),
        &[&format!("did you mean {key}?")],
    );
}

/// A key that is like none is not answered with just any.
#[rstest]
#[case("train.stpes=3", Some("train.steps"))]
#[case("trian.stepz=3", Some("train.steps"))]
#[case("optimizer.foo=1", None)]
#[case("model.zzz=3", None)]
#[case("xyzzy.abc=1", None)]
fn only_keys_that_are_alike_are_suggested(#[case] set: &str, #[case] key: Option<&str>) {
    let place = Workplace::new();
    let output = place.run(&["train", "--set", set]);
    let hint = match key {
        Some(key) => format!("the nearest known key is {key}"),
        None => "`oscar-bin recipes --keys` lists the keys".into(),
    };
    assert_fails(&output, &["unknown key", &hint]);
}

#[test]
fn a_recipe_tells_its_task() {
    let place = toy::workplace(|_| false);
    write(&place.path("own.toml"), "extends = 'gqa-mini'\n");
    write(&place.path("bare.toml"), "[train]\nseed = 3\n");
    for (recipe, key) in [
        ("nlvr2-mini", "images"),
        ("own.toml", "answers"),
        ("nocaps-base", "scst"),
        // By its keys.
        ("matching.toml", ""),
    ] {
        let (config, _) = printed(&place, &["finetune", "--config", recipe]);
        let task = config["task"].as_table().expect("a table");
        assert!(key.is_empty() || task.contains_key(key), "{recipe}: {task}");
    }
    assert_fails(
        &place.run(&["finetune", "--config", "bare.toml"]),
        &["bare", "--task", "vqa"],
    );
    assert_fails(&place.run(&["finetune"]), &["--task", "vqa", "--config"]);
    let other = place.run(&["finetune", "--task", "vqa", "--config", "nlvr2-mini"]);
    assert_fails(&other, &["nlvr2-mini is a recipe of task nlvr2"]);
    assert_fails(
        &place.run(&["train", "--config", "vqa-mini"]),
        &["vqa-mini", "task vqa"],
    );
    assert_fails(
        &place.run(&["finetune", "--config", "quickstart"]),
        &["quickstart", "train"],
    );
}

#[test]
fn a_configuration_is_printed_as_json_on_request() {
    let place = Workplace::new();
    let config = json(&place.run(&["train", "--print-config", "--json"]));
    assert_eq!(config["train"]["steps"], 2500);
}

#[rstest]
#[case("train.steps=1e2", 100)]
#[case("train.steps=200.0", 200)]
fn whole_numbers_may_be_written_as_floats(#[case] set: &str, #[case] steps: i64) {
    let place = Workplace::new();
    let (config, _) = printed(&place, &["train", "--set", set]);
    assert_eq!(whole(&config, "train.steps"), steps);
}

#[test]
fn numbers_that_are_too_large_are_told_without_the_names_of_types() {
    let place = Workplace::new();
    let set = "train.seed=99999999999999999999";
    let output = place.run(&["train", "--set", set, "--print-config"]);
    assert_fails(&output, &["99999999999999999999", "too large"]);
    assert!(!stderr(&output).contains("i128"), "{}", stderr(&output));
}

#[test]
fn the_length_of_a_pre_training_is_named_to_who_asks_for_epochs() {
    let place = Workplace::new();
    let output = place.run(&["train", "--set", "epochs=2", "--print-config"]);
    assert_fails(&output, &["train.steps"]);
}

#[test]
#[cfg(unix)]
fn a_limit_of_the_size_of_files_is_an_error_and_no_signal() {
    let place = Workplace::new();
    let limited = "ulimit -f 1 && exec \"$0\" manual pages";
    let output = std::process::Command::new("sh")
        .args(["-c", limited])
        .arg(place.program().get_program())
        .current_dir(place.path("."))
        .output()
        .expect("a shell");
    assert_fails(&output, &["pages"]);
}

#[test]
fn a_sweep_trains_with_every_value_and_compares() {
    let place = toy::workplace(|_| false);
    let sweep = [
        "train",
        "--config",
        "train.toml",
        "--name",
        "s",
        "--steps",
        "4",
        "--sweep",
        "optimizer.learning_rate=1e-3,2e-3",
    ];
    let output = place.run(&sweep);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stdout(&output);
    for run in ["s-learning_rate-1e-3", "s-learning_rate-2e-3"] {
        assert!(said.contains(run), "{said}");
        assert!(place.path(&format!("runs/{run}/last")).is_dir());
    }
    let compared = said.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words == ["optimizer.learning_rate", "0.001", "0.002"]
    });
    assert!(compared, "{said}");
    // What is trained stays so.
    let again = place.run(&sweep);
    assert!(again.status.success(), "{}", stderr(&again));
    assert_eq!(stdout(&again).matches("Nothing was trained").count(), 2);
    let unknown = [
        "train",
        "--config",
        "train.toml",
        "--sweep",
        "train.stepz=1,2",
    ];
    assert_fails(&place.run(&unknown), &["train.steps"]);
    let document = place.run(&[&sweep[..], &["--json"]].concat());
    assert_eq!(document.status.code(), Some(2));
}

#[test]
fn a_setting_of_several_lines_is_one_value() {
    let place = Workplace::new();
    let set = "train.steps=5\ntrain.seed=3";
    let output = place.run(&["train", "--set", set, "--print-config"]);
    assert_fails(&output, &["train.steps", "train.seed=3"]);
}

#[rstest]
#[case::corpus("data.train.corpus=", "data.train.corpus")]
#[case::regions("data.validation.regions=", "data.validation.regions")]
#[case::vocabulary("data.vocab=", "data.vocab")]
#[case::weights("init.checkpoint=''", "init.checkpoint")]
fn an_empty_path_is_named_by_its_key(#[case] set: &str, #[case] key: &str) {
    let place = Workplace::new();
    let train = ["train", "--config", "shapes", "--name", "r", "--set", set];
    assert_fails(&place.run(&train), &[key]);
    assert!(!place.path("runs/r").exists());
}

#[rstest]
#[case::infinite("optimizer.learning_rate=inf")]
#[case::not_a_number("optimizer.weight_decay=nan")]
fn a_number_that_is_none_is_refused_for_what_it_is(#[case] set: &str) {
    let place = Workplace::new();
    let output = place.run(&["train", "--set", set, "--print-config"]);
    assert_fails(&output, &["finite"]);
}

#[rstest]
#[case::a_later_value(&["--sweep", "optimizer.learning_rate=1e-3,many"], &["learning_rate", "many"])]
#[case::out_of_range(&["--sweep", "train.batch_size=4,0"], &["train.batch_size = 0"])]
#[case::flag(&["--sweep", "train.steps=3,4", "--steps", "5"], &["--steps", "train.steps"])]
#[case::seed(&["--sweep", "train.seed=3,4", "--seed", "5"], &["--seed", "train.seed"])]
#[case::twice(&["--sweep", "train.seed=1,2", "--sweep", "train.seed=3,4"], &["train.seed", "twice"])]
fn a_sweep_that_cannot_keep_its_promise_trains_nothing(
    #[case] args: &[&str],
    #[case] parts: &[&str],
) {
    let place = toy::workplace(|_| false);
    let train = ["train", "--config", "train.toml", "--name", "s"];
    assert_fails(&place.run(&[&train[..], args].concat()), parts);
    assert!(!place.path("runs").exists());
}

#[test]
fn a_recipe_that_extends_one_of_another_command_is_told_so() {
    let place = Workplace::new();
    write(&place.path("own.toml"), "extends = 'vqa-mini'\n");
    assert_fails(
        &place.run(&["train", "--config", "own.toml"]),
        &["own", "finetune --task vqa", "data.train.questions"],
    );
}

#[test]
fn a_module_that_the_model_does_not_have_is_named() {
    let place = toy::workplace(|_| false);
    let train = ["train", "--config", "train.toml", "--steps", "2", "--name"];
    let first = place.run(&[&train[..], &["a"]].concat());
    assert!(first.status.success(), "{}", stderr(&first));
    let own = [
        "b",
        "--init",
        "a",
        "--set",
        "init.random=['bert.embeddings', 'bert.embedings']",
    ];
    let second = place.run(&[&train[..], &own].concat());
    assert!(second.status.success(), "{}", stderr(&second));
    let said = stderr(&second);
    assert!(said.contains("\"bert.embedings\""), "{said}");
    assert!(!said.contains("\"bert.embeddings\""), "{said}");
}
