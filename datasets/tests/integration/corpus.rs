//! The corpus reader: every row is checked at opening, and errors name file, line and key.

use crate::common;

use std::fs;

use common::{message, store};
use oscar_core::input::{ExampleSource, TextB};
use oscar_datasets::{DatasetError, JsonlCorpus, Result};
use rstest::rstest;

/// Opens a corpus of this text over a store with images `a` and `b`.
fn open(text: impl AsRef<[u8]>) -> Result<JsonlCorpus> {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("store"), &["a", "b"]);
    let path = dir.path().join("corpus.jsonl");
    fs::write(&path, text).unwrap();
    JsonlCorpus::open(&path, store)
}

#[test]
fn rows_become_examples() {
    let corpus = open(
        r#"{"image": "a", "text": "A dog.", "label": false}
{"image": "a", "text": "A cat.", "tags": ["cat", "mat"]}
{"image": "a", "question": "Which?", "answer": ["this", "that one"]}
"#,
    )
    .unwrap();
    assert_eq!((corpus.len(), corpus.images_without_rows()), (3, 1));
    assert_eq!(corpus.answer_rows(), [2]);
    let rows: Vec<_> = (0..3)
        .map(|i| ExampleSource::get(&corpus, i).unwrap())
        .collect();
    assert_eq!(
        (rows[0].text_a.as_str(), rows[0].text_b.as_str()),
        ("A dog.", "dog red hat")
    );
    assert_eq!(rows[0].text_b_is, TextB::Tags);
    assert_eq!(rows[1].text_b, "cat mat");
    assert_eq!(
        (rows[2].text_a.as_str(), rows[2].text_b.as_str()),
        ("Which?", "this that one")
    );
    assert_eq!(rows[2].text_b_is, TextB::Answer);
    assert!(
        rows[2].origin.ends_with("corpus.jsonl:3"),
        "{}",
        rows[2].origin
    );
    assert_eq!((rows[0].regions.len(), rows[0].regions.dim()), (2, 10));
    let mut region = [0.0; 10];
    rows[0].regions.copy_into(&mut region).unwrap();
    assert_eq!(region, [0.5, 1.0, 1.5, 2.0, 0.0, 0.0, 0.5, 1.0, 0.5, 1.0]);

    let error = ExampleSource::get(&corpus, 3).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("corpus.jsonl:4: there are only 3 rows"),
        "{error}"
    );
    assert!(burn_dataset::Dataset::get(&corpus, 2).is_some());
    assert!(burn_dataset::Dataset::get(&corpus, 3).is_none());
}

#[test]
fn a_very_long_caption_is_fine() {
    let caption = "a long story ".repeat(770);
    let corpus = open(format!(r#"{{"image": "b", "text": "{caption}"}}"#)).unwrap();
    assert!(caption.len() > 10_000);
    assert_eq!(ExampleSource::get(&corpus, 0).unwrap().text_a, caption);
}

#[rstest]
#[case::unknown_image(r#"{"image": "zebra", "text": "x"}"#, "image `zebra` is not in")]
#[case::empty(r#"{"image": "a", "text": ""}"#, "an empty `text`")]
#[case::punctuation(
    r#"{"image": "a", "text": "...!?"}"#,
    r#"`text` is "...!?", without any letter"#
)]
#[case::json(
    r#"{"image": "a", "text": "x""#,
    "EOF while parsing an object; write the whole object in one line, or copy a file again that was cut off"
)]
#[case::unknown_key(
    r#"{"image": "a", "text": "x", "tag": "y"}"#,
    r#"unknown key "tag"; did you mean `tags`?"#
)]
#[case::caption(
    r#"{"image": "a", "caption": "x"}"#,
    "unknown key \"caption\"; did you mean `text`?"
)]
#[case::blank("", "a blank line")]
fn wrong_rows_are_named(#[case] row: &str, #[case] wanted: &str) {
    let good = r#"{"image": "a", "text": "good"}"#;
    let found = message(open(format!("{good}\n{row}\n{good}\n")));
    assert!(
        found.contains(&format!("corpus.jsonl:2: {wanted}"))
            || found.contains("corpus.jsonl:2: column") && found.contains(wanted),
        "{found}"
    );
}

#[test]
fn bytes_that_are_no_text() {
    let found = message(open(b"{\"image\": \"a\", \"text\": \"\xe9\"}\n"));
    assert!(
        found.contains("corpus.jsonl:1: byte 25 is not UTF-8"),
        "{found}"
    );
}

