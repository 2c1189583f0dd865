//! Training from the official corpus and from mixes, through the program.

use crate::official_support;
use crate::support;

use official_support::Official;
use rstest::rstest;
use support::{MIXED, Workplace, assert_fails, stderr, stdout, write};

/// [`MIXED`] with one corpus in the place of the mix.
fn recipe(corpus: &str, regions: &str) -> String {
    let start = MIXED.find("[[data.mix]]").expect("a mix");
    let end = MIXED.find("[data.validation]").expect("a validation");
    let train = format!("[data.train]\ncorpus = {corpus:?}\nregions = {regions:?}\n\n");
    format!("{}{train}{}", &MIXED[..start], &MIXED[end..])
}

fn train(place: &Workplace, name: &str, recipe: &str) -> std::process::Output {
    let file = format!("{name}.toml");
    write(&place.path(&file), recipe);
    place.run(&["train", "--config", &file, "--name", name, "--json"])
}

fn weights(place: &Workplace, name: &str) -> Vec<u8> {
    let path = place.path("runs").join(name).join("last/model.safetensors");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_official_corpus_trains_the_same_weights_as_the_same_rows_in_json_lines() {
    let place = Workplace::new();
    Official::write(place.directory.path(), 40);
    let official = train(&place, "official", &recipe("texts/corpus.yaml", "data"));
    assert!(official.status.success(), "{}", stderr(&official));
    assert!(
        stderr(&official).contains("160 of 168 rows; skipped: 8 of coco"),
        "{}",
        stderr(&official)
    );
    let jsonl = train(&place, "jsonl", &recipe("same.jsonl", "same"));
    assert!(jsonl.status.success(), "{}", stderr(&jsonl));
    assert_eq!(weights(&place, "official"), weights(&place, "jsonl"));

    // What was learned is more than chance: the classes in text, tags and regions go together.
    let report: serde_json::Value = serde_json::from_str(&stdout(&official)).expect("JSON");
    let loss = report["validation"]["mlm_loss"].as_f64().expect("a loss");
    assert!(loss.is_finite() && loss > 0.0, "{report}");
    // Another order is another run.
    let other = recipe("same.jsonl", "same").replace("shuffle_window = 24", "");
    let whole = train(&place, "whole", &other);
    assert!(whole.status.success(), "{}", stderr(&whole));
    assert_ne!(weights(&place, "whole"), weights(&place, "jsonl"));
}

#[test]
fn the_official_corpus_is_trained_from_as_published() {
    let place = Workplace::new();
    let official = Official::write(place.directory.path(), 12);
    official.features_as_published();
    let recipe = recipe("texts/corpus.yaml", "data")
        .replace("\"same.jsonl\"", "\"texts/corpus.yaml\"")
        .replace("\"same\"", "\"data\"")
        .replace("steps = 60", "steps = 3");
    let output = train(&place, "published", &recipe);
    assert!(output.status.success(), "{}", stderr(&output));
    let config = place.path("runs/published/last/config.json");
    let config = std::fs::read_to_string(config).expect("a configuration");
    assert!(config.contains("\"img_feature_dim\": 2054"), "{config}");
}

#[test]
fn the_recipe_of_a_run_repeats_a_mix() {
    let place = Workplace::new();
    Official::write(place.directory.path(), 12);
    let recipe = MIXED.replace("steps = 60", "steps = 3").replace(
        "weight = 3.0",
        "weight = 3.0\nchunks = [0, 2]\nuse_gtlabels = false",
    );
    let first = train(&place, "first", &recipe);
    assert!(first.status.success(), "{}", stderr(&first));
    let own = std::fs::read_to_string(place.path("runs/first/config.toml")).expect("a recipe");
    assert!(own.contains("chunks = ["), "{own}");
    let again = train(&place, "again", &own);
    assert!(again.status.success(), "{}", stderr(&again));
    assert_eq!(weights(&place, "first"), weights(&place, "again"));
}

#[rstest]
#[case::unknown_key("weight = 3.0", "wieght = 3.0", &["data.mix[0].wieght", "data.mix[0].weight"])]
#[case::some_weights("weight = 3.0", "", &["data.mix"])]
#[case::zero("weight = 3.0", "weight = 0.0", &["data.mix.weight = 0"])]
#[case::negative("weight = 3.0", "weight = -1.0", &["data.mix.weight = -1"])]
#[case::chunks("weight = 3.0", "weight = 3.0\nchunks = [2, 2]", &["chunks = [2, 2]", "[0, 4]"])]
#[case::chunks_of_jsonl("weight = 1.0", "weight = 1.0\nchunks = [0, 2]", &["same.jsonl"])]
#[case::both("[[data.mix]]", "[data.train]\ncorpus = 'a'\nregions = 'b'\n[[data.mix]]", &["data.train", "data.mix"])]
#[case::missing("texts/corpus.yaml", "texts/none.yaml", &["texts/none.yaml"])]
#[case::other_regions("regions = \"same\"\nweight", "regions = \"other\"\nweight", &["data.mix[1]", "12", "10"])]
#[case::window("shuffle_window = 24", "shuffle_window = -1", &["train.shuffle_window"])]
fn a_wrong_mix_names_its_key(#[case] from: &str, #[case] to: &str, #[case] parts: &[&str]) {
    let place = Workplace::new();
    let official = Official::write(place.directory.path(), 3);
    official.store_of_other_dimension("other");
    assert!(MIXED.contains(from), "{from}");
    let output = train(&place, "wrong", &MIXED.replacen(from, to, 1));
    assert_fails(&output, parts);
}
