//! Checks of whole files find all that is wrong, each with its place.

use crate::common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{drawing, image, message, save, square, store, tag, write_store};
use oscar_datasets::check::{CheckOptions, Kind, Report, check, named, of_task};
use oscar_datasets::{ImageRegions, Result, StoreOptions, StoreWriter};
use oscar_sample::nlvr1::{BuildOptions, build};
use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A directory with files.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }
}

fn quiet() -> CheckOptions {
    CheckOptions {
        progress: false,
        ..CheckOptions::default()
    }
}

fn checked(paths: &[impl AsRef<Path>]) -> Report {
    check(paths, &quiet()).unwrap()
}

/// Asserts that the problems are these, in order: file name, line or key, kind, part of what was
/// found.
fn assert_problems(report: &Report, wanted: &[(&str, &str, Kind, &str)]) {
    let all: String = report.problems.iter().map(|p| format!("{p}\n")).collect();
    assert_eq!(report.problems.len(), wanted.len(), "{all}");
    assert_eq!((report.total, report.ok), (wanted.len(), wanted.is_empty()));
    for (problem, (file, place, kind, found)) in report.problems.iter().zip(wanted) {
        assert_eq!(problem.file.file_name().unwrap(), *file, "{problem}");
        let line = problem.line.map(|line| line.to_string());
        let key = problem.key.clone();
        let said = [line.as_deref(), key.as_deref()].contains(&Some(place));
        assert!(said || place.is_empty(), "not at {place}: {problem}");
        assert_eq!(problem.kind, *kind, "{problem}");
        assert!(
            problem.found.contains(found),
            "{found:?} is not in {problem}"
        );
    }
}

fn count(report: &Report, at: usize, name: &str) -> u64 {
    let counts = &report.checked[at].counts;
    counts
        .get(name)
        .unwrap_or_else(|| panic!("{name} is not counted: {counts:?}"))
}

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
}

/// Features of `regions` regions of two values and a box, as base64.
fn blob(regions: &[[f32; 8]]) -> String {
    let bytes: Vec<u8> = regions
        .as_flattened()
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    base64_simd::STANDARD.encode_to_string(bytes)
}

const REGION: [f32; 8] = [0.5, 1.5, 0.0, 0.0, 0.5, 0.25, 0.5, 0.25];

