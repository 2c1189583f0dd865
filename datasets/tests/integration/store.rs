//! The region store: what is written is read, and what is wrong is named.

use crate::common;

use std::fs;
use std::path::Path;

use common::{image, message, store, tag, write_store};
use oscar_datasets::{Boxes, ImageRegions, RegionStore, StoreDtype, StoreOptions, StoreWriter};
use proptest::prelude::*;
use rstest::rstest;

/// What one generated image holds: for each region its features and a box within 64x48 pixels.
type Regions = Vec<(Vec<f32>, [f32; 4])>;

fn regions(dim: usize) -> impl Strategy<Value = Regions> {
    let region = (
        prop::collection::vec(-8i32..8, dim)
            .prop_map(|v| v.iter().map(|&v| v as f32 / 4.0).collect()),
        (0u8..40, 0u8..30, 1u8..24, 1u8..18)
            .prop_map(|(x, y, w, h)| [x, y, x + w, y + h].map(f32::from)),
    );
    prop::collection::vec(region, 1..5)
}

fn images() -> impl Strategy<Value = (usize, Vec<Regions>)> {
    (1usize..8).prop_flat_map(|dim| {
        prop::collection::vec(regions(dim), 1..12).prop_map(move |images| (dim, images))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn round_trip((dim, images) in images(), half: bool, max_shard_bytes in 1u64..200) {
        let dir = tempfile::tempdir()?;
        let dir = dir.path().join("store");
        let dtype = if half { StoreDtype::F16 } else { StoreDtype::F32 };
        let options = StoreOptions { dtype, max_shard_bytes, ..StoreOptions::new(dim) };
        let mut writer = StoreWriter::create(&dir, options)?;
        for (number, regions) in images.iter().enumerate() {
            let features: Vec<f32> = regions.iter().flat_map(|(f, _)| f.clone()).collect();
            let boxes: Vec<_> = regions.iter().map(|(_, b)| *b).collect();
            let tags: Vec<_> = (0..regions.len()).map(|i| tag(&format!("thing {i}"))).collect();
            writer.push(ImageRegions {
                key: &format!("é{}", 1000 - number),
                width: 64,
                height: 48,
                features: &features,
                boxes: Boxes::Pixels(&boxes),
                tags: &tags,
            })?;
        }
        writer.finish()?;

        let store = RegionStore::open(&dir)?;
        prop_assert_eq!(store.len(), images.len());
        prop_assert_eq!((store.dtype(), store.feature_dim(), store.region_dim()), (dtype, dim, dim + 6));
        prop_assert_eq!(store.find("é1001"), None);
        for (row, regions) in images.iter().enumerate() {
            prop_assert_eq!(store.find(&format!("é{}", 1000 - row)), Some(row));
            prop_assert_eq!(store.size(row), (64, 48));
            prop_assert_eq!(store.num_regions(row), regions.len());
            prop_assert_eq!(store.tags(row)?.len(), regions.len());
            let mut out = vec![f32::NAN; regions.len() * (dim + 6)];
            store.copy_regions(row, &mut out);
            for (out, (features, [x1, y1, x2, y2])) in out.chunks_exact(dim + 6).zip(regions) {
                prop_assert_eq!(&out[..dim], features.as_slice());
                let wanted = [x1 / 64., y1 / 48., x2 / 64., y2 / 48., (x2 - x1) / 64., (y2 - y1) / 48.];
                prop_assert_eq!(&out[dim..], wanted.as_slice());
            }
            // Fewer regions than there are: the first ones.
            let mut first = vec![0.0; dim + 6];
            store.copy_regions(row, &mut first);
            prop_assert_eq!(&first, &out[..dim + 6]);
        }
        prop_assert_eq!(store.check(), vec![]);
    }

    #[test]
    fn a_damaged_store_never_panics(file in 0usize..3, at in 0.0f64..1.0, value: u8, cut: bool) {
        let dir = tempfile::tempdir()?;
        let dir = dir.path().join("store");
        write_store(&dir, &["b", "a", "c"])?;
        let path = dir.join(["index.safetensors", "regions-00000.safetensors", "tags.jsonl"][file]);
        let mut bytes = fs::read(&path)?;
        let at = (at * bytes.len() as f64) as usize;
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] = value;
        }
        fs::write(&path, bytes)?;
        match RegionStore::open(&dir) {
            Err(error) => prop_assert!(error.to_string().contains("store"), "{}", error),
            Ok(store) => {
                store.check();
                for key in ["a", "b", "c"] {
                    let _ = store.find(key).map(|row| store.tag_text(row));
                }
            }
        }
    }
}

