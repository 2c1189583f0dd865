//! What the models of a family are made of.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use oscar_core::checkpoint::Published;
use oscar_core::config::{ConfigError, ModelConfig, require};
use oscar_core::input::{InputError, PaddingConfig, SequenceConfig, SequenceEncoder, Tokenizer};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{PublishedModel, TaskError};

/// A section of a recipe: it has defaults, can be written and read, and describes its keys.
pub trait Section:
    Clone + Default + fmt::Debug + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static
{
}

impl<S> Section for S where
    S: Clone
        + Default
        + fmt::Debug
        + Serialize
        + DeserializeOwned
        + JsonSchema
        + Send
        + Sync
        + 'static
{
}

/// A family of models: how they are configured, how texts and images become their input, and which
/// files a checkpoint carries beside its weights.
///
/// Recipes, checkpoints and splits are generic in it. [`Oscar`] is the family of this project's BERT;
/// a family with another tokenizer lists that tokenizer's files in [`ASSETS`](Self::ASSETS).
pub trait Family: 'static {
    /// Sizes and options of the network: `[model]` of a recipe, `config.json` of a checkpoint.
    type Config: Section;

    /// Settings of the encoder: `[encoder]` of a recipe.
    type EncoderConfig: Section;

    /// Turns texts and images into the network's input: tokenizer and batches.
    type Encoder: Send + Sync + 'static;

    /// Names of the files that [`save_assets`](Self::save_assets) writes into a checkpoint: without
    /// any of them it cannot be opened.
    const ASSETS: &'static [&'static str];

    /// Names of the [presets](Self::preset).
    const PRESETS: &'static [&'static str];

    /// The configuration that `model.preset` names in a recipe.
    fn preset(name: &str) -> Option<Self::Config>;

    /// The configuration, if the model is a BERT.
    fn as_bert(_config: &Self::Config) -> Option<&ModelConfig> {
        None
    }

    /// Recipes of published models of this configuration, without the name of their task, the best one
    /// first.
    fn recipes(config: &Self::Config) -> Vec<String>;

    /// Which extractor a model of this configuration was probably trained with, in words.
    fn likely_extractor(config: &Self::Config) -> String;

    /// The public weights of that extractor, by the name that the program knows them by, where it is
    /// clear which they are.
    fn known_extractor(_config: &Self::Config) -> Option<&'static str> {
        None
    }

    /// Removes the name of the preset, which recipes have and configurations keep where they keep keys
    /// that they do not know.
    fn forget_preset(config: &mut Self::Config);

    /// Reads the `config.json` at `path`.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or a value is out of range.
    fn read_config(path: &Path) -> Result<Self::Config, ConfigError>;

    /// Checks both sections, each by itself and together.
    ///
    /// # Errors
    ///
    /// The first key whose value is out of range.
    fn validate(config: &Self::Config, encoder: &Self::EncoderConfig) -> Result<(), TaskError>;

    /// The encoder whose assets are in the directory `assets`.
    ///
    /// # Errors
    ///
    /// If an asset cannot be read, or a setting is out of range.
    fn open_encoder(
        assets: &Path,
        config: Self::EncoderConfig,
        padding: PaddingConfig,
    ) -> Result<Self::Encoder, TaskError>;

    /// The encoder of a new run: of the vocabulary that the recipe names, else of the one in the
    /// directory `start` of the start weights, else of the family's own.
    ///
    /// # Errors
    ///
    /// As [`open_encoder`](Self::open_encoder).
    fn new_encoder(
        vocabulary: Option<&str>,
        start: Option<&Path>,
        config: Self::EncoderConfig,
        padding: PaddingConfig,
    ) -> Result<Self::Encoder, TaskError>;

    /// Writes the [assets](Self::ASSETS) into `directory`.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    fn save_assets(encoder: &Self::Encoder, directory: &Path) -> Result<(), TaskError>;

    /// Checks that a model reads what the encoder of its checkpoint gives.
    ///
    /// # Errors
    ///
    /// The first key whose value does not fit the encoder.
    fn check(config: &Self::Config, encoder: &Self::Encoder) -> Result<(), ConfigError>;

    /// Sets the keys of the model that follow its input: size of the vocabulary, and values per
    /// region unless `region_dim` is 0 (a run on texts alone).
    fn adapt(config: &mut Self::Config, encoder: &Self::Encoder, region_dim: usize);

    /// Values per region that a model of this configuration reads.
    fn region_dim(config: &Self::Config) -> usize;

    /// Reads what a directory of weights says of itself as it was published, without `task.json`.
    ///
    /// # Errors
    ///
    /// If the family has no published form, or the directory is not of it.
    fn open_published(directory: &Path) -> Result<PublishedModel<Self::Config>, TaskError> {
        Err(TaskError::Checkpoint {
            path: directory.to_path_buf(),
            found: "there is no task.json".into(),
        })
    }

    /// Checks that published weights have the head that the task's section describes.
    ///
    /// # Errors
    ///
    /// The first key whose value differs.
    fn check_head(
        _configured: &Self::Config,
        _published: &Self::Config,
    ) -> Result<(), ConfigError> {
        Ok(())
    }
}

