//! Answer vocabularies: every published form, and everything that can be wrong with one.

use std::fs;
use std::path::Path;

use oscar_datasets::answers::{AnswerCounts, AnswerVocabulary, build_vocabulary};
use rstest::rstest;

fn open(name: &str, bytes: &[u8]) -> Result<AnswerVocabulary, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    AnswerVocabulary::open(&path).map_err(|error| error.to_string())
}

/// `pickle.dumps(["yes", "2"], 2)` and `pickle.dumps({"2": 1, "yes": 0}, 4)`, as Python writes them.
const LIST: &[u8] = b"\x80\x02]q\x00(X\x03\x00\x00\x00yesq\x01X\x01\x00\x00\x002q\x02e.";
const LABELS: &[u8] =
    b"\x80\x04\x95\x13\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x012\x94K\x01\x8c\x03yes\x94K\x00u.";

#[rstest]
#[case("list.json", br#"["yes", "2"]"#)]
#[case("labels.json", br#"{"2": 1, "yes": 0}"#)]
#[case("by_label.json", br#"{"1": "2", "0": "yes"}"#)]
#[case("all_ans.json", br#"[{"ans": "yes", "dsets": ["vqa"]}, {"ans": "2"}]"#)]
#[case("numbers.json", br#"["yes", 2]"#)]
#[case("answers.txt", b"\xef\xbb\xbfyes\r\n2\r\n\n")]
#[case("answers.jsonl", b"\"yes\"\n\"2\"\n")]
#[case("python2.pkl", b"(lp0\nVyes\np1\naV2\np2\na.")]
#[case(
    "label2ans_dict.pkl",
    b"\x80\x02}(K\x01X\x01\x00\x00\x002K\x00X\x03\x00\x00\x00yesu."
)]
#[case("label2ans.pkl", LIST)]
#[case("ans2label.pkl", LABELS)]
fn every_form_is_the_same_vocabulary(#[case] name: &str, #[case] bytes: &[u8]) {
    let vocabulary = open(name, bytes).unwrap();
    assert_eq!(vocabulary.answers(), ["yes", "2"]);
    assert_eq!(vocabulary.label("2"), Some(1));
    assert_eq!(vocabulary.label("two"), None);
    assert_eq!(vocabulary.answer(0), Some("yes"));
    assert_eq!(vocabulary.answer(2), None);
}

#[rstest]
#[case(
    "a hole",
    br#"{"yes": 0, "no": 2}"#,
    "\"no\" has the label 2, but 2 are given"
)]
#[case("a negative", br#"{"yes": 0, "no": -1}"#, "\"no\" has the label -1")]
#[case(
    "one label twice",
    br#"{"yes": 0, "no": 0}"#,
    "label 0 stands for \"yes\" and for \"no\""
)]
#[case(
    "an answer twice",
    br#"["yes", "no", "yes"]"#,
    "\"yes\" has the labels 0 and 2"
)]
#[case(
    "one key twice",
    br#"{"yes": 0, "yes": 1}"#,
    "\"yes\" has the labels 0 and 1"
)]
#[case("no text", br#"["yes", null]"#, "an answer is a text")]
#[case("latin.txt", b"yes\ncaf\xe9\n", "line 2 is not UTF-8")]
#[case("no label", br#"{"yes": 0, "no": "1"}"#, "a label")]
#[case("a blank line.txt", b"yes\n\nno\n", "a blank line.txt:2: a blank line")]
#[case("counts.tsv", b"yes\t100\nno\t50\n", "counts.tsv: line 1 has columns")]
#[case("counts.csv", b"yes,100\nno,50\n", "counts.csv: line 1 has columns")]
#[case("binary.txt", b"yes\nn\x01o\n", "binary.txt:2: a control character")]
#[case("cut off", br#"["yes", "n"#, "EOF while parsing")]
#[case("two documents", br#"["yes", "no"] 1"#, "trailing characters")]
#[case("one answer", br#"["yes"]"#, "1 answer(s); give at least two")]
#[case("empty", b"", "an empty file")]
#[case("a pickle cut off", &LIST[..LIST.len() - 6], "cannot")]
#[case("a pickle of something else", b"\x80\x02K\x07.", "a pickled int")]
fn what_is_wrong_is_named(#[case] name: &str, #[case] bytes: &[u8], #[case] expected: &str) {
    let error = open(name, bytes).expect_err(name);
    assert!(error.contains(name), "{error}");
    let expected = if expected == "cannot" {
        "give the list"
    } else {
        expected
    };
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let error = AnswerVocabulary::open(Path::new("nowhere/answers.json")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("nowhere/answers.json is missing"),
        "{error}"
    );
}

#[test]
fn a_built_vocabulary_has_the_frequent_answers_first_and_is_read_again() {
    let mut counts = AnswerCounts::default();
    for answer in ["no", "yes", "2", "yes", "no", "yes", "2", "red"] {
        counts.add(answer.into());
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.json");
    let (vocabulary, answered) = build_vocabulary(&counts, 2, &path).unwrap();
    assert_eq!(vocabulary.answers(), ["yes", "2", "no"]);
    assert_eq!((answered, counts.questions(), counts.answers()), (7, 8, 4));
    vocabulary.write(&path).unwrap();
    assert_eq!(AnswerVocabulary::open(&path).unwrap(), vocabulary);

    let error = build_vocabulary(&counts, 3, &path).unwrap_err().to_string();
    assert!(
        error.contains("1 of 4 answers occur 3 times or more"),
        "{error}"
    );
}
