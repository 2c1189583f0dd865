//! Small splits and small captioners.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn_flex::{Flex, FlexDevice};
use oscar_captioning::{CaptionData, Captioning, Split};
use oscar_core::config::ModelConfig;
use oscar_core::input::{
    CaptionEncoder, OscarInput, PaddingConfig, SequenceConfig, SequenceEncoder, SourceError,
    SpecialIds, Tokenizer,
};
use oscar_core::model::{OscarForCaptioning, initialize};
use oscar_datasets::{Boxes, ImageRegions, StoreOptions, StoreWriter, Tag};
use oscar_task::{Role, Task};
use tempfile::TempDir;

/// Appearance values per region.
pub const APPEARANCE: usize = 4;

pub const WORDS: &[&str] = &[
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "green", "dog", "cat",
    "bird", "on", "grass", "sits", "tree", "sky", "two", "dogs", "##s",
];

/// A directory with a store of images `0`, `1`, … of which image n has n regions and n tags.
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
        for image in 0..images {
            let values = image * APPEARANCE;
            let features: Vec<f32> = (0..values)
                .map(|at| ((at * 7 + image * 13) % 11) as f32 / 3.0 - 1.4)
                .collect();
            let boxes = vec![[0.0, 0.0, 50.0, 50.0]; image];
            let tags: Vec<Tag> = (0..image)
                .map(|tag| Tag {
                    class: WORDS[5 + (tag + image) % 11].into(),
                    score: 0.5,
                    box_px: None,
                    attributes: vec![],
                })
                .collect();
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

    /// Two captions for each of `images` images.
    pub fn rows(&self, images: usize) -> PathBuf {
        let rows: String = (0..images)
            .map(|image| {
                let (first, second) = (WORDS[6 + image % 3], WORDS[9 + image / 3 % 3]);
                format!(
                    "{{\"image\": \"{image}\", \"captions\": [\"a {first} {second}\", \
                     \"two {second} on grass\"]}}\n"
                )
            })
            .collect();
        self.write("captions.jsonl", rows)
    }
}

pub fn tokenizer() -> Arc<Tokenizer> {
    let vocab = WORDS.iter().map(|word| word.to_string()).collect();
    Arc::new(Tokenizer::from_vocab(vocab).unwrap())
}

pub fn special() -> SpecialIds {
    tokenizer().special()
}

/// An encoder of sequences of up to 24 tokens and 6 regions.
pub fn sequences() -> SequenceEncoder {
    let config = SequenceConfig {
        max_seq_length: 24,
        max_regions: 6,
        ..SequenceConfig::default()
    };
    SequenceEncoder::new(tokenizer(), config, PaddingConfig::default()).unwrap()
}

/// Captions of up to 12 tokens.
pub fn task() -> Captioning {
    Captioning {
        max_caption_length: 12,
        ..Captioning::default()
    }
}

pub fn encoder() -> CaptionEncoder {
    CaptionEncoder::new(sequences(), 12, Default::default()).unwrap()
}

pub fn open(split: &Split, role: Role) -> Result<CaptionData, SourceError> {
    task().open(split, role, &sequences())
}

/// The message of opening a split that is wrong.
pub fn refusal(split: &Split, role: Role, task: &Captioning) -> String {
    match task.open(split, role, &sequences()) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.to_string(),
    }
}

pub fn config() -> ModelConfig {
    ModelConfig {
        vocab_size: WORDS.len(),
        hidden_size: 32,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        intermediate_size: 64,
        max_position_embeddings: 64,
        // Large, so that words differ in what they are worth.
        initializer_range: 0.4,
        img_feature_dim: APPEARANCE + 6,
        ..ModelConfig::base()
    }
}

/// A captioner that has learned nothing.
pub fn model(seed: u64) -> OscarForCaptioning<Flex> {
    let device = FlexDevice;
    let model = OscarForCaptioning::new(&config(), &device);
    initialize(&model, &device, seed);
    model
}

/// Images to describe in up to 10 tokens.
pub fn contexts(data: &CaptionData, images: &[usize]) -> OscarInput<Flex> {
    let rows: Vec<_> = images
        .iter()
        .map(|image| data.context(*image).unwrap())
        .collect();
    data.encoder()
        .batch_contexts(&rows, 10, &FlexDevice)
        .unwrap()
}
