//! A small store, and files of statements about its images.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::{Compression, write::GzEncoder};
use oscar_core::input::{PaddingConfig, SequenceConfig, SequenceEncoder, SourceError, Tokenizer};
use oscar_datasets::{Boxes, ImageRegions, StoreOptions, StoreWriter, Tag};
use oscar_nlvr2::{Arrangement, Nlvr2Data, Split};
use oscar_task::Role;
use tempfile::TempDir;

/// A vocabulary of whole words.
const WORDS: &[&str] = &[
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "both", "show", "a", "cat", "dog", "red", "blue",
    "old", "there", "is", "one", "two", "three", "four", "five",
];

/// A directory with a region store of these images, each with two regions and these tags.
pub struct Place(pub TempDir);

impl Place {
    pub fn new(images: &[(&str, &[&str])]) -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary directory"));
        std::fs::write(place.path("vocab.txt"), WORDS.join("\n")).expect("a vocabulary");
        let mut store = StoreWriter::create(&place.path("regions"), StoreOptions::new(4)).unwrap();
        for (number, (key, tags)) in images.iter().enumerate() {
            let tags: Vec<Tag> = tags
                .iter()
                .map(|class| Tag {
                    class: (*class).into(),
                    score: 0.5,
                    box_px: None,
                    attributes: vec![],
                })
                .collect();
            store
                .push(ImageRegions {
                    key,
                    width: 100,
                    height: 100,
                    // The first value tells the images apart.
                    features: &[
                        number as f32,
                        1.0,
                        1.5,
                        2.0,
                        number as f32,
                        -1.0,
                        -1.5,
                        -2.0,
                    ],
                    boxes: Boxes::Pixels(&[[0.0, 0.0, 50.0, 99.0], [25.0, 50.0, 99.0, 75.0]]),
                    tags: &tags,
                })
                .unwrap();
        }
        store.finish().unwrap();
        place
    }

    /// With the images `a` and `b`, and `dev-850-0-img0` and `-img1` to `dev-850-1-img1`.
    pub fn usual() -> Self {
        Self::new(&[
            ("a", &["cat"]),
            ("b", &["dog", "old dog"]),
            ("dev-850-0-img0", &[]),
            ("dev-850-0-img1", &[]),
            ("dev-850-1-img0", &[]),
            ("dev-850-1-img1", &[]),
        ])
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn encoder(&self, use_tags: bool, max_seq_length: usize) -> SequenceEncoder {
        let tokenizer = Tokenizer::from_vocab_file(self.path("vocab.txt")).unwrap();
        let config = SequenceConfig {
            max_seq_length,
            max_regions: 2,
            use_tags,
            ..SequenceConfig::default()
        };
        SequenceEncoder::new(Arc::new(tokenizer), config, PaddingConfig::default()).unwrap()
    }

    /// Opens the statements in `text`.
    pub fn open(
        &self,
        text: &str,
        arrangement: Arrangement,
        role: Role,
    ) -> Result<Nlvr2Data, SourceError> {
        std::fs::write(self.path("rows"), text).expect("a file");
        self.open_file(&self.path("rows"), arrangement, role)
    }

    pub fn open_file(
        &self,
        path: &Path,
        arrangement: Arrangement,
        role: Role,
    ) -> Result<Nlvr2Data, SourceError> {
        let split = Split {
            statements: Some(path.into()),
            regions: Some(self.path("regions")),
        };
        Nlvr2Data::open(&split, arrangement, role, self.encoder(false, 16))
    }

    /// Opens statements about pairs for training.
    pub fn pairs(&self, text: &str) -> Result<Nlvr2Data, SourceError> {
        self.open(text, Arrangement::Pair, Role::Train)
    }
}

pub fn gzip(text: &str) -> Vec<u8> {
    let mut file = GzEncoder::new(Vec::new(), Compression::fast());
    file.write_all(text.as_bytes()).expect("memory");
    file.finish().expect("memory")
}
