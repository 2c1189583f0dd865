//! Files as published data sets and common tools write them.

use crate::common;
use crate::import_support;

use std::fs;
use std::path::{Path, PathBuf};

use common::store;
use import_support::{Place, npy, npy_f32};
use oscar_datasets::answers::{AnswerCounts, build_vocabulary};
use oscar_datasets::check::{CheckOptions, check};
use oscar_datasets::import::SourceOptions;
use oscar_datasets::matching::Pair;
use oscar_datasets::nlvr2::Statement;
use oscar_datasets::questions::{QuestionSet, count_answers};
use oscar_datasets::{ImageSource, RowSet, find_image, open_images};

const BOM: &str = "\u{feff}";

fn fixture(name: &str) -> Vec<u8> {
    let place = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fs::read(place.join(name)).unwrap()
}

fn options(place: &Place) -> SourceOptions {
    place.write("classes.txt", format!("{BOM}cat,kitty\ndog\nbus\n"));
    place.write("attributes.txt", "red\nblue\n");
    SourceOptions {
        feature_dim: 4,
        classes: Some(place.path("classes.txt")),
        attributes: Some(place.path("attributes.txt")),
        ..SourceOptions::default()
    }
}

fn classes(place: &Place) -> Vec<(String, f32)> {
    let tags = place.tags(0).into_iter();
    tags.map(|tag| (tag.class, tag.score)).collect()
}

#[test]
fn classes_and_attributes_in_the_dictionary_of_an_archive() {
    let place = Place::new();
    place.write("in/1.npz", fixture("info.npz"));
    let summary = place.import("in", options(&place)).unwrap();
    assert_eq!(classes(&place), [("bus".into(), 0.5), ("cat".into(), 0.25)]);
    assert_eq!(place.tags(0)[0].attributes, ["blue"]);
    assert_eq!(summary.counts.images_without_tags, 0);

    // Without names the classes are numbers, which is said.
    fs::remove_dir_all(place.path("store")).unwrap();
    let nameless = SourceOptions {
        classes: None,
        attributes: None,
        ..options(&place)
    };
    let summary = place.import("in", nameless).unwrap();
    assert!(
        summary.notes[0].contains("classes by number"),
        "{:?}",
        summary.notes
    );

    // Names that no file needs are said to have no effect.
    fs::remove_dir_all(place.path("store")).unwrap();
    place.write("in/1.npz", fixture("named.npz"));
    let summary = place.import("in", options(&place)).unwrap();
    assert!(
        summary.notes[0].contains("`classes` has no effect"),
        "{:?}",
        summary.notes
    );
    assert_eq!(
        classes(&place),
        [("chat noir".into(), 1.0), ("chien".into(), 1.0)]
    );
}

#[test]
fn boxes_and_classes_in_the_dictionary_beside_an_array() {
    let place = Place::new();
    let features: Vec<f32> = (0..8).map(|v| v as f32).collect();
    place.write("in/1.npy", npy_f32(&features, 4));
    place.write("in/1_info.npy", fixture("pythia_info.npy"));
    let summary = place.import("in", options(&place)).unwrap();
    assert_eq!(
        (summary.counts.regions, summary.counts.images_without_size),
        (2, 0)
    );
    assert_eq!(classes(&place), [("bus".into(), 0.5), ("cat".into(), 0.25)]);
    let (store, row) = find_image(&place.path("store"), "1").unwrap();
    assert_eq!(store.boxes(row)[0][..2], [0.01, 0.025]);
}

#[test]
fn all_of_an_image_in_one_dictionary() {
    let place = Place::new();
    // Of three rows, the last one fills the arrays up.
    place.write("in/7.npy", fixture("vilbert.npy"));
    let summary = place.import("in", options(&place)).unwrap();
    assert_eq!(
        (summary.counts.regions, summary.counts.images_without_size),
        (2, 0)
    );
    assert_eq!(classes(&place), [("bus".into(), 0.5), ("cat".into(), 0.25)]);
    let (store, row) = find_image(&place.path("store"), "7").unwrap();
    assert_eq!(store.boxes(row)[0][..2], [0.01, 0.025]);
}

