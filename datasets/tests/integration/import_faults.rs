//! Bad input: each is one error that names file and row or key, for an import and, where it
//! applies, for training from the file as it is.

use crate::common;
use crate::import_support;

use std::fs;
use std::path::{Path, PathBuf};

use common::message;
use import_support::*;
use oscar_datasets::import::{Format, ImportOptions, Source, SourceOptions};
use oscar_datasets::official::{OfficialImages, OfficialOptions};
use oscar_datasets::{RegionStore, SharedImages};
use rstest::rstest;
use tempfile::TempDir;

/// A folder of official files whose third row was changed.
fn changed(change: impl FnOnce(String) -> Vec<u8>) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("vg");
    write_folder(&source, &pictures(6, DIM), false);
    let file = source.join("features.tsv");
    let text = fs::read_to_string(&file).unwrap();
    let mut rows: Vec<Vec<u8>> = text.lines().map(|row| row.as_bytes().to_vec()).collect();
    rows[2] = change(text.lines().nth(2).unwrap().to_string());
    let mut index = String::new();
    let mut bytes = Vec::new();
    for row in rows {
        index += &format!("{}\n", bytes.len());
        bytes.extend(row);
        bytes.push(b'\n');
    }
    fs::write(&file, bytes).unwrap();
    fs::write(file.with_extension("lineidx"), index).unwrap();
    (dir, source)
}

/// How an import fails.
fn import_error(source: &Path) -> String {
    let out = source.with_file_name("store");
    let found = message(import_f32(source, options(), &out));
    assert!(!out.exists(), "something was left");
    assert!(
        !source.with_file_name("store.partial").exists(),
        "something was left"
    );
    found
}

/// How training from the file fails: at the first look at the row.
fn training_error(source: &Path) -> String {
    let options = OfficialOptions {
        feature_dim: DIM,
        ..OfficialOptions::default()
    };
    let images: SharedImages = match OfficialImages::open(source, options) {
        Ok(images) => images,
        Err(error) => return error.to_string(),
    };
    for row in 0..images.len() {
        let read = images.num_regions(row).and_then(|regions| {
            images.copy_regions(row, &mut vec![0.0; regions * images.region_dim()])
        });
        if let Err(error) = read {
            return error.to_string();
        }
    }
    panic!("an error was expected");
}

/// A value of the third row's features replaced by `value`.
fn with_value(row: &str, at: usize, value: f32) -> String {
    let mut values = pictures(6, DIM)[2].values();
    values[at] = value;
    let (start, _) = row.rsplit_once('\t').unwrap();
    format!("{start}\t{}", base64(&values, false))
}