/// Oscar's models: BERT on WordPiece tokens and region features.
#[derive(Clone, Copy, Debug)]
pub struct Oscar;

const VOCAB_FILE: &str = "vocab.txt";

/// Tokens that were added to a vocabulary, by id: a file of HuggingFace's library.
const ADDED_TOKENS: &str = "added_tokens.json";

impl Family for Oscar {
    type Config = ModelConfig;
    type EncoderConfig = SequenceConfig;
    type Encoder = SequenceEncoder;
    const ASSETS: &'static [&'static str] = &[VOCAB_FILE];
    const PRESETS: &'static [&'static str] = &["tiny", "base", "large", "rosita-base"];

    fn preset(name: &str) -> Option<ModelConfig> {
        ModelConfig::preset(name)
    }

    fn as_bert(config: &ModelConfig) -> Option<&ModelConfig> {
        Some(config)
    }

    /// By size; those of VinVL have a LayerNorm on their regions.
    fn recipes(config: &ModelConfig) -> Vec<String> {
        let size = match config.hidden_size >= ModelConfig::large().hidden_size {
            true => "large",
            false => "base",
        };
        let made = match config.use_img_layernorm {
            true => "vinvl-",
            false => "",
        };
        vec![
            format!("{made}{size}"),
            format!("{made}base"),
            "base".into(),
        ]
    }

    fn likely_extractor(config: &ModelConfig) -> String {
        let likely = match config.use_img_layernorm {
            true => "VinVL's, since they normalise regions",
            false => "that of bottom-up attention, since they do not normalise regions",
        };
        likely.into()
    }

    fn known_extractor(config: &ModelConfig) -> Option<&'static str> {
        // 2048 values of the box head and six of the box.
        let published = config.img_feature_dim == 2054;
        published.then_some(match config.use_img_layernorm {
            true => "vinvl",
            false => "frcnn",
        })
    }

    fn forget_preset(config: &mut ModelConfig) {
        config.extra.remove("preset");
    }

    fn read_config(path: &Path) -> Result<ModelConfig, ConfigError> {
        ModelConfig::from_file(path)
    }

    fn validate(config: &ModelConfig, encoder: &SequenceConfig) -> Result<(), TaskError> {
        config.validate().map_err(TaskError::Model)?;
        encoder
            .validate()
            .map_err(|error| error.in_section("encoder"))?;
        let longest = config.max_position_embeddings;
        require(
            encoder.max_seq_length <= longest,
            "encoder.max_seq_length",
            encoder.max_seq_length,
            &format!("must be at most model.max_position_embeddings = {longest}"),
        )?;
        Ok(())
    }

    fn open_encoder(
        assets: &Path,
        config: SequenceConfig,
        padding: PaddingConfig,
    ) -> Result<SequenceEncoder, TaskError> {
        let tokenizer = Tokenizer::from_vocab_file(assets.join(VOCAB_FILE))?;
        Ok(SequenceEncoder::new(Arc::new(tokenizer), config, padding)?)
    }

    fn new_encoder(
        vocabulary: Option<&str>,
        start: Option<&Path>,
        config: SequenceConfig,
        padding: PaddingConfig,
    ) -> Result<SequenceEncoder, TaskError> {
        let tokenizer = open_vocabulary(vocabulary, start)?;
        Ok(SequenceEncoder::new(Arc::new(tokenizer), config, padding)?)
    }

    fn save_assets(encoder: &SequenceEncoder, directory: &Path) -> Result<(), TaskError> {
        Ok(encoder.tokenizer().save(directory.join(VOCAB_FILE))?)
    }

    fn check(config: &ModelConfig, encoder: &SequenceEncoder) -> Result<(), ConfigError> {
        config.check_vocabulary(encoder.tokenizer().vocab_size())
    }

    fn adapt(config: &mut ModelConfig, encoder: &SequenceEncoder, region_dim: usize) {
        config.vocab_size = encoder.tokenizer().vocab_size();
        if region_dim > 0 {
            config.img_feature_dim = region_dim;
        }
    }

    fn region_dim(config: &ModelConfig) -> usize {
        config.img_feature_dim
    }

    fn open_published(directory: &Path) -> Result<PublishedModel<ModelConfig>, TaskError> {
        let published = Published::open(directory, None)?;
        let mut notes = published.notes;
        let (model, wrong) = (published.model, |found: String| TaskError::Checkpoint {
            path: directory.to_path_buf(),
            found,
        });
        if !directory.join(VOCAB_FILE).is_file() {
            let (size, bert) = (
                model.vocab_size,
                Tokenizer::bert_base_uncased()?.vocab_size(),
            );
            if size != bert {
                return Err(wrong(format!(
                    "there is no {VOCAB_FILE}, and a vocabulary of {size} tokens is not BERT's"
                )));
            }
            notes.push(format!(
                "there is no {VOCAB_FILE}: BERT's vocabulary is used"
            ));
        }
        let added = directory.join(ADDED_TOKENS);
        if std::fs::read_to_string(&added).is_ok_and(|text| text.contains(':')) {
            notes.push(format!(
                "{} adds tokens, which are not used",
                added.display()
            ));
        }
        let settings = published.training_args.map(|args| args.fields);
        Ok(PublishedModel {
            directory: directory.to_path_buf(),
            config: model,
            kind: published.source.model,
            settings: settings.unwrap_or_default(),
            notes,
        })
    }

    fn check_head(configured: &ModelConfig, published: &ModelConfig) -> Result<(), ConfigError> {
        let (labels, found) = (configured.num_labels, published.num_labels);
        let expected = format!("must be {labels}, the number of classes of the task");
        require(labels == found, "num_labels", found, &expected)
    }
}

