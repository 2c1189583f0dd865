//! Official feature files: imported, and trained from as they are, with the same values.

use crate::common;
use crate::import_support;

use std::fs;
use std::path::Path;

use common::message;
use import_support::*;
use oscar_core::input::RegionHandle;
use oscar_datasets::import::Source;
use oscar_datasets::official::{OfficialImages, OfficialOptions};
use oscar_datasets::{RegionStore, SharedImages, StoreDtype, open_images};
use rstest::rstest;

fn open(path: &Path) -> SharedImages {
    let options = OfficialOptions {
        feature_dim: DIM,
        ..OfficialOptions::default()
    };
    OfficialImages::open(path, options).unwrap()
}

/// Asserts that what a corpus reads from the files is what it reads from the imported store.
fn assert_same(files: &SharedImages, store: &Path) {
    let store = RegionStore::open(store).unwrap();
    assert_eq!(
        (files.len(), files.region_dim()),
        (store.len(), store.region_dim())
    );
    for (row, key) in store.keys().enumerate() {
        assert_eq!(files.find(key), Some(row));
        assert_eq!(files.tag_text(row).unwrap(), store.tag_text(row).unwrap());
        let handle = RegionHandle::new(files.clone(), row).unwrap();
        assert_eq!(handle.len(), store.num_regions(row));
        // All regions, and the first ones alone.
        for regions in 0..=handle.len() {
            let mut found = vec![f32::NAN; regions * handle.dim()];
            handle.copy_into(&mut found).unwrap();
            let mut wanted = vec![f32::NAN; found.len()];
            store.copy_regions(row, &mut wanted);
            assert_eq!(found, wanted, "{key}");
        }
    }
    assert_eq!(files.find("no such key"), None);
}

#[rstest]
fn a_folder(#[values(false, true)] half: bool, #[values(false, true)] indexes: bool) {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("vg"), dir.path().join("store"));
    let pictures = pictures(23, DIM);
    write_folder(&source, &pictures, half);
    if !indexes {
        for file in [
            "imageid2idx.json",
            "features.lineidx",
            "predictions.lineidx",
        ] {
            fs::remove_file(source.join(file)).unwrap();
        }
    }
    let summary = import_f32(&source, options(), &out).unwrap();
    let regions: usize = pictures.iter().map(|p| p.boxes.len()).sum();
    assert_eq!(
        (summary.counts.images, summary.counts.regions),
        (23, regions)
    );
    assert_eq!(
        (summary.counts.tags, summary.counts.images_without_tags),
        (regions, 0)
    );
    assert_eq!(
        summary.verified.unwrap().values,
        (regions * (DIM + 6)) as u64
    );
    assert_stored(&out, &pictures, |v| if half { halved(v) } else { v });
    let store = RegionStore::open(&out).unwrap();
    assert_eq!(store.size(3), (pictures[3].width, pictures[3].height));
    assert_eq!(store.tags(2).unwrap()[1].box_px, Some(pictures[2].boxes[1]));
    // The folder, or the file in it.
    assert_same(&open(&source), &out);
    assert_same(&open(&source.join("features.tsv")), &out);
}

#[rstest]
fn chunks(#[values(false, true)] half: bool) {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("cc"), dir.path().join("store"));
    let pictures = pictures(31, DIM);
    for (chunk, part) in ["0", "2", "10"].iter().zip(pictures.chunks(11)) {
        write_folder(&source.join(chunk), part, half);
    }
    fs::create_dir(source.join("logs")).unwrap();
    let summary = import_f32(&source, options(), &out).unwrap();
    assert!(
        summary.notes.iter().any(|note| note.contains("logs")),
        "{:?}",
        summary.notes
    );
    assert_stored(&out, &pictures, |v| if half { halved(v) } else { v });
    assert_same(&open(&source), &out);

    // The same image in two chunks.
    write_folder(&source.join("11"), &pictures[..2], half);
    let found = message(Source::open(&source, options()));
    assert!(
        found.contains("11/features.tsv:1: image `COCO_val2014_000000007919`"),
        "{found}"
    );
    assert!(found.contains("0/features.tsv:1 too"), "{found}");
}

