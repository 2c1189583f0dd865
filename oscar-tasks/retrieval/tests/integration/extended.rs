//! Extended ground truth: the figures of the Python package `eccv-caption`, and those of a split.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oscar_retrieval::{Annotation, Split, figures};
use oscar_task::Role;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::common::{self, Place, refusal};

/// A small set of positives, rankings, and what the package computes of them; `make_extended.py` made
/// all of it.
fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded")
}

#[derive(Deserialize)]
struct Rankings {
    i2t: HashMap<u64, Vec<u64>>,
    t2i: HashMap<u64, Vec<u64>>,
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text = std::fs::read_to_string(path).expect("a file");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn figures_are_those_of_the_package() {
    let rankings: Rankings = read(&recorded().join("rankings.json"));
    let expected: HashMap<String, HashMap<String, f64>> = read(&recorded().join("expected.json"));
    let mut compared = 0;
    for annotation in Annotation::read(&recorded()).expect("positives") {
        for (way, ranked, positives) in [
            ("i2t", &rankings.i2t, &annotation.i2t),
            ("t2i", &rankings.t2i, &annotation.t2i),
        ] {
            let found = figures(positives, |query| ranked.get(&query).map(Vec::as_slice));
            for (name, value) in found.expect("figures").named() {
                let recorded = expected.get(&format!("{}_{name}", annotation.name));
                if let Some(recorded) = recorded {
                    let difference = (value - recorded[way]).abs();
                    assert!(difference < 1e-12, "{} {way} {name}", annotation.name);
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 2 * expected.len());
}

const TABLE: &str = "caption,image,agg_score,sampling_method
COCO_val2014:sentid:11,COCO_val2014_000000000001.jpg,4.2,c2i_original
COCO_val2014:sentid:12,COCO_val2014_000000000001.jpg,2.99,c2i_original
COCO_val2014:sentid:21,COCO_val2014_000000000001.jpg,3.0,c2i_intrasim
COCO_val2014:sentid:21,COCO_val2014_000000000002.jpg,5.0,c2i_original
";

#[test]
fn the_table_of_cxc_has_the_pairs_that_are_rated_three_or_more() {
    let place = Place::new(1);
    let table = place.write("sits_test.csv", TABLE);
    let found = Annotation::read(&table).expect("positives");
    assert_eq!(found.len(), 1);
    let pairs = |positives: &oscar_retrieval::Positives| {
        let all = positives.iter();
        all.flat_map(|(query, items)| items.iter().map(|item| (*query, *item)))
            .collect::<Vec<_>>()
    };
    assert_eq!(pairs(&found[0].i2t), [(1, 11), (1, 21), (2, 21)]);
    assert_eq!(pairs(&found[0].t2i), [(11, 1), (21, 1), (21, 2)]);

    let line = "COCO_val2014:sentid:31,COCO_val2014_000000000003.jpg,high,c2i_original\n";
    for (text, named) in [
        ("image,score\n".to_string(), "line 1"),
        (format!("{TABLE}{line}"), "line 6"),
        (format!("{TABLE}\n"), "line 6"),
    ] {
        let table = place.write("wrong.csv", text);
        let error = Annotation::read(&table)
            .expect_err("it is wrong")
            .to_string();
        assert!(
            error.contains("wrong.csv") && error.contains(named),
            "{error}"
        );
    }
    let empty = place.path("empty");
    std::fs::create_dir(&empty).expect("a folder");
    let error = Annotation::read(&empty)
        .expect_err("it is empty")
        .to_string();
    assert!(error.contains("empty"), "{error}");
}

/// A split of three images with two captions each, numbered as COCO does, and extended positives.
fn split(place: &Place, numbers: &Value) -> Split {
    place.write(
        "eccv_image_to_caption.json",
        r#"{"1": [11, 12, 21], "3": [31]}"#,
    );
    place.write("eccv_caption_to_image.json", r#"{"21": [1, 2]}"#);
    let numbers = place.write("numbers.json", numbers.to_string());
    Split {
        positives: Some(place.path("")),
        annotations: Some(numbers),
        ..place.split(&place.rows(3))
    }
}

/// COCO's annotations of the captions of `rows`.
fn numbers(place: &Place) -> Value {
    let rows = std::fs::read_to_string(place.rows(3)).expect("rows");
    let rows = rows
        .lines()
        .map(|row| serde_json::from_str::<Value>(row).expect("a row"));
    let annotations = rows.zip(1..).flat_map(|(row, image)| {
        let captions = row["captions"].as_array().expect("captions").clone();
        let numbered = captions.into_iter().zip(1..);
        let numbered = numbered.map(move |(caption, number)| {
            // Spaces and case differ between copies.
            let caption = format!(" {}", caption.as_str().expect("a text").to_uppercase());
            json!({"id": 10 * image + number, "image_id": image, "caption": caption})
        });
        numbered.collect::<Vec<_>>()
    });
    json!({"images": [], "annotations": annotations.collect::<Vec<_>>()})
}

#[test]
fn a_split_is_scored_with_extended_positives() {
    let place = Place::new(3);
    let split = split(&place, &numbers(&place));
    let data = common::open(&split, Role::Evaluate).expect("a split");
    // Rows are images 1 to 3, columns captions 11, 12, 21, 22, 31, 32.
    let scores = [
        0.9, 0.2, 0.8, 0.1, 0.3, 0.0, //
        0.4, 0.1, 0.7, 0.6, 0.2, 0.0, //
        0.5, 0.1, 0.7, 0.0, 0.6, 0.3,
    ];
    let found: HashMap<String, f64> = data
        .extended_scores(&scores)
        .expect("scores")
        .into_iter()
        .collect();
    let near = |name: &str, expected: f64| {
        let value = found[name];
        assert!((value - expected).abs() < 1e-9, "{name} {value}");
    };
    // Image 1: right at places 1 and 2 of 3; image 3: 21, 31: wrong at place 1.
    near("i2t_eccv_R@1", 0.5);
    near("i2t_eccv_R@5", 1.0);
    near("i2t_eccv_R-Precision", (2.0 / 3.0 + 0.0) / 2.0);
    near("i2t_eccv_mAP@R", (2.0 / 3.0 + 0.0) / 2.0);
    // Caption 21: image 1, then 3 and 2 alike; the wrong one counts first.
    near("t2i_eccv_R@1", 1.0);
    near("t2i_eccv_R-Precision", 0.5);
    near("t2i_eccv_mAP@R", 0.5);
    assert_eq!(found.len(), 10);
}

#[test]
fn what_does_not_fit_a_split_is_named() {
    let place = Place::new(3);
    let whole = split(&place, &numbers(&place));
    let without = Split {
        annotations: None,
        ..whole.clone()
    };
    let message = refusal(&without, Role::Evaluate);
    assert!(message.contains("annotations"), "{message}");
    let mut other = numbers(&place);
    other["annotations"][3]["caption"] = "another text".into();
    let message = refusal(&split(&place, &other), Role::Evaluate);
    assert!(
        message.contains("image 2") && message.contains("numbers.json"),
        "{message}"
    );
    // Training needs none of it.
    assert!(common::open(&without, Role::Train).is_ok());
    // An image that the split does not have.
    let split = split(&place, &numbers(&place));
    place.write("eccv_image_to_caption.json", r#"{"4": [11]}"#);
    let data = common::open(&split, Role::Evaluate).expect("a split");
    let error = data.extended_scores(&[0.0; 18]).expect_err("4 is missing");
    assert!(error.to_string().starts_with('4'), "{error}");
}
