//! Rows of annotations and texts, and how a format is told.

use std::fs;
use std::path::Path;

use oscar_datasets::Result;
use oscar_datasets::check::{CheckOptions, Kind, check, named, of_task};
use rstest::rstest;
use serde_json::{Value, json};

use super::{Files, assert_problems, checked, count, quiet};
use crate::common::{message, write_store};

fn vqa_answers(n: usize) -> Vec<Value> {
    let answer = |id| json!({"answer": "two", "answer_confidence": "yes", "answer_id": id});
    (1..=n).map(answer).collect()
}

fn vqa_annotation(question_id: u64, image_id: u64, answers: usize) -> Value {
    json!({"question_id": question_id, "image_id": image_id, "question_type": "how many",
           "answer_type": "number", "multiple_choice_answer": "two",
           "answers": vqa_answers(answers)})
}

#[test]
fn questions_and_annotations_are_joined() {
    let files = Files::new();
    let question =
        |id: u64, text: &str| json!({"question_id": id, "image_id": 5, "question": text});
    let questions = json!({"questions": [
        question(1, "How many?"), question(2, "?!"), question(3, "Who?"), question(3, "Who?"),
        {"question_id": 4, "image_id": 5}, question(6, "Where is it?")]});
    let questions = files.write("q.json", questions.to_string());
    let annotations = json!({"annotations": [
        vqa_annotation(1, 5, 9), vqa_annotation(2, 7, 10), vqa_annotation(3, 5, 10),
        vqa_annotation(3, 5, 10), vqa_annotation(9, 5, 10)]});
    let annotations = files.write("a.json", annotations.to_string());
    let report = checked(&[&annotations, &questions]);
    assert_problems(
        &report,
        &[
            ("a.json", "3", Kind::DuplicateKey, "annotated in"),
            // Known once all of the file is read.
            (
                "a.json",
                "1",
                Kind::Answers,
                "9 answers, where 10 are given",
            ),
            ("q.json", "4", Kind::Field, "missing field `question`"),
            (
                "a.json",
                "2",
                Kind::Mismatch,
                "annotated about image 7, but asked about image 5",
            ),
            ("q.json", "6", Kind::MissingAnnotation, "has no annotation"),
            ("q.json", "2", Kind::BlankText, "`question` is \"?!\""),
            ("q.json", "3", Kind::DuplicateKey, "occurs in row 3 too"),
            (
                "a.json",
                "9",
                Kind::OrphanAnnotation,
                "a question that is not in",
            ),
        ],
    );
    assert_eq!(
        (count(&report, 0, "annotations"), count(&report, 1, "rows")),
        (5, 3)
    );
    let alone = checked(&[annotations]);
    assert_eq!(alone.by_kind[&Kind::Answers], 1);
    assert_eq!(alone.by_kind[&Kind::DuplicateKey], 1);
    assert!(alone.checked[0].notes[0].contains("without their questions"));
    let text = fs::read_to_string(&questions).unwrap();
    fs::write(&questions, &text[..text.len() / 2]).unwrap();
    let cut = checked(&[questions]);
    assert!(cut.problems.iter().any(|p| p.kind == Kind::Json), "{cut:?}");
}

