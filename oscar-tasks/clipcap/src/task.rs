//! `[task]` and the splits of a recipe.

use oscar_core::config::{ConfigError, require};
use oscar_core::decode::{GenerationConfig, SampleConfig};
use oscar_core::input::SourceError;
use oscar_task::{Role, Task, split};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::ClipCapConfig;
use crate::data::CaptionData;
use crate::family::{ClipCapFamily, EncoderConfig};
use crate::gpt2::Gpt2Tokenizer;

/// `[task]` of a ClipCap recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Captioning {
    /// How captions are written when scoring and answering.
    pub generation: Generation,
    /// How captions are written in validations.
    pub validation_method: Method,
    /// End training captions with a full stop where they have none. The model stops at one: where it
    /// learns captions without, it does not stop. Off in the official code.
    pub add_full_stop: bool,
    /// When scoring, also score captions that do not depend on the picture: those of another picture's
    /// embedding, and the caption of the nearest picture among the split's `neighbours`.
    pub compare: bool,
}

/// A way to write captions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The best token each time.
    Greedy,
    /// Beam search with a list of finished captions.
    #[default]
    Beam,
    /// Tokens drawn by their probability, of the best ones that together have `top_p`.
    Sample,
    /// The official `generate2`: it filters by `top_p` and then takes the best token, so that it is
    /// greedy.
    OfficialNucleus,
    /// The official `generate_beam`, which may lose finished captions.
    OfficialBeam,
}

/// `[task.generation]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Generation {
    /// The way.
    pub method: Method,
    /// Most tokens of a caption, the stop token included.
    pub max_tokens: usize,
    /// Beams of a picture.
    pub num_beams: usize,
    /// Captions to return for each picture, best first; at most `num_beams`.
    pub num_keep_best: usize,
    /// Of `beam`: the score is divided by the length to the power of this.
    pub length_penalty: f64,
    /// Of `sample` and `official_beam`: divides the logits.
    pub temperature: f64,
    /// Of `sample`: the best tokens that together have this probability.
    pub top_p: f64,
    /// Of `sample`: the captions of a picture are a function of this, and of its number.
    pub seed: u64,
    /// The text whose first token ends a caption.
    pub stop: String,
}

impl Default for Generation {
    /// Beam search with the official sizes.
    fn default() -> Self {
        Self {
            method: Method::Beam,
            max_tokens: 67,
            num_beams: 5,
            num_keep_best: 1,
            length_penalty: 1.0,
            temperature: 1.0,
            top_p: 0.8,
            seed: 0,
            stop: ".".into(),
        }
    }
}

impl Default for Captioning {
    fn default() -> Self {
        Self {
            generation: Generation::default(),
            validation_method: Method::Greedy,
            add_full_stop: true,
            compare: false,
        }
    }
}

impl Generation {
    /// The house's beam search, whose length counts a start that GPT-2 does not have.
    pub(crate) fn beam(&self) -> GenerationConfig {
        GenerationConfig {
            max_length: self.max_tokens + 1,
            num_beams: self.num_beams,
            num_keep_best: self.num_keep_best,
            length_penalty: self.length_penalty,
            repetition_penalty: 1.0,
        }
    }

    pub(crate) fn sample(&self) -> SampleConfig {
        SampleConfig {
            max_length: self.max_tokens + 1,
            temperature: self.temperature,
            top_p: self.top_p,
            ..SampleConfig::default()
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let (most, beams, keep) = (self.max_tokens, self.num_beams, self.num_keep_best);
        require(most >= 2, "max_tokens", most, "must be at least 2")?;
        let allowed = "must be from 1 to 64";
        require((1..=64).contains(&beams), "num_beams", beams, allowed)?;
        let allowed = format!("must be from 1 to num_beams = {beams}");
        require((1..=beams).contains(&keep), "num_keep_best", keep, &allowed)?;
        let (temperature, top_p) = (self.temperature, self.top_p);
        require(
            temperature > 0.0 && temperature.is_finite(),
            "temperature",
            temperature,
            "must be above 0",
        )?;
        let allowed = "must be above 0 and at most 1";
        require(top_p > 0.0 && top_p <= 1.0, "top_p", top_p, allowed)?;
        let penalty = self.length_penalty;
        let allowed = "must be at least 0";
        require(
            penalty >= 0.0 && penalty.is_finite(),
            "length_penalty",
            penalty,
            allowed,
        )?;
        require(
            !self.stop.is_empty(),
            "stop",
            "\"\"",
            "must be a text, as \".\"",
        )
    }
}

split! {
    /// A split: captions, and the embeddings of the pictures they describe.
    pub struct Split {
        /// Captions: COCO's JSON, the official `train_caption.json`, rows of `{"image", "caption"}` or
        /// `{"image", "captions": [..]}`; or the pickle of `parse_coco.py` or `parse_conceptual.py`, which
        /// has the embeddings too.
        pub captions,
        /// Region store with one region for each picture, whose feature is the embedding.
        pub regions,
        /// Captions of other pictures: see `task.compare`.
        pub neighbours,
        /// The embeddings of these.
        pub neighbour_regions,
    }
}

impl Task for Captioning {
    const NAME: &'static str = "clipcap";
    const ANSWERS: &'static str = "captions";
    type Family = ClipCapFamily;
    type Split = Split;
    type Data = CaptionData;

    fn validate(&self, model: &ClipCapConfig, _: &EncoderConfig) -> Result<(), ConfigError> {
        let generation = self.generation.validate();
        generation.map_err(|error| error.in_section("task.generation"))?;
        let most = model.longest_caption();
        require(
            self.generation.max_tokens <= most,
            "task.generation.max_tokens",
            self.generation.max_tokens,
            &format!(
                "must be at most {most}: model.gpt2.n_positions = {} less model.prefix_length = {}",
                model.gpt2.n_positions, model.prefix_length
            ),
        )
    }

    fn open(
        &self,
        split: &Split,
        role: Role,
        encoder: &Gpt2Tokenizer,
    ) -> Result<CaptionData, SourceError> {
        CaptionData::open(split, role, self, encoder)
    }

    fn configure(&self, _: &mut ClipCapConfig) -> Result<(), SourceError> {
        Ok(())
    }
}
