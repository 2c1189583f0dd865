//! A pre-training recipe lists its objectives: `[[objective]]`.

use crate::support;

use std::fs;

use serde_json::Value;
use support::{Workplace, stderr, toy};

/// The toy recipe with `objectives` appended, trained; the workplace it ran in.
fn train(objectives: &str) -> (Workplace, std::process::Output) {
    let place = toy::workplace(|_| false);
    let recipe = fs::read_to_string(place.path("train.toml")).expect("the toy recipe");
    fs::write(place.path("own.toml"), format!("{recipe}\n{objectives}\n")).expect("written");
    let output = place.run(&["train", "--config", "own.toml", "--name", "own"]);
    (place, output)
}

/// Names of the metrics of the last training step.
fn metrics(place: &Workplace) -> Vec<String> {
    let log = fs::read_to_string(place.path("runs/own/metrics.jsonl")).expect("a log");
    let last = log.lines().rfind(|line| line.contains("\"train\""));
    let line: Value = serde_json::from_str(last.expect("a step")).expect("JSON");
    line.as_object().expect("a line").keys().cloned().collect()
}

#[test]
fn one_objective_is_trained_alone() {
    let (place, output) = train("[[objective]]\nname = \"masked_tokens\"\n");
    assert!(output.status.success(), "{}", stderr(&output));
    let names = metrics(&place);
    assert!(names.iter().any(|name| name == "MLM loss"), "{names:?}");
    assert!(
        !names.iter().any(|name| name == "Contrastive loss"),
        "{names:?}"
    );
}

#[test]
fn the_default_list_is_the_published_one() {
    let published = "[[objective]]\nname = \"masked_tokens\"\n\n\
                     [[objective]]\nname = \"contrastive\"\nweight = 1.0\n";
    let weights = |objectives| {
        let (place, output) = train(objectives);
        assert!(output.status.success(), "{}", stderr(&output));
        fs::read(place.path("runs/own/last/model.safetensors")).expect("weights")
    };
    let default = weights("");
    assert!(default == weights(published));
    let half = published.replace("1.0", "0.5");
    assert!(
        default != weights(&half),
        "the weight of a loss has no effect"
    );
}

#[test]
fn triples_are_polluted_from_a_step_on() {
    let weights = |key: &str, value: &str| {
        let place = toy::workplace(|_| false);
        let set = format!("encoder.contrast.{key}={value}");
        let output = place.run(&[
            "train",
            "--config",
            "train.toml",
            "--name",
            "own",
            "--set",
            &set,
        ]);
        assert!(output.status.success(), "{}", stderr(&output));
        fs::read(place.path("runs/own/last/model.safetensors")).expect("weights")
    };
    let (never, always) = (weights("polluted", "0.0"), weights("start_step", "0"));
    assert!(never == weights("start_step", "1000000"));
    let late = weights("start_step", "3");
    assert!(late != never, "no triple was polluted after the start");
    assert!(late != always, "triples were polluted before the start");
}

/// ROSITA's objectives.
const ROSITA: &str = r#"
[[objective]]
name = "masked_tokens"
[[objective]]
name = "region_features"
[[objective]]
name = "region_objects"
[[objective]]
name = "region_attributes"
[[objective]]
name = "matching"
[[objective]]
name = "transport"
weight = 0.1
"#;

/// How ROSITA masks.
const STRUCTURE: &str = r#"
[encoder.masking]
sides = "one"
text = "structure"
regions = "structure"
"#;

/// The toy recipe on regions with classes, with this after it.
fn train_labelled(more: &str) -> (Workplace, std::process::Output) {
    let place = toy::workplace(|_| false);
    toy::write_labelled(&place);
    let recipe = fs::read_to_string(place.path("train.toml")).expect("the toy recipe");
    let recipe = recipe.replace("\"regions\"", "\"labelled\"");
    fs::write(place.path("own.toml"), format!("{recipe}\n{more}\n")).expect("written");
    let output = place.run(&["train", "--config", "own.toml", "--name", "own"]);
    (place, output)
}

