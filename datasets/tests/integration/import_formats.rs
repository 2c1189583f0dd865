//! Every other format than the official one: imported with exactly the values that were written.

use crate::common;
use crate::import_support;

use std::fs;

use common::message;
use import_support::*;
use oscar_datasets::import::{Format, Source, SourceOptions};
use oscar_datasets::{RegionStore, Tag};

fn vinvl_row(picture: &Picture) -> String {
    let mut objects = picture.objects();
    for (object, features) in objects
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .zip(&picture.features)
    {
        object["feature"] = base64(features, false).into();
        object["attributes"] = serde_json::json!(["red"]);
    }
    let json = serde_json::json!({
        "objects": objects, "relations": null,
        "image_w": picture.width, "image_h": picture.height,
    });
    format!("{}\t{json}", picture.key)
}

#[test]
fn vinvl_predictions_with_features() {
    let place = Place::new();
    let pictures = pictures(9, DIM);
    let rows: Vec<_> = pictures.iter().map(vinvl_row).collect();
    write_table(&place.path("in/predictions.tsv"), &rows);
    let summary = place.import("in", options()).unwrap();
    assert_eq!(
        (summary.format.as_str(), summary.counts.images),
        ("vinvl", 9)
    );
    assert_stored(&place.path("store"), &pictures, |v| v);
    let tags = place.tags(1);
    assert_eq!(
        (tags[0].class.as_str(), &tags[0].attributes[..]),
        ("thing 1", &["red".into()][..])
    );
    assert_eq!(tags[0].box_px, Some(pictures[1].boxes[0]));

    // One object without features among others that have them.
    let row = rows[2].replacen("\"feature\"", "\"other\"", 1);
    write_table(&place.path("in/predictions.tsv"), &[rows[1].clone(), row]);
    fs::remove_dir_all(place.path("store")).unwrap();
    let found = message(place.import("in", options()));
    assert!(
        found.contains("predictions.tsv:2: image `COCO_val2014_000000023757`: object 0"),
        "{found}"
    );
}

/// The layout of the VinVL tools: tables that a YAML file names, without features.
fn write_yaml(place: &Place, pictures: &[Picture]) {
    let labels: Vec<_> = pictures
        .iter()
        .map(|p| format!("{}\t{}", p.key, p.objects()))
        .collect();
    write_table(&place.path("in/train.label.tsv"), &labels);
    write_sizes(&place.path("in/train.hw.tsv"), pictures);
    place.write("in/train.linelist.tsv", "0\n2\n3\n2\n");
    place.write(
        "in/train.yaml",
        "img: train.tsv\nlabel: train.label.tsv\nhw: train.hw.tsv\nlinelist: train.linelist.tsv\n",
    );
}

#[test]
fn a_data_set_without_features_needs_a_word() {
    let place = Place::new();
    let pictures = pictures(5, DIM);
    write_yaml(&place, &pictures);
    let found = message(place.import("in", options()));
    assert!(
        found.contains("train.label.tsv:1: image `COCO_val2014_000000007919`: object 0"),
        "{found}"
    );
    assert!(
        found.contains("it has no `feature`; give the feature file as `features`"),
        "{found}"
    );
    assert!(found.contains("`tags_only`"), "{found}");

    let tags_only = SourceOptions {
        tags_only: true,
        ..options()
    };
    let summary = place.import("in", tags_only).unwrap();
    let counts = summary.counts;
    assert_eq!(
        (counts.images, counts.regions, counts.images_without_regions),
        (3, 0, 3)
    );
    assert!(
        summary
            .notes
            .iter()
            .any(|note| note.contains("only tags are stored"))
    );
    assert!(
        summary
            .notes
            .iter()
            .any(|note| note.contains("3 of 5 rows")),
        "{:?}",
        summary.notes
    );
    let store = RegionStore::open(&place.path("store")).unwrap();
    assert_eq!(store.check(), []);
    assert_eq!(store.key(1), pictures[2].key);
    assert_eq!(store.size(1), (pictures[2].width, pictures[2].height));
    assert_eq!(store.tag_text(1).unwrap(), "thing 2 thing 3 thing 4");
    drop(store);

    // The same data set with its features given.
    fs::remove_dir_all(place.path("store")).unwrap();
    let rows: Vec<_> = pictures.iter().map(|p| feature_row(p, false)).collect();
    write_table(&place.path("feats.tsv"), &rows);
    let with_features = SourceOptions {
        features: Some(place.path("feats.tsv")),
        ..options()
    };
    let summary = place.import("in", with_features).unwrap();
    assert_eq!(
        (summary.format.as_str(), summary.counts.images),
        ("official", 3)
    );
    let listed: Vec<_> = [0, 2, 3].map(|row| pictures[row].clone()).to_vec();
    assert_stored(&place.path("store"), &listed, |v| v);
    assert_eq!(place.tags(1).len(), 3);
    let store = RegionStore::open(&place.path("store")).unwrap();
    assert_eq!(store.size(2), (pictures[3].width, pictures[3].height));
}

