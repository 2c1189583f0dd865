//! The shipped sample: small enough, whole, and expanded once.

use crate::common;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use common::{message, sample};
use oscar_core::input::ExampleSource;
use oscar_datasets::{JsonlCorpus, RegionStore};
use oscar_sample::{SampleSources, build_sample, write_sample, write_weights};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

#[test]
fn the_sample_is_small_and_names_its_authors() {
    let files = |dir: PathBuf| {
        fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
    };
    let all = files(sample()).chain(files(sample().join("weights")));
    let data = |path: &PathBuf| path.is_file() && !path.ends_with("Cargo.toml");
    let all: Vec<_> = all.filter(data).collect();
    let bytes: u64 = all.iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(
        all.len() == 9 && bytes <= 5_600_000,
        "{} files, {bytes} bytes",
        all.len()
    );
    let licence = fs::read_to_string(sample().join("LICENSE-DATA.md")).unwrap();
    assert!(licence.contains("CC-BY-4.0") && licence.contains("lil-lab/nlvr"));
}

#[test]
fn the_sample_is_built_once_and_splits_share_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("sample");
    let info = build_sample(&sample(), &out).unwrap();
    assert!(info.built);
    assert_eq!(info.train.counts.verified, info.train.counts.images);
    assert_eq!(info.dev.counts.verified, info.dev.counts.images);
    assert!(
        info.train.counts.boxes > 10_000 && info.dev.counts.boxes > 900,
        "{info:?}"
    );
    let words = info.train.counts.caption_words / info.train.counts.boxes;
    assert!((8..=14).contains(&words), "{words} words a caption");

    let again = build_sample(&sample(), &out).unwrap();
    assert!(!again.built && again.train == info.train && again.dev == info.dev);

    let (mut groups, mut looks) = (Vec::new(), Vec::new());
    for split in ["train", "dev"] {
        let dir = out.join(split);
        let store = RegionStore::open(&dir.join("regions")).unwrap();
        assert_eq!(store.check(), []);
        let corpus = JsonlCorpus::open(&dir.join("boxes.jsonl"), store.clone()).unwrap();
        assert_eq!(
            (corpus.len(), corpus.images_without_rows()),
            (store.len(), 0)
        );
        assert!(corpus.answer_rows().is_empty());
        let group = |key: &str| key.split('-').nth(1).unwrap_or_default().to_string();
        let tags = (0..store.len()).map(|row| format!("{:?}", store.tags(row).unwrap()));
        looks.push(tags.collect::<HashSet<_>>());
        groups.push(store.keys().map(group).collect::<HashSet<_>>());
    }
    assert!(groups[0].is_disjoint(&groups[1]) && looks[0].is_disjoint(&looks[1]));

    for file in ["model.safetensors", "config.json", "vocab.txt"] {
        let path = Path::new("weights").join(file);
        assert!(fs::read(out.join(&path)).unwrap() == fs::read(sample().join(&path)).unwrap());
    }

    // A damaged build is made again, a foreign directory is left alone.
    fs::remove_file(out.join("dev/regions/tags.jsonl")).unwrap();
    assert!(build_sample(&sample(), &out).unwrap().built);
    let foreign = dir.path().join("home");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("letter.txt"), "x").unwrap();
    let found = message(build_sample(&sample(), &foreign));
    assert!(
        found.contains("home is not overwritten: it holds no dataset.json"),
        "{found}"
    );
    let found = message(build_sample(Path::new("nowhere"), &dir.path().join("x")));
    assert!(
        found.contains("nowhere/train_images.zip is missing"),
        "{found}"
    );
}

#[test]
fn two_builders_at_once_agree() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("sample");
    let build = || {
        build_sample(&sample(), &out).unwrap();
        RegionStore::open(&out.join("train/regions")).unwrap().len()
    };
    let (a, b) = std::thread::scope(|scope| {
        let (a, b) = (scope.spawn(build), scope.spawn(build));
        (a.join().unwrap(), b.join().unwrap())
    });
    assert_eq!(a, b);
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "no temporary directory is left"
    );
}

#[test]
fn a_sample_of_the_sample_is_the_same_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let from = sample();
    // Its dev split is all there is of it, so it comes out as it went in.
    let sources = SampleSources {
        train_images: &from.join("train_images.zip"),
        train_annotations: &from.join("train.jsonl.gz"),
        dev_images: &from.join("dev_images.zip"),
        dev_annotations: &from.join("dev.jsonl.gz"),
    };
    let out = dir.path().join("again");
    let counts = write_sample(&sources, &out, false).unwrap();
    assert_eq!(counts.dev_images, 989);
    for file in ["dev_images.zip", "dev.jsonl.gz", "LICENSE-DATA.md"] {
        assert!(
            fs::read(from.join(file)).unwrap() == fs::read(out.join(file)).unwrap(),
            "{file}"
        );
    }
    assert!(message(write_sample(&sources, &out, false)).contains("already exists"));
    write_sample(&sources, &out, true).unwrap();
}

#[test]
fn weights_are_halved_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("best");
    fs::create_dir(&run).unwrap();
    let out = dir.path().join("weights");
    let write = |values: &[f32]| {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let view = TensorView::new(Dtype::F32, vec![values.len()], &bytes).unwrap();
        let file = safetensors::serialize([("bert.pooler.dense.bias", view)], None).unwrap();
        fs::write(run.join("model.safetensors"), file).unwrap();
    };
    write(&[0.5, -0.1]);
    let found = message(write_weights(&run, &out, false));
    assert!(found.contains("best/config.json is missing"), "{found}");
    fs::write(run.join("config.json"), "{}").unwrap();
    fs::write(run.join("vocab.txt"), "[PAD]\n").unwrap();
    write_weights(&run, &out, false).unwrap();
    let file = fs::read(out.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let tensor = tensors.tensor("bert.pooler.dense.bias").unwrap();
    assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::F16, &[2][..]));
    // 0.5, and the nearest to -0.1: -1.10011001100 (binary) times two to the minus fourth.
    assert_eq!(tensor.data(), [0x00, 0x38, 0x66, 0xae]);
    assert_eq!(fs::read(out.join("vocab.txt")).unwrap(), b"[PAD]\n");

    assert!(message(write_weights(&run, &out, false)).contains("already exists"));
    write(&[1e6]);
    let found = message(write_weights(&run, &out, true));
    assert!(
        found.contains("bert.pooler.dense.bias holds 1000000, too much for F16"),
        "{found}"
    );
    assert_eq!(fs::read(out.join("model.safetensors")).unwrap(), file);
}