#[test]
fn many_problems_are_shown_together_and_counted() {
    let rows: String = (0..9000)
        .map(|i| format!("{{\"image\": \"n{i}\", \"text\": \"x\"}}\n"))
        .collect();
    let error = open(rows).err().unwrap();
    let DatasetError::Problems {
        problems, total, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!((problems.len(), *total), (20, 9000));
    assert!(
        problems[19]
            .to_string()
            .contains("corpus.jsonl:20: image `n19`"),
        "{}",
        problems[19]
    );
    assert!(error.to_string().ends_with("… and 8980 more"), "{error}");
}

#[test]
fn missing_and_empty_files() {
    let found = message(open(""));
    assert!(
        found.contains("corpus.jsonl: a corpus of 0 rows"),
        "{found}"
    );
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("store"), &["a"]);
    let found = message(JsonlCorpus::open(&dir.path().join("none.jsonl"), store));
    assert!(
        found.contains("none.jsonl is missing: it is a corpus"),
        "{found}"
    );
}

#[test]
fn scene_graphs_are_read_and_must_fit_their_image() {
    let corpus = open(
        r#"{"image": "a", "text": "A brown dog", "graph": {"objects": [2], "attributes": [[2, [1]]], "regions": [[2, [1]]]}}"#,
    )
    .unwrap();
    let graph = ExampleSource::get(&corpus, 0).unwrap().graph.unwrap();
    assert_eq!(graph.lemmas, ["a", "brown", "dog"]);
    assert_eq!(graph.attributes, [(2, vec![1])]);
    assert_eq!(graph.regions_of(2), [1]);

    // The image has two regions.
    let missing =
        r#"{"image": "a", "text": "A dog", "graph": {"objects": [1], "regions": [[1, [2]]]}}"#;
    let Err(DatasetError::Problems { problems, .. }) = open(missing) else {
        panic!("a graph of a missing region was read");
    };
    assert_eq!(problems[0].line, Some(1));
    assert!(problems[0].found.contains("region 2"), "{}", problems[0]);
}

#[test]
fn an_array_is_read_as_lines_are() {
    let rows = [
        r#"{"image": "a", "text": "A [dog], \"}]\" it says."}"#,
        r#"{"image": "b", "question": "Which?", "answer": ["this", "that"]}"#,
        r#"{"image": "a", "text": "A cat.", "tags": ["cat"]}"#,
    ];
    let lines = open(rows.join("\n")).unwrap();
    for text in [
        format!("[{}]", rows.join(",")),
        format!(
            "\u{feff} [\n  {}\n]\n",
            rows.join(" ,\n  ").replace(": ", " :\n ")
        ),
    ] {
        let array = open(text).unwrap();
        assert_eq!(array.len(), 3);
        assert_eq!(array.answer_rows(), [1]);
        for row in 0..3 {
            let [array, lines] = [&array, &lines].map(|corpus| corpus.get(row).unwrap());
            assert_eq!((&array.image, &array.text_a), (&lines.image, &lines.text_a));
            assert_eq!(array.text_b, lines.text_b);
        }
    }
}

#[rstest]
#[case("[]", "a corpus of 0 rows")]
#[case(r#"[{"image": "a", "text": "x"}"#, "does not end")]
#[case(r#"[{"image": "a", "text": "x"},]"#, "a comma before the end")]
#[case(r#"[,{"image": "a", "text": "x"}]"#, "a comma without a row")]
#[case(r#"[{"image": "a", "text": "x"}] 1"#, "text after the end")]
#[case(r#"[{"image": "a", "text": "x"}, 7]"#, "corpus.jsonl:2: ")]
fn arrays_that_are_wrong_are_told(#[case] text: &str, #[case] wanted: &str) {
    let found = message(open(text));
    assert!(found.contains(wanted), "{found}");
}

#[test]
fn blank_lines_may_end_the_file() {
    let row = r#"{"image": "a", "text": "x"}"#;
    assert_eq!(open(format!("{row}\n{row}\n\n \n")).unwrap().len(), 2);
}

#[test]
fn other_encodings_are_named() {
    let row = "{\"image\": \"a\", \"text\": \"x\"}\n";
    let wide: Vec<u8> = row.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, wanted) in [
        (wide, "UTF-16"),
        (b"\x1f\x8b\x08\0\0\0".to_vec(), "compressed by gzip"),
        (row.replace('\n', "\r").repeat(2).into(), "carriage return"),
        (
            row.replace('\n', " ").repeat(2).into(),
            "two objects with neither",
        ),
    ] {
        let found = message(open(bytes));
        assert!(found.contains(wanted), "{found}");
    }
}