fn base64_of<T: bytemuck::Pod>(values: &[T]) -> String {
    base64_simd::STANDARD.encode_to_string(bytemuck::cast_slice::<T, u8>(values))
}

fn lxmert_row(picture: &Picture) -> String {
    let regions = picture.boxes.len();
    let classes: Vec<i64> = (0..regions as i64).map(|class| class % 3).collect();
    [
        picture.key.clone(),
        picture.height.to_string(),
        picture.width.to_string(),
        base64_of(&classes),
        base64_of(&vec![0.25f32; regions]),
        base64_of(&vec![1i64; regions]),
        base64_of(&vec![0.75f32; regions]),
        regions.to_string(),
        base64_of(&picture.boxes),
        base64_of(&picture.features.concat()),
    ]
    .join("\t")
}

#[test]
fn lxmert_and_bottom_up_tables() {
    let place = Place::new();
    let pictures = pictures(9, DIM);
    let rows: Vec<_> = pictures.iter().map(lxmert_row).collect();
    write_table(&place.path("mscoco.tsv"), &rows);
    place.write("classes.txt", "dog\ncat,kitty\nred hat\n");
    place.write("attributes.txt", "old\nnew");
    let named = SourceOptions {
        classes: Some(place.path("classes.txt")),
        attributes: Some(place.path("attributes.txt")),
        ..options()
    };
    let summary = place.import("mscoco.tsv", named.clone()).unwrap();
    assert_eq!(
        (summary.format.as_str(), summary.counts.images_without_tags),
        ("lxmert", 0)
    );
    assert_stored(&place.path("store"), &pictures, |v| v);
    let tags = place.tags(2);
    let classes: Vec<_> = tags.iter().map(|tag| tag.class.as_str()).collect();
    assert_eq!(
        (classes, tags[2].score),
        (vec!["dog", "cat", "red hat"], 0.25)
    );
    assert_eq!(tags[2].attributes, ["new"]);

    // Without vocabularies there are no tags, and the summary says so.
    fs::remove_dir_all(place.path("store")).unwrap();
    let nameless = SourceOptions {
        classes: None,
        ..named.clone()
    };
    let summary = place.import("mscoco.tsv", nameless).unwrap();
    assert_eq!(summary.counts.images_without_tags, 9);
    let [classes, attributes] = &summary.notes[..] else {
        panic!("{:?}", summary.notes)
    };
    assert!(classes.contains("no vocabulary of classes"), "{classes}");
    assert!(
        attributes.contains("`attributes` has no effect"),
        "{attributes}"
    );
    fs::remove_dir_all(place.path("store")).unwrap();
    let rows = rows.iter().map(|row| {
        let columns: Vec<_> = row.split('\t').collect();
        [
            columns[0], columns[2], columns[1], columns[7], columns[8], columns[9],
        ]
        .join("\t")
    });
    write_table(&place.path("butd.tsv"), &rows.collect::<Vec<_>>());
    // Its rows have no classes: names of some have no effect, which is said, too.
    let summary = place.import("butd.tsv", named.clone()).unwrap();
    assert_eq!(summary.counts.images_without_tags, 9);
    assert!(
        summary.notes[0].contains("`classes` has no effect"),
        "{:?}",
        summary.notes
    );
    assert_stored(&place.path("store"), &pictures, |v| v);

    place.write("classes.txt", "dog\n");
    fs::remove_dir_all(place.path("store")).unwrap();
    let found = message(place.import("mscoco.tsv", named));
    assert!(found.contains("mscoco.tsv:2: image"), "{found}");
    assert!(
        found.contains("class 1, where the vocabulary has 1 names"),
        "{found}"
    );
}

