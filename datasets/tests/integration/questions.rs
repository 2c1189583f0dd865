//! Question files: every form, what people's answers are worth, and everything that can be wrong.

use std::fs;
use std::path::Path;

use oscar_datasets::answers::{AnswerCounts, AnswerVocabulary};
use oscar_datasets::questions::{QuestionSet, count_answers};
use rstest::rstest;

fn open(text: &str) -> Result<QuestionSet, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("questions");
    fs::write(&path, text).unwrap();
    QuestionSet::open(&path, None, None).map_err(|error| error.to_string())
}

fn vocabulary() -> AnswerVocabulary {
    let answers = ["yes", "no", "2", "red"].map(String::from).to_vec();
    AnswerVocabulary::new(Path::new("answers"), answers).unwrap()
}

#[test]
fn the_official_form() {
    let set = open(
        r#"[{"q": "how many?", "o": "dog;cat;dog", "an": [2, 0], "s": [0.6, 1.0], "img_id": 42, "q_id": 420},
            {"q": "where?", "o": "", "an": [], "s": [], "img_id": "n7", "q_id": "007"},
            {"q": "which?", "o": "", "an": [3], "img_id": "n7", "q_id": "7"}]"#,
    )
    .unwrap();
    let [first, test, gqa] = set.questions() else {
        panic!("three rows")
    };
    assert_eq!(first.id.as_deref(), Some("420"));
    assert_eq!(first.image.as_deref(), Some("42"));
    assert_eq!(first.tags.as_deref(), Some("dog cat dog"));
    assert_eq!(first.targets(&vocabulary()).unwrap(), [(0, 1.0), (2, 0.6)]);
    assert_eq!(test.id.as_deref(), Some("007"));
    assert!(!test.is_answered());
    assert_eq!(gqa.targets(&vocabulary()).unwrap(), [(3, 1.0)]);
}

#[test]
fn the_plain_form() {
    let people = ["2"; 4]
        .iter()
        .chain(&["two"; 3])
        .chain(&["red"; 2])
        .chain(&["no"]);
    let ten: Vec<_> = people.collect();
    let set = open(&format!(
        "{}\n{}\n{}\n{}\n",
        r#"{"image": "a", "question": "how many?", "answers": {"2": 0.9, "red": 0.0, "two": 1}}"#,
        serde_json::json!({"image": "a", "question": "how many?", "answers": ten}),
        r#"{"question": "sure?", "answers": ["yes"], "tags": "dog cat"}"#,
        r#"{"question": "sure?", "answer": "no", "id": 5, "answer_type": "yes/no"}"#,
    ))
    .unwrap();
    let targets: Vec<_> = set
        .questions()
        .iter()
        .map(|question| question.targets(&vocabulary()).unwrap())
        .collect();
    assert_eq!(targets[0], [(2, 0.9)]);
    assert_eq!(targets[1], [(2, 1.0), (3, 0.6), (1, 0.3)]);
    assert_eq!(targets[2], [(0, 1.0)], "all who were asked say it");
    assert_eq!(targets[3], [(1, 1.0)]);
    assert!(set.questions()[1].ten_answers().is_some());
    assert!(set.questions()[2].ten_answers().is_none());
    assert_eq!(set.questions()[1].most_agreed(), Some("2"));
    assert_eq!(set.questions()[0].most_agreed(), Some("two"));
    assert_eq!(set.questions()[3].answer_type.as_deref(), Some("yes/no"));
    assert_eq!(set.region_dim(), 0);
}

#[test]
fn a_blank_answer_is_none() {
    for row in [
        r#"{"question": "why?", "answer": " "}"#,
        r#"{"question": "why?", "answers": ""}"#,
        r#"{"question": "why?", "answers": ["", " "]}"#,
        r#"{"question": "why?", "answers": {"": 1.0}}"#,
        r#"{"sent": "why?", "img_id": "a", "question_id": 2, "label": {"": 1}}"#,
    ] {
        let set = open(&format!("{row}\n{GOOD}\n")).unwrap();
        assert!(!set.questions()[0].is_answered(), "{row}");
        let error = set.require_answers().unwrap_err().to_string();
        assert!(error.contains("questions:1: no `answer`"), "{row}: {error}");
    }
    // One of three people said nothing, and counts among those who were asked.
    let three = r#"{"question": "why?", "answers": ["", "", "red"]}"#;
    let set = open(three).unwrap();
    let question = &set.questions()[0];
    assert_eq!(question.most_agreed(), Some("red"));
    assert_eq!(question.people.len(), 3);
    let targets = question.targets(&vocabulary()).unwrap();
    assert_eq!(targets.len(), 1, "{targets:?}");
}

/// A question and its annotation, as VQA v2 is published.
fn published(id: u64, answers: &[&str; 10]) -> (serde_json::Value, serde_json::Value) {
    let answers: Vec<_> = (1..)
        .zip(answers)
        .map(|(number, answer)| {
            serde_json::json!({"answer": answer, "answer_confidence": "yes", "answer_id": number})
        })
        .collect();
    (
        serde_json::json!({"image_id": 9, "question": "how many?", "question_id": id}),
        serde_json::json!({"question_type": "how many", "answer_type": "number", "image_id": 9,
            "multiple_choice_answer": "Two", "question_id": id, "answers": answers}),
    )
}

