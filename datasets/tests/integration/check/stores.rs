//! Region stores and corpora: what is clean, and what is found of what is not.

use std::fs;

use oscar_datasets::check::{CheckOptions, Kind, check};
use oscar_datasets::{ImageRegions, StoreOptions, StoreWriter};
use oscar_sample::nlvr1::{BuildOptions, build};

use super::{Files, assert_problems, checked, count, quiet};
use crate::common::{drawing, image, save, square, store, tag};

#[test]
fn a_clean_store_is_counted() {
    let files = Files::new();
    let dir = files.path("s");
    let mut writer = StoreWriter::create(&dir, StoreOptions::new(4)).unwrap();
    let tags = [tag("dog"), tag("red hat")];
    for (key, tags) in [("a", &tags[..]), ("b", &tags[..1])] {
        writer.push(ImageRegions { tags, ..image(key) }).unwrap();
    }
    let bare = ImageRegions {
        features: &[],
        boxes: oscar_datasets::Boxes::Pixels(&[]),
        ..image("bare")
    };
    writer.push(bare).unwrap();
    let zeros = ImageRegions {
        features: &[0.0; 8],
        ..image("zeros")
    };
    writer.push(zeros).unwrap();
    writer.finish().unwrap();
    let report = checked(&[dir]);
    assert_problems(&report, &[]);
    assert_eq!(report.checked[0].format, "region-store");
    for (name, wanted) in [
        ("images", 4),
        ("regions", 6),
        ("images without regions", 1),
        ("regions of zeros only", 2),
        ("tags", 3),
        ("images without tags", 2),
    ] {
        assert_eq!(count(&report, 0, name), wanted, "{name}");
    }
}

#[test]
fn a_store_that_does_not_open_is_looked_at_file_by_file() {
    let files = Files::new();
    let dir = files.path("s");
    let options = StoreOptions {
        max_shard_bytes: 1,
        ..StoreOptions::new(4)
    };
    let mut writer = StoreWriter::create(&dir, options).unwrap();
    for key in ["a", "b", "c"] {
        writer.push(image(key)).unwrap();
    }
    writer.finish().unwrap();
    for shard in ["regions-00001.safetensors", "regions-00002.safetensors"] {
        let bytes = fs::read(dir.join(shard)).unwrap();
        fs::write(dir.join(shard), &bytes[..bytes.len() - 1]).unwrap();
    }
    fs::write(dir.join("tags.jsonl"), "[]\n[}\n[]\n").unwrap();
    let report = checked(&[&dir]);
    let unreadable = Kind::Unreadable;
    let wanted = [
        (
            "regions-00001.safetensors",
            "",
            unreadable,
            "not a whole safetensors file",
        ),
        (
            "regions-00002.safetensors",
            "",
            unreadable,
            "not a whole safetensors file",
        ),
        ("tags.jsonl", "2", Kind::Json, "not a list of tags"),
    ];
    assert_problems(&report, &wanted);
    fs::remove_file(dir.join("index.safetensors")).unwrap();
    let report = checked(&[dir]);
    let index = ("index.safetensors", "", unreadable, "it is missing");
    assert_problems(&report, &[&[index], &wanted[..]].concat());
}

#[test]
fn what_is_built_is_clean_and_damage_is_found_in_all_of_it() {
    let files = Files::new();
    let mut first = drawing();
    square(&mut first, 2, 50, 30, [255, 255, 0]);
    square(&mut first, 310, 0, 10, [0; 3]);
    save(&files.path("pictures"), &[("7-0", &first), ("8-1", &first)]);
    let lines = r#"{"identifier": "7-0", "sentence": "There is a square.", "label": "true"}
{"identifier": "8-1", "sentence": "There is no circle.", "label": "true"}"#;
    let annotations = files.write("lines.jsonl", lines);
    let dir = files.path("set");
    build(
        &files.path("pictures"),
        &annotations,
        &dir,
        &BuildOptions::default(),
    )
    .unwrap();

    let report = checked(&[&dir]);
    assert_problems(&report, &[]);
    let names: Vec<_> = report
        .checked
        .iter()
        .map(|c| c.path.file_name().unwrap())
        .collect();
    assert_eq!(
        names,
        ["images", "regions", "boxes.jsonl", "statements.jsonl"]
    );
    assert_eq!(count(&report, 1, "images"), 4);
    assert_eq!(count(&report, 2, "rows"), 4);
    assert_eq!(count(&report, 3, "images that no row names"), 0);
    assert_eq!(count(&report, 3, "words"), 8);

    let corpus = dir.join("statements.jsonl");
    let good = fs::read(&corpus).unwrap();
    let mut bytes = good.clone();
    for line in [
        &br#"{"image": "dev-7-0", "text": " . "}"#[..],
        br#"{"image": "dev-9-9", "text": "There is one."}"#,
        b"{\"image\": \"dev-7-0\", \"text\": \"\xff\"}",
        br#"{"image": "dev-7-0", "text": "cut"#,
        br#"{"image": "dev-7-0", "caption": "There is one."}"#,
        br#"{"image": "dev-7-0", "question": "What?", "answer": []}"#,
        b"",
    ] {
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }
    bytes.extend_from_slice(&good);
    fs::write(&corpus, bytes).unwrap();
    fs::write(dir.join("dataset.json"), "{").unwrap();
    let report = checked(&[&dir]);
    let file = "statements.jsonl";
    assert_problems(
        &report,
        &[
            ("dataset.json", "", Kind::Json, "EOF"),
            (file, "3", Kind::BlankText, "without any letter or digit"),
            (file, "4", Kind::UnknownImage, "image `dev-9-9` is not in"),
            (file, "5", Kind::NotUtf8, "is not UTF-8"),
            (file, "6", Kind::Json, "EOF"),
            (file, "7", Kind::Field, "unknown key \"caption\""),
            (file, "8", Kind::BlankText, "an empty `answer`"),
            (file, "9", Kind::Json, "a blank line"),
        ],
    );
    assert_eq!(count(&report, 3, "rows"), 11);

    // A set whose only store is damaged still names what its corpora lack.
    fs::remove_dir_all(dir.join("images")).unwrap();
    let report = checked(&[dir]);
    assert_eq!(report.by_kind[&Kind::UnknownImage], 5);
}

#[test]
fn a_corpus_with_and_without_its_images() {
    let files = Files::new();
    store(&files.path("s"), &["a", "b", "c"]);
    let row = |image: &str| format!("{{\"image\": \"{image}\", \"text\": \"one dog\"}}\n");
    let corpus = files.write("c.jsonl", row("a") + &row("z") + &row("a"));
    let alone = checked(&[&corpus]);
    assert_problems(&alone, &[]);
    assert!(alone.checked[0].notes[0].contains("no regions were given"));
    assert_eq!(
        (count(&alone, 0, "rows"), count(&alone, 0, "words")),
        (3, 6)
    );
    let options = CheckOptions {
        regions: Some(files.path("s")),
        ..quiet()
    };
    let report = check(&[&corpus], &options).unwrap();
    assert_problems(
        &report,
        &[("c.jsonl", "2", Kind::UnknownImage, "image `z` is not in")],
    );
    assert_eq!(count(&report, 0, "images named"), 1);
    assert_eq!(count(&report, 0, "images that no row names"), 2);
    let options = CheckOptions {
        regions: Some(files.path("nowhere")),
        ..quiet()
    };
    let report = check(&[corpus], &options).unwrap();
    assert_problems(
        &report,
        &[("index.safetensors", "", Kind::Unreadable, "it is missing")],
    );
    assert!(report.checked[0].notes[0].contains("cannot be read"));
}