#[rstest]
#[case::truncated_base64(
    |row: String| row[..row.len() - 3].to_string().into_bytes(),
    "features.tsv:3: image `COCO_val2014_000000023757`: 221 characters of base64"
)]
#[case::wrong_byte_length(
    |row: String| row[..row.len() - 4].to_string().into_bytes(),
    "features.tsv:3: image `COCO_val2014_000000023757`: 165 bytes of features for 3 regions (55 a region)"
)]
#[case::wrong_count(
    |row: String| row.replace("\t3\t", "\t4\t").into_bytes(),
    "features.tsv:3: image `COCO_val2014_000000023757`: 168 bytes of features for 4 regions (42 a region), \
     where one takes 56 or 28 bytes with its box"
)]
#[case::not_base64(
    |row: String| { let at = row.len() - 9; let mut row = row.into_bytes(); row[at] = b'*'; row },
    "features.tsv:3: image `COCO_val2014_000000023757`: character 216 of the base64 text is '*'"
)]
#[case::nan(
    |row: String| with_value(&row, 2 * (DIM + 6) + 5, f32::NAN).into_bytes(),
    "features.tsv:3: image `COCO_val2014_000000023757`: region 2, value 5 is NaN"
)]
#[case::infinity(
    |row: String| with_value(&row, DIM + 6, f32::NEG_INFINITY).into_bytes(),
    "features.tsv:3: image `COCO_val2014_000000023757`: region 1, value 0 is -inf"
)]
#[case::box_nan(
    |row: String| with_value(&row, DIM, f32::NAN).into_bytes(),
    "features.tsv:3: image `COCO_val2014_000000023757`: region 0, value 8 is NaN"
)]
#[case::box_in_pixels(
    |row: String| with_value(&row, DIM + 6 + DIM + 2, 150.0).into_bytes(),
    "features.tsv:3: image `COCO_val2014_000000023757`: region 1: box ["
)]
#[case::not_utf8(
    |row: String| { let mut row = row.into_bytes(); row[4] = 0xff; row },
    "features.tsv:3: field 1: byte 5 is not UTF-8"
)]
#[case::tab_missing(
    |row: String| row.replace('\t', " ").into_bytes(),
    "features.tsv:3: no tab in \"COCO_val2014_000000023757 3 "
)]
#[case::one_tab_missing(
    |row: String| row.replacen('\t', " ", 1).into_bytes(),
    "features.tsv:3: two fields, the second"
)]
#[case::count_is_no_number(
    |row: String| row.replace("\t3\t", "\tthree\t").into_bytes(),
    "features.tsv:3: field 2 is \"three\", not the number of boxes"
)]
#[case::other_key(
    |row: String| row.replace("23757", "99999").into_bytes(),
    "imageid2idx.json: `COCO_val2014_000000023757` should be in line 3 of"
)]
#[case::empty_row(|_| vec![], "features.tsv:3: its key is empty")]
fn a_bad_row(#[case] change: impl FnOnce(String) -> Vec<u8>, #[case] wanted: &str) {
    let (_dir, source) = changed(change);
    for found in [import_error(&source), training_error(&source)] {
        assert!(found.contains(wanted), "{found}\n{wanted}");
    }
}

#[rstest]
#[case::early(
    "0\n100\n",
    "features.lineidx: line 2: offset 100 is in the middle of a line"
)]
#[case::short(
    "0\n",
    "features.lineidx: line 1: offset 0 is followed by more than one line"
)]
#[case::beyond("0\n99999999\n", "features.lineidx: line 2: offset 99999999 is beyond")]
fn an_index_out_of_step(#[case] index: &str, #[case] wanted: &str) {
    let (_dir, source) = changed(|row| row.into_bytes());
    fs::write(source.join("features.lineidx"), index).unwrap();
    fs::remove_file(source.join("imageid2idx.json")).unwrap();
    for found in [import_error(&source), training_error(&source)] {
        assert!(found.contains(wanted), "{found}");
    }
}

#[test]
fn a_key_twice() {
    let (dir, source) = changed(|row| row.replace("23757", "15838").into_bytes());
    fs::remove_file(source.join("imageid2idx.json")).unwrap();
    let wanted = "features.tsv:3: image `COCO_val2014_000000015838` is in line 2";
    for found in [import_error(&source), training_error(&source)] {
        assert!(found.contains(wanted), "{found}");
    }
    // Left out, if that is asked for.
    let out = dir.path().join("store");
    let repeated = SourceOptions {
        repeated_keys: true,
        ..options()
    };
    let summary = import_skipping(&source, repeated, &out).unwrap();
    assert_eq!((summary.counts.images, summary.skipped.total), (5, 1));
    let found = &summary.skipped.first[0];
    assert!(
        found.contains("features.tsv:3: image `COCO_val2014_000000015838`"),
        "{found}"
    );
}

#[rstest]
#[case::other_row(r#"{"a": 0"#, "imageid2idx.json: not a JSON object")]
#[case::too_few(r#"{"a": 0}"#, "imageid2idx.json: 1 keys for 6 rows: row 2 has none")]
#[case::beyond(
    r#"{"a": 6}"#,
    "imageid2idx.json: `a` is 6, where the file of 6 rows has no row"
)]
fn a_map_of_another_file(#[case] map: &str, #[case] wanted: &str) {
    let (_dir, source) = changed(|row| row.into_bytes());
    fs::write(source.join("imageid2idx.json"), map).unwrap();
    for found in [import_error(&source), training_error(&source)] {
        assert!(found.contains(wanted), "{found}");
    }
}

