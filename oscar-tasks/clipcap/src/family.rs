//! What ClipCap's models are made of: a mapping network and GPT-2, byte-pair tokens, one embedding of
//! a picture.

use std::path::Path;

use oscar_core::config::{ConfigError, require};
use oscar_core::input::{BOX_VALUES, PaddingConfig};
use oscar_task::{Family, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{ClipCapConfig, Gpt2Config, MappingType};
use crate::gpt2::{ASSETS, Gpt2Tokenizer};

/// Models that read an embedding as a prefix of GPT-2.
#[derive(Clone, Copy, Debug)]
pub struct ClipCapFamily;

/// `[encoder]` of a recipe; GPT-2's tokens have no settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EncoderConfig {}

fn open(directory: &Path) -> Result<Gpt2Tokenizer, TaskError> {
    Gpt2Tokenizer::open(directory).map_err(|error| TaskError::Data(error.into()))
}

impl Family for ClipCapFamily {
    type Config = ClipCapConfig;
    type EncoderConfig = EncoderConfig;
    type Encoder = Gpt2Tokenizer;
    const ASSETS: &'static [&'static str] = ASSETS;
    const PRESETS: &'static [&'static str] = &["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"];

    /// Reads the configuration of a ClipCap, or of a GPT-2 to start from.
    fn read_config(path: &Path) -> Result<ClipCapConfig, ConfigError> {
        ClipCapConfig::from_file(path)
    }

    fn preset(name: &str) -> Option<ClipCapConfig> {
        let gpt2 = match name {
            "gpt2" => Gpt2Config::small(),
            "gpt2-medium" => Gpt2Config::medium(),
            "gpt2-large" => Gpt2Config::large(),
            "gpt2-xl" => Gpt2Config::xl(),
            _ => return None,
        };
        Some(ClipCapConfig {
            gpt2,
            ..ClipCapConfig::default()
        })
    }

    fn recipes(config: &ClipCapConfig) -> Vec<String> {
        match config.mapping_type {
            MappingType::Transformer => vec!["coco-transformer".into()],
            MappingType::Mlp | MappingType::Linear => vec!["coco".into()],
        }
    }

    fn likely_extractor(config: &ClipCapConfig) -> String {
        let dim = config.embedding_dim;
        let known = match dim {
            512 => " (ViT-B/32 or ViT-B/16)",
            640 => " (RN50x4)",
            768 => " (ViT-L/14)",
            _ => "",
        };
        match &config.clip_model {
            Some(name) => format!("the CLIP {name}"),
            None => format!("a CLIP with embeddings of {dim} values{known}"),
        }
    }

    fn known_extractor(config: &ClipCapConfig) -> Option<&'static str> {
        match config.clip_model.as_deref()? {
            "ViT-B/32" => Some("clip-vit-base-patch32"),
            "ViT-B/16" => Some("clip-vit-base-patch16"),
            "ViT-L/14" => Some("clip-vit-large-patch14"),
            "RN50x4" => Some("clip-rn50x4"),
            _ => None,
        }
    }

    fn forget_preset(config: &mut ClipCapConfig) {
        config.preset = None;
    }

    fn validate(config: &ClipCapConfig, _: &EncoderConfig) -> Result<(), TaskError> {
        config.validate().map_err(TaskError::Model)
    }

    fn open_encoder(
        assets: &Path,
        _: EncoderConfig,
        _: PaddingConfig,
    ) -> Result<Gpt2Tokenizer, TaskError> {
        open(assets)
    }

    /// The tokenizer in the directory that the recipe names, else of the start weights: none is built
    /// in.
    fn new_encoder(
        vocabulary: Option<&str>,
        start: Option<&Path>,
        _: EncoderConfig,
        _: PaddingConfig,
    ) -> Result<Gpt2Tokenizer, TaskError> {
        match (vocabulary.map(Path::new), start) {
            (Some(named), _) => open(named),
            (None, Some(start)) => open(start),
            (None, None) => Err(TaskError::Data(
                "data.vocab is not set: it names the directory with GPT-2's vocab.json and merges.txt"
                    .into(),
            )),
        }
    }

    fn save_assets(encoder: &Gpt2Tokenizer, directory: &Path) -> Result<(), TaskError> {
        Ok(encoder.save(directory)?)
    }

    fn check(config: &ClipCapConfig, encoder: &Gpt2Tokenizer) -> Result<(), ConfigError> {
        let tokens = encoder.vocab_size();
        require(
            config.gpt2.vocab_size == tokens,
            "gpt2.vocab_size",
            config.gpt2.vocab_size,
            &format!("must be {tokens}, the tokens of vocab.json"),
        )
    }

    fn adapt(config: &mut ClipCapConfig, encoder: &Gpt2Tokenizer, region_dim: usize) {
        config.gpt2.vocab_size = encoder.vocab_size();
        if region_dim > BOX_VALUES {
            config.embedding_dim = region_dim - BOX_VALUES;
        }
    }

    /// An embedding, and the box that every stored region has.
    fn region_dim(config: &ClipCapConfig) -> usize {
        config.embedding_dim + BOX_VALUES
    }
}
