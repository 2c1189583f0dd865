//! Readers of VQA v2 and NLVR2: what they read, how they fail, and that writing gives it back.

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use common::message;
use flate2::{Compression, write::GzEncoder};
use oscar_datasets::Result;
use oscar_datasets::annotations::nlvr2::{Identifier, Nlvr2Row, Nlvr2Rows};
use oscar_datasets::annotations::vqa::{
    Annotation, Confidence, Question, VqaFile, VqaRow, read_rows,
};
use rstest::rstest;
use serde_json::{Value, json};

/// Writes a file, plain or as gzip.
fn write(path: &Path, text: &str, gzip: bool) {
    let mut bytes = text.as_bytes().to_vec();
    if gzip {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&bytes).unwrap();
        bytes = encoder.finish().unwrap();
    }
    fs::write(path, bytes).unwrap();
}

fn questions() -> Value {
    json!({
        "info": {"version": "2.0"},
        "questions": [
            {"image_id": 25, "question": "Is it \"red\"?", "question_id": 25000, "split": "train"},
            {"image_id": 25, "question": "How many dogs are there?", "question_id": 25001},
        ],
        "task_type": "Open-Ended",
    })
}

fn annotation(question_id: u64, image_id: u64) -> Value {
    let answers: Vec<Value> = (1..=10)
        .map(|id| {
            let confidence = ["yes", "maybe", "no"][id % 3];
            json!({"answer": format!("{}", id % 2), "answer_confidence": confidence, "answer_id": id})
        })
        .collect();
    json!({
        "question_id": question_id,
        "image_id": image_id,
        "question_type": "how many",
        "answer_type": "number",
        "multiple_choice_answer": "0",
        "answers": answers,
        "split": "train",
    })
}

fn annotations() -> Value {
    json!({"annotations": [annotation(25001, 25), annotation(25000, 25)], "license": {"id": 1}})
}

/// Reads the two documents from files.
fn rows(questions: &Value, annotations: &Value, gzip: bool) -> Result<Vec<VqaRow>> {
    let dir = tempfile::tempdir().unwrap();
    let (q, a) = (dir.path().join("q.json"), dir.path().join("a.json"));
    write(&q, &questions.to_string(), gzip);
    write(&a, &annotations.to_string(), gzip);
    read_rows(&q, Some(&a))
}

#[rstest]
fn vqa_rows_are_joined_and_written_back(#[values(false, true)] gzip: bool) {
    let rows = rows(&questions(), &annotations(), gzip).unwrap();
    assert_eq!(rows.len(), 2);
    let first = &rows[0];
    assert_eq!(first.question.question, "Is it \"red\"?");
    let annotation = first.annotation.as_ref().unwrap();
    assert_eq!(
        (annotation.question_id, annotation.answers.len()),
        (25000, 10)
    );
    assert_eq!(annotation.answers[0].answer_confidence, Confidence::Maybe);
    assert_eq!(annotation.extra["split"], "train");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    write(&path, &annotations().to_string(), gzip);
    let file = VqaFile::<Annotation>::read(&path).unwrap();
    let mut written = Vec::new();
    file.write(&mut written).unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&written).unwrap(),
        annotations()
    );

    write(&path, &questions().to_string(), gzip);
    let file = VqaFile::<Question>::read(&path).unwrap();
    assert_eq!(file.header["task_type"], "Open-Ended");
    let mut written = Vec::new();
    file.write(&mut written).unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&written).unwrap(),
        questions()
    );

    let alone = read_rows(&path, None).unwrap();
    assert!(alone.iter().all(|row| row.annotation.is_none()));
}

/// How reading fails after a change.
fn vqa_problem(change: impl FnOnce(&mut Value, &mut Value)) -> String {
    let (mut questions, mut annotations) = (questions(), annotations());
    change(&mut questions, &mut annotations);
    message(rows(&questions, &annotations, false))
}

