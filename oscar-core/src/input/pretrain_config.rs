//! What a pre-training example is: the `[encoder]` part of a recipe.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Deserialize as DeriveDeserialize, Serialize};

use super::error::InputError;

/// How corpus rows become pre-training examples. The defaults are those of the vanilla Oscar
/// recipe; Oscar+ sets [`contrast`](Self::contrast).
#[derive(Clone, Debug, PartialEq, Serialize, DeriveDeserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainEncoderConfig {
    /// Most text tokens of a row: caption, tags, `[CLS]` and two `[SEP]` together.
    pub max_seq_length: usize,
    /// Most regions of a row; an image's further ones are left out.
    pub max_regions: usize,
    /// Probability of a token of either text to be a masked-token target.
    pub mask_probability: f64,
    /// How matched and polluted triples are drawn.
    pub contrast: ContrastConfig,
    /// Whether tags and answers are read at all.
    pub use_text_b: bool,
    /// Whether the masked tokens of polluted triples' tags or answers are to be guessed too. They
    /// are masked in any case (the official option leaves them unmasked, and the contrast is then
    /// told by where a `[MASK]` stands).
    pub mask_loss_for_unmatched: bool,
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
        }
    }
}

impl PretrainEncoderConfig {
    /// Classes of the contrastive head.
    ///
    /// Three (matched, polluted tags or answer, polluted caption or question) if both texts can be
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
    /// [`InputError::Config`], for the first value out of range.
    pub fn validate(&self) -> Result<(), InputError> {
        // One token of each text and three special ones: A never loses its last token then.
        let length = self.max_seq_length;
        check("max_seq_length", length, length >= 5, "at least 5")?;
        check(
            "max_regions",
            self.max_regions,
            self.max_regions >= 1,
            "at least 1",
        )?;
        probability("mask_probability", self.mask_probability)?;
        probability("contrast.polluted", self.contrast.polluted)?;
        probability("contrast.texta_false_prob", self.contrast.texta_false_prob)
    }
}

fn probability(key: &'static str, value: f64) -> Result<(), InputError> {
    check(key, value, (0.0..=1.0).contains(&value), "between 0 and 1")
}

fn check(
    key: &'static str,
    value: impl fmt::Display,
    ok: bool,
    allowed: &'static str,
) -> Result<(), InputError> {
    if ok {
        Ok(())
    } else {
        Err(InputError::Config {
            key,
            value: value.to_string(),
            allowed,
        })
    }
}

/// How matched and polluted triples are drawn; regions are never swapped.
///
/// With `texta_false_prob` p < 0.5, p of all triples get another caption and 0.5 - p other tags:
/// the default 0 is Oscar's two-way contrast, Oscar+ has 0.25.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, DeriveDeserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContrastConfig {
    /// Share of triples that are polluted: one half, as published. At 0 there is no contrast, and
    /// every caption stands beside its image.
    pub polluted: f64,
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
            texta_false_prob: 0.0,
            textb_sample_mode: TextBSampleMode::default(),
        }
    }
}

/// Where a replacement for text B comes from: a name, or the official number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TextBSampleMode {
    /// 0: text A or B of a random row, equally likely. So half of the replaced tags are captions.
    #[default]
    TextAOrB,
    /// 1: text B of a random row.
    TextB,
    /// 2: text B of a random question-answer row.
    Answer,
}

impl TextBSampleMode {
    const EXPECTED: &'static str = "`text_a_or_b` (0), `text_b` (1) or `answer` (2)";

    fn from_name(name: &str) -> Option<Self> {
        match name {
            "text_a_or_b" => Some(Self::TextAOrB),
            "text_b" => Some(Self::TextB),
            "answer" => Some(Self::Answer),
            _ => None,
        }
    }

    fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::TextAOrB),
            1 => Some(Self::TextB),
            2 => Some(Self::Answer),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for TextBSampleMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ModeVisitor)
    }
}

struct ModeVisitor;

impl Visitor<'_> for ModeVisitor {
    type Value = TextBSampleMode;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TextBSampleMode::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        TextBSampleMode::from_name(name)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(name), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        TextBSampleMode::from_number(number)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        u64::try_from(number)
            .ok()
            .and_then(TextBSampleMode::from_number)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
    }
}