#[test]
fn npz_archives() {
    let place = Place::new();
    let pictures = pictures(9, DIM);
    for picture in &pictures {
        place.write(&format!("in/{}.jpg.npz", picture.key), picture_npz(picture));
    }
    let summary = place.import("in", options()).unwrap();
    assert_eq!((summary.format.as_str(), summary.counts.images), ("npz", 9));
    place.assert_holds(&pictures);

    // The other way round, padded, in Fortran order, and of 64 bits: the same values.
    let picture = &pictures[3];
    let values = picture.features.concat();
    let padded: Vec<f64> = (0..DIM)
        .flat_map(|column| {
            let values = &values;
            (0..7).map(move |row| {
                values
                    .get(row * DIM + column)
                    .map_or(0.0, |v| f64::from(*v))
            })
        })
        .collect();
    let doubles = bytemuck::cast_slice(&padded);
    let mut boxes = picture.boxes.clone();
    boxes.resize(7, [0.0; 4]);
    for features in [
        npy("<f8", false, &[DIM, 7], doubles),
        npy("<f8", true, &[7, DIM], doubles),
    ] {
        fs::remove_dir_all(place.path("in")).unwrap();
        fs::remove_dir_all(place.path("store")).unwrap();
        let arrays = [
            ("features", features),
            ("boxes", npy_f32(boxes.as_flattened(), 4)),
            ("num_boxes", npy_number(4)),
            ("img_w", npy_number(i64::from(picture.width))),
            ("img_h", npy_number(i64::from(picture.height))),
            ("info", npy("|O", false, &[], b"\x80\x03}q\x00.")),
            ("soft_labels", npy_f32(&[0.5; 8], 2)),
        ];
        place.write(&format!("in/{}.npz", picture.key), npz(&arrays));
        place.import("in", options()).unwrap();
        place.assert_holds(std::slice::from_ref(picture));
    }

    let object = npz(&[("x", npy("|O", false, &[], b"cos\nsystem\n(S'true'\ntR."))]);
    place.write("in/zz.npz", object);
    fs::remove_dir_all(place.path("store")).unwrap();
    let found = message(place.import("in", options()));
    assert!(
        found.contains("zz.npz: array `x`: an array of Python objects"),
        "{found}"
    );
}

#[test]
fn npz_archives_with_labels_from_elsewhere() {
    let place = Place::new();
    let pictures = pictures(6, DIM);
    for picture in &pictures {
        let arrays = [("x", npy_f32(&picture.features.concat(), DIM))];
        place.write(&format!("in/{}.npz", picture.key), npz(&arrays));
    }
    let labels: Vec<_> = pictures
        .iter()
        .map(|p| format!("{}\t{}", p.key, p.objects()))
        .collect();
    write_table(&place.path("labels.tsv"), &labels);
    write_sizes(&place.path("hw.tsv"), &pictures);
    let found = message(place.import("in", options()));
    assert!(
        found.contains("regions without boxes; give the label file"),
        "{found}"
    );
    let labelled = SourceOptions {
        labels: Some(place.path("labels.tsv")),
        sizes: Some(place.path("hw.tsv")),
        ..options()
    };
    let summary = place.import("in", labelled).unwrap();
    assert!(
        summary.notes.iter().any(|note| note.contains("labels.tsv")),
        "{:?}",
        summary.notes
    );
    place.assert_holds(&pictures);
}

