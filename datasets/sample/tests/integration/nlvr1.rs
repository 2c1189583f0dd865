//! NLVR v1: objects are found exactly, and bad images and annotations are named.

use crate::common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::{drawing, message, sample, save, square};
use image::RgbImage;
use oscar_core::input::ExampleSource;
use oscar_datasets::{JsonlCorpus, RegionStore, Result};
use oscar_sample::nlvr1::images::Images;
use oscar_sample::nlvr1::{BuildOptions, DatasetInfo, annotations, build};
use oscar_vision::drawings::FEATURE_DIM;
use oscar_vision::drawings::{compare, find_objects};

const YELLOW: [u8; 3] = [255, 255, 0];
const BLACK: [u8; 3] = [0; 3];

/// How many images there are, and how many of them show exactly the annotated objects.
fn exact(images: &Path, annotations: &Path) -> (usize, usize) {
    let images = Images::open(images, None).unwrap();
    let annotations = annotations::read(annotations).unwrap();
    let mut exact = 0;
    for annotation in &annotations {
        let found = find_objects(&images.picture(&annotation.identifier).unwrap().image).unwrap();
        let expected = annotation.objects.as_ref().unwrap();
        match compare(&found, expected) {
            None => exact += 1,
            Some(difference) => eprintln_line(&annotation.identifier, &difference),
        }
    }
    (annotations.len(), exact)
}

fn eprintln_line(identifier: &str, difference: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{identifier}: {difference}");
}

#[test]
fn every_object_of_the_sample_is_found() {
    let dir = sample();
    let (images, found) = exact(&dir.join("dev_images.zip"), &dir.join("dev.jsonl.gz"));
    assert_eq!((images, found), (989, 989));
    let (images, found) = exact(&dir.join("train_images.zip"), &dir.join("train.jsonl.gz"));
    assert_eq!((images, found), (3601, 3601));
}

/// Give the directory of the whole data set in OSCAR_NLVR1.
#[test]
#[ignore = "needs the whole of NLVR v1"]
fn every_object_of_the_whole_data_set_is_found() {
    let dir =
        PathBuf::from(std::env::var_os("OSCAR_NLVR1").expect("OSCAR_NLVR1 names a directory"));
    let dev = exact(&dir.join("dev_images.zip"), &dir.join("dev.jsonl.gz"));
    assert_eq!(dev, (989, 989));
    let train = exact(
        &dir.join("train_images.zip"),
        &dir.join("train_structured.jsonl.gz"),
    );
    assert_eq!(train, (12_410, 12_410));
}

/// Two images: 7-0 with objects in boxes 0 and 2, and 8-1 with one object in box 1.
fn two_drawings() -> (RgbImage, RgbImage) {
    let mut first = drawing();
    square(&mut first, 60, 5, 20, BLACK);
    square(&mut first, 2, 50, 30, YELLOW);
    square(&mut first, 81, 70, 10, BLACK);
    square(&mut first, 310, 0, 10, BLACK);
    let mut second = drawing();
    square(&mut second, 240, 90, 10, YELLOW);
    (first, second)
}

const FIRST: &str = r#"{"identifier": "7-0", "sentence": "There is a square.", "label": "true", "structured_rep": [[
    {"x_loc": 2, "y_loc": 50, "size": 30, "type": "square", "color": "Yellow"},
    {"x_loc": 60, "y_loc": 5, "size": 20, "type": "square", "color": "Black"},
    {"x_loc": 81, "y_loc": 70, "size": 10, "type": "square", "color": "Black"}], [],
    [{"x_loc": 10, "y_loc": 0, "size": 10, "type": "square", "color": "Black"}]]}"#;
const SECOND: &str = r#"{"identifier": "8-1"}"#;

/// Builds from these drawings and annotation lines.
fn built(images: &[(&str, &RgbImage)], lines: &[&str], out: &Path) -> Result<DatasetInfo> {
    let dir = tempfile::tempdir().unwrap();
    save(&dir.path().join("pictures"), images);
    let annotations = dir.path().join("lines.jsonl");
    let lines: Vec<String> = lines.iter().map(|line| line.replace('\n', " ")).collect();
    fs::write(&annotations, lines.join("\n")).unwrap();
    build(
        &dir.path().join("pictures"),
        &annotations,
        out,
        &BuildOptions::default(),
    )
}

