//! Each mistake in a file is one error that says where it is, what was found and what to do.

use crate::common;

use common::{Place, gzip};
use oscar_nlvr2::Arrangement;
use oscar_task::Role;
use rstest::rstest;

const GOOD: &str = r#"{"left": "a", "right": "b", "statement": "both show a cat", "label": true}"#;

/// The error of a file whose second row is `row`.
fn error(row: &str, arrangement: Arrangement, role: Role) -> String {
    let place = Place::usual();
    match place.open(&format!("{GOOD}\n{row}\n"), arrangement, role) {
        Ok(_) => panic!("{row} was taken"),
        Err(error) => error.to_string(),
    }
}

#[rstest]
#[case::left_image(
    r#"{"left": "x", "right": "b", "statement": "a cat", "label": true}"#,
    &["left: image `x` is not in", "regions"]
)]
#[case::right_image(
    r#"{"left": "a", "right": "y", "statement": "a cat", "label": true}"#,
    &["right: image `y` is not in"]
)]
#[case::official_image(
    r#"{"sentence": "a cat", "identifier": "dev-9-0-0", "label": "True"}"#,
    &["left: image `dev-9-0-img0`"]
)]
#[case::no_right_image(
    r#"{"left": "a", "statement": "a cat", "label": true}"#,
    &["`left` without `right`"]
)]
#[case::no_left_image(
    r#"{"right": "a", "statement": "a cat", "label": true}"#,
    &["`right` without `left`"]
)]
#[case::three_images(
    r#"{"left": "a", "right": "b", "image": "a", "statement": "a cat", "label": true}"#,
    &["`image` beside `left` or `right`"]
)]
#[case::no_image(r#"{"statement": "a cat", "label": true}"#, &["no image; name `left`"])]
#[case::one_side_of_img_id(
    r#"{"q": "a cat", "img_id": {"left": "a"}, "label": 1}"#,
    &["missing field `right`"]
)]
#[case::no_img_id(r#"{"q": "a cat", "label": 1}"#, &["no `img_id`"])]
#[case::one_image(
    r#"{"image": "a", "statement": "a cat", "label": true}"#,
    &["1 image(s), but 2 in the first row"]
)]
#[case::label_number(
    r#"{"left": "a", "right": "b", "statement": "a cat", "label": 2}"#,
    &["label 2; expected true or false"]
)]
#[case::label_word(
    r#"{"left": "a", "right": "b", "statement": "a cat", "label": "maybe"}"#,
    &["label \"maybe\"; expected"]
)]
#[case::no_label(r#"{"left": "a", "right": "b", "statement": "a cat"}"#, &["no `label`"])]
#[case::no_word(
    r#"{"left": "a", "right": "b", "statement": " ?! ", "label": true}"#,
    &["`statement` is \" ?! \""]
)]
#[case::empty(r#"{"q": "", "img_id": {"left": "a", "right": "b"}, "label": 1}"#, &["an empty `statement`"])]
#[case::no_statement(
    r#"{"left": "a", "right": "b", "label": true}"#,
    &["none of `statement`, `sentence` and `q`"]
)]
#[case::two_statements(
    r#"{"left": "a", "right": "b", "statement": "a cat", "sentence": "a dog", "label": true}"#,
    &["more than one of"]
)]
#[case::unknown_key(
    r#"{"left": "a", "right": "b", "statement": "a cat", "lable": true}"#,
    &["unknown key `lable`", "`label`"]
)]
#[case::no_identifier(r#"{"sentence": "a cat", "label": "True"}"#, &["no `identifier`"])]
#[case::short_identifier(
    r#"{"sentence": "a cat", "identifier": "1572-0", "label": "True"}"#,
    &["identifier \"1572-0\"; expected SPLIT-SET-PAIR-SENTENCE"]
)]
#[case::comma_in_identifier(
    r#"{"left": "a", "right": "b", "statement": "a cat", "label": true, "identifier": "d-1-0-0,1"}"#,
    &["identifier \"d-1-0-0,1\"; expected"]
)]
#[case::empty_field_in_identifier(
    r#"{"left": "a", "right": "b", "statement": "a cat", "label": true, "identifier": "dev-850--0"}"#,
    &["identifier \"dev-850--0\"; expected"]
)]
#[case::tags_of_one(
    r#"{"left": "a", "right": "b", "statement": "a cat", "label": true, "tags": "cat"}"#,
    &["one text of `tags` for two images"]
)]
#[case::cut_off(r#"{"left": "a", "right": "b""#, &["EOF"])]
fn wrong_rows(#[case] row: &str, #[case] parts: &[&str]) {
    let text = error(row, Arrangement::Pair, Role::Train);
    assert!(text.contains("rows:2: "), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn an_identifier_occurs_once() {
    let place = Place::usual();
    let row = |pair| {
        format!(r#"{{"sentence": "a cat", "identifier": "dev-850-{pair}-0", "label": "True"}}"#)
    };
    let rows = [row(0), row(1), row(0)].join("\n");
    let error = place.pairs(&rows).err().expect("an error").to_string();
    let expected = "rows:3: the id dev-850-0-0 occurs in row 1 too";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_pair_is_two_images() {
    let place = Place::usual();
    let row = r#"{"image": "a", "statement": "a cat", "label": true}"#;
    let error = place.pairs(row).err().expect("an error").to_string();
    assert!(error.contains("rows:1: 1 image(s) instead of 2"), "{error}");
}

#[test]
fn joined_rows_have_as_many_images_as_the_first() {
    let row = r#"{"image": "a", "statement": "a cat", "label": true}"#;
    let text = error(row, Arrangement::Joined, Role::Train);
    assert!(
        text.contains("rows:2: 1 image(s), but 2 in the first row"),
        "{text}"
    );
}

#[test]
fn rows_without_label_can_be_predicted() {
    let place = Place::usual();
    let row = r#"{"left": "a", "right": "b", "statement": "a cat"}"#;
    let data = place.open(row, Arrangement::Pair, Role::Evaluate).unwrap();
    let evaluation = data.score(&[true]);
    assert_eq!((evaluation.examples, evaluation.scores.len()), (0, 0));
}

#[test]
fn a_file_that_was_cut_off_is_refused() {
    let place = Place::usual();
    let whole = gzip(&[GOOD; 50].join("\n"));
    for content in [&whole[..whole.len() - 9], &GOOD.as_bytes()[..30], b""] {
        std::fs::write(place.path("rows"), content).unwrap();
        let opened = place.open_file(&place.path("rows"), Arrangement::Pair, Role::Train);
        let error = opened.err().expect("an error").to_string();
        assert!(error.contains("rows"), "{error}");
    }
    let missing = place.open_file(&place.path("none"), Arrangement::Pair, Role::Train);
    let error = missing.err().expect("an error").to_string();
    assert!(error.contains("none"), "{error}");
}
