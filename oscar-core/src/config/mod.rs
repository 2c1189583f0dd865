//! The model's configuration: HuggingFace's BERT keys and the ones Oscar adds.

mod kinds;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oscar_files::{FileError, SMALL_FILE, read_text};
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

pub use self::kinds::{Activation, Classifier, LossReduction, RegionProjection};
use crate::input::BOX_VALUES;

/// All layers are made before any weight is read: a number beyond this is a mistake or damage.
const MAX_LAYERS: usize = 1000;

/// Keys that the file of a model must have: without them it would be taken for Oscar base.
const SIZES: [&str; 5] = [
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
];

/// Those sizes of a model that a configuration with the keys `has` does not give.
pub(crate) fn missing_sizes(has: impl Fn(&str) -> bool) -> Vec<&'static str> {
    SIZES.into_iter().filter(|key| !has(key)).collect()
}

/// Sizes and switches of an Oscar model, under the keys of an official `config.json`.
///
/// Every key may be absent in a recipe; the defaults are those of Oscar base. Keys that belong to other tools
/// are kept in [`extra`](Self::extra), so that reading and writing a file loses nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ModelConfig {
    /// Entries of the word embedding: at least the tokens of the vocabulary.
    pub vocab_size: usize,
    /// Width of every hidden state.
    pub hidden_size: usize,
    /// Transformer layers.
    pub num_hidden_layers: usize,
    /// Attention heads per layer; must divide `hidden_size`.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Activation of the feed-forward layer and of the MLM head.
    pub hidden_act: Activation,
    /// Dropout after the embeddings, the region projection and both output projections.
    pub hidden_dropout_prob: f64,
    /// Dropout on the attention probabilities.
    pub attention_probs_dropout_prob: f64,
    /// Rows of the position embedding: the longest text.
    pub max_position_embeddings: usize,
    /// Segments: 0 for the caption or question, 1 for tags or answer.
    pub type_vocab_size: usize,
    /// Standard deviation of the normal initialisation.
    pub initializer_range: f64,
    /// Epsilon of every LayerNorm but the one of the regions.
    pub layer_norm_eps: f64,

    /// Values per region: appearance features and six box values.
    pub img_feature_dim: usize,
    /// Source of the region features; must not start with `dis_code`.
    pub img_feature_type: String,
    /// Normalise the projected regions (Oscar+); files write 0 and 1.
    #[serde(deserialize_with = "flag")]
    #[schemars(with = "bool")]
    pub use_img_layernorm: bool,
    /// Epsilon of that LayerNorm.
    pub img_layer_norm_eps: f64,
    /// How a region is projected to `hidden_size`: Oscar's way or ROSITA's.
    pub region_projection: RegionProjection,
    /// Whether look-ups of token 0 (`[PAD]`) give its embedding a gradient, as in ROSITA, where it may
    /// be drawn as a random token.
    pub padding_gets_gradient: bool,
    /// Classes of the contrastive head: 2 (Oscar) or 3 (Oscar+).
    pub num_contrast_classes: usize,
    /// Pre-training: whether there is a head that predicts masked regions (ROSITA).
    pub region_head: bool,
    /// Object classes that the region head predicts; 0 for none.
    pub num_object_classes: usize,
    /// Attribute classes that the region head predicts; 0 for none.
    pub num_attribute_classes: usize,
    /// Pre-training: answers that a head predicts from the pooled vector; 0 for no such head.
    pub num_answers: usize,

    /// Classes of a classification head.
    pub num_labels: usize,
    /// Loss of a classification head: `bce`, `kl`, `mse`; anything else is cross entropy.
    pub loss_type: String,
    /// Whether `bce` and `kl` are summed over the labels (Oscar) or averaged (ROSITA).
    pub loss_reduction: LossReduction,
    /// Shape of a classification head.
    pub classifier: Classifier,
    /// Hidden width of an MLP classifier, as a multiple of `hidden_size`.
    pub cls_hidden_scale: usize,
    /// Images per statement (NLVR2).
    pub num_choice: usize,
    /// Dual encoder: values of a vector in the space that texts and images share; 0 for every other
    /// model.
    #[serde(skip_serializing_if = "is_zero")]
    pub projection_dim: usize,
    /// Captioning: the output matrix is the word embedding.
    pub tie_weights: bool,
    /// Captioning: the word embedding, and with `tie_weights` the output matrix, is not trained.
    pub freeze_embedding: bool,

    /// Heads removed by pruning, by layer. Such files are refused: their weights have other shapes.
    pub pruned_heads: serde_json::Map<String, serde_json::Value>,
    /// Keys that this crate does not use.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