fn of_dim_two() -> CheckOptions {
    CheckOptions {
        feature_dim: 2,
        ..quiet()
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table of files and what is found")]
fn every_row_of_a_feature_table() {
    let files = Files::new();
    let nan = [f32::NAN, 1.5, 0.0, 0.0, 0.5, 0.25, 0.5, 0.25];
    let inverted = [0.5, 1.5, 0.5, 0.0, 0.25, 0.25, 0.25, 0.25];
    let good = blob(&[REGION, REGION]);
    let half: Vec<u8> = REGION
        .iter()
        .flat_map(|v| half::f16::from_f32(*v).to_le_bytes())
        .collect();
    let half = base64_simd::STANDARD.encode_to_string(half);
    let lines = [
        format!("a\t2\t{good}"),
        format!("b\t640\t480\t{}", &good[..8]),
        format!("c\t1\t{}", blob(&[nan])),
        format!("d\t2\t{}", blob(&[inverted, inverted])),
        format!("e 2 {good}"),
        format!("f\t2\t{}", good.replacen('A', "%", 1)),
        format!("a\t1\t{half}"),
        format!("g\ttwo\t{good}"),
        String::new(),
        format!("\t2\t{good}"),
        format!("h\t{{\"num_boxes\": 2, \"features\": \"{good}\"}}"),
    ];
    let table = files.write("features.tsv", lines.join("\n") + "\n");
    let report = check(&[&table], &of_dim_two()).unwrap();
    let file = "features.tsv";
    assert_problems(
        &report,
        &[
            (
                file,
                "b",
                Kind::ByteLength,
                "6 bytes of features for 640 regions",
            ),
            (file, "3", Kind::NotFinite, "region 0, value 0 is NaN"),
            (
                file,
                "d",
                Kind::Box,
                "it is empty or inverted (and 1 more regions like it)",
            ),
            (file, "5", Kind::MissingTab, "no tab in \"e 2"),
            (file, "6", Kind::Base64, "is '%'"),
            (file, "8", Kind::Field, "field 2 is \"two\""),
            (file, "9", Kind::MissingTab, "a blank line"),
            (file, "10", Kind::Field, "its key is empty"),
            (file, "7", Kind::DuplicateKey, "line 1"),
        ],
    );
    for (name, wanted) in [("rows", 11), ("images", 5), ("images of 16-bit floats", 1)] {
        assert_eq!(count(&report, 0, name), wanted, "{name}");
    }

    // Beside it, an index of another version, and a map with a wrong row.
    let starts: Vec<usize> = lines
        .iter()
        .scan(0, |at, line| {
            Some(std::mem::replace(at, *at + line.len() + 1))
        })
        .collect();
    let index = |starts: &[usize]| -> String { starts.iter().map(|s| format!("{s}\n")).collect() };
    files.write("features.lineidx", index(&starts));
    let with_index = check(&[&table], &of_dim_two()).unwrap();
    assert_eq!(with_index.total, report.total);
    let mut wrong = starts[..10].to_vec();
    wrong[3] += 1;
    wrong[5] += 1;
    files.write("features.lineidx", index(&wrong));
    let map = json!({"a": 0, "b": 1, "c": 2, "d": 4, "z": 99});
    files.write("imageid2idx.json", map.to_string());
    let report = check(&[table], &of_dim_two()).unwrap();
    let index = Kind::LineIndex;
    let of = |file: &str| -> Vec<_> {
        let problems = report.problems.iter();
        problems
            .filter(|p| p.file.ends_with(file))
            .map(|p| (p.kind, p.to_string()))
            .collect()
    };
    let found = of("features.lineidx");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].0 == index && found[0].1.contains("lineidx:4: offset"),
        "{found:?}"
    );
    assert!(
        found[0].1.contains("and 1 more offsets are wrong"),
        "{found:?}"
    );
    assert!(
        found[1]
            .1
            .contains("10 offsets, where the table has 11 lines"),
        "{found:?}"
    );
    let found = of("imageid2idx.json");
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].1.contains("`d`: mapped to 4"), "{found:?}");
    assert!(
        found[1]
            .1
            .contains("`z`: mapped to 99, where there is no row"),
        "{found:?}"
    );
}

/// A picture of this size, as base64.
fn picture(width: u32, height: u32) -> String {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let pixels = image::RgbImage::from_pixel(width, height, image::Rgb([9, 8, 7]));
    pixels
        .write_to(&mut bytes, image::ImageFormat::Jpeg)
        .unwrap();
    base64_simd::STANDARD.encode_to_string(bytes.get_ref())
}