#[test]
fn uniters_archives() {
    let place = Place::new();
    place.write("in/nlvr2_dev-0-0-img0.npz", fixture("uniter.npz"));
    let summary = place.import("in", options(&place)).unwrap();
    assert_eq!((summary.counts.images, summary.counts.regions), (1, 2));
    // Of four scores for three names the first is the background's.
    assert_eq!(classes(&place), [("bus".into(), 0.5), ("cat".into(), 0.25)]);
    let images = open_images(&place.path("store")).unwrap();
    assert_eq!(images.require("dev-0-0-img0").unwrap(), 0);
    let (store, row) = find_image(&place.path("store"), "dev-0-0-img0").unwrap();
    assert_eq!(store.boxes(row)[0], [0.0, 0.5, 0.5, 1.0, 0.5, 0.5]);
    // What is in an archive without features is listed.
    fs::remove_dir_all(place.path("store")).unwrap();
    place.write(
        "bad/1.npz",
        import_support::npz(&[("conf", npy_f32(&[1.0], 1))]),
    );
    let error = place
        .import("bad", options(&place))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("bad/1.npz") && error.contains("conf"),
        "{error}"
    );
}

#[test]
fn boxes_in_the_folder_beside_that_of_the_features() {
    let place = Place::new();
    let features = npy_f32(&[1.0; 8], 4);
    place.write(
        "cocobu_att/7.npz",
        import_support::npz(&[("feat", features)]),
    );
    place.write(
        "cocobu_box/7.npy",
        npy(
            "<f4",
            false,
            &[2, 4],
            bytemuck::cast_slice(&[1.0f32, 2.0, 30.0, 40.0, 5.0, 6.0, 50.0, 60.0]),
        ),
    );
    place.write("sizes.json", r#"{"7": {"height": 80, "width": 100}}"#);
    let sized = SourceOptions {
        feature_dim: 4,
        sizes: Some(place.path("sizes.json")),
        ..SourceOptions::default()
    };
    let summary = place.import("cocobu_att", sized).unwrap();
    assert!(
        summary.notes[0].contains("cocobu_box"),
        "{:?}",
        summary.notes
    );
    // The folder of both names the one that can be imported.
    let error = place
        .import("", SourceOptions::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("cocobu_att"), "{error}");
}

#[test]
fn what_the_system_leaves_in_a_folder_is_passed_over() {
    let place = Place::new();
    place.write("in/1.npz", fixture("info.npz"));
    for name in [
        "._1.npz",
        ".DS_Store",
        "Thumbs.db",
        "__MACOSX/._1.npz",
        ".hidden.npy",
    ] {
        place.write(&format!("in/{name}"), "not data");
    }
    let summary = place.import("in", options(&place)).unwrap();
    assert_eq!(summary.counts.images, 1);
    let report = check(
        &[place.path("in")],
        &CheckOptions {
            feature_dim: 4,
            progress: false,
            ..CheckOptions::default()
        },
    );
    assert!(report.unwrap().ok);
}

/// Writes a file and opens its questions.
fn questions(dir: &Path, text: &str) -> QuestionSet {
    let path = dir.join("questions");
    fs::write(&path, text).unwrap();
    QuestionSet::open(&path, None, None).unwrap()
}

#[test]
fn questions_of_published_data_sets() {
    let dir = tempfile::tempdir().unwrap();
    for (text, wanted) in [
        // GQA's own.
        (
            r#"{"02": {"semantic": [{"question": 1}], "question": "Is it lit?", "imageId": "n9",
                "answer": "no", "types": {"structural": "verify"}},
               "1": {"question": "Who is it?", "imageId": 9, "answer": "painter"}}"#,
            [("02", "n9", "no"), ("1", "9", "painter")],
        ),
        // LXMERT's.
        (
            r#"[{"img_id": "n9", "label": {"no": 1.0, "yes": 0.3}, "question_id": "02", "sent": "Is it?"},
                {"img_id": 9, "label": {"painter": 1}, "question_id": 1, "sent": "Who is it?"}]"#,
            [("02", "n9", "no"), ("1", "9", "painter")],
        ),
        // VizWiz's, with ids of one's own.
        (
            r#"[{"id": "02", "image": "n9", "question": "Is it?", "answerable": 1, "answer_type": "other",
                 "answers": [{"answer": "no", "answer_confidence": "yes"}, {"answer": "no"}]},
                {"id": 1, "image": 9.0, "question": "Who?", "answerable": 1,
                 "answers": [{"answer": "painter", "answer_confidence": "maybe"}]}]"#,
            [("02", "n9", "no"), ("1", "9", "painter")],
        ),
    ] {
        let set = questions(dir.path(), text);
        for (question, (id, image, answer)) in set.questions().iter().zip(wanted) {
            assert_eq!(question.id.as_deref(), Some(id), "{text}");
            assert_eq!(question.image.as_deref(), Some(image), "{text}");
            assert_eq!(question.most_agreed(), Some(answer), "{text}");
        }
        assert_eq!(set.len(), 2);
        let mut counts = AnswerCounts::default();
        count_answers(set.path(), &mut counts).unwrap();
        assert_eq!((counts.questions(), counts.answers()), (2, 2));
        let report = check(&[set.path()], &CheckOptions::default()).unwrap();
        assert!(report.ok, "{:?}", report.problems);
    }
    let gqa = questions(dir.path(), r#"{"1": {"question": "a", "imageId": "b"}}"#);
    assert!(gqa.origin(0).ends_with("question 1"), "{}", gqa.origin(0));
    let bad = dir.path().join("bad");
    fs::write(
        &bad,
        r#"{"1": {"question": "a", "imageId": []}, "2": {"question": "?"}}"#,
    )
    .unwrap();
    let error = QuestionSet::open(&bad, None, None)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("bad: `1`") && error.contains("bad: `2`"),
        "{error}"
    );
}