#[test]
fn regions_are_masked_by_the_structure_of_the_text() {
    let (place, output) = train_labelled(&format!("{ROSITA}{STRUCTURE}"));
    assert!(output.status.success(), "{}", stderr(&output));
    let names = metrics(&place);
    for name in [
        "MLM loss",
        "Region feature loss",
        "Region object loss",
        "Region object accuracy",
        "Region attribute loss",
        "Matching loss",
        "Transport loss",
    ] {
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
    let config = fs::read_to_string(place.path("runs/own/last/config.json")).expect("a file");
    let config: Value = serde_json::from_str(&config).expect("JSON");
    assert_eq!(config["num_object_classes"], 4);
    assert_eq!(config["num_attribute_classes"], 2);
}

#[test]
fn a_recipe_of_oscar_may_mask_regions() {
    let list = "[[objective]]\nname = \"masked_tokens\"\n[[objective]]\nname = \"contrastive\"\n\
                [[objective]]\nname = \"region_features\"\n";
    // The features are in any store.
    let (place, output) = train(list);
    assert!(output.status.success(), "{}", stderr(&output));
    let names = metrics(&place);
    for name in ["Contrastive loss", "Region feature loss"] {
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
}

/// Answers of a corpus of questions are predicted instead of read.
#[test]
fn answers_are_predicted() {
    let list = "[[objective]]\nname = \"masked_tokens\"\n[[objective]]\nname = \"answers\"\n";
    let (_, output) = train(list);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("data.answers"), "{said}");

    let place = toy::workplace(|_| false);
    let recipe = fs::read_to_string(place.path("train.toml")).expect("the toy recipe");
    fs::write(place.path("own.toml"), format!("{recipe}\n{list}\n")).expect("written");
    fs::write(place.path("answers.txt"), "yes\nno\n").expect("written");
    for name in ["train.jsonl", "dev.jsonl"] {
        let path = place.path(name);
        let text = fs::read_to_string(&path).expect("a corpus");
        let question = |line: &str| {
            let row: Value = serde_json::from_str(line).expect("JSON");
            let (image, text) = (&row["image"], &row["text"]);
            let row =
                serde_json::json!({"image": image, "question": text, "answer": ["yes", "no"]});
            format!("{row}\n")
        };
        let rows: String = text.lines().map(question).collect();
        fs::write(path, rows).expect("written");
    }
    let answers = ["--set", "data.answers=answers.txt"];
    let args = ["train", "--config", "own.toml", "--name", "own"];
    let output = place.run(&[&args[..], &answers].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let names = metrics(&place);
    for name in ["Answer loss", "Answer accuracy"] {
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
    let config = fs::read_to_string(place.path("runs/own/last/config.json")).expect("a file");
    let config: Value = serde_json::from_str(&config).expect("JSON");
    assert_eq!(config["num_answers"], 2);
}

/// The number of a class means another one in a store of another detector.
#[test]
fn classes_of_two_stores_must_agree() {
    let place = toy::workplace(|_| false);
    toy::write_labelled(&place);
    let recipe = fs::read_to_string(place.path("train.toml")).expect("the toy recipe");
    let train = "corpus = \"train.jsonl\", regions = \"regions\"";
    let recipe = recipe.replace(train, &train.replace("\"regions\"", "\"labelled\""));
    let objective = "[[objective]]\nname = \"region_objects\"\n";
    fs::write(place.path("own.toml"), format!("{recipe}\n{objective}")).expect("written");
    let output = place.run(&["train", "--config", "own.toml", "--name", "own"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(
        said.contains("data.validation") && said.contains("classes"),
        "{said}"
    );
}

#[test]
fn what_the_data_lacks_is_named() {
    let objects = "[[objective]]\nname = \"region_objects\"\n";
    let (_, output) = train(objects);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("region_objects"),
        "{}",
        stderr(&output)
    );

    let words =
        "[[objective]]\nname = \"masked_tokens\"\n[encoder.masking]\ntext = \"structure\"\n";
    let (_, output) = train(words);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("scene graph"),
        "{}",
        stderr(&output)
    );

    let both = "[[objective]]\nname = \"matching\"\n[[objective]]\nname = \"contrastive\"\n";
    let (_, output) = train(both);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("objective.name"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn an_unknown_or_repeated_objective_is_refused() {
    for (objectives, named) in [
        ("[[objective]]\nname = \"regions\"\n", "regions"),
        (
            "[[objective]]\nname = \"contrastive\"\nweight = 0\n",
            "objective.weight",
        ),
    ] {
        let (place, output) = train(objectives);
        assert_eq!(output.status.code(), Some(1), "{objectives}");
        assert!(stderr(&output).contains(named), "{}", stderr(&output));
        assert!(!place.path("runs/own/last").exists());
    }
}