#[rstest]
fn captioning_layout(#[values(false, true)] half: bool) {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (
        dir.path().join("train.feature.tsv"),
        dir.path().join("store"),
    );
    let pictures = pictures(12, DIM);
    let rows: Vec<_> = pictures.iter().map(|p| caption_row(p, half)).collect();
    write_table(&source, &rows);
    let labels: Vec<_> = pictures
        .iter()
        .map(|p| format!("{}\t{}", p.key, p.objects()))
        .collect();
    write_table(&dir.path().join("train.label.tsv"), &labels);
    import_f32(&source, options(), &out).unwrap();
    assert_stored(&out, &pictures, |v| if half { halved(v) } else { v });
    assert_same(&open(&source), &out);
    assert_eq!(
        RegionStore::open(&out).unwrap().tag_text(1).unwrap(),
        "thing 1 thing 2"
    );
    assert_eq!(RegionStore::open(&out).unwrap().size(1), (0, 0));
}

#[test]
fn an_offset_map_in_the_place_of_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (
        dir.path().join("val_img_frcnn_feats.tsv"),
        dir.path().join("store"),
    );
    let pictures = pictures(9, DIM);
    let rows: Vec<_> = pictures.iter().map(|p| feature_row(p, false)).collect();
    write_table(&source, &rows);
    let offsets = fs::read_to_string(source.with_extension("lineidx")).unwrap();
    let entries = pictures.iter().zip(offsets.lines());
    let map: Vec<_> = entries
        .map(|(p, offset)| format!("{:?}: {offset}", p.key))
        .collect();
    let map_path = dir.path().join("val_img_frcnn_feats_offset_map.json");
    fs::write(&map_path, format!("{{{}}}", map.join(", "))).unwrap();
    fs::remove_file(source.with_extension("lineidx")).unwrap();
    import_f32(&source, options(), &out).unwrap();
    assert_stored(&out, &pictures, |v| v);
    assert_same(&open(&source), &out);

    fs::write(&map_path, format!("{{{}}}", map[1..].join(", "))).unwrap();
    let found = message(Source::open(&source, options()));
    assert!(
        found.contains("offset_map.json: the first offset is 105, not 0"),
        "{found}"
    );
}

#[test]
fn features_without_boxes_take_those_of_their_labels() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("f"), dir.path().join("store"));
    let pictures = pictures(10, DIM);
    write_folder(&source, &pictures, false);
    let rows: Vec<_> = pictures
        .iter()
        .map(|p| {
            format!(
                "{}\t{}\t{}",
                p.key,
                p.boxes.len(),
                base64(&p.features.concat(), false)
            )
        })
        .collect();
    write_table(&source.join("features.tsv"), &rows);
    import_f32(&source, options(), &out).unwrap();
    assert_stored(&out, &pictures, |v| v);
    assert_same(&open(&source), &out);

    fs::remove_file(source.join("predictions.tsv")).unwrap();
    fs::remove_file(source.join("predictions.lineidx")).unwrap();
    let found = message(import_f32(&source, options(), &dir.path().join("other")));
    assert!(
        found
            .contains("features.tsv:1: image `COCO_val2014_000000007919`: 1 regions without boxes"),
        "{found}"
    );
}

#[test]
fn sixteen_bits_round_once() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("f"), dir.path().join("store"));
    let pictures = pictures(10, DIM);
    write_folder(&source, &pictures, false);
    let summary = import_skipping(&source, options(), &out).unwrap();
    assert_eq!((summary.dtype.as_str(), summary.skipped.total), ("F16", 0));
    let store = RegionStore::open(&out).unwrap();
    assert_eq!(store.dtype(), StoreDtype::F16);
    for (row, picture) in pictures.iter().enumerate() {
        let mut values = vec![0.0; picture.boxes.len() * (DIM + 6)];
        store.copy_regions(row, &mut values);
        for (region, values) in values.chunks_exact(DIM + 6).enumerate() {
            let wanted: Vec<_> = picture.features[region]
                .iter()
                .map(|v| halved(*v))
                .collect();
            assert_eq!(values[..DIM], wanted);
            assert_eq!(values[DIM..], picture.relative()[region]);
        }
    }
}

#[test]
fn published_dimensions_open_without_options() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("f"), dir.path().join("store"));
    let pictures = pictures(3, 2048);
    write_folder(&source, &pictures, false);
    import_f32(
        &source,
        oscar_datasets::import::SourceOptions::default(),
        &out,
    )
    .unwrap();
    assert_same(&open_images(&source).unwrap(), &out);
    assert_same(&open_images(&source.join("features.tsv")).unwrap(), &out);
    assert_same(&open_images(&out).unwrap(), &out);
    let found = message(open_images(&dir.path().join("nothing")));
    assert!(
        found.contains("nothing/index.safetensors is missing"),
        "{found}"
    );
    let found = message(open_images(&out.join("tags.jsonl")));
    assert!(
        found.contains("neither a region store nor an official"),
        "{found}"
    );
}
