//! Scores and predictions, on rows whose scores can be told by hand; and on the official ones.

use crate::common;

use std::path::PathBuf;

use common::Place;
use oscar_nlvr2::{Arrangement, Identifier, Statement, accuracy, consistency, subsets};
use oscar_task::{ClassData, Logits, Role};

/// `(pair, sentence, label)` as official rows.
fn rows(rows: &[(u8, u8, bool)]) -> String {
    let row = |(pair, sentence, label): &(u8, u8, bool)| {
        let label = if *label { "True" } else { "False" };
        format!(
            r#"{{"sentence": "a cat", "identifier": "dev-850-{pair}-{sentence}", "label": "{label}"}}"#
        )
    };
    let rows: Vec<String> = rows.iter().map(row).collect();
    rows.join("\n")
}

fn logits(answers: &[bool]) -> Logits {
    let pair = |answer: &bool| if *answer { [0.0, 1.0] } else { [1.0, 0.0] };
    Logits::new(2, answers.iter().flat_map(pair).collect())
}

#[test]
fn a_group_is_right_if_all_of_it_is() {
    let place = Place::usual();
    // Sentence 0 about pairs 0 and 1; sentence 1 about pair 0.
    let data = place
        .pairs(&rows(&[(0, 0, true), (1, 0, false), (0, 1, false)]))
        .unwrap();
    let evaluation = data.evaluate(&logits(&[true, true, false])).unwrap();
    assert_eq!(
        evaluation.scores,
        [("accuracy".into(), 2.0 / 3.0), ("consistency".into(), 0.5)]
    );
    // Pair 0 has both labels, pair 1 occurs once.
    assert_eq!(evaluation.tables.len(), 1);
    assert_eq!(evaluation.tables[0].rows, [("balanced".into(), 1.0, 2)]);
    assert!(evaluation.notes.is_empty());
    let predictions = evaluation.predictions.unwrap();
    assert_eq!(predictions.extension, "csv");
    assert_eq!(
        String::from_utf8(predictions.content).unwrap(),
        "dev-850-0-0,True\ndev-850-1-0,True\ndev-850-0-1,False\n"
    );
}

#[test]
fn without_identifiers_there_is_no_consistency_and_it_is_said() {
    let place = Place::usual();
    let plain = r#"{"left": "a", "right": "b", "statement": "a cat", "label": true}"#;
    let text = format!("{}\n{plain}\n", rows(&[(0, 0, true)]));
    let data = place.pairs(&text).unwrap();
    let evaluation = data.evaluate(&logits(&[true, false])).unwrap();
    assert_eq!(evaluation.scores, [("accuracy".into(), 0.5)]);
    let [note] = &evaluation.notes[..] else {
        panic!("one note")
    };
    assert!(
        note.contains("consistency was not computed: 1 of 2 rows"),
        "{note}"
    );
    let predictions = evaluation.predictions.unwrap();
    assert_eq!(predictions.extension, "jsonl");
    let text = String::from_utf8(predictions.content).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["images"], serde_json::json!(["a", "b"]));
    assert_eq!(last["prediction"], false);
}

#[test]
fn statements_about_one_image_have_no_pairs_to_be_balanced() {
    let place = Place::usual();
    let row = |label| format!(r#"{{"image": "a", "text": "a cat", "label": {label}}}"#);
    let rows = [row(true), row(false)].join("\n");
    let data = place
        .open(&rows, Arrangement::Joined, Role::Validate)
        .unwrap();
    assert!(data.score(&[true, true]).tables.is_empty());
}

/// The official development set: its size, its subsets, and the scores of answers that are known.
#[test]
#[ignore = "needs NLVR2's sentences: OSCAR_NLVR2=FILE names dev.json"]
fn the_official_development_set() {
    let path = PathBuf::from(std::env::var_os("OSCAR_NLVR2").expect("OSCAR_NLVR2 names dev.json"));
    let rows: Vec<Statement> = oscar_datasets::rows::read_rows(&path).unwrap();
    assert_eq!(rows.len(), 6982);
    let labels: Vec<bool> = rows.iter().map(|row| row.label.unwrap()).collect();
    let names: Vec<&Identifier> = rows
        .iter()
        .map(|r| r.identifier.as_ref().unwrap())
        .collect();
    let score = |answer: &dyn Fn(bool) -> bool| {
        let right: Vec<bool> = labels
            .iter()
            .map(|label| answer(*label) == *label)
            .collect();
        let together = names.iter().copied().zip(right.iter().copied());
        (
            accuracy(right.iter().copied()).unwrap(),
            consistency(together).unwrap(),
        )
    };
    let (always_true, (consistent, groups)) = score(&|_| true);
    assert_eq!(format!("{always_true:.3}"), "0.509");
    let (always_false, _) = score(&|_| false);
    assert!((always_true + always_false - 1.0).abs() < 1e-12);
    assert_eq!(score(&|label| label), (1.0, (1.0, groups)));
    let pairs: Vec<(&[String], bool)> = rows
        .iter()
        .zip(&labels)
        .map(|(row, label)| (row.images.as_slice(), *label))
        .collect();
    let (balanced, unbalanced) = subsets(&pairs);
    assert_eq!((balanced.len(), unbalanced.len()), (2300, 3562));
    // For the one who runs it.
    std::io::Write::write_all(
        &mut std::io::stderr(),
        format!(
            "{} rows in {groups} groups; always true: accuracy {always_true:.4}, consistency \
             {consistent:.4}; always right: 1 and 1\n",
            rows.len()
        )
        .as_bytes(),
    )
    .unwrap();
}
