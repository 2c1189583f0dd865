//! Small stores of embeddings, and small ClipCaps.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::backend::Autodiff;
use burn_flex::{Flex, FlexDevice};
use oscar_clipcap::{
    Captioning, ClipCap, ClipCapConfig, Gpt2Config, Gpt2Tokenizer, ImportOptions, Split, import,
};
use oscar_core::checkpoint;
use oscar_core::model::initialize;
use oscar_datasets::{Boxes, ImageRegions, StoreOptions, StoreWriter};
use oscar_task::{FinetuneConfig, FinetuneError, FinetuneReport, finetune};
use oscar_train::{Interrupter, RunDir, RunOptions, SaveRequest, Workers};
use tempfile::TempDir;

pub const WORDS: &[&str] = &["red", "blue", "green", "ring", "bar", "cross", "square"];

/// A directory with a store `embeddings` of the images `0`, `1`, …, and their captions.
pub struct Place {
    pub directory: TempDir,
    dim: usize,
}

/// What image `image` shows.
pub fn caption(image: usize) -> String {
    format!("A {} {}", WORDS[image % 3], WORDS[3 + image / 3 % 4])
}

impl Place {
    /// Images with an embedding of `dim` values each, which says what they show.
    pub fn new(images: usize, dim: usize) -> Self {
        Self::with_regions(images, dim, 1)
    }

    /// Images of several regions.
    pub fn with_regions(images: usize, dim: usize, regions: usize) -> Self {
        let place = Self {
            directory: tempfile::tempdir().unwrap(),
            dim,
        };
        let mut writer =
            StoreWriter::create(&place.path("embeddings"), StoreOptions::new(dim)).unwrap();
        let mut rows = String::new();
        for image in 0..images {
            let mut features = vec![0.1f32; dim];
            features[image % 3] = 2.0;
            features[3 + image / 3 % 4] = 2.0;
            writer
                .push(ImageRegions {
                    key: &image.to_string(),
                    width: 100,
                    height: 100,
                    features: &features.repeat(regions),
                    boxes: Boxes::Pixels(&vec![[0.0, 0.0, 100.0, 100.0]; regions]),
                    tags: &[],
                })
                .unwrap();
            let caption = caption(image);
            rows.push_str(&format!(
                "{{\"image\": \"{image}\", \"caption\": \"{caption}\"}}\n"
            ));
        }
        writer.finish().unwrap();
        place.write("captions.jsonl", rows);
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

    pub fn split(&self) -> Split {
        Split {
            captions: Some(self.path("captions.jsonl")),
            regions: Some(self.path("embeddings")),
            ..Split::default()
        }
    }

    /// A file with the random weights of a model.
    pub fn weights(&self, config: &ClipCapConfig) -> PathBuf {
        let model = ClipCap::<Flex>::new(config, &FlexDevice);
        initialize(&model, &FlexDevice, 3);
        let path = self.path("weights.safetensors");
        checkpoint::save(&model, &path).unwrap();
        path
    }

    /// A directory with the random weights of a model, to be opened.
    pub fn imported(&self, config: &ClipCapConfig) -> PathBuf {
        let out = self.path("imported");
        let options = ImportOptions {
            heads: Some(config.gpt2.n_head),
            normalize_prefix: Some(config.normalize_prefix),
            ..ImportOptions::default()
        };
        let vocabulary = fixture("clipcap_tokenizer");
        let found = import(&self.weights(config), &vocabulary, &options, &out).unwrap();
        assert_eq!(found.gpt2.n_layer, config.gpt2.n_layer);
        assert_eq!(found.prefix_length, config.prefix_length);
        assert_eq!(found.embedding_dim, self.dim);
        out
    }

    pub fn finetune(
        &self,
        config: FinetuneConfig<Captioning>,
    ) -> Result<FinetuneReport, FinetuneError> {
        let options = RunOptions {
            run: RunDir::lock(self.path("run")).expect("a run"),
            resume: false,
            interrupter: Interrupter::new(),
            save: SaveRequest::default(),
            dashboard: false,
            progress: Box::new(std::io::sink()),
            workers: Workers::devices(vec![0]),
        };
        finetune::<Autodiff<Flex>, Captioning>(config, FlexDevice, options, Arc::new(|_, _| {}))
    }
}

/// A recipe for the captions of `place`, with each other's embeddings for comparison.
pub fn finetune_config(place: &Place, model: ClipCapConfig) -> FinetuneConfig<Captioning> {
    let mut config = FinetuneConfig::<Captioning> {
        model,
        ..FinetuneConfig::default()
    };
    config.task.generation.max_tokens = 12;
    config.task.generation.num_beams = 2;
    config.task.compare = true;
    config.data.vocab = Some(fixture("clipcap_tokenizer").display().to_string());
    config.data.train = Some(place.split());
    config.data.validation = Some(place.split());
    config.optimizer.learning_rate = 3e-3;
    config.optimizer.weight_decay = 0.0;
    config.train.steps = 2;
    config.train.batch_size = 12;
    config.train.validate_every = 2;
    config.train.save_every = 2;
    config
}

pub fn tokenizer() -> Gpt2Tokenizer {
    Gpt2Tokenizer::open(&fixture("clipcap_tokenizer")).unwrap()
}

/// A model of embeddings of `dim` values.
pub fn config(dim: usize) -> ClipCapConfig {
    ClipCapConfig {
        gpt2: Gpt2Config {
            vocab_size: tokenizer().vocab_size(),
            n_positions: 64,
            n_embd: 32,
            n_layer: 2,
            n_head: 4,
            embd_pdrop: 0.0,
            attn_pdrop: 0.0,
            resid_pdrop: 0.0,
            ..Gpt2Config::small()
        },
        prefix_length: 4,
        clip_length: 3,
        mapping_layers: 2,
        embedding_dim: dim,
        ..ClipCapConfig::default()
    }
}

/// A file or a folder of the parity suite.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(name)
}
