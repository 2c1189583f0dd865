//! Damaged region stores: opening refuses them, checking describes them, nothing panics.

use crate::common;

use std::fs;
use std::path::Path;

use common::{image, message, tag, write_store};
use oscar_datasets::check::Kind;
use oscar_datasets::{
    Boxes, ImageRegions, RegionStore, Result, StoreDtype, StoreOptions, StoreWriter,
};
use rstest::rstest;

/// Writes a store of one image, changes a file with `change`, and returns how opening fails.
fn broken(file: &str, change: impl FnOnce(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("s");
    write_store(&dir, &["a"]).unwrap();
    change(&dir.join(file));
    let found = message(RegionStore::open(&dir));
    assert!(found.contains(file), "{file} is not named: {found}");
    found
}

fn replace(path: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes());
    let at = at.unwrap_or_else(|| panic!("{from} is in {}", path.display()));
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() - 3]).unwrap();
}

#[rstest]
#[case::index("index.safetensors")]
#[case::shard("regions-00000.safetensors")]
#[case::tags("tags.jsonl")]
fn missing_and_cut_files(#[case] file: &str) {
    let found = broken(file, |path| fs::remove_file(path).unwrap());
    assert!(found.contains("is missing"), "{found}");
    let found = broken(file, cut);
    assert!(found.contains("bytes"), "{found}");
    let found = broken(file, |path| fs::write(path, "").unwrap());
    assert!(found.contains("0 bytes"), "{found}");
}

#[test]
fn missing_store() {
    let found = message(RegionStore::open(Path::new("no/such/store")));
    assert!(
        found.contains("no/such/store/index.safetensors is missing"),
        "{found}"
    );
}

#[test]
fn wrong_headers() {
    let index = "index.safetensors";
    let found = broken(index, |p| {
        replace(p, r#""version":"1""#, r#""version":"9""#)
    });
    assert!(
        found.contains("format version 9, but this program reads version 1"),
        "{found}"
    );
    let found = broken(index, |p| {
        replace(p, r#""dtype":"F16""#, r#""dtype":"B16""#)
    });
    assert!(found.contains("`dtype` is B16"), "{found}");
    let found = broken(index, |p| {
        replace(p, r#""feature_dim":"4""#, r#""feature_dim":"x""#)
    });
    assert!(
        found.contains("`feature_dim` is x, not a number"),
        "{found}"
    );
    let found = broken(index, |p| {
        replace(p, r#""key_offsets""#, r#""key_offzets""#)
    });
    assert!(found.contains("tensor `key_offsets` is missing"), "{found}");
    let shard = "regions-00000.safetensors";
    let found = broken(shard, |p| {
        replace(p, r#""dtype":"I64""#, r#""dtype":"U64""#)
    });
    assert!(
        found.contains("tensor `offsets` is U64 [2] instead of I64 [2]"),
        "{found}"
    );
    let found = broken(shard, |p| {
        replace(p, r#""shape":[2, 4]"#, r#""shape":[4, 2]"#)
    });
    assert!(
        found.contains("tensor `features` is F16 [4, 2] instead of F16 [2, 4]"),
        "{found}"
    );
}

#[test]
fn misaligned_tensors_are_an_error() {
    // One blank more in the header moves every tensor to an odd place.
    let found = broken("regions-00000.safetensors", |path| {
        let mut bytes = fs::read(path).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        bytes[..8].copy_from_slice(&(length + 1).to_le_bytes());
        bytes.insert(8 + length as usize, b' ');
        fs::write(path, bytes).unwrap();
    });
    assert!(found.contains("cannot be read in place"), "{found}");
}

#[test]
fn check_names_keys_and_findings() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("s");
    let options = StoreOptions {
        dtype: StoreDtype::F32,
        ..StoreOptions::new(4)
    };
    let mut writer = StoreWriter::create(&dir, options)?;
    let marked = [1.0, 1.0, 1.0, 123.0, 1.0, 1.0, 1.0, 1.0];
    writer.push(ImageRegions {
        features: &marked,
        ..image("nan")
    })?;
    writer.push(ImageRegions {
        boxes: Boxes::Pixels(&[[0., 0., 62.5, 75.], [0., 0., 1., 1.]]),
        ..image("box")
    })?;
    writer.push(ImageRegions {
        tags: &[tag("cat")],
        ..image("tag")
    })?;
    writer.push(ImageRegions {
        tags: &[tag("dog")],
        ..image("json")
    })?;
    writer.push(image("twin-a"))?;
    writer.push(image("twin-b"))?;
    writer.finish()?;

    let shard = dir.join("regions-00000.safetensors");
    let mut bytes = fs::read(&shard).unwrap();
    for (from, to) in [(123.0f32, f32::NAN), (0.625, 1.75)] {
        let at = bytes
            .chunks_exact(4)
            .position(|w| w == from.to_le_bytes())
            .unwrap()
            * 4;
        bytes[at..at + 4].copy_from_slice(&to.to_le_bytes());
    }
    fs::write(&shard, bytes).unwrap();
    let tags = dir.join("tags.jsonl");
    let text = fs::read_to_string(&tags).unwrap();
    let text = text
        .replacen("40.0", "400.", 1)
        .replace(r#"{"class":"dog""#, r#"?"class":"dog""#);
    fs::write(&tags, text.replacen("400.", "4e03", 1)).unwrap();
    replace(
        &dir.join("index.safetensors"),
        "twin-atwin-b",
        "twin-atwin-a",
    );

    let problems = RegionStore::open(&dir)?.check();
    let wanted = [
        ("nan", Kind::NotFinite, "region 0, value 3 is NaN"),
        (
            "box",
            Kind::Box,
            "region 0 has box [0.0, 0.0, 1.75, 0.75, 0.625, 0.75]: a value is outside 0 to 1",
        ),
        (
            "tag",
            Kind::TagBox,
            "tag `cat`: box [1, 2, 30, 4000] reaches outside the image (100x100 pixels)",
        ),
        ("json", Kind::Json, ""),
        ("twin-a", Kind::DuplicateKey, "its key is stored twice"),
    ];
    assert_eq!(problems.len(), wanted.len(), "{problems:#?}");
    for (problem, (key, kind, found)) in problems.iter().zip(wanted) {
        assert_eq!((problem.key.as_deref(), problem.kind), (Some(key), kind));
        assert!(problem.found.starts_with(found), "{problem}");
        assert!(problem.file.starts_with(&dir));
    }
    let found = &problems[3].found;
    assert!(
        found.contains("tags.jsonl: the tags of image `json` cannot be read"),
        "{found}"
    );
    Ok(())
}