#[test]
fn tables_of_one_folder_are_compared() {
    let files = Files::new();
    let features = ["a", "b", "c"].map(|key| format!("{key}\t1\t{}\n", blob(&[REGION])));
    files.write("x.feature.tsv", features.concat());
    let sizes = "a\t[{\"height\": 50, \"width\": 100}]\nb\t50 x\n";
    files.write("x.hw.tsv", sizes);
    let labels = [
        r#"[{"class": "dog", "rect": [1, 1, 99, 49], "conf": 0.9}]"#,
        r#"[{"class": "dog", "rect": [9, 9, 5, 5]}, {"class": " ", "conf": 2}]"#,
        r#"{"objects": [{"rect": []}]}"#,
        r#"[{"class": "dog""#,
        r#"{"image_h": 49, "image_w": 100, "gt_objects": []}"#,
        r#"[{"class": "dog", "rect": [1, 1, 120, 49], "conf": -1}]"#,
    ];
    let keys = ["a", "b", "z", "y", "a", "a"];
    let rows = keys
        .iter()
        .zip(labels)
        .map(|(key, json)| format!("{key}\t{json}\n"));
    files.write("x.label.tsv", rows.collect::<String>());
    files.write("x.linelist.tsv", "0\n1\n");
    files.write(
        "x.img.tsv",
        format!(
            "a\t{}\nb\t{}\nc\t/9j/AAAA\n",
            picture(100, 50),
            picture(7, 7)
        ),
    );
    let report = check(&[files.0.path().to_path_buf()], &of_dim_two()).unwrap();
    let labels = "x.label.tsv";
    assert_problems(
        &report,
        &[
            ("x.hw.tsv", "b", Kind::Field, "its size is \"50 x\""),
            (
                labels,
                "2",
                Kind::TagBox,
                "tag `dog`: box [9, 9, 5, 5] is empty or inverted",
            ),
            (labels, "2", Kind::Tag, "tag 1 has no class"),
            (labels, "z", Kind::Field, "missing field `class`"),
            (labels, "y", Kind::Json, "EOF"),
            (labels, "5", Kind::Mismatch, "100x49 pixels, but 100x50"),
            (
                labels,
                "6",
                Kind::TagBox,
                "reaches outside the image (100x50 pixels)",
            ),
            (labels, "6", Kind::Tag, "tag `dog` has score -1"),
            (labels, "5", Kind::DuplicateKey, "line 1"),
            (labels, "6", Kind::DuplicateKey, "line 1"),
            ("x.img.tsv", "c", Kind::Picture, "picture"),
            (labels, "3", Kind::OrphanAnnotation, "in no table of images"),
            (labels, "4", Kind::OrphanAnnotation, "in no table of images"),
            (
                "x.feature.tsv",
                "c",
                Kind::MissingAnnotation,
                "no table of labels names",
            ),
        ],
    );
    let formats: Vec<&str> = report.checked.iter().map(|c| c.format).collect();
    assert_eq!(
        formats,
        [
            "tsv",
            "sizes.tsv",
            "features.tsv",
            "labels.tsv",
            "pictures.tsv"
        ]
    );
}

/// Numbers as base64.
fn base64(values: &[f32]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    base64_simd::STANDARD.encode_to_string(bytes)
}

#[test]
fn tables_with_a_column_for_each_array() {
    let files = Files::new();
    let row = |key: &str, boxes: &[f32], features: &[f32]| {
        let regions = boxes.len() / 4;
        let (boxes, features) = (base64(boxes), base64(features));
        format!("{key}\t100\t50\t{regions}\t{boxes}\t{features}\n")
    };
    let good = [0.5, 1.5];
    let table = [
        row("a", &[1.0, 1.0, 99.0, 49.0], &good),
        row("b", &[1.0, 1.0, 101.5, 49.0], &good),
        row("c", &[1.0, 1.0, 103.0, 49.0], &good),
        row("d", &[50.0, 1.0, 9.0, 49.0], &good),
        row("e", &[1.0, 1.0, 99.0, 49.0], &[1.0, 2.0, 3.0]),
        row("f", &[1.0, 1.0, 99.0, 49.0], &[0.0, 0.0]),
    ];
    let table = files.write("butd.tsv", table.concat());
    let report = check(&[table], &of_dim_two()).unwrap();
    let file = "butd.tsv";
    assert_problems(
        &report,
        &[
            (file, "c", Kind::Box, "reaches 3 pixels outside the image"),
            (file, "d", Kind::Box, "is inverted"),
            (file, "e", Kind::Field, "12 bytes"),
        ],
    );
    assert_eq!(report.checked[0].format, "arrays.tsv");
    for (name, wanted) in [
        ("rows", 6),
        ("images", 5),
        ("boxes that an import clips", 1),
        ("regions of zeros only", 1),
    ] {
        assert_eq!(count(&report, 0, name), wanted, "{name}");
    }
}

