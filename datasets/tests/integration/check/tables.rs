//! Tables of features, labels and pictures.

use oscar_datasets::check::{Kind, check};
use serde_json::json;

use super::{Files, REGION, assert_problems, base64, count, of_dim_two};

/// Features of `regions` regions of two values and a box, as base64.
fn blob(regions: &[[f32; 8]]) -> String {
    base64(regions.as_flattened())
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