#[test]
fn the_published_form_and_its_annotations() {
    let folder = tempfile::tempdir().unwrap();
    let (questions, annotations) = (folder.path().join("q.json"), folder.path().join("a.json"));
    let (question, annotation) =
        published(5, &["2", "2", "2", "no", "no", "red", "x", "x", "x", "x"]);
    let file = |list: &str, row: &serde_json::Value| {
        serde_json::json!({"license": "none", list: [row]}).to_string()
    };
    fs::write(&questions, file("questions", &question)).unwrap();
    fs::write(&annotations, file("annotations", &annotation)).unwrap();
    let set = QuestionSet::open(&questions, Some(&annotations), None).unwrap();
    let [row] = set.questions() else {
        panic!("one row")
    };
    assert_eq!(
        row.targets(&vocabulary()).unwrap(),
        [(2, 0.9), (1, 0.6), (3, 0.3)]
    );
    assert_eq!(row.question_type.as_deref(), Some("how many"));
    assert!(
        set.origin(0).ends_with("q.json: question 5"),
        "{}",
        set.origin(0)
    );

    // The official form can take people's answers from there too.
    let official = folder.path().join("official.json");
    let row = r#"[{"q": "how many?", "o": "", "an": [1], "s": [1.0], "img_id": 9, "q_id": ID}]"#;
    fs::write(&official, row.replace("ID", "5")).unwrap();
    let set = QuestionSet::open(&official, Some(&annotations), None).unwrap();
    assert_eq!(
        set.questions()[0].targets(&vocabulary()).unwrap(),
        [(1, 1.0)]
    );
    assert!(set.questions()[0].ten_answers().is_some());
    fs::write(&official, row.replace("ID", "6")).unwrap();
    let error = QuestionSet::open(&official, Some(&annotations), None)
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains("official.json:1: question 6 has no annotation"),
        "{error}"
    );

    let mut counts = AnswerCounts::default();
    count_answers(&annotations, &mut counts).unwrap();
    let (built, _) = {
        counts.add("no".into());
        oscar_datasets::answers::build_vocabulary(&counts, 1, Path::new("built")).unwrap()
    };
    assert_eq!(
        built.answers(),
        ["2", "no"],
        "normalised as the evaluation does"
    );
    let error = count_answers(&questions, &mut counts).unwrap_err();
    assert!(error.to_string().contains("annotations"), "{error}");
}

const GOOD: &str = r#"{"question": "is it?", "answer": "yes", "id": 1}"#;

#[rstest]
#[case(
    "no words",
    r#"{"question": " ?! "}"#,
    "questions:2: `question` is \" ?! \""
)]
#[case(
    "an id twice",
    r#"{"question": "why?", "id": "1"}"#,
    "questions:2: the id 1 occurs in row 1 too"
)]
#[case(
    "a misspelt field",
    r#"{"question": "why?", "anwser": "x"}"#,
    "questions:2: unknown key `anwser`"
)]
#[case(
    "two answers",
    r#"{"question": "why?", "answer": "x", "answers": ["y"]}"#,
    "both `answers` and `answer`"
)]
#[case(
    "answers of no form",
    r#"{"question": "why?", "answers": true}"#,
    "`answers` is neither"
)]
#[case(
    "no question",
    r#"{"image": "a"}"#,
    "questions:2: neither `question` nor `q`"
)]
#[case(
    "fewer scores",
    r#"{"q": "why?", "an": [1, 2], "s": [1.0]}"#,
    "2 labels in `an`, 1 scores in `s`"
)]
#[case(
    "a negative label",
    r#"{"q": "why?", "an": [-1], "s": [1.0]}"#,
    "questions:2:"
)]
#[case("cut off", r#"{"question": "wh"#, "questions:2:")]
fn a_wrong_row_is_named(#[case] what: &str, #[case] row: &str, #[case] expected: &str) {
    let error = open(&format!("{GOOD}\n{row}\n")).err().expect(what);
    assert!(error.contains(expected), "{what}: {error}");
}

#[test]
fn a_label_outside_the_vocabulary_and_a_score_outside_0_to_1_are_wrong() {
    let set = open(r#"{"q": "why?", "an": [4], "s": [1.0]}"#).unwrap();
    let error = set.questions()[0].targets(&vocabulary()).unwrap_err();
    assert!(
        error.contains("label 4, but the vocabulary has 4"),
        "{error}"
    );
    for (row, expected) in [
        (
            r#"{"q": "why?", "an": [1], "s": [1.5]}"#,
            "questions:1: a score of 1.5",
        ),
        (
            r#"{"question": "why?", "answers": {"red": -1}}"#,
            "questions:1: a score of -1",
        ),
    ] {
        let error = open(row).err().expect(row);
        assert!(error.contains(expected), "{error}");
    }
}