#[test]
fn wrong_vqa_records_are_named() {
    let found = vqa_problem(|q, _| q["questions"][1]["question_id"] = json!(25000));
    assert!(
        found.contains("q.json: question 25000: questions[1] repeats questions[0]"),
        "{found}"
    );
    let found = vqa_problem(|q, _| q["questions"][1]["question"] = json!(" ?"));
    assert!(
        found.contains("question 25001: the question is \" ?\""),
        "{found}"
    );
    let found = vqa_problem(|q, _| {
        drop(
            q["questions"][0]
                .as_object_mut()
                .unwrap()
                .remove("image_id"),
        )
    });
    assert!(
        found.contains("question 25000: missing field `image_id`"),
        "{found}"
    );
    let found = vqa_problem(|q, _| q["questions"][0]["question_id"] = json!("x"));
    assert!(
        found.contains("questions[0]: invalid type: string \"x\""),
        "{found}"
    );
    let found = vqa_problem(|q, _| drop(q.as_object_mut().unwrap().remove("questions")));
    assert!(
        found.contains("an object without the list `questions`"),
        "{found}"
    );

    let found = vqa_problem(|_, a| drop(a["annotations"].as_array_mut().unwrap().pop()));
    assert!(found.contains("a.json: question 25000 of"), "{found}");
    let found = vqa_problem(|q, _| drop(q["questions"].as_array_mut().unwrap().pop()));
    assert!(
        found.contains("1 annotation(s) of questions that are not in"),
        "{found}"
    );
    assert!(found.contains("such as 25001"), "{found}");
    let found = vqa_problem(|_, a| a["annotations"][0]["image_id"] = json!(26));
    assert!(
        found.contains("question 25001 is about image 26, but about image 25"),
        "{found}"
    );
    let found = vqa_problem(|_, a| {
        a["annotations"][0]["answers"].as_array_mut().unwrap().pop();
    });
    assert!(
        found.contains("question 25001: 9 answers, where 10 are given"),
        "{found}"
    );
    let found = vqa_problem(|_, a| a["annotations"][0]["answers"][2]["answer"] = json!(" "));
    assert!(
        found.contains("question 25001: answer 3 is blank"),
        "{found}"
    );
    let found =
        vqa_problem(|_, a| a["annotations"][1]["answers"][2]["answer_confidence"] = json!("?"));
    assert!(
        found.contains("question 25000: unknown variant `?`"),
        "{found}"
    );
}

#[test]
fn damaged_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("q.json");
    let read = || message(VqaFile::<Question>::read(&path));
    assert!(read().contains("q.json is missing"), "{}", read());
    let text = questions().to_string();
    write(&path, &text[..text.len() / 2], false);
    assert!(read().contains("q.json:1: column"), "{}", read());
    assert!(read().contains("EOF while parsing"), "{}", read());
    write(&path, &format!("{text} x"), false);
    assert!(read().contains("trailing characters"), "{}", read());
    // An archive that was cut off.
    write(&path, &text, true);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(
        read().contains("cannot read") && read().contains("q.json"),
        "{}",
        read()
    );
    // One that would fill the memory: a megabyte of blanks in a question.
    let huge = format!("{{\"questions\": [\"{}\"]}}", " ".repeat(8 << 20));
    write(&path, &huge, true);
    assert!(fs::metadata(&path).unwrap().len() < 100_000);
    assert!(read().contains("a record of more than 1 MiB"), "{}", read());
    // Many records together may be as large as they like.
    let many: Vec<Value> = (0..40_000)
        .map(|id| json!({"image_id": 1, "question": "What is this?", "question_id": id}))
        .collect();
    write(&path, &json!({ "questions": many }).to_string(), true);
    assert_eq!(
        VqaFile::<Question>::read(&path).unwrap().records.len(),
        40_000
    );
}

const ROW: &str = r#"{"validation": {"61": "False"}, "sentence": "The right image shows a dog.",
    "left_url": "https://example.org/a.jpg", "writer": "61", "label": "False",
    "right_url": "https://example.org/b.jpg", "synset": "dog", "identifier": "dev-850-2-1"}"#;

fn row() -> String {
    ROW.replace('\n', " ")
}

#[rstest]
fn nlvr2_rows_are_read_and_written_back(#[values(false, true)] gzip: bool) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dev.json");
    let unlabelled = r#"{"sentence": "Two dogs.", "identifier": "test2-1-0-0"}"#;
    write(&path, &format!("{}\n{unlabelled}\n", row()), gzip);
    let rows: Vec<Nlvr2Row> = Nlvr2Rows::open(&path)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let [first, second] = &rows[..] else {
        panic!("{rows:?}")
    };
    assert_eq!((first.label, second.label), (Some(false), None));
    assert_eq!(first.synset.as_deref(), Some("dog"));
    assert_eq!(first.extra["validation"]["61"], "False");
    for (row, line) in [(first, &row()[..]), (second, unlabelled)] {
        let mut written = Vec::new();
        row.write(&mut written).unwrap();
        assert_eq!(written.pop(), Some(b'\n'));
        let written: Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(line).unwrap());
    }
}

#[test]
fn identifiers_of_nlvr2() {
    let identifier: Identifier = "dev-850-2-1".parse().unwrap();
    assert_eq!(identifier.as_str(), "dev-850-2-1");
    assert_eq!(identifier.split(), "dev");
    assert_eq!(identifier.group(), "dev-850--1");
    assert_eq!(identifier.left_image(), "dev-850-2-img0");
    assert_eq!(identifier.right_image(), "dev-850-2-img1");
    let other: Identifier = "dev-850-3-1".parse().unwrap();
    assert_eq!(other.group(), identifier.group());
    let longer: Identifier = "balanced-dev-850-12-1".parse().unwrap();
    assert_eq!(
        (longer.split(), &longer.group()[..]),
        ("balanced-dev", "balanced-dev-850--1")
    );
    for wrong in [
        "",
        "dev-850-2",
        "-850-2-1",
        "dev-850-x-1",
        "dev-850--1",
        "1373-0",
    ] {
        let found = wrong.parse::<Identifier>().unwrap_err();
        assert!(found.contains("one such as \"dev-850-2-0\""), "{found}");
    }
}

