//! Sizes of the network: GPT-2's under the names of HuggingFace, and those of the mapping network.

use std::path::Path;

use oscar_core::config::{ConfigError, require};
use oscar_files::{SMALL_FILE, read_text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Epsilon of every LayerNorm of the mapping network.
pub(crate) const MAPPER_EPSILON: f64 = 1e-5;

/// Heads of the mapping transformer; the official code has no other number.
pub(crate) const MAPPER_HEADS: usize = 8;

/// `[model]` of a recipe, `config.json` of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClipCapConfig {
    /// The language model.
    pub gpt2: Gpt2Config,
    /// The mapping network, from an embedding to the prefix.
    pub mapping_type: MappingType,
    /// Vectors of the prefix.
    pub prefix_length: usize,
    /// Vectors that the embedding becomes in the mapping transformer, before the learned ones.
    #[serde(alias = "prefix_length_clip")]
    pub clip_length: usize,
    /// Layers of the mapping transformer.
    #[serde(alias = "num_layers")]
    pub mapping_layers: usize,
    /// Values of an embedding: 512 of ViT-B/32 and ViT-B/16, 640 of RN50x4, 768 of ViT-L/14.
    #[serde(alias = "prefix_size")]
    pub embedding_dim: usize,
    /// The CLIP that the embeddings are of, if it is known; it is not checked.
    pub clip_model: Option<String>,
    /// Divide an embedding by its length first, as the model was trained.
    pub normalize_prefix: bool,
    /// GPT-2 stays as it is: only the mapping network is trained, and nothing is dropped.
    pub only_prefix: bool,
    /// In recipes: the sizes of GPT-2 that the other keys change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
}

/// The two mapping networks of the paper, and the one layer that the official `predict.py` has for
/// prefixes longer than 10.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MappingType {
    /// Two linear layers with a hyperbolic tangent between them.
    #[default]
    Mlp,
    /// A transformer over the embedding's vectors and learned ones.
    Transformer,
    /// One linear layer; it is read, but the official code never trains it.
    Linear,
}

impl MappingType {
    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mlp => "mlp",
            Self::Transformer => "transformer",
            Self::Linear => "linear",
        }
    }
}

impl Default for ClipCapConfig {
    /// The MLP variant on ViT-B/32 with GPT-2 small, as published.
    fn default() -> Self {
        Self {
            gpt2: Gpt2Config::default(),
            mapping_type: MappingType::Mlp,
            prefix_length: 10,
            clip_length: 10,
            mapping_layers: 8,
            embedding_dim: 512,
            clip_model: None,
            normalize_prefix: false,
            only_prefix: false,
            preset: None,
        }
    }
}

/// Sizes of GPT-2, under the names of HuggingFace.
///
/// | | `n_embd` | `n_layer` | `n_head` |
/// |---|---|---|---|
/// | `gpt2` | 768 | 12 | 12 |
/// | `gpt2-medium` | 1024 | 24 | 16 |
/// | `gpt2-large` | 1280 | 36 | 20 |
/// | `gpt2-xl` | 1600 | 48 | 25 |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Gpt2Config {
    /// Tokens.
    pub vocab_size: usize,
    /// Positions, those of the prefix included.
    pub n_positions: usize,
    /// Width.
    pub n_embd: usize,
    /// Layers.
    pub n_layer: usize,
    /// Heads of a layer.
    pub n_head: usize,
    /// Width of the feed-forward half; four times `n_embd` if it is not set.
    pub n_inner: Option<usize>,
    /// Epsilon of every LayerNorm.
    pub layer_norm_epsilon: f64,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// Share of the embeddings that is dropped in training.
    pub embd_pdrop: f64,
    /// Share of the attention probabilities that is dropped in training.
    pub attn_pdrop: f64,
    /// Share of each half layer's output that is dropped in training.
    pub resid_pdrop: f64,
    /// Activation of the feed-forward half; only `gelu_new` is implemented.
    pub activation_function: String,
}

impl Default for Gpt2Config {
    fn default() -> Self {
        Self::small()
    }
}

impl Gpt2Config {
    /// `gpt2`: 124 million parameters.
    pub fn small() -> Self {
        Self {
            vocab_size: 50_257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            layer_norm_epsilon: 1e-5,
            initializer_range: 0.02,
            embd_pdrop: 0.1,
            attn_pdrop: 0.1,
            resid_pdrop: 0.1,
            activation_function: "gelu_new".into(),
        }
    }