#[test]
fn annotations_without_the_fields_that_nobody_uses() {
    let dir = tempfile::tempdir().unwrap();
    let (q, a) = (dir.path().join("q.json"), dir.path().join("a.json"));
    let ten: Vec<_> = (0..10)
        .map(|n| serde_json::json!({"answer": if n < 8 { "brush" } else { "broom" }, "raw_answer": "x"}))
        .collect();
    let ok_vqa = serde_json::json!({"question_id": 11, "image_id": 1, "answers": ten});
    let own = r#"{"question_id": "q1", "image_id": "img_0001.jpg", "answers": ["cat", "cat", "dog"]},
                 {"question_id": "q2", "image_id": "img_0002.jpg", "multiple_choice_answer": "dog"}"#;
    for (questions, annotations, wanted) in [
        (
            r#"{"questions": [{"question_id": 11, "image_id": 1, "question": "what?"}]}"#.to_owned(),
            format!(r#"{{"info": {{}}, "annotations": [{ok_vqa}]}}"#),
            vec!["brush"],
        ),
        // As VQA-CP, lists without an object around them.
        (
            r#"[{"question_id": "q1", "image_id": "img_0001.jpg", "question": "what?", "coco_split": "x"},
                {"question_id": "q2", "image_id": "img_0002.jpg", "question": "who?"}]"#
                .to_owned(),
            format!("[{own}]"),
            vec!["cat", "dog"],
        ),
    ] {
        fs::write(&q, questions).unwrap();
        fs::write(&a, annotations).unwrap();
        let set = QuestionSet::open(&q, Some(&a), None).unwrap();
        let agreed: Vec<_> = set.questions().iter().filter_map(|q| q.most_agreed()).collect();
        assert_eq!(agreed, wanted);
        let mut counts = AnswerCounts::default();
        count_answers(&a, &mut counts).unwrap();
        counts.add("other".into());
        let (vocabulary, _) = build_vocabulary(&counts, 1, &a).unwrap();
        assert!(wanted.iter().all(|answer| vocabulary.label(answer).is_some()));
        let report = check(&[&q, &a], &CheckOptions::default()).unwrap();
        assert!(report.ok, "{:?}", report.problems);
    }
}