#[test]
fn wrong_nlvr2_lines_are_named_and_do_not_end_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dev.json");
    let mut bytes = Vec::new();
    for line in [
        row().as_bytes(),
        b"",
        row().replace("False\",", "no\",").as_bytes(),
        row()
            .replace("The right image shows a dog.", " . ")
            .as_bytes(),
        row().replace("dev-850-2-1", "850-2").as_bytes(),
        b"{\"sentence\": \"\xff\"}",
        &row().as_bytes()[..50],
        &vec![b' '; (1 << 20) + 1],
        row().replace("\"sentence\"", "\"text\"").as_bytes(),
        row().as_bytes(),
    ] {
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }
    fs::write(&path, bytes).unwrap();
    let rows: Vec<Result<Nlvr2Row>> = Nlvr2Rows::open(&path).unwrap().collect();
    let wanted = [
        "",
        ":2: a blank line",
        ":3: column",
        ":4: the sentence is \" . \"",
        ":5: column",
        ":6: byte 15 is not UTF-8",
        ":7: column 50: EOF",
        ":8: a line of more than 1 MiB",
        ":9: column",
        "",
    ];
    assert_eq!(rows.len(), wanted.len());
    for (row, wanted) in rows.into_iter().zip(wanted) {
        match wanted {
            "" => assert!(row.is_ok()),
            wanted => {
                let found = message(row);
                assert!(found.contains(wanted), "{wanted}: {found}");
            }
        }
    }
}

fn outside(variable: &str) -> PathBuf {
    PathBuf::from(
        std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} names a directory")),
    )
}

/// What "yes" scores if it is always said: the official accuracy, without its spelling rules.
fn always_yes(rows: &[VqaRow]) -> f64 {
    let scores = rows.iter().map(|row| {
        let answers = &row.annotation.as_ref().unwrap().answers;
        let yes = answers.iter().filter(|a| a.answer == "yes").count() as f64;
        let no = answers.len() as f64 - yes;
        // The mean over the ten sets of nine answers.
        (yes * ((yes - 1.0) / 3.0).min(1.0) + no * (yes / 3.0).min(1.0)) / 10.0
    });
    scores.sum::<f64>() / rows.len() as f64
}

fn same_json<R>(path: &Path, read: impl Fn(&Path) -> R, write: impl Fn(&R, &mut Vec<u8>)) {
    let mut text = String::new();
    let mut file = flate2::read::MultiGzDecoder::new(fs::File::open(path).unwrap());
    std::io::Read::read_to_string(&mut file, &mut text).unwrap();
    let mut written = Vec::new();
    write(&read(path), &mut written);
    let written: Value = serde_json::from_slice(&written).unwrap();
    assert!(
        written == serde_json::from_str::<Value>(&text).unwrap(),
        "{}",
        path.display()
    );
}

/// Give the directory with `vqa_{questions,annotations}_{train,valid}.json.gz` in OSCAR_VQA.
#[test]
#[ignore = "needs files of VQA v2"]
fn the_whole_of_a_vqa_set() {
    let dir = outside("OSCAR_VQA");
    for (split, rows_wanted) in [("train", 48_061), ("valid", 8_977)] {
        let questions = dir.join(format!("vqa_questions_{split}.json.gz"));
        let annotations = dir.join(format!("vqa_annotations_{split}.json.gz"));
        let rows = read_rows(&questions, Some(&annotations)).unwrap();
        assert_eq!(rows.len(), rows_wanted);
        if split == "valid" {
            let score = 100.0 * always_yes(&rows);
            assert!((score - 20.85).abs() < 0.005, "{score}");
        }
        same_json(
            &questions,
            |path| VqaFile::<Question>::read(path).unwrap(),
            |file, out| file.write(out).unwrap(),
        );
        same_json(
            &annotations,
            |path| VqaFile::<Annotation>::read(path).unwrap(),
            |file, out| file.write(out).unwrap(),
        );
    }
}

/// Give the directory with `dev.json.gz` of NLVR2 in OSCAR_NLVR2.
#[test]
#[ignore = "needs NLVR2's sentences"]
fn the_whole_of_nlvr2s_dev_split() {
    let path = outside("OSCAR_NLVR2").join("dev.json.gz");
    let rows: Vec<Nlvr2Row> = Nlvr2Rows::open(&path)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rows.len(), 6_982);
    let true_rows = rows.iter().filter(|row| row.label == Some(true)).count();
    assert_eq!(true_rows, 3_551);
    let mut text = String::new();
    let mut file = flate2::read::MultiGzDecoder::new(fs::File::open(&path).unwrap());
    std::io::Read::read_to_string(&mut file, &mut text).unwrap();
    for (row, line) in rows.iter().zip(text.lines()) {
        let mut written = Vec::new();
        row.write(&mut written).unwrap();
        let written: Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(line).unwrap());
    }
}