#[test]
fn objects_with_their_features() {
    let files = Files::new();
    let object = |rect: [f32; 4], feature: &[f32]| json!({"class": "dog", "rect": rect, "conf": 0.5, "feature": base64(feature)});
    let row = |key: &str, object: Value| {
        let labels = json!({"image_h": 50, "image_w": 100, "objects": [object]});
        format!("{key}\t{labels}\n")
    };
    let table = [
        row("a", object([1.0, 1.0, 9.0, 9.0], &[0.5, 1.5])),
        row("b", object([1.0, 1.0, 9.0, 9.0], &[0.5, 1.5, 2.5])),
        row("c", object([1.0, 60.0, 9.0, 70.0], &[0.5, 1.5])),
    ];
    let table = files.write("predictions.tsv", table.concat());
    let report = check(&[table], &of_dim_two()).unwrap();
    let file = "predictions.tsv";
    assert_problems(
        &report,
        &[
            (file, "b", Kind::Field, "12 bytes"),
            (file, "c", Kind::Box, "reaches 20 pixels outside"),
            (
                file,
                "c",
                Kind::TagBox,
                "reaches outside the image (100x50 pixels)",
            ),
        ],
    );
    assert_eq!(count(&report, 0, "regions"), 2);
}

#[test]
fn a_folder_of_arrays() {
    let files = Files::new();
    let npy = |rows: usize, columns: usize, values: &[f32]| {
        let header =
            format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
        let header = format!("{header:<117}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.bytes());
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        bytes
    };
    let good = npy(1, 8, &REGION);
    files.write("a.npy", &good);
    files.write(
        "b.npy",
        npy(1, 8, &[f32::INFINITY, 0.0, 0.0, 0.0, 0.5, 0.25, 0.5, 0.25]),
    );
    files.write("c.npy", &good[..good.len() - 1]);
    files.write(
        "d.npy",
        npy(1, 8, &[1.0, 0.0, 0.5, 0.0, 0.25, 0.25, 0.5, 0.25]),
    );
    let report = check(&[files.0.path().to_path_buf()], &of_dim_two()).unwrap();
    let said: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 3, "{said:#?}");
    assert!(
        said[0].contains("`b`") || said[0].contains("b.npy"),
        "{said:#?}"
    );
    assert!(said[1].contains("c.npy"), "{said:#?}");
    assert!(said[2].contains("`d`: region 0 has box"), "{said:#?}");
    assert_eq!(report.checked[0].format, "npy");
}

fn vqa_answers(n: usize) -> Vec<Value> {
    let answer = |id| json!({"answer": "two", "answer_confidence": "yes", "answer_id": id});
    (1..=n).map(answer).collect()
}

fn vqa_annotation(question_id: u64, image_id: u64, answers: usize) -> Value {
    json!({"question_id": question_id, "image_id": image_id, "question_type": "how many",
           "answer_type": "number", "multiple_choice_answer": "two",
           "answers": vqa_answers(answers)})
}

#[test]
fn questions_and_annotations_are_joined() {
    let files = Files::new();
    let question =
        |id: u64, text: &str| json!({"question_id": id, "image_id": 5, "question": text});
    let questions = json!({"questions": [
        question(1, "How many?"), question(2, "?!"), question(3, "Who?"), question(3, "Who?"),
        {"question_id": 4, "image_id": 5}, question(6, "Where is it?")]});
    let questions = files.write("q.json", questions.to_string());
    let annotations = json!({"annotations": [
        vqa_annotation(1, 5, 9), vqa_annotation(2, 7, 10), vqa_annotation(3, 5, 10),
        vqa_annotation(3, 5, 10), vqa_annotation(9, 5, 10)]});
    let annotations = files.write("a.json", annotations.to_string());
    let report = checked(&[&annotations, &questions]);
    assert_problems(
        &report,
        &[
            ("a.json", "3", Kind::DuplicateKey, "annotated in"),
            // Known once all of the file is read.
            (
                "a.json",
                "1",
                Kind::Answers,
                "9 answers, where 10 are given",
            ),
            ("q.json", "4", Kind::Field, "missing field `question`"),
            (
                "a.json",
                "2",
                Kind::Mismatch,
                "annotated about image 7, but asked about image 5",
            ),
            ("q.json", "3", Kind::MissingAnnotation, "has no annotation"),
            ("q.json", "6", Kind::MissingAnnotation, "has no annotation"),
            ("q.json", "2", Kind::BlankText, "`question` is \"?!\""),
            ("q.json", "3", Kind::DuplicateKey, "occurs in row 3 too"),
            (
                "a.json",
                "9",
                Kind::OrphanAnnotation,
                "a question that is not in",
            ),
        ],
    );
    assert_eq!(
        (count(&report, 0, "annotations"), count(&report, 1, "rows")),
        (5, 3)
    );
    let alone = checked(&[annotations]);
    assert_eq!(alone.by_kind[&Kind::Answers], 1);
    assert_eq!(alone.by_kind[&Kind::DuplicateKey], 1);
    assert!(alone.checked[0].notes[0].contains("without their questions"));
    let text = fs::read_to_string(&questions).unwrap();
    fs::write(&questions, &text[..text.len() / 2]).unwrap();
    let cut = checked(&[questions]);
    assert!(cut.problems.iter().any(|p| p.kind == Kind::Json), "{cut:?}");
}

