//! Files of an index: whole or refused, with the file named.

use std::path::{Path, PathBuf};

use oscar_search::{IndexError, NewIndex, VectorIndex, Vectors};
use tempfile::TempDir;

const WIDTH: usize = 5;

fn vectors(rows: usize) -> Vectors {
    let values = (0..rows * WIDTH).map(|at| (at as f32 * 0.37).sin());
    Vectors::new(WIDTH, values.collect()).unwrap()
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("bild-ä{at}")).collect()
}

fn write(path: &Path, keys: &[String], parts: &[Vectors]) -> Result<(), IndexError> {
    let new = NewIndex {
        keys,
        width: WIDTH,
        checkpoint: "of the weights",
        store: "of the store",
    };
    new.write(path, |write| parts.iter().try_for_each(write))
}

/// An index of seven pictures, written in two parts.
fn made() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("pictures.index");
    let all = vectors(7);
    let part = |rows: std::ops::Range<usize>| {
        let values = all.values()[rows.start * WIDTH..rows.end * WIDTH].to_vec();
        Vectors::new(WIDTH, values).unwrap()
    };
    write(&path, &keys(7), &[part(0..3), part(3..7)]).unwrap();
    (place, path)
}

fn refusal(path: &Path) -> String {
    match VectorIndex::open(path) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_was_written_is_read() {
    let (_place, path) = made();
    assert!(VectorIndex::is_one(&path));
    let index = VectorIndex::open(&path).unwrap();
    assert_eq!((index.len(), index.width()), (7, WIDTH));
    assert_eq!(
        (index.checkpoint(), index.store()),
        ("of the weights", "of the store")
    );
    for (row, key) in keys(7).iter().enumerate() {
        assert_eq!(index.key(row), key);
    }
    for (stored, written) in index.vectors().iter().zip(vectors(7).values()) {
        assert!((stored.to_f32() - written).abs() < 1e-3);
    }
    let found = index.search(&vectors(1), 3).unwrap();
    assert_eq!(found[0].len(), 3);
    // A safetensors file as any other program reads it.
    let bytes = std::fs::read(&path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.tensor("vectors").unwrap().shape(), [7, WIDTH]);
}

#[test]
fn a_damaged_file_is_refused_and_named() {
    let (place, path) = made();
    let whole = std::fs::read(&path).unwrap();
    let damaged = place.path().join("damaged.index");
    for cut in [0, 4, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&damaged, &whole[..cut]).unwrap();
        assert!(refusal(&damaged).contains("damaged.index"), "{cut}");
    }
    // Any bit of the data: offsets, checksum, vectors, keys.
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for at in (header..whole.len()).step_by(11) {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        std::fs::write(&damaged, &flipped).unwrap();
        assert!(refusal(&damaged).contains("damaged.index"), "byte {at}");
    }
    let other = String::from_utf8_lossy(&whole[..header]).into_owned();
    let other = other.replace("\"version\":\"1\"", "\"version\":\"9\"");
    let newer = [other.as_bytes(), &whole[header..]].concat();
    std::fs::write(&damaged, newer).unwrap();
    assert!(refusal(&damaged).contains("version 9"));
    assert!(!VectorIndex::is_one(&damaged));

    assert!(refusal(&place.path().join("none.index")).contains("none.index"));
    let foreign = place.path().join("foreign.safetensors");
    let data = [0u8; 4];
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &data);
    let bytes = safetensors::serialize([("weight", view.unwrap())], None).unwrap();
    std::fs::write(&foreign, bytes).unwrap();
    assert!(refusal(&foreign).contains("not an index"));
}

#[test]
fn an_index_appears_whole_or_not_at_all() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("pictures.index");
    let nan = Vectors::new(WIDTH, vec![f32::NAN; WIDTH]).unwrap();
    let refused = write(&path, &keys(2), &[vectors(1), nan]).unwrap_err();
    assert!(
        matches!(&refused, IndexError::Vector { key } if *key == keys(2)[1]),
        "{refused}"
    );
    let narrow = Vectors::new(WIDTH - 1, vec![0.0; WIDTH - 1]).unwrap();
    assert!(matches!(
        write(&path, &keys(1), &[narrow]),
        Err(IndexError::Width { .. })
    ));
    // Fewer and more vectors than pictures.
    assert!(write(&path, &keys(3), &[vectors(2)]).is_err());
    assert!(write(&path, &keys(1), &[vectors(2)]).is_err());
    let left = std::fs::read_dir(place.path()).unwrap().count();
    assert_eq!(left, 0, "nothing is left");
}
