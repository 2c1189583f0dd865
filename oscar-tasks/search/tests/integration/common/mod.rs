//! A small store with captions, and weights that were never trained.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn_flex::{Flex, FlexDevice};
use oscar_core::checkpoint::save;
use oscar_core::config::ModelConfig;
use oscar_core::input::{PaddingConfig, SequenceConfig, SequenceEncoder, Tokenizer};
use oscar_core::model::{OscarDualEncoder, initialize};
use oscar_datasets::{
    Boxes, ImageRegions, SharedImages, StoreOptions, StoreWriter, Tag, open_images,
};
use oscar_search::{Search, Split};
use oscar_task::{Task, TaskCheckpoint};
use tempfile::TempDir;

/// Appearance values per region.
pub const APPEARANCE: usize = 4;

/// Values of a vector.
pub const WIDTH: usize = 12;

const WORDS: &[&str] = &[
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "green", "dog", "cat",
    "bird", "on", "grass", "sits", "tree", "sky", "two",
];

pub struct Place {
    pub directory: TempDir,
}

impl Place {
    /// A directory with a store of `images` pictures `1`, `2`, … of one to four regions.
    pub fn new(images: usize) -> Self {
        let place = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        place.store("regions", images);
        place
    }

    pub fn store(&self, name: &str, images: usize) {
        let mut writer =
            StoreWriter::create(&self.path(name), StoreOptions::new(APPEARANCE)).unwrap();
        for image in 1..=images {
            let regions = 1 + image % 4;
            let features: Vec<f32> = (0..regions * APPEARANCE)
                .map(|at| ((at * 7 + image * 13) % 11) as f32 / 11.0 - 0.4)
                .collect();
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
                    boxes: Boxes::Pixels(&vec![[0.0, 0.0, 50.0, 50.0]; regions]),
                    tags: &tags,
                })
                .unwrap();
        }
        writer.finish().unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn images(&self, name: &str) -> SharedImages {
        open_images(&self.path(name)).unwrap()
    }

    /// Two captions for each of `images` pictures.
    pub fn split(&self, images: usize) -> Split {
        let rows: String = (1..=images)
            .map(|image| {
                let (first, second) = (WORDS[6 + image % 3], WORDS[9 + image / 3 % 3]);
                format!(
                    "{{\"image\": \"{image}\", \"captions\": [\"a {first} {second}\", \
                     \"two {second} on grass sits a {first} tree\"]}}\n"
                )
            })
            .collect();
        let captions = self.path("captions.jsonl");
        std::fs::write(&captions, rows).unwrap();
        Split {
            captions: Some(captions),
            regions: Some(self.path("regions")),
            image_keys: None,
        }
    }

    /// Writes weights made from `seed`, and gives their directory.
    pub fn weights(&self, name: &str, seed: u64) -> PathBuf {
        let directory = self.path(name);
        std::fs::create_dir(&directory).unwrap();
        let task = Search {
            projection_dim: WIDTH,
            ..Search::default()
        };
        let mut config = config();
        task.configure(&mut config).unwrap();
        let model = OscarDualEncoder::<Flex>::new(&config, &FlexDevice);
        initialize(&model, &FlexDevice, seed);
        save(&model, directory.join("model.safetensors")).unwrap();
        checkpoint(config, task, &directory)
            .describe(&directory)
            .unwrap();
        directory
    }
}

pub fn config() -> ModelConfig {
    ModelConfig {
        vocab_size: WORDS.len(),
        hidden_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 32,
        img_feature_dim: APPEARANCE + 6,
        initializer_range: 0.5,
        ..ModelConfig::base()
    }
}

pub fn encoder_config() -> SequenceConfig {
    SequenceConfig {
        max_seq_length: 16,
        max_regions: 3,
        ..SequenceConfig::default()
    }
}

pub fn encoder() -> SequenceEncoder {
    let vocab = WORDS.iter().map(|word| word.to_string()).collect();
    let tokenizer = Arc::new(Tokenizer::from_vocab(vocab).unwrap());
    SequenceEncoder::new(tokenizer, encoder_config(), PaddingConfig::default()).unwrap()
}

fn checkpoint(model: ModelConfig, task: Search, path: &Path) -> TaskCheckpoint<Search> {
    TaskCheckpoint {
        model,
        task,
        encoder: Arc::new(encoder()),
        encoder_config: encoder_config(),
        padding: PaddingConfig::default(),
        extractor: None,
        path: path.to_path_buf(),
    }
}