#[test]
fn a_map_that_exchanges_two_rows() {
    let (_dir, source) = changed(|row| row.into_bytes());
    let map = source.join("imageid2idx.json");
    let text = fs::read_to_string(&map).unwrap();
    let text = text
        .replace("23757\":2", "23757\":3")
        .replace("31676\":3", "31676\":2");
    fs::write(&map, text).unwrap();
    let wanted = "`COCO_val2014_000000031676` should be in line 3 of";
    for found in [import_error(&source), training_error(&source)] {
        assert!(
            found.contains("imageid2idx.json") && found.contains(wanted),
            "{found}"
        );
    }
}

#[rstest]
#[case(
    "{\"objects\": 1}",
    "predictions.tsv:4: image `COCO_val2014_000000023757`: its labels"
)]
#[case("[]", "")]
fn labels(#[case] json: &str, #[case] wanted: &str) {
    let (dir, source) = changed(|row| row.into_bytes());
    let file = source.join("predictions.tsv");
    let text = fs::read_to_string(&file).unwrap();
    let rows = text
        .lines()
        .map(|row| match row.starts_with("COCO_val2014_000000023757") {
            true => format!("COCO_val2014_000000023757\t{json}"),
            false => row.to_string(),
        });
    write_table(&file, &rows.collect::<Vec<_>>());
    if !wanted.is_empty() {
        let found = import_error(&source);
        assert!(found.contains(wanted), "{found}");
        // Not even a bad row of tags stops an import that skips.
        let out = dir.path().join("store");
        let summary = import_skipping(&source, options(), &out).unwrap();
        assert_eq!(summary.skipped.total, 1);
    }
    // No row at all: an image without tags, counted.
    let rows: Vec<_> = text.lines().skip(1).map(String::from).collect();
    write_table(&file, &rows);
    let summary = import_f32(&source, options(), &dir.path().join("store2")).unwrap();
    assert_eq!(summary.counts.images_without_tags, 1);
}

#[test]
fn bad_images_are_skipped_and_listed() {
    let (dir, source) = changed(|row| with_value(&row, 5, f32::NAN).into_bytes());
    let out = dir.path().join("store");
    let how = ImportOptions {
        on_bad: oscar_datasets::import::OnBad::Skip,
        verify: true,
        ..ImportOptions::default()
    };
    let summary = run(&Source::open(&source, options()).unwrap(), &out, &how).unwrap();
    assert_eq!((summary.counts.images, summary.skipped.total), (5, 1));
    assert!(summary.skipped.first[0].contains("region 0, value 5 is NaN"));
    assert_eq!(summary.verified.unwrap().images, 5);
    let store = RegionStore::open(&out).unwrap();
    assert_eq!(
        (store.len(), store.find("COCO_val2014_000000023757")),
        (5, None)
    );
    assert_eq!(store.check(), []);

    // Too large for 16 bits: refused by name, and fine with 32.
    let (dir, source) = changed(|row| with_value(&row, 5, 1e6).into_bytes());
    let found = message(run(
        &Source::open(&source, options()).unwrap(),
        &dir.path().join("store"),
        &ImportOptions::default(),
    ));
    assert!(
        found.contains(
            "features.tsv:3: image `COCO_val2014_000000023757`: region 0, value 5 is \
                        1000000, too large for F16"
        ),
        "{found}"
    );
    import_f32(&source, options(), &dir.path().join("store")).unwrap();

    // Nothing but bad images.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("features.tsv");
    fs::write(&file, "a\t1\tAAAA\n").unwrap();
    let found = message(import_skipping(&file, options(), &dir.path().join("store")));
    assert!(
        found.contains("none of 1 images could be imported"),
        "{found}"
    );
}

