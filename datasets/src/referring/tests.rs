//! What is read of referring expressions, and what is wrong with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use super::ExpressionFiles;
use crate::error::DatasetError;
use crate::findings::{Kind, Problem};
use crate::store::{Boxes, ImageRegions, RegionStore, StoreOptions, StoreWriter};

/// A folder with a store of image 58350, of 640 x 480 pixels, and one of unknown size.
fn place() -> (TempDir, Arc<RegionStore>) {
    let place = tempfile::tempdir().unwrap();
    let regions = place.path().join("regions");
    let mut writer = StoreWriter::create(&regions, StoreOptions::new(2)).unwrap();
    for (key, width, height) in [("58350", 640, 480), ("sizeless", 0, 0)] {
        let image = ImageRegions {
            key,
            width,
            height,
            features: &[0.5, 1.0],
            boxes: Boxes::Relative(&[[0.0, 0.0, 0.5, 0.5, 0.5, 0.5]]),
            tags: &[],
        };
        writer.push(image).unwrap();
    }
    writer.finish().unwrap();
    (place, RegionStore::open(&regions).unwrap())
}

fn write(place: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = place.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

fn files<'a>(path: &'a Path, split: Option<&'a str>) -> ExpressionFiles<'a> {
    ExpressionFiles {
        path,
        instances: None,
        split,
    }
}

/// The problems for which a file of these rows is refused.
fn problems(content: &str) -> Vec<Problem> {
    let (place, store) = place();
    let path = write(&place, "rows.jsonl", content);
    match files(&path, None).open(Some(store)) {
        Err(DatasetError::Problems { problems, .. }) => problems,
        other => panic!("{content}: {:?}", other.map(|rows| rows.len())),
    }
}

/// A reference as Python 2 pickles it in text form.
fn pickled(annotation: i64, split: &str, id: i64, text: &str) -> String {
    format!(
        "(dS'ref_id'\nI1\nsS'ann_id'\nI{annotation}\nsS'image_id'\nI58350\nsS'split'\nS'{split}'\n\
         sS'sentences'\n(l(dS'sent_id'\nI{id}\nsS'sent'\nS'{text}'\nsasa"
    )
}

/// A folder with `instances.json` and a pickle of these references.
fn refer(references: &[String]) -> (TempDir, PathBuf, Arc<RegionStore>) {
    let (place, store) = place();
    let instances = json!({
        "images": [{"id": 58350, "width": 640, "height": 480, "file_name": "COCO.jpg"}],
        "annotations": [{"id": 7, "image_id": 58350, "bbox": [10.0, 20.0, 100.0, 50.0]}],
    });
    write(&place, "instances.json", instances.to_string());
    let pickle = format!("(lp0\n{}.", references.concat());
    let path = write(&place, "refs(unc).p", pickle);
    (place, path, store)
}

#[test]
fn rows_of_ones_own_and_of_rosita_are_read() {
    let (place, store) = place();
    let own = write(
        &place,
        "own.jsonl",
        r#"{"image": 58350, "expression": "the left dog", "box": [1, 2, 30, 40]}"#,
    );
    let rows = files(&own, None).open(Some(store.clone())).unwrap();
    assert_eq!(rows[0].expression, "the left dog");
    assert_eq!(rows[0].box_px, Some([1.0, 2.0, 30.0, 40.0]));
    assert_eq!(rows[0].image_size(&*store, 0), Some((640, 480)));

    let row = |text: &str| {
        json!({
            "type": "rec", "text": text, "text_id": text, "img_file": "COCO_val2014_000000058350",
            "img_id": "58350", "gt_boxes": [1.0, 2.0, 30.0, 40.0], "image_h": 480, "image_w": 640,
        })
    };
    let official = json!({"train": [row("a"), row("b")], "testA": [row("c")]});
    let official = write(&place, "rosita.json", official.to_string());
    let rows = files(&official, Some("testA"))
        .open(Some(store.clone()))
        .unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].expression, "c");
    assert_eq!(rows[0].box_px, Some([1.0, 2.0, 31.0, 42.0]));
    // Of several splits one must be named, and be there.
    for split in [None, Some("testB")] {
        let error = files(&official, split)
            .open(Some(store.clone()))
            .err()
            .unwrap();
        let error = error.to_string();
        assert!(
            error.contains("testA") && error.contains("train"),
            "{error}"
        );
    }
}