#[test]
fn npy_arrays() {
    let place = Place::new();
    let pictures = pictures(6, DIM);
    for (n, picture) in pictures.iter().enumerate() {
        place.write(
            &format!("in/{}.npy", picture.key),
            npy_f32(&picture.features.concat(), DIM),
        );
        let suffix = ["bbox", "boxes"][n % 2];
        let boxes = npy_f32(picture.boxes.as_flattened(), 4);
        place.write(&format!("in/{}_{suffix}.npy", picture.key), boxes);
        let info = npy("|O", false, &[], b"\x80\x03}q\x00.");
        place.write(&format!("in/{}_info.npy", picture.key), info);
    }
    let sizes: serde_json::Map<String, serde_json::Value> = pictures
        .iter()
        .map(|p| {
            let size = serde_json::json!({"height": p.height, "width": p.width});
            (p.key.clone(), size)
        })
        .collect();
    place.write("sizes.json", serde_json::Value::from(sizes).to_string());
    let found = message(place.import("in", options()));
    assert!(
        found.contains(".npy: image `COCO") && found.contains("`sizes`"),
        "{found}"
    );
    let sized = SourceOptions {
        sizes: Some(place.path("sizes.json")),
        ..options()
    };
    let summary = place.import("in", sized.clone()).unwrap();
    assert_eq!(summary.format, "npy");
    assert!(summary.notes.is_empty(), "{:?}", summary.notes);
    place.assert_holds(&pictures);

    // A dictionary that would call something is named, and not executed.
    fs::remove_dir_all(place.path("store")).unwrap();
    let hostile = npy("|O", false, &[], b"cos\nsystem\n(S'true'\ntR.");
    place.write(&format!("in/{}_info.npy", pictures[0].key), hostile);
    let found = message(place.import("in", sized.clone()));
    assert!(
        found.contains("_info.npy: its dictionary cannot be read") && found.contains("system"),
        "{found}"
    );

    // Whole rows of features and boxes need nothing beside them.
    for picture in &pictures {
        place.write(
            &format!("whole/{}.npy", picture.key),
            npy_f32(&picture.values(), DIM + 6),
        );
    }
    let summary = place.import("whole", options()).unwrap();
    assert_eq!(summary.counts.images_without_size, 6);
    place.assert_holds(&pictures);

    place.write("whole/zz.npy", npy("|O", false, &[], b"\x80\x03}q\x00."));
    fs::remove_dir_all(place.path("store")).unwrap();
    let found = message(place.import("whole", options()));
    assert!(
        found.contains("zz.npy: its dictionary has no x or features"),
        "{found}"
    );
}

/// A safetensors file of 32-bit floats.
fn safetensors(tensors: &[(&str, Vec<f32>, usize)], tags: Option<&[Tag]>) -> Vec<u8> {
    let views = tensors.iter().map(|(name, values, cols)| {
        let shape = match cols {
            0 => vec![values.len()],
            cols => vec![values.len() / cols, *cols],
        };
        let data = bytemuck::cast_slice(values);
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, data);
        (*name, view.unwrap())
    });
    let metadata = tags.map(|tags| {
        std::collections::HashMap::from([("tags".into(), serde_json::to_string(tags).unwrap())])
    });
    safetensors::serialize(views, metadata).unwrap()
}

#[test]
fn safetensors_files() {
    let place = Place::new();
    let pictures = pictures(6, DIM);
    for (n, picture) in pictures.iter().enumerate() {
        let features = ("features", picture.features.concat(), DIM);
        let size = vec![picture.width as f32, picture.height as f32];
        let tags = [common::tag("dog")];
        let bytes = match n % 2 {
            0 => {
                let boxes = ("boxes", picture.boxes.concat(), 4);
                safetensors(&[features, boxes, ("image_size", size, 0)], Some(&tags))
            }
            _ => safetensors(&[features, ("boxes", picture.relative().concat(), 6)], None),
        };
        place.write(&format!("in/{}.safetensors", picture.key), bytes);
    }
    let summary = place.import("in", options()).unwrap();
    assert_eq!(
        (summary.counts.tags, summary.counts.images_without_size),
        (3, 3)
    );
    place.assert_holds(&pictures);
    let none = safetensors(&[("other", vec![1.0], 0)], None);
    place.write("in/zz.safetensors", none);
    let found = message(import_f32(
        &place.path("in"),
        options(),
        &place.path("store2"),
    ));
    assert!(
        found.contains("zz.safetensors: tensor `features` is missing"),
        "{found}"
    );
}

