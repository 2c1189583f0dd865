//! Annotations of the published tasks and rows of one's own: what is read, and what is wrong.

use crate::common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use common::store;
use flate2::{Compression, write::GzEncoder};
use oscar_datasets::captions::{self, CaptionedImage};
use oscar_datasets::matching::Pair;
use oscar_datasets::nlvr2::Statement;
use oscar_datasets::questions::{QuestionSet, read_annotations};
use oscar_datasets::rows::read_rows;
use oscar_datasets::{DatasetError, Problem, Result, RowSet};
use oscar_files::FileError;
use rstest::rstest;
use serde::Deserialize;
use serde_json::{Value, json};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A file of this content, and what `read` makes of it.
fn with_file<T>(content: impl AsRef<[u8]>, read: impl FnOnce(&Path) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows");
    fs::write(&path, content).unwrap();
    read(&path)
}

/// The problems that a file is refused for.
fn problems<T>(result: Result<T>) -> Vec<Problem> {
    match result {
        Err(DatasetError::Problems { problems, total }) => {
            assert_eq!(problems.len(), total);
            problems
        }
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it was read"),
    }
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Row {
    a: u32,
}

fn numbers(path: &Path) -> Result<Vec<u32>> {
    let rows: Vec<Row> = read_rows(path)?;
    Ok(rows.into_iter().map(|row| row.a).collect())
}

#[rstest]
#[case("[{\"a\": 1}, {\"a\": 2}]")]
#[case("\n {\"a\": 1}\n{\"a\": 2}")]
#[case("{\"a\": 1}\r\n{\"a\": 2}\n\n")]
#[case("[\n{\"a\":\n1}\n,{\"a\": 2}\n]\n")]
fn arrays_and_lines_plain_and_gzip(#[case] text: &str) {
    for bytes in [text.as_bytes().to_vec(), gzip(text.as_bytes())] {
        assert_eq!(with_file(bytes, numbers).unwrap(), [1, 2], "{text:?}");
    }
}

#[rstest]
#[case("[{\"a\": 1}, {\"b\": 2}]", &[(2, "column 5: unknown field `b`")])]
#[case("[{\"a\": 1}, {\"a\": 2}", &[(2, "EOF")])]
#[case("[{\"a\": 1} {\"a\": 2}, {\"a\": 3}]", &[(1, "column 10: two objects with neither a comma")])]
#[case("[{\"a\": 1},]", &[(2, "a comma before the end")])]
#[case("{\"a\": 1}\n{\"a\": -2}\n{\"a\": 2}\n{\"a\"", &[(2, "column 8: invalid value"), (4, "EOF")])]
#[case("{\"a\": 1}\n\n{\"a\": 2}\n", &[(2, "a blank line")])]
fn every_wrong_row_is_named(#[case] text: &str, #[case] wanted: &[(usize, &str)]) {
    let found = problems(with_file(text, numbers));
    assert_eq!(found.len(), wanted.len(), "{text:?}: {found:?}");
    for (problem, (line, part)) in found.iter().zip(wanted) {
        assert_eq!(problem.line, Some(*line), "{text:?}: {problem}");
        assert!(problem.found.contains(part), "{text:?}: {problem}");
    }
}

#[rstest]
#[case(
    "a,b\n1,2\n",
    "starts with \"a,b\": fields of a table separated by commas"
)]
#[case("a\tb\n", "separated by tabs")]
#[case("a dog\n", "starts with \"a dog\": neither a JSON array")]
#[case("[]", "no row")]
#[case("", "no row")]
#[case("[{\"a\": 1}] []", "trailing characters")]
fn files_that_are_not_rows_are_refused(#[case] text: &str, #[case] wanted: &str) {
    match with_file(text, numbers) {
        Err(DatasetError::File(FileError::Malformed { found, .. })) => {
            assert!(found.contains(wanted), "{text:?}: {found}");
        }
        other => panic!("{text:?}: {other:?}"),
    }
}

#[test]
fn a_directory_of_parts_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let parts = dir.path().join("train_all_questions");
    fs::create_dir(&parts).unwrap();
    for name in ["train_1.json", "train_0.json", "._train_0.json"] {
        fs::write(parts.join(name), "{}").unwrap();
    }
    let found = numbers(&parts).unwrap_err().to_string();
    assert!(
        found.contains("2 JSON file(s), the first is train_0.json"),
        "{found}"
    );
}

