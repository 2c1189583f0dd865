//! What of an example is masked: `[encoder.masking]` of a recipe.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, require};

/// Which side of an example is masked, and by what.
///
/// The defaults are BERT's: words are picked by chance. ROSITA masks one side of an example by the scene
/// graph of its text; the numbers are those that it published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MaskingConfig {
    /// `both` sides of every example, or `one` side, which a coin chooses.
    pub sides: MaskedSides,
    /// What picks words and tags beside chance.
    pub text: MaskingStrategy,
    /// What picks regions beside chance.
    pub regions: MaskingStrategy,
    /// Probability of a region to be picked by chance.
    pub region_probability: f64,
    /// Text: probability of an object of the scene graph to be masked.
    pub object_rate: f64,
    /// Text: factor of an attribute's prior.
    pub attribute_scale: f64,
    /// Text: factor of a relation's prior.
    pub relation_scale: f64,
    /// Text: highest share of a prior in a probability.
    pub cap: f64,
    /// Text: probability that what is said of a masked object has beside its prior.
    pub base: f64,
    /// Regions: similarities below this count as 0.
    pub similarity_threshold: f64,
    /// Regions: factor that makes a probability of a similarity.
    pub similarity_ratio: f64,
    /// Regions: probability of a masked region to take those that overlap it with it.
    pub spread_probability: f64,
    /// Regions: overlap (intersection over union) from which they do.
    pub spread_iou: f64,
    /// Whether what is masked on one side also masks what is similar on the other: regions that show a
    /// masked word, and words for a masked region. The released code of ROSITA computes these weights
    /// and does not use them.
    pub reverse: bool,
    /// Priors of attributes and relations, in ROSITA's JSON; by default they are counted in the training
    /// corpus.
    pub priors: Option<PathBuf>,
    /// Word vectors, in GloVe's text form; without them an object is similar to the regions of the class
    /// of its name.
    pub vectors: Option<PathBuf>,
}

/// Which side of an example is masked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MaskedSides {
    /// Text and regions.
    #[default]
    Both,
    /// Text or regions, equally likely.
    One,
}

/// What is masked beside what chance picks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MaskingStrategy {
    /// Nothing: BERT's masking.
    #[default]
    Random,
    /// What the scene graph names: structural knowledge masking.
    Structure,
}

impl MaskingStrategy {
    /// Whether it reads scene graphs.
    pub fn is_structural(self) -> bool {
        self == Self::Structure
    }
}

impl Default for MaskingConfig {
    fn default() -> Self {
        Self {
            sides: MaskedSides::default(),
            text: MaskingStrategy::default(),
            regions: MaskingStrategy::default(),
            region_probability: 0.15,
            object_rate: 0.5,
            attribute_scale: 5.0,
            relation_scale: 20.0,
            cap: 0.5,
            base: 0.2,
            similarity_threshold: 0.5,
            similarity_ratio: 0.9,
            spread_probability: 0.3,
            spread_iou: 0.2,
            reverse: false,
            priors: None,
            vectors: None,
        }
    }
}

impl MaskingConfig {
    /// Whether scene graphs decide something.
    pub fn is_structural(&self) -> bool {
        self.text.is_structural() || self.regions.is_structural() || self.reverse
    }

    /// Checks every value's range.
    ///
    /// # Errors
    ///
    /// The first key whose value is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let shares = [
            ("masking.region_probability", self.region_probability),
            ("masking.object_rate", self.object_rate),
            ("masking.cap", self.cap),
            ("masking.base", self.base),
            ("masking.similarity_threshold", self.similarity_threshold),
            ("masking.similarity_ratio", self.similarity_ratio),
            ("masking.spread_probability", self.spread_probability),
            ("masking.spread_iou", self.spread_iou),
        ];
        shares.into_iter().try_for_each(|(key, value)| {
            let expected = "must be between 0 and 1";
            require((0.0..=1.0).contains(&value), key, value, expected)
        })?;
        let scales = [
            ("masking.attribute_scale", self.attribute_scale),
            ("masking.relation_scale", self.relation_scale),
        ];
        scales.into_iter().try_for_each(|(key, value)| {
            let expected = "must be at least 0";
            require(value >= 0.0 && value.is_finite(), key, value, expected)
        })
    }
}