/// How building from the two drawings fails with these lines.
fn failure(lines: &[&str]) -> String {
    let out = tempfile::tempdir().unwrap();
    let (first, second) = two_drawings();
    let target = out.path().join("out");
    let found = message(built(&[("7-0", &first), ("8-1", &second)], lines, &target));
    assert_eq!(
        fs::read_dir(out.path()).unwrap().count(),
        0,
        "a failed build leaves nothing"
    );
    found
}

#[test]
fn builds_boxes_and_statements() {
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("out");
    let (first, second) = two_drawings();
    let images = [("7-0", &first), ("8-1", &second), ("9-0", &second)];
    let info = built(&images, &[FIRST, SECOND], &out).unwrap();
    let counts = info.counts;
    assert_eq!(
        (
            counts.groups,
            counts.images,
            counts.images_without_annotation
        ),
        (2, 2, 1)
    );
    assert_eq!(
        (counts.boxes, counts.empty_boxes, counts.objects),
        (3, 3, 5)
    );
    assert_eq!((counts.verified, counts.statements), (1, 1));
    assert_eq!(
        (info.images.as_str(), info.annotations.as_str()),
        ("pictures", "lines.jsonl")
    );

    let store = RegionStore::open(&out.join("regions")).unwrap();
    assert_eq!(
        store.keys().collect::<Vec<_>>(),
        ["dev-7-0.b0", "dev-7-0.b2", "dev-8-1.b1"]
    );
    assert_eq!(store.check(), []);
    let corpus = JsonlCorpus::open(&out.join("boxes.jsonl"), store.clone()).unwrap();
    let row = ExampleSource::get(&corpus, 0).unwrap();
    // The caption goes from left to right, regions and tags from top to bottom.
    assert_eq!(row.text_a, "one yellow square and two black squares");
    assert_eq!(row.text_b, "black square yellow square black square");
    assert_eq!(store.boxes(0)[0], [0.6, 0.05, 0.8, 0.25, 0.2, 0.2]);
    let mut region = vec![0.0; store.region_dim()];
    row.regions.copy_into(&mut region).unwrap();
    let (appearance, geometry) = region.split_at(FEATURE_DIM);
    assert_eq!(
        (appearance.len(), geometry),
        (432, store.boxes(0)[0].as_slice())
    );
    let norm = appearance.iter().map(|v| v * v).sum::<f32>().sqrt();
    assert!((norm - 3.0).abs() < 1e-2, "{norm}");

    let store = RegionStore::open(&out.join("images")).unwrap();
    assert_eq!(store.keys().collect::<Vec<_>>(), ["dev-7-0", "dev-8-1"]);
    assert_eq!(
        (store.size(0), store.num_regions(0), store.check()),
        ((400, 100), 4, vec![])
    );
    let corpus = JsonlCorpus::open(&out.join("statements.jsonl"), store).unwrap();
    assert_eq!(
        ExampleSource::get(&corpus, 0).unwrap().text_a,
        "There is a square."
    );
    assert_eq!((corpus.len(), corpus.images_without_rows()), (1, 1));

    let found = message(built(&images, &[FIRST], &out));
    assert!(found.contains("/out already exists"), "{found}");
}