#[test]
fn damage_and_bombs() {
    let whole = gzip(b"{\"a\": 1}\n{\"a\": 2}\n");
    let cut = with_file(&whole[..whole.len() - 9], numbers);
    assert!(
        matches!(cut, Err(DatasetError::File(FileError::Io { .. }))),
        "{cut:?}"
    );
    let missing = numbers(Path::new("nowhere"));
    assert!(matches!(missing, Err(DatasetError::Missing { .. })));
    // Three megabytes of blanks in one record; the others are still read.
    let blanks = " ".repeat(3 << 20);
    for text in [
        format!("{{\"a\": 1}}\n{{\"a\": {blanks}1}}\n{{\"a\": \"\"}}\n"),
        format!("[{{\"a\": 1}}, {{\"a\": {blanks}1}}, {{\"a\": \"\"}}]"),
    ] {
        let found = problems(with_file(gzip(text.as_bytes()), numbers));
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].line, Some(2));
        assert!(found[0].found.contains("more than 1 MiB"), "{}", found[0]);
        assert_eq!(found[1].line, Some(3));
    }
    let found = problems(with_file(b"{\"a\": \"\xff\"}", numbers));
    assert!(
        found[0].found.contains("byte 8 is not UTF-8"),
        "{}",
        found[0]
    );
}