    /// `gpt2-medium`: 355 million parameters.
    pub fn medium() -> Self {
        Self::sized(1024, 24, 16)
    }

    /// `gpt2-large`: 774 million parameters.
    pub fn large() -> Self {
        Self::sized(1280, 36, 20)
    }

    /// `gpt2-xl`: 1.6 billion parameters.
    pub fn xl() -> Self {
        Self::sized(1600, 48, 25)
    }

    fn sized(n_embd: usize, n_layer: usize, n_head: usize) -> Self {
        Self {
            n_embd,
            n_layer,
            n_head,
            ..Self::small()
        }
    }

    /// Width of the feed-forward half.
    pub fn inner(&self) -> usize {
        self.n_inner.unwrap_or(4 * self.n_embd)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("n_positions", self.n_positions),
            ("n_embd", self.n_embd),
            ("n_layer", self.n_layer),
            ("n_head", self.n_head),
            ("n_inner", self.inner()),
        ];
        for (key, size) in sizes {
            require(size > 0, key, size, "must be at least 1")?;
        }
        require(
            self.n_embd.is_multiple_of(self.n_head),
            "n_embd",
            self.n_embd,
            &format!("must be a multiple of n_head = {}", self.n_head),
        )?;
        require(
            self.activation_function == "gelu_new",
            "activation_function",
            &self.activation_function,
            "must be gelu_new, the activation of GPT-2",
        )?;
        let shares = [
            ("embd_pdrop", self.embd_pdrop),
            ("attn_pdrop", self.attn_pdrop),
            ("resid_pdrop", self.resid_pdrop),
        ];
        for (key, share) in shares {
            let allowed = "must be at least 0 and below 1";
            require((0.0..1.0).contains(&share), key, share, allowed)?;
        }
        let positive = [
            ("layer_norm_epsilon", self.layer_norm_epsilon),
            ("initializer_range", self.initializer_range),
        ];
        for (key, value) in positive {
            let allowed = "must be above 0";
            require(value > 0.0 && value.is_finite(), key, value, allowed)?;
        }
        Ok(())
    }
}

impl ClipCapConfig {
    /// Reads a `config.json`: of a ClipCap, or of a GPT-2 alone, to start from; the mapping network is
    /// then the default one.
    ///
    /// # Errors
    ///
    /// If it cannot be read, does not have the sizes of GPT-2, or a value is out of range.
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
        let value: Value = serde_json::from_str(&text).map_err(parse)?;
        if value.is_object() && value.get("n_embd").or(value.get("gpt2")).is_none() {
            return Err(ConfigError::Incomplete {
                path: path.into(),
                missing: vec!["gpt2"],
            });
        }
        let config = match value.get("n_embd") {
            None => serde_json::from_value(value).map_err(parse)?,
            Some(_) => Self {
                gpt2: serde_json::from_value(value).map_err(parse)?,
                ..Self::default()
            },
        };
        config.validate()?;
        Ok(config)
    }

    /// Checks every value's range.
    ///
    /// # Errors
    ///
    /// The first key whose value is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let gpt2 = self.gpt2.validate();
        gpt2.map_err(|error| error.in_section("gpt2"))?;
        let sizes = [
            ("prefix_length", self.prefix_length),
            ("clip_length", self.clip_length),
            ("mapping_layers", self.mapping_layers),
            ("embedding_dim", self.embedding_dim),
        ];
        for (key, size) in sizes {
            require(size > 0, key, size, "must be at least 1")?;
        }
        let positions = self.gpt2.n_positions;
        require(
            self.prefix_length < positions,
            "prefix_length",
            self.prefix_length,
            &format!("must be below gpt2.n_positions = {positions}: the words follow the prefix"),
        )?;
        let width = self.gpt2.n_embd;
        let transformer = self.mapping_type == MappingType::Transformer;
        require(
            !transformer || width.is_multiple_of(MAPPER_HEADS),
            "gpt2.n_embd",
            width,
            &format!("must be a multiple of {MAPPER_HEADS}, the heads of the mapping transformer"),
        )
    }

    /// Most tokens that a caption may have beside the prefix.
    pub fn longest_caption(&self) -> usize {
        self.gpt2.n_positions - self.prefix_length
    }
}