/// A configuration file that cannot be read, or a value that is out of range.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the model configuration: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why; it names the file.
        source: FileError,
    },
    /// The file is not a model configuration.
    #[error("{} is not a model configuration: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The file lacks keys that say what model it describes.
    #[error(
        "{} does not say what model it is of: it has no {}; give the configuration that belongs to the \
         weights", path.display(), missing.join(", ")
    )]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// The keys.
        missing: Vec<&'static str>,
    },
    /// A value is out of range.
    #[error("{key} = {found}: {expected}")]
    Value {
        /// The key, with its section.
        key: String,
        /// Its value.
        found: String,
        /// The allowed values.
        expected: String,
    },
}

impl ConfigError {
    /// The same error, its key within the configuration's section `section`.
    pub fn in_section(self, section: &str) -> Self {
        match self {
            Self::Value {
                key,
                found,
                expected,
            } => Self::Value {
                key: format!("{section}.{key}"),
                found,
                expected,
            },
            other => other,
        }
    }
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self::base()
    }
}

impl ModelConfig {
    /// Oscar base: 12 layers of 768, 111,684,668 parameters.
    pub fn base() -> Self {
        Self {
            vocab_size: 30_522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Activation::Gelu,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            img_feature_dim: 2054,
            img_feature_type: "frcnn".into(),
            use_img_layernorm: false,
            img_layer_norm_eps: 1e-12,
            region_projection: RegionProjection::Joined,
            padding_gets_gradient: false,
            num_contrast_classes: 2,
            region_head: false,
            num_object_classes: 0,
            num_attribute_classes: 0,
            num_answers: 0,
            num_labels: 2,
            loss_type: "ce".into(),
            loss_reduction: LossReduction::Sum,
            classifier: Classifier::Linear,
            cls_hidden_scale: 2,
            num_choice: 2,
            projection_dim: 0,
            tie_weights: false,
            freeze_embedding: false,
            pruned_heads: serde_json::Map::new(),
            extra: serde_json::Map::new(),
        }
    }

    /// Oscar large: 24 layers of 1024, 338,330,428 parameters.
    pub fn large() -> Self {
        Self {
            hidden_size: 1024,
            num_hidden_layers: 24,
            num_attention_heads: 16,
            intermediate_size: 4096,
            ..Self::base()
        }
    }

    /// A model that learns in minutes on a CPU: 3 layers of 128.
    pub fn tiny() -> Self {
        Self {
            hidden_size: 128,
            num_hidden_layers: 3,
            num_attention_heads: 4,
            intermediate_size: 512,
            max_position_embeddings: 128,
            ..Self::base()
        }
    }

    /// ROSITA base: Oscar's backbone with regions projected as ROSITA does, and the head that
    /// pre-training adds; 115,391,244 parameters in pre-training.
    pub fn rosita_base() -> Self {
        Self {
            use_img_layernorm: true,
            region_projection: RegionProjection::Split,
            padding_gets_gradient: true,
            region_head: true,
            num_object_classes: 1600,
            num_attribute_classes: 400,
            ..Self::base()
        }
    }