fn questions() -> Value {
    json!({
        "info": {"version": "2.0", "x": ["]", "\\\""]},
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
fn vqa(questions: &Value, annotations: &Value, zipped: bool) -> Result<QuestionSet> {
    let dir = tempfile::tempdir().unwrap();
    let (q, a) = (dir.path().join("q.json"), dir.path().join("a.json"));
    for (path, document) in [(&q, questions), (&a, annotations)] {
        let text = format!("{document:#}\n").into_bytes();
        fs::write(path, if zipped { gzip(&text) } else { text }).unwrap();
    }
    QuestionSet::open(&q, Some(&a), None)
}

#[rstest]
fn published_questions_are_joined_with_their_annotations(#[values(false, true)] zipped: bool) {
    let set = vqa(&questions(), &annotations(), zipped).unwrap();
    let [first, second] = set.questions() else {
        panic!("two questions")
    };
    assert_eq!(first.text, "Is it \"red\"?");
    assert_eq!(
        (first.id.as_deref(), first.image.as_deref()),
        (Some("25000"), Some("25"))
    );
    assert_eq!(first.ten_answers().unwrap()[0], "1");
    assert_eq!(second.answer_type.as_deref(), Some("number"));
    // The same photograph by the name of its file.
    let mut named = questions();
    named["questions"][0]["image_id"] = json!("COCO_train2014_000000000025.jpg");
    assert_eq!(vqa(&named, &annotations(), zipped).unwrap().len(), 2);
    let text = annotations().to_string();
    let all = with_file(text, read_annotations).unwrap();
    assert_eq!(
        (&all[0].question_id[..], all[0].answers.len()),
        ("25001", 10)
    );
}

/// How reading fails after a change: file and key of the problems, and what was found.
fn vqa_problems(change: impl FnOnce(&mut Value, &mut Value)) -> Vec<(String, String)> {
    let (mut questions, mut annotations) = (questions(), annotations());
    change(&mut questions, &mut annotations);
    let found = problems(vqa(&questions, &annotations, false)).into_iter();
    let place = |problem: Problem| {
        let file = problem.file.file_name().unwrap().to_str().unwrap();
        (format!("{file}:{}", problem.key.unwrap()), problem.found)
    };
    found.map(place).collect()
}

#[test]
fn wrong_vqa_records_are_named() {
    let remove = |document: &mut Value, list: &str, member: &str| {
        document[list][0].as_object_mut().unwrap().remove(member);
    };
    for (found, place, part) in [
        (
            vqa_problems(|q, _| q["questions"][1]["question_id"] = json!(25000)),
            "q.json:25000",
            "occurs in row 1 too",
        ),
        (
            vqa_problems(|q, _| q["questions"][1]["question"] = json!(" ?")),
            "q.json:25001",
            "`question` is \" ?\"",
        ),
        (
            vqa_problems(|q, _| remove(q, "questions", "image_id")),
            "q.json:25000",
            "missing field `image_id`",
        ),
        (
            vqa_problems(|q, _| q["questions"][0]["question_id"] = json!([])),
            "q.json:questions[0]",
            "invalid type: sequence",
        ),
        (
            vqa_problems(|_, a| drop(a["annotations"].as_array_mut().unwrap().pop())),
            "q.json:25000",
            "has no annotation",
        ),
        (
            vqa_problems(|q, _| drop(q["questions"].as_array_mut().unwrap().pop())),
            "a.json:25001",
            "a question that is not in the file",
        ),
        (
            vqa_problems(|_, a| a["annotations"][0]["image_id"] = json!(26)),
            "a.json:25001",
            "about image 26, but asked about image 25",
        ),
        (
            vqa_problems(|_, a| drop(a["annotations"][0]["answers"].as_array_mut().unwrap().pop())),
            "a.json:25001",
            "9 answers, where 10 are given",
        ),
        (
            vqa_problems(|_, a| a["annotations"][0]["answers"][2]["answer"] = json!(" ")),
            "a.json:25001",
            "answer 3 is blank",
        ),
        (
            vqa_problems(|_, a| a["annotations"][1]["answers"][2] = json!({})),
            "a.json:25000",
            "an answer is a text, or an object",
        ),
    ] {
        let named = found
            .iter()
            .any(|(at, what)| at == place && what.contains(part));
        assert!(named, "{place}: {part}: {found:?}");
    }
}

#[test]
fn damaged_documents_are_named() {
    let read = |text: &[u8]| with_file(text, |path| QuestionSet::open(path, None, None).map(drop));
    let text = questions().to_string();
    assert!(read(text.as_bytes()).is_ok());
    for (text, wanted) in [
        (format!("{text} x"), "trailing characters"),
        (
            text.replace("],\"task_type\"", "] \"task_type\""),
            "a comma or a brace",
        ),
        (
            text.replace("\"questions\"", "\"annotations\""),
            "in the list `questions`",
        ),
    ] {
        match read(text.as_bytes()) {
            Err(DatasetError::File(FileError::Malformed { found, .. })) => {
                assert!(found.contains(wanted), "{found}")
            }
            other => panic!("{wanted}: {other:?}"),
        }
    }
    let half = problems(read(&text.as_bytes()[..text.len() / 2]));
    assert!(half[0].found.contains("EOF"), "{half:?}");
    // Many records together may be as large as they like.
    let many: Vec<Value> = (0..40_000)
        .map(|id| json!({"image_id": 1, "question": "What is this?", "question_id": id}))
        .collect();
    let many = gzip(json!({ "questions": many }).to_string().as_bytes());
    let read = |path: &Path| QuestionSet::open(path, None, None).unwrap().len();
    assert_eq!(with_file(many, read), 40_000);
}

fn captioned(path: &Path) -> Result<Vec<CaptionedImage>> {
    captions::read(path, None).map(RowSet::into_rows)
}

fn image_of(key: &str, captions: &[&str]) -> CaptionedImage {
    CaptionedImage {
        captions: captions.iter().map(|text| text.to_string()).collect(),
        ..CaptionedImage::new(key)
    }
}

#[test]
fn captions_of_every_form() {
    let wanted = [
        image_of("7", &["a dog", "one dog"]),
        image_of("12", &["a cat"]),
    ];
    for text in [
        "{\"image\": \"7\", \"captions\": [\"a dog\", \"one dog\"]}\n\
         {\"image\": 12, \"caption\": \"a cat\", \"id\": 3}\n",
        r#"[{"image_id": "7", "id": 1, "caption": "a dog"}, {"image_id": "12", "id": 2,
            "caption": "a cat"}, {"image_id": "7", "id": 3, "caption": "one dog"}]"#,
        r#"{"info": {}, "images": [{"id": 7, "license": 3}, {"id": 12}],
            "annotations": [{"image_id": 12, "id": 1, "caption": "a cat"},
            {"image_id": 7, "id": 2, "caption": "a dog"}, {"image_id": 7, "caption": "one dog"}]}"#,
        r#"[{"image": "7", "image_id": "coco_7", "caption": ["a dog", "one dog"]},
            {"image": "12", "image_id": "coco_12", "caption": "a cat"}]"#,
        r#"[{"image": "7", "img_id": 0, "caption": ["a dog", "one dog"], "domain": "in"},
            {"image_id": 12, "caption_id": 3, "caption": "a cat", "coco_url": "x"}]"#,
        r#"[{"image": "7", "captions": ["a dog", "one dog"]}, {"image": 12, "captions": "a cat"}]"#,
        r#"{"7": ["a dog", "one dog"], "12": ["a cat"]}"#,
        "{\n  \"7\": [\n    \"a dog\",\n    \"one dog\"\n  ],\n  \"12\": [\"a cat\"]\n}\n",
        // {"7": ["a dog", "one dog"], 12: '["a cat"]'} as Python's protocol 0.
        "(dp0\nV7\n(lVa dog\naVone dog\nasI12\nV[\"a cat\"]\ns.",
    ] {
        let bytes = match text.starts_with('(') {
            // Files of protocol 2 and later are told by their first byte.
            true => [b"\x80\x02", text.as_bytes()].concat(),
            false => text.as_bytes().to_vec(),
        };
        assert_eq!(with_file(bytes, captioned).unwrap(), wanted, "{text}");
    }
    let nocaps = r#"{"images": [{"id": 0, "open_images_id": "004e2", "width": 3}]}"#;
    let found = with_file(nocaps, captioned).unwrap();
    assert_eq!(found[0].key, "0");
    assert_eq!(found[0].other_key.as_deref(), Some("004e2"));
    assert!(found[0].captions.is_empty());
    let tags = r#"[{"image": "7", "caption": "a dog", "tags": "dog grass"}]"#;
    let found = with_file(tags, captioned).unwrap();
    assert_eq!(found[0].tags.as_deref(), Some("dog grass"));
}

