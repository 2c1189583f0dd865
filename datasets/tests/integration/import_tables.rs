//! Tables of features, labels and sizes that are not as the importer needs them: what is wrong is said.

use crate::common;
use crate::import_support;

use std::fs;

use common::message;
use import_support::*;
use oscar_datasets::import::{Source, SourceOptions};

#[test]
fn tables_that_do_not_name_the_images() {
    let place = Place::new();
    let pictures = pictures(2, DIM);
    for picture in &pictures {
        let arrays = [
            ("x", npy_f32(&picture.features.concat(), DIM)),
            ("bbox", npy_f32(picture.boxes.as_flattened(), 4)),
        ];
        place.write(&format!("in/{}.npz", picture.key), npz(&arrays));
    }
    let mut others = pictures.clone();
    others[1].key = "other".into();
    write_sizes(&place.path("hw.tsv"), &others);
    let table = |labels: &str, sizes: &str| SourceOptions {
        labels: Some(place.path(labels)),
        sizes: Some(place.path(sizes)),
        ..options()
    };
    let objects = |p: &Picture| format!("{}\t{}", p.key, p.objects());
    write_table(
        &place.path("labels.tsv"),
        &others.iter().map(objects).collect::<Vec<_>>(),
    );
    let found = message(place.import("in", table("labels.tsv", "hw.tsv")));
    assert!(
        found.contains(&pictures[1].key) && found.contains("hw.tsv does not name it"),
        "{found}"
    );
    write_sizes(&place.path("hw.tsv"), &pictures);
    let summary = place.import("in", table("labels.tsv", "hw.tsv")).unwrap();
    assert_eq!(summary.counts.images_without_tags, 1);
    let key = format!("`{}` is not among its keys", pictures[1].key);
    assert!(
        summary.notes.iter().any(|note| note.contains(&key)),
        "{:?}",
        summary.notes
    );

    // Commas where tabs are expected: whole lines would be keys.
    place.write("commas.csv", "image,height,width\na,1,2\n");
    for options in [
        table("commas.csv", "hw.tsv"),
        table("labels.tsv", "commas.csv"),
    ] {
        let found = message(Source::open(&place.path("in"), options));
        assert!(found.contains("commas.csv:1: no tab in"), "{found}");
    }
    // The row of labels is named, not that of the features.
    let unnamed = format!("{}\t[{{\"class\": \" \"}}]", pictures[0].key);
    write_table(&place.path("labels.tsv"), &[objects(&pictures[1]), unnamed]);
    fs::remove_dir_all(place.path("store")).unwrap();
    let found = message(place.import("in", table("labels.tsv", "hw.tsv")));
    assert!(
        found.contains("labels.tsv:2: ") && found.contains("object 0 has no class"),
        "{found}"
    );
}

#[test]
fn tables_with_names_of_columns_or_in_utf16() {
    let place = Place::new();
    let rows: String = pictures(3, DIM)
        .iter()
        .map(|p| {
            let (boxes, features) = (p.boxes.as_flattened(), p.features.concat());
            let (boxes, features) = (base64(boxes, false), base64(&features, false));
            let (width, height, regions) = (p.width, p.height, p.boxes.len());
            format!(
                "{}\t{width}\t{height}\t{regions}\t{boxes}\t{features}\n",
                p.key
            )
        })
        .collect();
    place.write("plain.tsv", &rows);
    assert!(Source::open(&place.path("plain.tsv"), options()).is_ok());
    let names = "image_id\timage_w\timage_h\tnum_boxes\tboxes\tfeatures\n";
    place.write("names.tsv", format!("{names}{rows}"));
    let wide: Vec<u8> = rows.encode_utf16().flat_map(u16::to_le_bytes).collect();
    place.write("wide.tsv", wide);
    for (name, wanted) in [
        (
            "names.tsv",
            "names.tsv:1: a line of names, \"image_id\\timage_w",
        ),
        ("wide.tsv", "wide.tsv:1: it is no text in UTF-8"),
    ] {
        let found = message(Source::open(&place.path(name), options()));
        assert!(found.contains(wanted), "{found}");
    }
}

#[test]
fn names_of_classes_are_alone_in_their_lines() {
    let place = Place::new();
    place.write("in/1.npz", picture_npz(&pictures(1, DIM)[0]));
    let open = |text: &str| {
        place.write("classes.txt", text);
        let named = SourceOptions {
            classes: Some(place.path("classes.txt")),
            ..options()
        };
        Source::open(&place.path("in"), named)
    };
    for (text, wanted) in [
        (
            "0\tcat\n1\tdog\n",
            "classes.txt:1: a number before the name",
        ),
        ("1,cat\n2,dog\n", "classes.txt:1: a number before the name"),
        ("[\"cat\", \"dog\"]", "classes.txt:1: a list or an object"),
        ("cat\tn1\ndog\tn2\n", "classes.txt:1: columns"),
        ("cat\n\ndog\n", "classes.txt:2: a line without a name"),
    ] {
        let found = message(open(text));
        assert!(found.contains(wanted), "{found}");
    }
    for text in ["cat,kitty\r\ndog\r\n\r\n", "2 dogs\n1 cat\n", "0\n1\n"] {
        assert!(open(text).is_ok(), "{text}");
    }
}