#[test]
fn rows_are_detected_by_content() {
    let files = Files::new();
    for (text, name) in [
        (r#"{"image": "a", "text": "b"}"#, "corpus"),
        (
            r#"{"image": "a", "question": "b", "answer": "c"}"#,
            "corpus",
        ),
        (r#"[{"image": "a", "question": "b", "answer": "c"}]"#, "vqa"),
        (
            r#"{"image": "a", "question": "b", "answers": ["c"]}"#,
            "vqa",
        ),
        (
            r#"{"image": "a", "question": "b", "answer": "c", "id": 1}"#,
            "vqa",
        ),
        (r#"{"image": "a", "question": "b"}"#, "vqa"),
        (
            r#"[{"q": "b", "an": [0], "img_id": "a", "q_id": 1}]"#,
            "vqa",
        ),
        (
            r#"[{"q": "b", "img_id": {"left": "a", "right": "a"}, "label": 1}]"#,
            "nlvr2",
        ),
        (
            r#"{"left": "a", "right": "b", "statement": "c", "label": true}"#,
            "nlvr2",
        ),
        (
            r#"{"image": "a", "statement": "c", "label": true}"#,
            "nlvr2",
        ),
        (
            r#"{"image": "a", "text": "c", "label": true, "id": 3}"#,
            "matching",
        ),
        (
            r#"[{"image": "a", "text": "c", "label": true}]"#,
            "matching",
        ),
        (r#"[{"image": "a", "text": "c"}]"#, "corpus"),
        (
            r#"{"data": [{"image_id": "a", "question": "b", "question_id": 1, "answers": ["c"]}]}"#,
            "vqa",
        ),
        (r#"{"image": "a", "captions": ["c"]}"#, "captioning"),
        (
            r#"[{"image_id": "a", "id": 1, "caption": "c"}]"#,
            "captioning",
        ),
        (
            r#"{"images": [{"id": 1}], "annotations": [{"image_id": 1, "caption": "c"}]}"#,
            "captioning",
        ),
    ] {
        let report = checked(&[files.write("rows", text)]);
        assert_problems(&report, &[]);
        assert_eq!(report.checked[0].format, name, "{text}");
    }
}

#[test]
fn labels_are_in_all_rows_or_in_none() {
    let files = Files::new();
    let row = |label: &str| format!("{{\"image\": \"a\", \"text\": \"b\", \"id\": 1{label}}}\n");
    let some = files.write("rows.jsonl", row("") + &row(", \"label\": true"));
    let wanted = [("rows.jsonl", "1", Kind::MissingAnnotation, "no `label`")];
    assert_problems(&checked(&[some]), &wanted);
    let none = checked(&[files.write("rows.jsonl", row("") + &row(""))]);
    assert_problems(&none, &[]);
    assert!(none.checked[0].notes[1].contains("no row has `label`"));
}

#[test]
fn lines_of_nlvr2() {
    let files = Files::new();
    let row = |identifier: &str, sentence: &str, label: &str| {
        json!({"identifier": identifier, "sentence": sentence, "label": label}).to_string() + "\n"
    };
    let rows = [
        row("dev-1-0-0", "Two dogs.", "True"),
        row("dev-1-1-0", "Two dogs.", "False"),
        row("dev-1-1-0", "Two dogs.", "False"),
        row("dev-1-2-0", "Three dogs.", "False"),
        row("dev-1-2-1", "...", "True"),
        row("dev-1-2", "Two dogs.", "True"),
        "{\n".into(),
    ];
    let report = checked(&[files.write("dev.json", rows.concat())]);
    assert_problems(
        &report,
        &[
            ("dev.json", "6", Kind::Field, "such as \"dev-850-0-0\""),
            ("dev.json", "7", Kind::Json, "EOF"),
            ("dev.json", "3", Kind::DuplicateKey, "occurs in row 2 too"),
            ("dev.json", "5", Kind::BlankText, "`statement` is \"...\""),
            ("dev.json", "4", Kind::Mismatch, "dev.json:1"),
        ],
    );
    for (name, wanted) in [
        ("rows", 3),
        ("true labels", 1),
        ("false labels", 2),
        ("consistency groups", 1),
    ] {
        assert_eq!(count(&report, 0, name), wanted, "{name}");
    }
}

#[test]
fn formats_are_told_by_content() {
    let files = Files::new();
    let fails = |path: &Path| message(check(&[path], &quiet()));
    let text = files.write("a.txt", "once upon a time\n");
    let found = fails(&text);
    assert!(
        found.contains("once upon a time")
            && found.contains("not of a known format: `region-store`"),
        "{found}"
    );
    assert!(found.contains("give its format"), "{found}");
    for (name, content, wanted) in [
        ("empty", &b""[..], "the file is empty"),
        ("blank", b"\n \n", "nothing but white space"),
        ("rows.zip", b"PK\x03\x04\0\0", "a zip archive"),
        ("rows.parquet", b"PAR1\x15\x04", "a Parquet file"),
        ("latin", b"caf\xe9\n", "no text in UTF-8"),
    ] {
        let found = fails(&files.write(name, content));
        assert!(found.contains(wanted), "{found}");
    }
    let both = r#"{"image": "a", "text": "b", "label": true}"#;
    let both = files.write("both.jsonl", both);
    for (task, name) in [
        ("matching", "matching"),
        ("nlvr2", "nlvr2"),
        ("pretraining", "corpus"),
    ] {
        let options = CheckOptions {
            format: Some(of_task(task).unwrap()),
            ..quiet()
        };
        let report = check(&[&both], &options).unwrap();
        assert_problems(&report, &[]);
        assert_eq!(report.checked[0].format, name);
    }
    let report = checked(&[&both]);
    assert_eq!((report.ok, report.checked[0].format), (true, "corpus"));
    let found = named("nlvr").err().unwrap();
    assert!(
        found.contains("unknown format `nlvr`; known: region-store, data-set"),
        "{found}"
    );

    // What is missing is a problem of the data, beside those of the other paths.
    write_store(&files.path("s"), &["a"]).unwrap();
    let report = checked(&[files.path("nowhere"), files.path("s")]);
    assert_problems(
        &report,
        &[("nowhere", "", Kind::Unreadable, "it is missing")],
    );
    assert_eq!(report.checked.len(), 1);
}

#[rstest]
fn the_list_is_bounded_and_the_count_is_not(#[values(0, 3, 100)] limit: usize) -> Result<()> {
    let files = Files::new();
    let corpus = files.write("c.jsonl", "{\"image\": \"a\", \"text\": \"\"}\n".repeat(10));
    let options = CheckOptions { limit, ..quiet() };
    let report = check(&[corpus], &options)?;
    assert_eq!((report.problems.len(), report.total), (limit.min(10), 10));
    let document = serde_json::to_value(&report).unwrap();
    assert_eq!(document["ok"], false);
    assert_eq!(document["by_kind"], json!({"blank-text": 10}));
    assert_eq!(document["checked"][0]["counts"]["rows"], 10);
    if limit > 0 {
        let first = &document["problems"][0];
        assert_eq!(
            (&first["line"], &first["kind"]),
            (&json!(1), &json!("blank-text"))
        );
        assert!(first.get("key").is_none());
    }
    Ok(())
}