#[rstest]
#[case(r#"{"caption": "a"}"#, "missing field `image`")]
#[case(r#"[{"image": "a", "text": "b"}]"#, "unknown field `text`")]
#[case(r#"[{"image_id": 7, "captoin": "b"}]"#, "unknown field `captoin`")]
#[case(
    r#"{"annotations": [{"id": 3}]}"#,
    "`annotations`: column 9: missing field `image_id`"
)]
#[case(
    r#"{"image": "a", "captions": [], "caption": "b"}"#,
    "both `caption` and `captions`"
)]
#[case(r#"{"image": "a", "captions": ["b", " \t"]}"#, "an empty `caption 2`")]
fn wrong_captions_are_named(#[case] text: &str, #[case] wanted: &str) {
    let found = problems(with_file(text, captioned));
    assert_eq!((found.len(), found[0].line), (1, Some(1)), "{found:?}");
    assert!(found[0].found.contains(wanted), "{found:?}");
}

#[test]
fn wrong_captions_by_image_are_named_by_it() {
    let text = r#"{"7": ["a"], "8": ["b", 3], "9": ["c", " "], "7": ["d"]}"#;
    let found = problems(with_file(text, captioned));
    let keys: Vec<_> = found.iter().map(|p| p.key.as_deref()).collect();
    assert_eq!(keys, [Some("8"), Some("9"), Some("7")], "{found:?}");
    assert!(found[0].found.contains("expected a string"), "{found:?}");
    // One row in a line is a row, whatever comes first in it.
    let row = r#"{"captions": ["a dog"], "image": "7"}"#;
    let read = with_file(row, captioned).unwrap();
    assert_eq!(read, [image_of("7", &["a dog"])]);
}

#[test]
fn images_are_found_by_their_files_where_their_numbers_are_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let images = store(&dir.path().join("s"), &["VizWiz_val_00000000", "9"]);
    let text = r#"{"images": [{"id": 4, "file_name": "val/VizWiz_val_00000000.jpg"},
                              {"id": 9, "file_name": "VizWiz_val_00000001.jpg"}],
                   "annotations": [{"image_id": 4, "caption": "a can"}]}"#;
    let rows = with_file(text, |path| captions::read(path, Some(images.clone()))).unwrap();
    assert_eq!((rows.images(0), rows.images(1)), (&[0][..], &[1][..]));
}

