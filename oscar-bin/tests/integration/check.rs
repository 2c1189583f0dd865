//! `data check`: what is built is clean, what is damaged is named, and scripts can tell.

use crate::support;

use std::path::Path;
use std::process::Output;

use support::{Workplace, assert_fails, stderr, stdout, write};

fn sample(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../datasets/sample");
    path.join(name).display().to_string()
}

/// A place with a small data set in `set`.
fn place() -> Workplace {
    let place = Workplace::new();
    let (images, annotations) = (sample("dev_images.zip"), sample("dev.jsonl.gz"));
    let output = place.run(&[
        "data",
        "build",
        "nlvr1",
        "--images",
        &images,
        "--annotations",
        &annotations,
        "--limit",
        "4",
        "--out",
        "set",
        "--quiet",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    place
}

fn check(place: &Workplace, more: &[&str]) -> Output {
    place.run(&[&["data", "check"], more].concat())
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_str(&stdout(output)).expect("one JSON document")
}

#[test]
fn what_is_built_is_clean() {
    let place = place();
    let output = check(&place, &["set"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    let said = stdout(&output);
    for part in [
        "set/regions (region-store)",
        "set/boxes.jsonl (corpus)",
        "no problems found",
    ] {
        assert!(said.contains(part), "{part} is missing:\n{said}");
    }
    let output = check(&place, &["set", "set/regions", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let report = json(&output);
    assert_eq!(report["ok"], true);
    assert_eq!(report["problems"], serde_json::json!([]));
    let regions = report["checked"].as_array().expect("a list").iter();
    let regions: Vec<_> = regions.filter(|c| c["path"] == "set/regions").collect();
    assert_eq!(regions.len(), 2, "as a part of the set, and by itself");
    assert_eq!(regions[0]["counts"], regions[1]["counts"]);
    assert!(regions[0]["counts"]["images"].as_u64().expect("a number") > 10);
}

#[test]
fn problems_are_listed_and_exit_with_one() {
    let place = place();
    let corpus = place.path("set/boxes.jsonl");
    let mut text = std::fs::read_to_string(&corpus).expect("a corpus");
    let good = text.lines().count();
    for number in 0..120 {
        text += &format!("{{\"image\": \"x{number}\", \"text\": \"one dog\"}}\n");
    }
    write(&corpus, &text);
    let output = check(&place, &["set"]);
    assert_fails(&output, &["120"]);
    let said = stdout(&output);
    let first = format!("set/boxes.jsonl:{}: image `x0` is not in set/", good + 1);
    assert!(said.starts_with(&first), "{said}");
    assert!(said.contains("20 more"), "{said}");
    assert!(said.contains("120 unknown-image"), "{said}");
    assert!(stdout(&check(&place, &["set", "--all"])).contains("`x119`"));

    let output = check(&place, &["set", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report = json(&output);
    assert_eq!(
        (&report["ok"], &report["total"]),
        (&false.into(), &120.into())
    );
    let problem = &report["problems"][0];
    assert_eq!(problem["file"], "set/boxes.jsonl");
    assert_eq!(problem["line"], good + 1);
    assert_eq!(problem["kind"], "unknown-image");
    assert!(problem["found"].as_str().expect("text").contains("`x0`"));
    assert_eq!(report["problems"].as_array().expect("a list").len(), 100);
}

#[test]
fn a_corpus_is_checked_with_the_store_that_is_named() {
    let place = place();
    let output = check(&place, &["set/boxes.jsonl", "--regions", "set/regions"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let output = check(&place, &["set/boxes.jsonl", "--regions", "set/images"]);
    assert_fails(&output, &[]);
    assert!(stdout(&output).contains("is not in set/images"));
    let output = check(&place, &["set", "--regions", "set/images"]);
    assert_fails(&output, &["set/images"]);
}

#[test]
fn what_cannot_be_told_is_asked_for() {
    let place = place();
    write(&place.path("a.txt"), "once upon a time\n");
    let output = check(&place, &["a.txt"]);
    assert_fails(&output, &["a.txt", "nlvr2"]);
    let output = check(&place, &["a.txt", "--format", "corpsu"]);
    assert_fails(&output, &["--format", "corpsu", "corpus"]);
    let output = check(&place, &["a.txt", "--format", "corpus"]);
    assert_fails(&output, &["1"]);
    assert!(
        stdout(&output).contains("a.txt:1: column 1"),
        "{}",
        stdout(&output)
    );
    let output = check(&place, &["nowhere"]);
    assert_fails(&output, &["1"]);
    assert!(
        stdout(&output).contains("nowhere: it is missing"),
        "{}",
        stdout(&output)
    );
    let output = check(&place, &["set", "--feature-dim", "0"]);
    assert_fails(&output, &["feature_dim above zero"]);
    assert_eq!(check(&place, &[]).status.code(), Some(2));
}
