//! How pre-training examples are made: the `[encoder]` section of a recipe.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::knowledge::MaskingConfig;
use crate::config::{ConfigError, require};

/// How corpus rows become pre-training examples. The defaults are those of the vanilla Oscar
/// recipe; Oscar+ sets [`contrast`](Self::contrast).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainEncoderConfig {
    /// Most text tokens of a row: caption, tags, `[CLS]` and two `[SEP]` together.
    pub max_seq_length: usize,
    /// Most regions of a row; an image's further ones are left out.
    pub max_regions: usize,
    /// Probability of a token of either text to be a masked-token target.
    pub mask_probability: f64,
    /// The shares of matched and mismatched triples.
    pub contrast: ContrastConfig,
    /// Whether tags and answers are part of the input.
    pub use_text_b: bool,
    /// Whether the masked tokens in the tags or answers of mismatched triples are predicted too. They
    /// are masked in any case (the official option leaves them unmasked, so that the position of a
    /// `[MASK]` reveals the contrastive class).
    pub mask_loss_for_unmatched: bool,
    /// Whether tags and answers are masked like captions and questions. If not, they are shown whole,
    /// and none of them is predicted.
    pub mask_text_b: bool,
    /// Which words and regions are masked, and by what.
    pub masking: MaskingConfig,
    /// Matching: share of texts that are paired with the image of another row.
    pub unmatched: f64,
}

impl Default for PretrainEncoderConfig {
    fn default() -> Self {
        Self {
            max_seq_length: 35,
            max_regions: 50,
            mask_probability: 0.15,
            contrast: ContrastConfig::default(),
            use_text_b: true,
            mask_loss_for_unmatched: true,
            mask_text_b: true,
            masking: MaskingConfig::default(),
            unmatched: 0.5,
        }
    }
}

impl PretrainEncoderConfig {
    /// Classes of the contrastive head.
    ///
    /// Three (matched, mismatched tags or answer, mismatched caption or question) if both texts can be
    /// replaced, else two. Without text B the official code has three too unless
    /// `texta_false_prob` is at least 0.5, though the middle one never occurs then.
    pub fn num_contrast_classes(&self) -> usize {
        let p = self.contrast.texta_false_prob;
        if p < 0.5 && (p > 0.0 || !self.use_text_b) {
            3
        } else {
            2
        }
    }

    /// Whether a row's text B may be replaced by an answer, for which the corpus must have some.
    pub fn needs_answers(&self) -> bool {
        self.use_text_b
            && self.contrast.texta_false_prob < 0.5
            && self.contrast.textb_sample_mode == TextBSampleMode::Answer
    }

    /// Checks every value's range.
    ///
    /// # Errors
    ///
    /// The first key whose value is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        // One token of each text and three special ones: A never loses its last token then.
        let (length, regions) = (self.max_seq_length, self.max_regions);
        require(length >= 5, "max_seq_length", length, "must be at least 5")?;
        require(regions >= 1, "max_regions", regions, "must be at least 1")?;
        self.masking.validate()?;
        let probabilities = [
            ("unmatched", self.unmatched),
            ("mask_probability", self.mask_probability),
            ("contrast.polluted", self.contrast.polluted),
            ("contrast.texta_false_prob", self.contrast.texta_false_prob),
        ];
        probabilities.into_iter().try_for_each(|(key, value)| {
            let expected = "must be between 0 and 1";
            require((0.0..=1.0).contains(&value), key, value, expected)
        })
    }
}

/// The shares of matched and mismatched triples; regions are never swapped.
///
/// With `texta_false_prob` p < 0.5, p of all triples get another caption and 0.5 - p other tags:
/// the default 0 is Oscar's two-way contrast, Oscar+ has 0.25.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ContrastConfig {
    /// Share of triples that are mismatched: one half, as published. At 0 there is no contrast, and
    /// every caption is paired with its image.
    pub polluted: f64,
    /// Optimiser step of the first polluted triples; in earlier steps of training all are matched. Not
    /// at or after the last step, if the contrast is to be learned.
    pub start_step: usize,
    /// Share of triples whose caption or question is replaced; tags or answer get the rest of
    /// [`polluted`](Self::polluted). Rows without text B have their text A replaced in any case.
    pub texta_false_prob: f64,
    /// Where a replacement for text B comes from.
    pub textb_sample_mode: TextBSampleMode,
}

impl Default for ContrastConfig {
    fn default() -> Self {
        Self {
            polluted: 0.5,
            start_step: 0,
            texta_false_prob: 0.0,
            textb_sample_mode: TextBSampleMode::default(),
        }
    }
}

/// Where a replacement for text B comes from: a name, or the official number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", try_from = "NameOrNumber")]
#[schemars(!try_from)]
pub enum TextBSampleMode {
    /// 0: text A or B of a random row, equally likely. So half of the replaced tags are captions.
    #[default]
    TextAOrB,
    /// 1: text B of a random row.
    TextB,
    /// 2: text B of a random question-answer row.
    Answer,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected `text_a_or_b` (0), `text_b` (1) or `answer` (2)"
)]
enum NameOrNumber {
    Name(String),
    Number(i64),
}

impl TryFrom<NameOrNumber> for TextBSampleMode {
    type Error = String;

    fn try_from(value: NameOrNumber) -> Result<Self, String> {
        let found = match &value {
            NameOrNumber::Name(name) => format!("`{name}`"),
            NameOrNumber::Number(number) => number.to_string(),
        };
        match found.as_str() {
            "`text_a_or_b`" | "0" => Ok(Self::TextAOrB),
            "`text_b`" | "1" => Ok(Self::TextB),
            "`answer`" | "2" => Ok(Self::Answer),
            _ => Err(format!(
                "found {found}, expected `text_a_or_b` (0), `text_b` (1) or `answer` (2)"
            )),
        }
    }
}