#[test]
fn an_image_has_its_captions_in_one_row() {
    let text =
        "{\"image\": \"7\", \"captions\": [\"a\"]}\n{\"image\": \"7\", \"captions\": [\"b\"]}";
    let found = problems(with_file(text, captioned));
    assert_eq!((found.len(), found[0].line), (1, Some(2)));
    for (text, wanted) in [(r#"{"annotations": []}"#, "no image"), ("", "no row")] {
        match with_file(text, captioned) {
            Err(DatasetError::File(FileError::Malformed { found, .. })) => {
                assert!(found.contains(wanted), "{found}")
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn rows_find_their_images() {
    let dir = tempfile::tempdir().unwrap();
    let images = store(&dir.path().join("s"), &["a", "b"]);
    let text = r#"{"left": "a", "right": "b", "statement": "one", "label": true}
        {"left": "b", "right": "c", "statement": "two", "label": true}
        {"left": "b", "right": "a", "statement": "?", "label": true, "identifier": "dev-1-0-0"}
        {"image": "a", "statement": "three", "label": true}
        {"left": "b", "right": "b", "statement": "four", "identifier": "dev-1-0-0"}
        {"left": "a", "right": "a", "statement": "five", "identifier": "dev-1-1-0"}"#;
    let open = |text: &str| {
        with_file(text, |path| {
            RowSet::<Statement>::open(path, Some(images.clone()))
        })
    };
    let found = problems(open(text));
    let places: Vec<_> = found
        .iter()
        .map(|p| (p.line.unwrap(), &p.found[..]))
        .collect();
    assert_eq!(places.len(), 4, "{places:?}");
    assert_eq!(places[0].0, 2);
    assert!(
        places[0].1.starts_with("right: image `c` is not in"),
        "{places:?}"
    );
    assert_eq!(
        places[1],
        (3, "`statement` is \"?\", without any letter or digit")
    );
    assert_eq!(places[2], (4, "1 image(s), but 2 in the first row"));
    assert_eq!(places[3], (5, "the id dev-1-0-0 occurs in row 3 too"));
    let good: Vec<&str> = text.lines().step_by(5).collect();
    let rows = open(&good.join("\n")).unwrap();
    assert_eq!((rows.images(0), rows.images(1)), (&[0, 1][..], &[0, 0][..]));
    assert_eq!(rows.region_dim(), images_dim(&rows));
    let unlabelled = problems(rows.require_labels());
    assert_eq!((unlabelled.len(), unlabelled[0].line), (1, Some(2)));
}

#[test]
fn labels_of_matching_are_true_and_false_or_1_and_0() {
    let open = |label: &str| {
        let text = format!(r#"{{"image": "a", "text": "b", "label": {label}}}"#);
        with_file(text, |path| RowSet::<Pair>::open(path, None))
    };
    for (label, expected) in [
        ("true", Some(true)),
        ("false", Some(false)),
        ("1", Some(true)),
        ("0", Some(false)),
        ("1.0", Some(true)),
        ("\"False\"", Some(false)),
        ("null", None),
    ] {
        assert_eq!(open(label).unwrap()[0].label, expected, "{label}");
    }
    for label in ["2", "-1", "0.5", "\"match\"", "[1]"] {
        let found = problems(open(label));
        assert_eq!(found[0].line, Some(1), "{label}");
        let found = &found[0].found;
        assert!(
            found.contains("column") && found.contains("invalid type"),
            "{label}: {found}"
        );
    }
}

fn images_dim(rows: &RowSet<Statement>) -> usize {
    rows.source().unwrap().region_dim()
}

fn outside(variable: &str) -> PathBuf {
    PathBuf::from(
        std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} names a directory")),
    )
}

/// Give the directory with `vqa_{questions,annotations}_{train,valid}.json.gz` in OSCAR_VQA.
#[test]
#[ignore = "needs files of VQA v2"]
fn the_whole_of_a_vqa_set() {
    let dir = outside("OSCAR_VQA");
    for (split, wanted) in [("train", 48_061), ("valid", 8_977)] {
        let questions = dir.join(format!("vqa_questions_{split}.json.gz"));
        let annotations = dir.join(format!("vqa_annotations_{split}.json.gz"));
        let set = QuestionSet::open(&questions, Some(&annotations), None).unwrap();
        assert_eq!(set.len(), wanted);
        let ten = |question: &oscar_datasets::questions::Question| question.ten_answers().is_some();
        assert!(set.questions().iter().all(ten));
    }
}

/// Give the directory with `dev.json.gz` of NLVR2 in OSCAR_NLVR2.
#[test]
#[ignore = "needs NLVR2's sentences"]
fn the_whole_of_nlvr2s_dev_split() {
    let path = outside("OSCAR_NLVR2").join("dev.json.gz");
    let rows = RowSet::<Statement>::open(&path, None).unwrap();
    assert_eq!(rows.len(), 6_982);
    let true_rows = rows.iter().filter(|row| row.label == Some(true)).count();
    assert_eq!(true_rows, 3_551);
}