#[test]
fn parts_share_no_group() {
    let (first, second) = two_drawings();
    let dir = tempfile::tempdir().unwrap();
    save(
        dir.path(),
        &[("7-0", &first), ("7-1", &second), ("8-1", &second)],
    );
    let annotations = dir.path().join("lines.jsonl");
    fs::write(
        &annotations,
        "{\"identifier\":\"7-0\"}\n{\"identifier\":\"8-1\"}\n{\"identifier\":\"7-1\"}\n",
    )
    .unwrap();
    let keys = |name: &str, skip, limit| {
        let options = BuildOptions {
            skip,
            limit,
            ..BuildOptions::default()
        };
        build(dir.path(), &annotations, &dir.path().join(name), &options).unwrap();
        let store = RegionStore::open(&dir.path().join(name).join("images")).unwrap();
        store.keys().map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(keys("a", 0, Some(1)), ["dev-7-0", "dev-7-1"]);
    assert_eq!(keys("b", 1, None), ["dev-8-1"]);
    let options = BuildOptions {
        skip: 2,
        ..BuildOptions::default()
    };
    let found = message(build(
        dir.path(),
        &annotations,
        &dir.path().join("c"),
        &options,
    ));
    assert!(
        found.contains("lines.jsonl: no group is left of 3 lines"),
        "{found}"
    );
}

#[test]
fn known_boxes_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let (first, mut second) = two_drawings();
    built(
        &[("7-0", &first), ("8-1", &second)],
        &[FIRST, SECOND],
        &dir.path().join("known"),
    )
    .unwrap();
    // Box 1 of the second image becomes box 2 of the first, at its place; box 2 gets something new.
    second = drawing();
    square(&mut second, 160, 0, 10, BLACK);
    square(&mut second, 310, 1, 10, BLACK);
    let pictures = dir.path().join("pictures");
    save(&pictures, &[("8-1", &second)]);
    let lines = dir.path().join("lines.jsonl");
    fs::write(&lines, SECOND).unwrap();
    let held_out_from = Some(dir.path().join("known"));
    let options = BuildOptions {
        held_out_from,
        ..BuildOptions::default()
    };
    let info = build(&pictures, &lines, &dir.path().join("out"), &options).unwrap();
    assert_eq!(
        (
            info.counts.boxes,
            info.counts.seen_boxes,
            info.counts.empty_boxes
        ),
        (1, 1, 1)
    );
    let store = RegionStore::open(&dir.path().join("out/regions")).unwrap();
    assert_eq!(store.key(0), "dev-8-1.b2");

    save(&pictures, &[("8-1", &first)]);
    let found = message(build(&pictures, &lines, &dir.path().join("none"), &options));
    assert!(found.contains("pictures: no grey box is left"), "{found}");
}

#[test]
fn bad_annotations_are_named() {
    let twice = failure(&[SECOND, FIRST, SECOND]);
    assert!(
        twice.contains("lines.jsonl:3: image `8-1` occurs with the same sentence in line 1"),
        "{twice}"
    );
    let orphan = failure(&[SECOND, r#"{"identifier": "404-2"}"#]);
    assert!(
        orphan.contains("lines.jsonl:2: image `404-2` is annotated, but "),
        "{orphan}"
    );
    assert!(
        orphan.contains("pictures holds no dev-404-2-0.png"),
        "{orphan}"
    );
    let json = failure(&[SECOND, r#"{"identifier": "#]);
    assert!(json.contains("lines.jsonl:2: column"), "{json}");
    let empty = failure(&[r#"{"identifier": "7-0", "sentence": " ."}"#]);
    assert!(
        empty.contains(r#"lines.jsonl:1: sentence " ." has no letter or digit"#),
        "{empty}"
    );
    let name = failure(&[r#"{"identifier": "dev-7-0-0.png"}"#]);
    assert!(
        name.contains(r#"lines.jsonl:1: identifier "dev-7-0-0.png""#),
        "{name}"
    );
    let color = failure(&[&FIRST.replacen("Yellow", "Mauve", 1)]);
    assert!(
        color.contains(r#"lines.jsonl:1: unknown colour "Mauve""#),
        "{color}"
    );
    let outside = failure(&[&FIRST.replacen("\"x_loc\": 2,", "\"x_loc\": 200,", 1)]);
    assert!(
        outside.contains("lines.jsonl:1: an object of 30 pixels at 200, 50"),
        "{outside}"
    );
    let other = failure(&[&FIRST.replacen("\"x_loc\": 2,", "\"x_loc\": 9,", 1)]);
    assert!(
        other.contains(
            "dev-7-0: a yellow square of 30 pixels at 9, 50 in box 0 is annotated but not seen"
        ),
        "{other}"
    );
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let dir = tempfile::tempdir().unwrap();
    let options = BuildOptions {
        limit: Some(40),
        ..BuildOptions::default()
    };
    let files = |threads: usize| -> BTreeMap<PathBuf, Vec<u8>> {
        let out = dir.path().join(threads.to_string());
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let (images, lines) = (
            sample().join("dev_images.zip"),
            sample().join("dev.jsonl.gz"),
        );
        pool.install(|| build(&images, &lines, &out, &options))
            .unwrap();
        let mut files = BTreeMap::new();
        for part in ["", "regions", "images"] {
            for entry in fs::read_dir(out.join(part)).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let name = path.strip_prefix(&out).unwrap().to_path_buf();
                    files.insert(name, fs::read(path).unwrap());
                }
            }
        }
        files
    };
    let (one, many) = (files(1), files(5));
    assert_eq!(one.len(), 9);
    assert!(one == many);
}