#[test]
fn lxmerts_statements_and_keys_that_are_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows");
    let images = store(&dir.path().join("s"), &["1", "2"]);
    for text in [
        r#"[{"sent": "two dogs", "img0": 1, "img1": "2", "label": 1, "identifier": "dev-0-0-0", "uid": "x"}]"#,
        r#"{"left": 1, "right": 2.0, "statement": "two dogs", "label": true}"#,
        r#"{"q": "two dogs", "img_id": {"left": 1, "right": 2}, "label": 1}"#,
        r#"[{"sentence": "two dogs", "label": "True", "images": ["dev/1.png", "dev/2.png"]}]"#,
    ] {
        fs::write(&path, format!("{BOM}{text}")).unwrap();
        let rows = RowSet::<Statement>::open(&path, Some(images.clone())).unwrap();
        assert_eq!(
            (rows.images(0), rows[0].label),
            (&[0, 1][..], Some(true)),
            "{text}"
        );
    }
}

#[test]
fn labels_are_the_same_in_the_rows_of_all_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.jsonl");
    for (label, wanted) in [
        ("true", Some(true)),
        ("1", Some(true)),
        ("0.0", Some(false)),
        ("\"False\"", Some(false)),
        ("\"1\"", Some(true)),
        ("null", None),
    ] {
        let row = |text: &str| format!(r#"{{"image": "1", "{text}": "a dog", "label": {label}}}"#);
        fs::write(&path, row("statement")).unwrap();
        let rows = RowSet::<Statement>::open(&path, None).unwrap();
        assert_eq!(rows[0].label, wanted, "{label}");
        fs::write(&path, row("text")).unwrap();
        let rows = RowSet::<Pair>::open(&path, None).unwrap();
        assert_eq!(rows[0].label, wanted, "{label}");
    }
    for label in ["2", "\"maybe\"", "[true]"] {
        let row = format!(r#"{{"image": "1", "text": "a dog", "label": {label}}}"#);
        fs::write(&path, row).unwrap();
        let found = RowSet::<Pair>::open(&path, None).err().unwrap().to_string();
        assert!(
            found.contains("rows.jsonl:1: ") && found.contains("expected true or false"),
            "{found}"
        );
    }
}

#[test]
fn images_are_found_under_the_names_of_other_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let images = store(&path, &["COCO_val2014_000000058350", "other"]);
    let set = |text: &str, regions: &str| {
        let questions = dir.path().join("q.json");
        fs::write(&questions, text).unwrap();
        QuestionSet::open(&questions, None, Some(Path::new(regions)))
    };
    let text = r#"{"questions": [{"question_id": 1, "image_id": 58350, "question": "what?"}]}"#;
    let regions = path.to_str().unwrap();
    assert_eq!(set(text, regions).unwrap().len(), 1);
    let exact = set(text, &format!("{regions}?keys=exact"))
        .err()
        .unwrap()
        .to_string();
    assert!(
        exact.contains("`58350`") && exact.contains("`COCO_val2014_000000058350`"),
        "{exact}"
    );
    // Labels and sizes meet features, too.
    let place = Place::new();
    place.write("in/58350.npz", fixture("uniter.npz"));
    let objects = r#"[{"class": "dog", "rect": [1, 2, 30, 40]}]"#;
    place.write(
        "labels.tsv",
        format!("COCO_val2014_000000058350\t{objects}\n"),
    );
    place.write(
        "sizes.json",
        r#"{"000000058350": {"height": 80, "width": 100}}"#,
    );
    let named = SourceOptions {
        feature_dim: 4,
        labels: Some(place.path("labels.tsv")),
        sizes: Some(place.path("sizes.json")),
        ..SourceOptions::default()
    };
    let summary = place.import("in", named).unwrap();
    assert_eq!(summary.counts.images_without_size, 0);
    assert_eq!(classes(&place), [("dog".into(), 1.0)]);
    let unknown = images.require("58351").unwrap_err();
    assert!(
        unknown.found.contains("`COCO_val2014_000000058350`"),
        "{unknown}"
    );
}