#[test]
fn tag_text_and_keys() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("s"), &["b", "a"]);
    assert_eq!(store.tag_text(0).unwrap(), "dog red hat");
    assert_eq!(store.keys().collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(store.find("a"), Some(1));
}

#[rstest]
#[case::region_outside(
    ImageRegions { boxes: Boxes::Pixels(&[[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 101.0, 1.0]]), ..image("k") },
    "image `k`: region 1: box [0, 0, 101, 1] reaches outside the image (100x100 pixels)"
)]
#[case::region_inverted(
    ImageRegions { boxes: Boxes::Pixels(&[[5.0, 0.0, 1.0, 1.0], [0.0; 4]]), ..image("k") },
    "image `k`: region 0: box [5, 0, 1, 1] is empty or inverted"
)]
#[case::box_nan(
    ImageRegions { boxes: Boxes::Pixels(&[[0.0, 0.0, f32::NAN, 1.0], [0.0; 4]]), ..image("k") },
    "image `k`: region 0: box [0, 0, NaN, 1] is empty or inverted"
)]
#[case::size_unknown(
    ImageRegions { width: 0, ..image("k") },
    "image `k`: region 0: a box in pixels, but the image's size is unknown"
)]
#[case::relative_box_infinite(
    ImageRegions { boxes: Boxes::Relative(&[[0.0; 6], [0.0, 0.0, 1.0, f32::INFINITY, 1.0, 1.0]]), ..image("k") },
    "image `k`: region 1: box [0.0, 0.0, 1.0, inf, 1.0, 1.0] is not finite"
)]
#[case::nan(
    ImageRegions { features: &[0., 0., 0., 0., 0., f32::NAN, 0., 0.], ..image("k") },
    "image `k`: region 1, value 1 is NaN"
)]
#[case::too_large_for_half(
    ImageRegions { features: &[0., 0., 0., 7e4, 0., 0., 0., 0.], ..image("k") },
    "image `k`: region 0, value 3 is 70000, too large for F16"
)]
#[case::length(
    ImageRegions { features: &[0.0; 7], ..image("k") },
    "image `k`: 7 feature values for 2 regions of 4 values, which take 8"
)]
#[case::duplicate(image("first"), "image `first` is stored twice")]
#[case::key(image(""), "image ``: its key is empty")]
fn refused_images(#[case] bad: ImageRegions<'_>, #[case] wanted: &str) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("s");
    let mut writer = StoreWriter::create(&dir, StoreOptions::new(4)).unwrap();
    writer.push(image("first")).unwrap();
    let found = message(writer.push(bad));
    assert!(found.contains(wanted), "{found}");
    // What was refused leaves no trace.
    writer.push(image("second")).unwrap();
    writer.finish().unwrap();
    let store = RegionStore::open(&dir).unwrap();
    assert_eq!(store.keys().collect::<Vec<_>>(), ["first", "second"]);
    assert_eq!(store.check(), []);
}

#[test]
fn images_without_regions_or_size() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("s");
    let mut writer = StoreWriter::create(&dir, StoreOptions::new(4)).unwrap();
    let empty = ImageRegions {
        features: &[],
        boxes: Boxes::Pixels(&[]),
        tags: &[],
        ..image("empty")
    };
    writer.push(empty).unwrap();
    // Boxes that come as shares of the image are stored to the bit.
    let relative = [
        [0.1, 0.2, 0.7, 0.9, 0.6, 0.7],
        [0.0, 0.0, 1.0, 1.0, 1.0, 1.0],
    ];
    let sizeless = ImageRegions {
        width: 0,
        height: 0,
        boxes: Boxes::Relative(&relative),
        ..image("sizeless")
    };
    writer.push(sizeless).unwrap();
    writer.finish().unwrap();
    let store = RegionStore::open(&dir).unwrap();
    assert_eq!(store.check(), []);
    assert_eq!(
        (store.num_regions(0), store.tag_text(0).unwrap()),
        (0, String::new())
    );
    assert_eq!((store.size(1), store.boxes(1)), ((0, 0), &relative[..]));
}