    /// The preset called `name`: `tiny`, `base`, `large` or `rosita-base`.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "tiny" => Some(Self::tiny()),
            "base" => Some(Self::base()),
            "large" => Some(Self::large()),
            "rosita-base" => Some(Self::rosita_base()),
            _ => None,
        }
    }

    /// Reads and checks a `config.json`.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is not such a configuration, does not give the sizes of the model, or
    /// has a value out of range.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let text = read_text(path, SMALL_FILE).map_err(|source| ConfigError::Read {
            path: path.into(),
            source,
        })?;
        let parse = |source| ConfigError::Parse {
            path: path.into(),
            source,
        };
        let config: Self = serde_json::from_str(&text).map_err(parse)?;
        let keys: HashMap<String, IgnoredAny> = serde_json::from_str(&text).map_err(parse)?;
        let missing = missing_sizes(|key| keys.contains_key(key));
        if !missing.is_empty() {
            return Err(ConfigError::Incomplete {
                path: path.into(),
                missing,
            });
        }
        config.validate()?;
        Ok(config)
    }

    /// Width of one attention head.
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Checks that the word embedding has an entry for each of the `tokens` of a vocabulary.
    ///
    /// # Errors
    ///
    /// It has fewer.
    pub fn check_vocabulary(&self, tokens: usize) -> Result<(), ConfigError> {
        let expected = format!("must be at least {tokens}, the number of tokens in the vocabulary");
        require(
            tokens <= self.vocab_size,
            "vocab_size",
            self.vocab_size,
            &expected,
        )
    }

    /// Checks that a model can be made.
    ///
    /// # Errors
    ///
    /// The first key whose value is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let at_least = |least: usize, key, value: usize| {
            require(
                value >= least,
                key,
                value,
                &format!("must be at least {least}"),
            )
        };
        at_least(1, "vocab_size", self.vocab_size)?;
        at_least(1, "hidden_size", self.hidden_size)?;
        at_least(1, "num_hidden_layers", self.num_hidden_layers)?;
        at_least(1, "num_attention_heads", self.num_attention_heads)?;
        at_least(1, "intermediate_size", self.intermediate_size)?;
        at_least(1, "max_position_embeddings", self.max_position_embeddings)?;
        at_least(1, "num_labels", self.num_labels)?;
        at_least(1, "cls_hidden_scale", self.cls_hidden_scale)?;
        at_least(1, "num_choice", self.num_choice)?;
        // Segment 0 is the caption or question, 1 is tags or answer.
        at_least(2, "type_vocab_size", self.type_vocab_size)?;
        // Appearance features and the box.
        at_least(BOX_VALUES + 1, "img_feature_dim", self.img_feature_dim)?;
        let (layers, heads) = (self.num_hidden_layers, self.num_attention_heads);
        let expected = format!("must be at most {MAX_LAYERS}");
        require(layers <= MAX_LAYERS, "num_hidden_layers", layers, &expected)?;
        let divides = self.hidden_size.is_multiple_of(heads);
        let expected = format!("must be a multiple of num_attention_heads = {heads}");
        require(divides, "hidden_size", self.hidden_size, &expected)?;

        let probability = |key, value: f64| {
            let expected = "must be at least 0 and below 1";
            require((0.0..1.0).contains(&value), key, value, expected)
        };
        probability("hidden_dropout_prob", self.hidden_dropout_prob)?;
        let attention_dropout = self.attention_probs_dropout_prob;
        probability("attention_probs_dropout_prob", attention_dropout)?;
        let positive = |key, value: f64| {
            require(
                value > 0.0 && value.is_finite(),
                key,
                value,
                "must be above 0",
            )
        };
        positive("layer_norm_eps", self.layer_norm_eps)?;
        positive("img_layer_norm_eps", self.img_layer_norm_eps)?;
        positive("initializer_range", self.initializer_range)?;
        let (classes, expected) = (self.num_contrast_classes, "must be 2 (Oscar) or 3 (Oscar+)");
        require(
            matches!(classes, 2 | 3),
            "num_contrast_classes",
            classes,
            expected,
        )?;

        let classes = self.num_object_classes + self.num_attribute_classes;
        let expected = "is false, so num_object_classes and num_attribute_classes must be 0";
        require(
            self.region_head || classes == 0,
            "region_head",
            self.region_head,
            expected,
        )?;

        let (kind, continuous) = (
            &self.img_feature_type,
            !self.img_feature_type.starts_with("dis_code"),
        );
        let expected = "discrete region codes are not supported; no released checkpoint uses them";
        require(continuous, "img_feature_type", kind, expected)?;
        let pruned = serde_json::Value::from(self.pruned_heads.clone());
        let expected = "checkpoints with pruned heads are not supported";
        require(
            self.pruned_heads.is_empty(),
            "pruned_heads",
            pruned,
            expected,
        )
    }
}

/// An error that names `key`, what was `found` and what was `expected`, unless the value `holds`.
///
/// # Errors
///
/// [`ConfigError::Value`] if it does not.
pub fn require(
    holds: bool,
    key: &'static str,
    found: impl std::fmt::Display,
    expected: &str,
) -> Result<(), ConfigError> {
    if holds {
        return Ok(());
    }
    Err(ConfigError::Value {
        key: key.into(),
        found: found.to_string(),
        expected: expected.into(),
    })
}

/// Reads `true`, `false`, `0` or `1`.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Flag {
        Bool(bool),
        Int(i64),
    }
    match Flag::deserialize(deserializer)? {
        Flag::Bool(value) => Ok(value),
        Flag::Int(0) => Ok(false),
        Flag::Int(1) => Ok(true),
        Flag::Int(other) => Err(serde::de::Error::custom(format!(
            "expected 0 or 1, found {other}"
        ))),
    }
}