#[test]
fn pickles_of_refer_are_read_one_split_at_a_time() {
    let references = [
        pickled(7, "train", 1, "dog"),
        pickled(7, "testA", 2, "the dog on the left"),
    ];
    let (_place, path, store) = refer(&references);
    let rows = files(&path, Some("testA")).open(Some(store)).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].id.as_deref(), Some("2"));
    assert_eq!(rows[0].box_px, Some([10.0, 20.0, 110.0, 70.0]));
    assert_eq!(rows[0].size, Some((640, 480)));
    assert!(rows.origin(0).ends_with("refs(unc).p: expression 2"));
}

#[test]
fn pickles_that_are_refused() {
    // A class that could run code is not even looked for.
    let foreign = "cos\nsystem\n(S'true'\ntR".to_string();
    let (_place, path, store) = refer(&[foreign + "a"]);
    let error = files(&path, None)
        .open(Some(store))
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("refs(unc).p") && error.contains("os.system"),
        "{error}"
    );

    let (_place, path, store) = refer(&[pickled(8, "train", 1, "dog")]);
    let Err(DatasetError::Problems { problems, .. }) = files(&path, None).open(Some(store)) else {
        panic!("a reference without a box was read");
    };
    assert_eq!(problems[0].kind, Kind::OrphanAnnotation);
    assert_eq!(problems[0].key.as_deref(), Some("reference 1"));
}

#[test]
fn wrong_rows_are_named() {
    for (row, kind) in [
        // Without words.
        (
            r#"{"image": 58350, "expression": "?!", "box": [1, 2, 30, 40]}"#,
            Kind::BlankText,
        ),
        // Boxes of another picture.
        (
            r#"{"image": 58350, "expression": "dog", "box": [600, 2, 900, 40]}"#,
            Kind::Box,
        ),
        (
            r#"{"image": 58350, "expression": "dog", "box": [1, 2, 3, 4], "width": 500, "height": 375}"#,
            Kind::Mismatch,
        ),
        (
            r#"{"image": 58350, "expression": "dog", "box": [0.1, 0.2, 0.5, 1]}"#,
            Kind::Box,
        ),
        (
            r#"{"image": 58350, "expression": "dog", "box": [30, 2, 1, 40]}"#,
            Kind::Box,
        ),
        (
            r#"{"image": "sizeless", "expression": "dog", "box": [1, 2, 30, 40]}"#,
            Kind::Box,
        ),
        (
            r#"{"image": "nowhere", "expression": "dog", "box": [1, 2, 30, 40]}"#,
            Kind::UnknownImage,
        ),
        (
            r#"{"image": 58350, "expresion": "dog", "box": [1, 2, 30, 40]}"#,
            Kind::Field,
        ),
        (
            r#"{"image": 58350, "expression": "dog", "width": 640}"#,
            Kind::Field,
        ),
    ] {
        let good = r#"{"image": 58350, "expression": "dog", "box": [1, 2, 30, 40]}"#;
        let found = problems(&format!("{good}\n{row}\n"));
        assert_eq!(found.len(), 1, "{row}: {found:?}");
        assert_eq!(
            (found[0].kind, found[0].line),
            (kind, Some(2)),
            "{row}: {found:?}"
        );
    }
}

/// A named pipe without a writer would be waited for without end.
#[cfg(unix)]
#[test]
fn a_named_pipe_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("refs(unc).p");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let error = files(&path, None).open(None).err().unwrap().to_string();
    assert!(error.contains("refs(unc).p"), "{error}");
}