/// The WordPiece vocabulary that a recipe names: `bert-base-uncased` or a file; by default the
/// `vocab.txt` (or `tokenizer.json`) in the directory `start` of the start weights, else BERT's. Logs
/// if it is one of cased text.
///
/// # Errors
///
/// If the file cannot be read or is not a vocabulary, or the start weights have another tokenizer.
pub fn open_vocabulary(
    vocabulary: Option<&str>,
    start: Option<&Path>,
) -> Result<Tokenizer, InputError> {
    let (tokenizer, origin) = match (vocabulary, start) {
        (None, Some(start)) => match Tokenizer::in_directory(start)? {
            Some(tokenizer) => (tokenizer, start.join(VOCAB_FILE)),
            None => return Tokenizer::bert_base_uncased(),
        },
        (None | Some("bert-base-uncased"), _) => return Tokenizer::bert_base_uncased(),
        (Some(path), _) => (Tokenizer::from_vocab_file(path)?, path.into()),
    };
    let origin = origin.display();
    match (tokenizer.lower_case(), tokenizer.unreachable_words()) {
        (false, _) => {
            tracing::info!("{origin} is a vocabulary of cased text: texts keep their case")
        }
        (true, 0) => {}
        (true, words) => tracing::warn!(
            "{origin}: {words} words have capitals and are never used, since texts are lower-cased; \
             for a vocabulary of cased text set do_lower_case to false in its tokenizer_config.json"
        ),
    }
    Ok(tokenizer)
}
