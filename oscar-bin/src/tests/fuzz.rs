//! Recipes, `--set` and run directories as nobody would write them: read or refused, never a panic.
//!
//! `PROPTEST_CASES=100000` tries so many of each.

use std::fs;
use std::path::Path;

use oscar_captioning::Captioning;
use oscar_pretraining::PretrainConfig;
use oscar_retrieval::Retrieval;
use oscar_task::FinetuneConfig;
use oscar_vqa::Vqa;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::config::{Configuration, RECIPES, Source, from_toml, resolve, to_toml};
use crate::run_dir::Summary;

/// What damage is made of: numbers and texts that matter, and the grammars' own signs.
const PIECES: &[&str] = &[
    "",
    "-1",
    "0",
    "1e999",
    "nan",
    "inf",
    "99999999999999999999",
    "9223372036854775807",
    "\"",
    "'",
    "\"\"\"",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ".",
    "..",
    ",",
    "#",
    "\n",
    "\\u0000",
    "\u{0}",
    "true",
    "null",
    "1979-05-27T07:32:00Z",
    "ü",
    "\u{feff}",
    "[model]",
    "[train]",
    "steps = 1",
    "preset = \"tiny\"",
    "\"version\": 2",
    "\"step\":",
    "a.b.c",
    "*",
    "?",
    "/",
    "init.checkpoint",
];

/// Where to cut, how much, and what to put there.
type Edit = (Index, usize, &'static str, usize);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = (any::<Index>(), 0..24_usize, select(PIECES), 1..4_usize);
    proptest::collection::vec(edit, 1..5)
}

fn edited(text: &str, edits: &[Edit]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for (at, length, piece, times) in edits {
        let start = at.index(bytes.len() + 1);
        let end = (start + length).min(bytes.len());
        bytes.splice(start..end, piece.repeat(*times).into_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Resolves; what is accepted can be written down and comes back the same.
fn check<C: Configuration>(toml: &str, sets: &[String]) {
    let resolved = Source::of_text(toml).and_then(|source| resolve::<C>(&source, sets));
    let Ok(config) = resolved else {
        return;
    };
    let _ = config.validate();
    if let Ok(text) = to_toml(&config) {
        let again: C = from_toml(&text).expect("its own form");
        assert_eq!(
            to_toml(&again).expect("TOML"),
            text,
            "it came back otherwise"
        );
    }
}

fn check_all(toml: &str, sets: &[String]) {
    check::<PretrainConfig>(toml, sets);
    check::<FinetuneConfig<Vqa>>(toml, sets);
    check::<FinetuneConfig<Retrieval>>(toml, sets);
    check::<FinetuneConfig<Captioning>>(toml, sets);
}

/// A run as it is left, in memory where there is such a place.
fn run_directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let place = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    let place = place.expect("a directory");
    fs::create_dir_all(place.path().join(CHECKPOINT)).expect("a directory");
    place
}

const CHECKPOINT: &str = "checkpoint/step-00000005";

const FILES: [(&str, &str); 3] = [
    (
        "config.toml",
        "# Recipe: quickstart\n# Command: train\nepochs = 0\n\n[train]\nsteps = 9\nseed = 3\n\n\
         [data.train]\ncorpus = \"a\"\nregions = \"b\"\n",
    ),
    (
        "metrics.jsonl",
        "{\"step\":4,\"split\":\"train\",\"Loss\":2.5,\"Samples/s\":8.5}\n\
         {\"step\":5,\"split\":\"train\",\"Loss\":2.25,\"Samples/s\":8}\n\
         {\"step\":5,\"split\":\"valid\",\"Loss\":2.0,\"Accuracy\":0.5}\n",
    ),
    (
        "checkpoint/step-00000005/state.json",
        "{\"version\":1,\"step\":5,\"settings\":{\"seed\":3,\"steps\":9,\"batch_size\":8,\
         \"accumulation\":1,\"examples\":[4]},\"best\":{\"step\":5,\"loss\":2.0,\"score\":0.5}}",
    ),
];

fn facts(run: &Path, changed: usize, content: &str) {
    for (number, (file, original)) in FILES.iter().enumerate() {
        let content = if number == changed { content } else { original };
        fs::write(run.join(file), content).expect("a file");
    }
    if let Ok(summary) = Summary::read(run) {
        assert!(changed != 2 || summary.step == 5, "a state of another step");
    }
}

proptest! {
    #[test]
    fn recipes_are_read_or_refused(which in any::<Index>(), edits in edits()) {
        let recipe = &RECIPES[which.index(RECIPES.len())];
        check_all(&edited(recipe.toml, &edits), &[]);
    }

    #[test]
    fn settings_are_read_or_refused(
        key in select(&[
            "train.steps", "model.preset", "data.train", "data.mix", "model.hidden_size", "init",
            "task.answers", "optimizer.learning_rate", "grounding.words", "encoder.contrast",
        ][..]),
        value in select(&["3", "'x'", "[1, 2]", "{a = 1}", "{corpus = 'x', regions = 'y'}"][..]),
        edits in edits(),
    ) {
        let set = edited(&format!("{key}={value}"), &edits);
        check_all(RECIPES[0].toml, &[set]);
    }

    #[test]
    fn run_directories_are_read_or_refused(changed in 0..3_usize, edits in edits()) {
        thread_local!(static PLACE: tempfile::TempDir = run_directory());
        let content = edited(FILES[changed].1, &edits);
        PLACE.with(|place| facts(place.path(), changed, &content));
    }
}

#[test]
fn depth_without_end_is_refused() {
    let deep = |part: &str| part.repeat(50_000);
    for set in [
        format!("train.steps={}", deep("[")),
        format!("data={}", deep("{a=")),
        format!("{}a=1", deep("a.")),
        format!("model.{}a=1", deep("a.")),
    ] {
        let refused = resolve::<PretrainConfig>(&Source::of_text("").expect("TOML"), &[set]);
        refused.map(drop).expect_err("it is too deep");
    }
    for toml in [
        format!("x = {}", deep("[")),
        format!("{}a = 1", deep("a.")),
        format!("[{}a]", deep("a.")),
        format!("model = {}", deep("{a=")),
    ] {
        let refused =
            Source::of_text(&toml).and_then(|source| resolve::<PretrainConfig>(&source, &[]));
        refused.map(drop).expect_err("it is too deep");
    }
    let place = run_directory();
    facts(place.path(), 0, &format!("x = {}", deep("[")));
    facts(place.path(), 0, &format!("{}a = 1", deep("a.")));
    facts(place.path(), 1, &deep("["));
    facts(place.path(), 2, &deep("{\"settings\":"));
}