#[test]
fn rows_are_detected_by_content() {
    let files = Files::new();
    for (text, name) in [
        (r#"{"image": "a", "text": "b"}"#, "corpus"),
        (
            r#"{"image": "a", "question": "b", "answer": "c"}"#,
            "corpus",
        ),
        (r#"[{"image": "a", "question": "b", "answer": "c"}]"#, "vqa"),
        (
            r#"{"image": "a", "question": "b", "answers": ["c"]}"#,
            "vqa",
        ),
        (
            r#"{"image": "a", "question": "b", "answer": "c", "id": 1}"#,
            "vqa",
        ),
        (r#"{"image": "a", "question": "b"}"#, "vqa"),
        (
            r#"[{"q": "b", "an": [0], "img_id": "a", "q_id": 1}]"#,
            "vqa",
        ),
        (
            r#"[{"q": "b", "img_id": {"left": "a", "right": "a"}, "label": 1}]"#,
            "nlvr2",
        ),
        (
            r#"{"left": "a", "right": "b", "statement": "c", "label": true}"#,
            "nlvr2",
        ),
        (
            r#"{"image": "a", "statement": "c", "label": true}"#,
            "nlvr2",
        ),
        (
            r#"{"image": "a", "text": "c", "label": true, "id": 3}"#,
            "matching",
        ),
        (
            r#"[{"image": "a", "text": "c", "label": true}]"#,
            "matching",
        ),
        (r#"[{"image": "a", "text": "c"}]"#, "corpus"),
        (
            r#"{"data": [{"image_id": "a", "question": "b", "question_id": 1, "answers": ["c"]}]}"#,
            "vqa",
        ),
        (r#"{"image": "a", "captions": ["c"]}"#, "captioning"),
        (
            r#"[{"image_id": "a", "id": 1, "caption": "c"}]"#,
            "captioning",
        ),
        (
            r#"{"images": [{"id": 1}], "annotations": [{"image_id": 1, "caption": "c"}]}"#,
            "captioning",
        ),
        (r#"{"1": ["c", "d"], "2": ["e"]}"#, "captioning"),
    ] {
        let report = checked(&[files.write("rows", text)]);
        assert_problems(&report, &[]);
        assert_eq!(report.checked[0].format, name, "{text}");
    }
}

#[test]
fn labels_are_in_all_rows_or_in_none() {
    let files = Files::new();
    let row = |label: &str| format!("{{\"image\": \"a\", \"text\": \"b\", \"id\": 1{label}}}\n");
    let some = files.write("rows.jsonl", row("") + &row(", \"label\": true"));
    let wanted = [("rows.jsonl", "1", Kind::MissingAnnotation, "no `label`")];
    assert_problems(&checked(&[some]), &wanted);
    let none = checked(&[files.write("rows.jsonl", row("") + &row(""))]);
    assert_problems(&none, &[]);
    assert!(none.checked[0].notes[1].contains("no row has `label`"));
}

#[test]
fn lines_of_nlvr2() {
    let files = Files::new();
    let row = |identifier: &str, sentence: &str, label: &str| {
        json!({"identifier": identifier, "sentence": sentence, "label": label}).to_string() + "\n"
    };
    let rows = [
        row("dev-1-0-0", "Two dogs.", "True"),
        row("dev-1-1-0", "Two dogs.", "False"),
        row("dev-1-1-0", "Two dogs.", "False"),
        row("dev-1-2-0", "Three dogs.", "False"),
        row("dev-1-2-1", "...", "True"),
        row("dev-1-2", "Two dogs.", "True"),
        "{\n".into(),
    ];
    let report = checked(&[files.write("dev.json", rows.concat())]);
    assert_problems(
        &report,
        &[
            ("dev.json", "6", Kind::Field, "such as \"dev-850-0-0\""),
            ("dev.json", "7", Kind::Json, "EOF"),
            ("dev.json", "3", Kind::DuplicateKey, "occurs in row 2 too"),
            ("dev.json", "5", Kind::BlankText, "`statement` is \"...\""),
            ("dev.json", "4", Kind::Mismatch, "dev.json:1"),
        ],
    );
    for (name, wanted) in [
        ("rows", 3),
        ("true labels", 1),
        ("false labels", 2),
        ("consistency groups", 1),
    ] {
        assert_eq!(count(&report, 0, name), wanted, "{name}");
    }
}

#[test]
fn formats_are_told_by_content() {
    let files = Files::new();
    let fails = |path: &Path| message(check(&[path], &quiet()));
    let text = files.write("a.txt", "once upon a time\n");
    let found = fails(&text);
    assert!(
        found.contains("once upon a time")
            && found.contains("not of a known format: `region-store`"),
        "{found}"
    );
    assert!(found.contains("give its format"), "{found}");
    for (name, content, wanted) in [
        ("empty", &b""[..], "the file is empty"),
        ("blank", b"\n \n", "nothing but white space"),
        ("rows.zip", b"PK\x03\x04\0\0", "a zip archive"),
        ("rows.parquet", b"PAR1\x15\x04", "a Parquet file"),
        ("latin", b"caf\xe9\n", "no text in UTF-8"),
    ] {
        let found = fails(&files.write(name, content));
        assert!(found.contains(wanted), "{found}");
    }
    for (content, wanted) in [
        (
            &b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"[..],
            "a Git LFS pointer",
        ),
        (b"\n<!DOCTYPE html>\n<html></html>\n", "an HTML or XML page"),
    ] {
        let report = checked(&[files.write("rows.jsonl", content)]);
        assert_problems(&report, &[("rows.jsonl", "", Kind::Unreadable, wanted)]);
    }
    let both = r#"{"image": "a", "text": "b", "label": true}"#;
    let both = files.write("both.jsonl", both);
    for (task, name) in [
        ("matching", "matching"),
        ("nlvr2", "nlvr2"),
        ("pretraining", "corpus"),
    ] {
        let options = CheckOptions {
            format: Some(of_task(task).unwrap()),
            ..quiet()
        };
        let report = check(&[&both], &options).unwrap();
        assert_problems(&report, &[]);
        assert_eq!(report.checked[0].format, name);
    }
    let report = checked(&[&both]);
    assert_eq!((report.ok, report.checked[0].format), (true, "corpus"));
    let found = named("nlvr").err().unwrap();
    assert!(
        found.contains("unknown format `nlvr`; known: region-store, data-set"),
        "{found}"
    );

    // What is missing is a problem of the data, beside those of the other paths.
    write_store(&files.path("s"), &["a"]).unwrap();
    let report = checked(&[files.path("nowhere"), files.path("s")]);
    assert_problems(
        &report,
        &[("nowhere", "", Kind::Unreadable, "it is missing")],
    );
    assert_eq!(report.checked.len(), 1);
}

#[rstest]
fn the_list_is_bounded_and_the_count_is_not(#[values(0, 3, 100)] limit: usize) -> Result<()> {
    let files = Files::new();
    let corpus = files.write("c.jsonl", "{\"image\": \"a\", \"text\": \"\"}\n".repeat(10));
    let options = CheckOptions { limit, ..quiet() };
    let report = check(&[corpus], &options)?;
    assert_eq!((report.problems.len(), report.total), (limit.min(10), 10));
    let document = serde_json::to_value(&report).unwrap();
    assert_eq!(document["ok"], false);
    assert_eq!(document["by_kind"], json!({"blank-text": 10}));
    assert_eq!(document["checked"][0]["counts"]["rows"], 10);
    if limit > 0 {
        let first = &document["problems"][0];
        assert_eq!(
            (&first["line"], &first["kind"]),
            (&json!(1), &json!("blank-text"))
        );
        assert!(first.get("key").is_none());
    }
    Ok(())
}