#[test]
fn tables_are_told_whatever_is_wrong_with_them() {
    let place = Place::new();
    place.write("OTHER.TSV", "1\t2\n");
    place.write("x.tsv.gz", [0x1f, 0x8b]);
    place.write("cut.tsv", "k\t1\nl\t2\n");
    place.write("cut.lineidx", "0\n2\n");
    for (source, wanted) in [
        ("OTHER.TSV", "OTHER.TSV:1: a row of no known table"),
        ("x.tsv.gz", "it is compressed"),
        ("cut.tsv", "cut.lineidx: line 2: offset 2"),
    ] {
        let found = message(Source::open(&place.path(source), options()).map(|_| ()));
        assert!(found.contains(wanted), "{found}");
    }
}

#[test]
fn what_is_there_decides_or_the_user_does() {
    let place = Place::new();
    let pictures = pictures(3, DIM);
    write_folder(&place.path("in"), &pictures, false);
    place.write("in/a.npz", picture_npz(&pictures[1]));
    let found = message(place.import("in", options()));
    assert!(
        found.contains("it can be read as official (features.tsv) or as npz (1 .npz files)")
            && found.contains("`format`"),
        "{found}"
    );
    let chosen = SourceOptions {
        format: Some(Format::Npz),
        ..options()
    };
    assert_eq!(place.import("in", chosen).unwrap().counts.images, 1);

    let chosen = |format| SourceOptions {
        format: Some(format),
        ..options()
    };
    let cases = |options: SourceOptions, source: &str| {
        message(Source::open(&place.path(source), options).map(|_| ()))
    };
    fs::create_dir(place.path("empty")).unwrap();
    place.write("x.csv", "1,2");
    place.write("x.tsv", "1\t2\n");
    place.write("none.tsv", "");
    place.write("page.tsv", "<!DOCTYPE html>\n<html></html>\n");
    fs::create_dir(place.path("pointer")).unwrap();
    place.write(
        "pointer/a.npz",
        "version https://git-lfs.github.com/spec/v1\n",
    );
    place.write("hdf/trainval_36.hdf5", "\u{89}HDF");
    for (options, source, wanted) in [
        (options(), "nowhere", "nowhere is missing"),
        (options(), "empty", "no region features of a known format"),
        (options(), "store", "it is a region store already"),
        (options(), "x.csv", "it has no known extension"),
        (options(), "x.tsv", "x.tsv:1: a row of no known table"),
        (options(), "none.tsv", "it has no row"),
        (options(), "page.tsv", "it is an HTML or XML page"),
        (options(), "hdf", "trainval_36.hdf5, an HDF5 file"),
        (options(), "hdf/trainval_36.hdf5", "it is an HDF5 file"),
        (
            chosen(Format::Lxmert),
            "in",
            "no features of the format lxmert",
        ),
        (
            SourceOptions {
                feature_dim: 0,
                ..options()
            },
            "in",
            "`feature_dim` is 0",
        ),
        (
            SourceOptions {
                tags_only: true,
                ..chosen(Format::Npz)
            },
            "in",
            "`tags_only` does not apply to the format npz",
        ),
        (
            SourceOptions {
                classes: Some("c.txt".into()),
                ..chosen(Format::Official)
            },
            "in",
            "`classes` does not apply to the format official",
        ),
    ] {
        let found = cases(options, source);
        assert!(found.contains(wanted), "{found}");
    }
    fs::remove_dir_all(place.path("store")).unwrap();
    let found = message(place.import("pointer", options()));
    assert!(found.contains("a.npz: it is a Git LFS pointer"), "{found}");
}
