//! Every form of annotations is read as what it says.

use crate::common;

use common::{Place, gzip};
use oscar_nlvr2::{Arrangement, Statement};
use oscar_task::Role;
use rstest::rstest;

fn statement(images: &[&str], tags: Option<&[&str]>, label: Option<bool>) -> Statement {
    let strings = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect();
    Statement {
        text: "both show a cat".into(),
        images: strings(images),
        tags: tags.map(strings),
        label,
        identifier: None,
    }
}

#[rstest]
#[case::processed(
    r#"[{"q": "both show a cat", "o": {"left": "red cat;dog", "right": ""},
        "img_id": {"left": "a", "right": "b"}, "label": 1, "q_id": 7}]"#,
    statement(&["a", "b"], Some(&["red cat dog", ""]), Some(true))
)]
#[case::processed_without_tags(
    r#"{"q": "both show a cat", "img_id": {"left": "b", "right": "a"}, "label": 0}"#,
    statement(&["b", "a"], None, Some(false))
)]
#[case::plain(
    r#"{"left": "a", "right": "b", "statement": "both show a cat", "label": true}"#,
    statement(&["a", "b"], None, Some(true))
)]
#[case::plain_with_tags(
    r#"{"left": "a", "right": "b", "text": "both show a cat", "label": false,
        "tags": {"left": "cat", "right": "old dog"}}"#.trim_ascii(),
    statement(&["a", "b"], Some(&["cat", "old dog"]), Some(false))
)]
#[case::one_image(
    r#"{"image": "a", "statement": "both show a cat", "label": true, "tags": "cat"}"#,
    statement(&["a"], Some(&["cat"]), Some(true))
)]
#[case::one_image_as_built(
    r#"{"image": "a", "text": "both show a cat", "label": false}"#,
    statement(&["a"], None, Some(false))
)]
#[case::without_label(
    r#"{"image": "a", "text": "both show a cat", "label": null}"#,
    statement(&["a"], None, None)
)]
fn forms(#[case] row: &str, #[case] expected: Statement) {
    let place = Place::usual();
    // JSON lines have no line breaks inside a row.
    let row = row.replace('\n', " ");
    let arrangement = match expected.images.len() {
        1 => Arrangement::Joined,
        _ => Arrangement::Pair,
    };
    for content in [row.clone().into_bytes(), gzip(&row)] {
        std::fs::write(place.path("rows"), content).unwrap();
        let data = place
            .open_file(&place.path("rows"), arrangement, Role::Evaluate)
            .unwrap();
        assert_eq!(data.statements(), std::slice::from_ref(&expected));
    }
}

#[test]
fn official_rows_name_their_images_by_the_identifier() {
    let place = Place::usual();
    let rows = r#"{"validation": {"61": "False"}, "sentence": "Both show a cat.", "left_url": "x",
        "writer": "61", "label": "False", "right_url": "y", "synset": "cat", "query": "cats38",
        "identifier": "dev-850-0-1", "extra_validations": {"154": "False"}}"#;
    let data = place.pairs(&rows.replace('\n', " ")).unwrap();
    let [row] = data.statements() else {
        panic!("one row")
    };
    assert_eq!(row.images, ["dev-850-0-img0", "dev-850-0-img1"]);
    assert_eq!(row.label, Some(false));
    let identifier = row.identifier.as_ref().unwrap();
    assert_eq!(identifier.as_str(), "dev-850-0-1");
    assert_eq!(identifier.group(), "dev-850--1");
}