#[test]
fn answers_of_textvqa_and_a_okvqa_and_a_single_one() {
    let place = Place::new();
    for (name, text, people) in [
        (
            "TextVQA_0.5.1_val.json",
            r#"{"dataset_name": "textvqa", "data": [{"question": "what?", "image_id": "a",
                "image_classes": ["b"], "question_id": 3, "answers": ["x", "y"]}]}"#,
            vec!["x", "y"],
        ),
        (
            "aokvqa_v1p0_val.json",
            r#"[{"split": "val", "image_id": 7, "question_id": "22Mex", "question": "what?",
                "choices": ["x", "y"], "correct_choice_idx": 0, "direct_answers": ["x", "x"]}]"#,
            vec!["x", "x"],
        ),
        // The columns of a table hold the list as Python prints it.
        (
            "aokvqa_of_a_table.json",
            r#"[{"image_id": 7, "question_id": "22Mex", "question": "what?", "choices": ["x", "y"],
                "direct_answers": "['x', 'x', \"y's\"]"}]"#,
            vec!["x", "x", "y's"],
        ),
        // ALBEF's and LAVIS'.
        (
            "vqa_train.json",
            r#"[{"question_id": 3, "question": "what?", "answer": ["x", "x", 2],
                "image": "val2014/COCO_val2014_000000000007.jpg", "dataset": "vqa"}]"#,
            vec!["x", "x", "2"],
        ),
        (
            "own.jsonl",
            r#"{"image": "a", "question": "what?", "answers": "x"}"#,
            vec!["x"],
        ),
    ] {
        place.write(name, text);
        let questions = QuestionSet::open(&place.path(name), None, None).unwrap();
        assert_eq!(questions.len(), 1, "{name}");
        assert_eq!(questions.questions()[0].people, people, "{name}");
    }
    let blank = "{\"image\": \"a\", \"question\": \"what?\", \"answer\": \"\"}\n\
                 {\"image\": \"a\", \"question\": \"who?\", \"answer\": \"x\"}\n";
    place.write("blank.jsonl", blank);
    let mut counts = AnswerCounts::default();
    count_answers(&place.path("blank.jsonl"), &mut counts).unwrap();
    assert_eq!((counts.questions(), counts.answers()), (1, 1));
    for answer in ["2", "\"2\"", "2.0"] {
        let row = format!(r#"{{"image": "a", "question": "how many?", "answer": {answer}}}"#);
        let questions = questions(place.dir.path(), &row);
        assert_eq!(
            questions.questions()[0].most_agreed(),
            Some("2"),
            "{answer}"
        );
    }
}

#[test]
fn one_split_of_a_file_is_checked_alone() {
    let place = Place::new();
    let image = |split: &str, id: usize| {
        format!(r#"{{"cocoid": {id}, "split": "{split}", "sentences": [{{"raw": "a dog"}}]}}"#)
    };
    let images = [image("test", 1), image("restval", 2), image("train", 3)].join(", ");
    place.write("dataset_coco.json", format!(r#"{{"images": [{images}]}}"#));
    for (query, rows) in [("", 3), ("?split=train", 2), ("?split=test", 1)] {
        let path = place.path(&format!("dataset_coco.json{query}"));
        let report = check(&[path], &CheckOptions::default()).unwrap();
        assert!(report.ok, "{:?}", report.problems);
        assert_eq!(report.checked[0].counts.get("rows"), Some(rows), "{query}");
    }
}

#[test]
fn a_batch_of_one_image_and_the_sizes_of_mmf() {
    let place = Place::new();
    let array = |shape: &[usize], values: &[f32]| {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        npy("<f4", false, shape, &bytes)
    };
    let arrays = [
        ("features", array(&[1, 1, 4], &[1.0, 2.0, 3.0, 4.0])),
        ("boxes", array(&[1, 1, 4], &[0.0, 0.0, 10.0, 5.0])),
        ("image_width", array(&[], &[100.0])),
        ("image_height", array(&[], &[50.0])),
    ];
    place.write("in/1.npz", import_support::npz(&arrays));
    let summary = place.import("in", options(&place)).unwrap();
    assert_eq!(summary.counts.regions, 1);
}
