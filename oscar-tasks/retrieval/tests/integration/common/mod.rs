//! Small splits, and pickles as Python writes them.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oscar_core::input::{
    AttentionRestriction, PaddingConfig, SequenceConfig, SequenceEncoder, SourceError, Tokenizer,
    Truncation,
};
use oscar_datasets::{Boxes, ImageRegions, StoreOptions, StoreWriter, Tag};
use oscar_retrieval::{Retrieval, RetrievalData, Split};
use oscar_task::{Role, Task};
use tempfile::TempDir;

/// Appearance values per region.
pub const APPEARANCE: usize = 4;

const WORDS: &[&str] = &[
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "green", "dog", "cat",
    "bird", "on", "grass", "sits", "tree", "sky", "two",
];

/// A directory with a store of images `1`, `2`, … of which image n has n regions, and tags.
pub struct Place {
    pub directory: TempDir,
}

impl Place {
    pub fn new(images: usize) -> Self {
        let place = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        let mut writer =
            StoreWriter::create(&place.path("regions"), StoreOptions::new(APPEARANCE)).unwrap();
        for image in 1..=images {
            let values = image * APPEARANCE;
            let features: Vec<f32> = (0..values)
                .map(|at| ((at * 7 + image * 13) % 11) as f32 / 11.0 - 0.4)
                .collect();
            let boxes = vec![[0.0, 0.0, 50.0, 50.0]; image];
            let tags = ["tree", WORDS[5 + image % 8]].map(|class| Tag {
                class: class.into(),
                score: 0.5,
                box_px: None,
                attributes: vec![],
            });
            writer
                .push(ImageRegions {
                    key: &image.to_string(),
                    width: 100,
                    height: 100,
                    features: &features,
                    boxes: Boxes::Pixels(&boxes),
                    tags: &tags,
                })
                .unwrap();
        }
        writer.finish().unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A split of the captions in `captions`.
    pub fn split(&self, captions: &Path) -> Split {
        Split {
            captions: Some(captions.to_path_buf()),
            regions: Some(self.path("regions")),
            ..Split::default()
        }
    }

    /// Two captions for each of `images` images, at most 8, as rows; no two are the same.
    pub fn rows(&self, images: usize) -> PathBuf {
        let rows: String = (1..=images)
            .map(|image| {
                let (first, second) = (WORDS[6 + image % 3], WORDS[9 + image / 3 % 3]);
                format!(
                    "{{\"image\": \"{image}\", \"captions\": [\"a {first} {second}\", \
                     \"two {second} on grass sits a {first} tree\"]}}\n"
                )
            })
            .collect();
        self.write("captions.jsonl", rows)
    }
}

/// An encoder of these words.
pub fn encoder(attention: AttentionRestriction, max_seq_length: usize) -> SequenceEncoder {
    let vocab = WORDS.iter().map(|word| word.to_string()).collect();
    let config = SequenceConfig {
        max_seq_length,
        max_regions: 3,
        use_tags: true,
        truncation: Truncation::TextB,
        attention,
        ..SequenceConfig::default()
    };
    let tokenizer = Arc::new(Tokenizer::from_vocab(vocab).unwrap());
    SequenceEncoder::new(tokenizer, config, PaddingConfig::default()).unwrap()
}

pub fn open(split: &Split, role: Role) -> Result<RetrievalData, SourceError> {
    let task = Retrieval::default();
    task.open(split, role, &encoder(AttentionRestriction::Clr, 16))
}

/// The message of opening a split that is wrong.
pub fn refusal(split: &Split, role: Role) -> String {
    match open(split, role) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.to_string(),
    }
}

/// What Python's `pickle` would be given.
pub enum Python {
    Int(i32),
    Str(&'static str),
    List(Vec<Python>),
    Dict(Vec<(Python, Python)>),
}

/// A pickle of protocol 2.
pub fn pickle(value: &Python) -> Vec<u8> {
    fn put(value: &Python, out: &mut Vec<u8>) {
        match value {
            Python::Int(number) => {
                out.push(b'J');
                out.extend(number.to_le_bytes());
            }
            Python::Str(text) => {
                out.push(b'X');
                out.extend((text.len() as u32).to_le_bytes());
                out.extend(text.as_bytes());
            }
            Python::List(items) => {
                out.extend(b"](");
                items.iter().for_each(|item| put(item, out));
                out.push(b'e');
            }
            Python::Dict(entries) => {
                out.extend(b"}(");
                for (key, value) in entries {
                    put(key, out);
                    put(value, out);
                }
                out.push(b'u');
            }
        }
    }
    let mut out = vec![0x80, 2];
    put(value, &mut out);
    out.push(b'.');
    out
}

pub fn texts(texts: &[&'static str]) -> Python {
    Python::List(texts.iter().map(|text| Python::Str(text)).collect())
}

/// `[image, caption]` pairs.
pub fn pairs(pairs: &[(i32, i32)]) -> Python {
    let pair = |(image, caption): &(i32, i32)| {
        Python::List(vec![Python::Int(*image), Python::Int(*caption)])
    };
    Python::List(pairs.iter().map(pair).collect())
}