#[test]
fn boxes_that_reach_outside() {
    let dir = tempfile::tempdir().unwrap();
    let mut pictures = pictures(3, DIM);
    pictures[1].boxes[0] = [-0.5, 0.0, 50.0, 50.0];
    pictures[1].boxes[1] = [50.0, 50.0, 50.0, 60.0];
    let source = dir.path().join("in");
    fs::create_dir(&source).unwrap();
    let write = |pictures: &[Picture]| {
        for picture in pictures {
            fs::write(
                source.join(format!("{}.npz", picture.key)),
                picture_npz(picture),
            )
            .unwrap();
        }
    };
    write(&pictures);
    let summary = import_f32(&source, options(), &dir.path().join("store")).unwrap();
    let counts = summary.counts;
    assert_eq!(
        (
            counts.regions_clipped,
            counts.regions_dropped,
            counts.regions
        ),
        (1, 1, 5)
    );
    let store = RegionStore::open(&dir.path().join("store")).unwrap();
    assert_eq!(store.check(), []);
    let how = ImportOptions {
        strict: true,
        ..ImportOptions::default()
    };
    let opened = Source::open(&source, options()).unwrap();
    let found = message(run(&opened, &dir.path().join("strict"), &how));
    assert!(
        found.contains("000015838.npz: image `COCO_val2014_000000015838`: region 0: box [-0.5"),
        "{found}"
    );
    pictures[1].boxes[0] = [0.0, 0.0, 400.0, 50.0];
    write(&pictures);
    let found = message(import_f32(&source, options(), &dir.path().join("far")));
    assert!(
        found.contains("pixels outside the image (201x101 pixels)"),
        "{found}"
    );
    assert!(found.contains("`clip`"), "{found}");
}

#[test]
fn missing_files() {
    let (_dir, source) = changed(|row| row.into_bytes());
    for (option, wanted) in [
        (
            SourceOptions {
                labels: Some("no/labels.tsv".into()),
                ..options()
            },
            "no/labels.tsv is missing",
        ),
        (
            SourceOptions {
                sizes: Some("no/hw.tsv".into()),
                ..options()
            },
            "no/hw.tsv is missing",
        ),
        (
            SourceOptions {
                sizes: Some("no/hw.json".into()),
                ..options()
            },
            "no/hw.json is missing",
        ),
        (
            SourceOptions {
                features: Some("no/f.tsv".into()),
                ..options()
            },
            "no/f.tsv is missing",
        ),
        (
            SourceOptions {
                format: Some(Format::Lxmert),
                ..options()
            },
            "no features of the format lxmert",
        ),
    ] {
        let found = message(Source::open(&source, option));
        assert!(found.contains(wanted), "{found}");
    }
    let yaml = source.join("train.yaml");
    fs::write(&yaml, "feature: nowhere.feature.tsv\n").unwrap();
    let found = message(Source::open(&yaml, options()));
    assert!(found.contains("nowhere.feature.tsv is missing"), "{found}");
    fs::write(&yaml, "caption: x.json\n").unwrap();
    let found = message(Source::open(&yaml, options()));
    assert!(
        found.contains("train.yaml: it names neither features nor labels"),
        "{found}"
    );
}

/// Labels or sizes of other images are no reason to make a store without tags or sizes.
#[test]
fn labels_and_sizes_of_other_images_are_refused() {
    let place = Place::new();
    let pictures = pictures(3, DIM);
    for picture in &pictures {
        place.write(&format!("in/{}.npz", picture.key), picture_npz(picture));
    }
    let rows: Vec<_> = pictures.iter().map(|p| feature_row(p, false)).collect();
    write_table(&place.path("official/features.tsv"), &rows);
    let others = ["photo-1\t[]", "photo-2\t[]"].map(String::from);
    write_table(&place.path("others.tsv"), &others);
    let size = r#"{"photo-1": {"height": 80, "width": 100}}"#;
    place.write("others.json", size);
    let labelled = SourceOptions {
        labels: Some(place.path("others.tsv")),
        ..options()
    };
    let sized = SourceOptions {
        sizes: Some(place.path("others.json")),
        ..options()
    };
    for source in ["in", "official"] {
        for (given, file) in [(&labelled, "others.tsv: "), (&sized, "others.json: ")] {
            let found = message(place.import(source, given.clone()));
            for part in [
                file,
                "none of the 3 images",
                "photo-1",
                pictures[0].key.as_str(),
            ] {
                assert!(found.contains(part), "{source}, {part}: {found}");
            }
        }
    }
    assert!(!place.path("store").exists());
}