#[test]
fn refused_tags() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = StoreWriter::create(&dir.path().join("s"), StoreOptions::new(4)).unwrap();
    let mut bad = tag("dog");
    bad.box_px = Some([1.0, 2.0, 400.0, 40.0]);
    let found = message(writer.push(ImageRegions {
        tags: &[bad],
        ..image("k")
    }));
    assert!(
        found.contains("image `k`: tag `dog`: box [1, 2, 400, 40] reaches outside"),
        "{found}"
    );
    let found = message(writer.push(ImageRegions {
        tags: &[tag(" ")],
        ..image("k")
    }));
    assert!(found.contains("image `k`: a tag has no class"), "{found}");
}

#[test]
fn nothing_appears_before_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("s");
    let mut writer = StoreWriter::create(&target, StoreOptions::new(4)).unwrap();
    writer.push(image("a")).unwrap();
    assert!(!target.exists());
    drop(writer);
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "an abandoned build leaves nothing"
    );
    let writer = StoreWriter::create(&target, StoreOptions::new(4)).unwrap();
    assert!(message(writer.finish()).contains("no image was added"));
}

#[test]
fn only_a_store_is_overwritten_and_only_if_asked() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("s");
    write_store(&target, &["old"]).unwrap();
    let found = message(write_store(&target, &["new"]));
    assert!(found.contains("/s already exists; remove it"), "{found}");

    let overwrite = StoreOptions {
        overwrite: true,
        ..StoreOptions::new(4)
    };
    let mut writer = StoreWriter::create(&target, overwrite.clone()).unwrap();
    writer.push(image("new")).unwrap();
    writer.finish().unwrap();
    assert_eq!(RegionStore::open(&target).unwrap().key(0), "new");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

    let other = dir.path().join("holiday pictures");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("beach.png"), "x").unwrap();
    let found = message(StoreWriter::create(&other, overwrite));
    assert!(found.contains("holds no index.safetensors"), "{found}");
}

/// A store that holds the image `key`, in the place of any that is there.
fn replace_store(target: &Path, key: &str) {
    let options = StoreOptions {
        overwrite: true,
        ..StoreOptions::new(4)
    };
    let mut writer = StoreWriter::create(target, options).unwrap();
    writer.push(image(key)).unwrap();
    writer.finish().unwrap();
}

#[test]
fn files_of_the_user_beside_an_overwritten_store_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("s");
    write_store(&target, &["first"]).unwrap();
    let of_the_user =
        ["s.old", "s.tmp", "s.bak", ".s.old", ".s.tmp"].map(|name| dir.path().join(name));
    for path in &of_the_user {
        fs::create_dir(path).unwrap();
        fs::write(path.join("my-backup.txt"), "precious").unwrap();
    }
    replace_store(&target, "second");
    assert_eq!(RegionStore::open(&target).unwrap().key(0), "second");
    for path in &of_the_user {
        assert_eq!(fs::read(path.join("my-backup.txt")).unwrap(), b"precious");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 6);
}

#[test]
fn a_killed_replacement_is_undone_by_the_next_writer() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("s");
    write_store(&target, &["first"]).unwrap();
    // Killed between the two renames.
    fs::rename(&target, dir.path().join(".s.oscar-old")).unwrap();
    let found = message(StoreWriter::create(&target, StoreOptions::new(4)));
    assert!(found.contains("/s already exists"), "{found}");
    assert_eq!(RegionStore::open(&target).unwrap().key(0), "first");
    // Killed after the second one.
    write_store(&dir.path().join(".s.oscar-old"), &["older"]).unwrap();
    replace_store(&target, "second");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
