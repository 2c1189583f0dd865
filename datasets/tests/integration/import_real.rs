//! Real published features, where they are at hand.

use crate::common;
use crate::import_support;

use std::fs;
use std::path::Path;

use common::message;
use import_support::*;
use oscar_datasets::import::{Source, SourceOptions};
use oscar_datasets::{RegionStore, open_images};

/// Real files, imported without rounding and compared value by value: five images of bottom-up
/// attention, and from them every layout of official files, which are then trained from directly.
#[test]
#[ignore = "needs a folder of bottom-up-attention .npz files: OSCAR_BUTD=DIR"]
fn real_bottom_up_attention() {
    let source = std::env::var("OSCAR_BUTD").expect("OSCAR_BUTD=DIR");
    let place = Place::new();
    let source = Source::open(Path::new(&source), SourceOptions::default()).unwrap();
    let path = source.provenance().path.to_path_buf();
    let summary = import_f32(&path, SourceOptions::default(), &place.path("store")).unwrap();
    let store = RegionStore::open(&place.path("store")).unwrap();
    assert_eq!(store.check(), []);
    assert_eq!(summary.verified.unwrap().images, store.len());
    let rows: Vec<Picture> = (0..store.len())
        .map(|row| stored_picture(&store, row))
        .collect();
    for (n, half) in [false, true].into_iter().enumerate() {
        write_folder(&place.path(&format!("single{n}")), &rows, half);
        for (chunk, rows) in rows.chunks(2).enumerate() {
            write_folder(&place.path(&format!("chunked{n}/{chunk}")), rows, half);
        }
        let captions: Vec<_> = rows.iter().map(|p| caption_row(p, half)).collect();
        write_table(&place.path(&format!("train{n}.feature.tsv")), &captions);
        let round = move |v: f32| if half { halved(v) } else { v };
        for source in ["single#", "chunked#", "train#.feature.tsv"] {
            let source = place.path(&source.replace('#', &n.to_string()));
            let out = place.path("official");
            import_f32(&source, SourceOptions::default(), &out).unwrap();
            let imported = RegionStore::open(&out).unwrap();
            assert_eq!(imported.check(), []);
            let direct = open_images(&source).unwrap();
            assert_eq!((direct.len(), imported.len()), (store.len(), store.len()));
            for (row, picture) in rows.iter().enumerate() {
                let wanted: Vec<f32> = picture.values().into_iter().map(round).collect();
                let mut values = vec![f32::NAN; wanted.len()];
                imported.copy_regions(row, &mut values);
                assert_eq!(values, wanted);
                values.fill(f32::NAN);
                let at = direct.find(&picture.key).unwrap();
                assert_eq!(direct.num_regions(at).unwrap(), picture.boxes.len());
                direct.copy_regions(at, &mut values).unwrap();
                assert_eq!(values, wanted);
            }
            fs::remove_dir_all(out).unwrap();
        }
    }
}

/// An image of a store whose boxes are given by its shares.
fn stored_picture(store: &RegionStore, row: usize) -> Picture {
    let (regions, dim) = (store.num_regions(row), store.region_dim());
    let mut values = vec![0.0; regions * dim];
    store.copy_regions(row, &mut values);
    let (width, height) = store.size(row);
    let features = values
        .chunks_exact(dim)
        .map(|v| v[..dim - 6].to_vec())
        .collect();
    let boxes = store.boxes(row).iter().map(|b| {
        let (w, h) = (width as f32, height as f32);
        [b[0] * w, b[1] * h, b[2] * w, b[3] * h]
    });
    Picture {
        key: store.key(row).into(),
        width,
        height,
        features,
        boxes: boxes.collect(),
        classes: (0..regions).map(|n| format!("thing {n}")).collect(),
    }
}

/// The sample of the VinVL tools: pictures, labels and sizes, and no features.
#[test]
#[ignore = "needs the mini_tsv sample of the VinVL tools: OSCAR_VINVL_TSV=DIR"]
fn real_vinvl_tables() {
    let source = std::env::var("OSCAR_VINVL_TSV").expect("OSCAR_VINVL_TSV=DIR");
    let place = Place::new();
    let found = message(import_f32(
        Path::new(&source),
        SourceOptions::default(),
        &place.path("store"),
    ));
    assert!(
        found.contains("train.label.tsv:1") && found.contains("--tags-only"),
        "{found}"
    );
    let tags_only = SourceOptions {
        tags_only: true,
        ..SourceOptions::default()
    };
    let summary = import_f32(Path::new(&source), tags_only, &place.path("store")).unwrap();
    assert_eq!((summary.counts.images, summary.counts.tags), (3, 6));
    let store = RegionStore::open(&place.path("store")).unwrap();
    assert_eq!(store.check(), []);
    assert_eq!(store.keys().next(), Some("000000522418"));
    assert_eq!(store.size(0), (640, 480));
    assert_eq!(store.tag_text(2).unwrap(), "Dog Cat");
}
