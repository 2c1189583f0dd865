//! `[task]` and the splits of a captioning recipe.

use std::path::PathBuf;

use oscar_core::checkpoint::ModelKind;
use oscar_core::config::{ConfigError, ModelConfig, require};
use oscar_core::decode::GenerationConfig;
use oscar_core::input::{
    CaptionEncoder, CaptionMasking, InputError, SequenceConfig, SequenceEncoder, SourceError,
};
use oscar_task::{Oscar, PublishedModel, Role, Task, TaskError, split};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::CaptionData;
use crate::scst::ScstSection;

/// `[task]` of a captioning recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Captioning {
    /// Most tokens of a caption to learn, `[CLS]` and `[SEP]` included. Tags follow at this
    /// position, so that it stays the same for a model's life.
    pub max_caption_length: usize,
    /// Share of a caption's tokens that is to be learned at a time.
    pub mask_prob: f64,
    /// Most tokens of a caption that are to be learned at a time.
    pub max_masked_tokens: usize,
    /// Probability that the target gives to all wrong tokens together.
    pub label_smoothing: f64,
    /// Share of a batch's tokens that is left out, those with the greatest loss.
    pub drop_worst_ratio: f64,
    /// Steps before any is left out.
    pub drop_worst_after: usize,
    /// The output matrix is the word embedding.
    pub tie_weights: bool,
    /// The word embedding (and a tied output matrix) stays as it is.
    pub freeze_embedding: bool,
    /// Which captions are searched for when scoring.
    pub generation: GenerationConfig,
    /// Beams of validations; 1 takes the best word each time, which is faster.
    pub validation_beams: usize,
    /// Training by reward.
    pub scst: ScstSection,
    /// Words that captions are to have when scoring.
    pub constraints: ConstraintSection,
    /// When scoring, also score captions that do not depend on the image: those made from another image's
    /// regions, and those of the nearest image among the split's `neighbours`.
    pub compare: bool,
}

/// `[task.constraints]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConstraintSection {
    /// Ask for the names of detected objects.
    pub enabled: bool,
    /// So many of them a caption must have, if there are as many.
    pub min_satisfied: usize,
    /// As the official code does, mistakes included: the first words of a batch are chosen as for
    /// its first image; no box hides another; ways back to where a constraint was left.
    pub official: bool,
}

impl Default for ConstraintSection {
    fn default() -> Self {
        Self {
            enabled: false,
            min_satisfied: 2,
            official: false,
        }
    }
}

impl Default for Captioning {
    /// COCO as published for Oscar.
    fn default() -> Self {
        Self {
            max_caption_length: 40,
            mask_prob: 0.15,
            max_masked_tokens: 3,
            label_smoothing: 0.0,
            drop_worst_ratio: 0.0,
            drop_worst_after: 0,
            tie_weights: false,
            freeze_embedding: false,
            generation: GenerationConfig::default(),
            validation_beams: 1,
            scst: ScstSection::default(),
            constraints: ConstraintSection::default(),
            compare: false,
        }
    }
}

impl Captioning {
    /// What encodes captions and images.
    pub(crate) fn encoder(&self, sequences: SequenceEncoder) -> Result<CaptionEncoder, InputError> {
        let masking = CaptionMasking {
            probability: self.mask_prob,
            most: self.max_masked_tokens,
        };
        CaptionEncoder::new(sequences, self.max_caption_length, masking)
    }
}

split! {
    /// A split: captions, and the images they describe.
    pub struct Split {
        /// Captions: the official YAML file or captions' JSON, COCO's or NoCaps' JSON, or rows of
        /// `{"image", "caption"}` or `{"image", "captions": [..]}`.
        pub captions,
        /// Region store or official features; those of the YAML file if it is not set.
        pub regions,
        /// Captions of other images: see `task.compare`.
        pub neighbours,
        /// The regions of these.
        pub neighbour_regions,
        /// Detected boxes, for constraints; the YAML file's `cbs_box`.
        pub constraint_boxes,
        /// Class hierarchy; the YAML file's `cbs_hierarchy`.
        pub constraint_hierarchy,
        /// Words of class names as word pieces; the YAML file's `cbs_constraint`.
        pub constraint_tokens,
        /// Forms of word pieces; the YAML file's `cbs_tokenforms`.
        pub constraint_forms,
    }
}

impl Task for Captioning {
    const NAME: &'static str = "captioning";
    const ANSWERS: &'static str = "captions";
    type Family = Oscar;
    type Split = Split;
    type Data = CaptionData;

    fn validate(&self, model: &ModelConfig, encoder: &SequenceConfig) -> Result<(), ConfigError> {
        let generation = self.generation.validate();
        generation.map_err(|error| error.in_section("task.generation"))?;
        require(
            !encoder.drop_punctuation,
            "encoder.drop_punctuation",
            true,
            "must be false: captions are written with their punctuation",
        )?;
        let share = |key, value: f64| {
            let allowed = "must be at least 0 and below 1";
            require((0.0..1.0).contains(&value), key, value, allowed)
        };
        share("task.mask_prob", self.mask_prob)?;
        share("task.label_smoothing", self.label_smoothing)?;
        share("task.drop_worst_ratio", self.drop_worst_ratio)?;
        require(
            self.max_masked_tokens >= 1,
            "task.max_masked_tokens",
            self.max_masked_tokens,
            "must be at least 1",
        )?;
        let longest = encoder.max_seq_length;
        require(
            (3..=longest).contains(&self.max_caption_length),
            "task.max_caption_length",
            self.max_caption_length,
            &format!("must be from 3 to encoder.max_seq_length = {longest}"),
        )?;
        let tags = longest - self.max_caption_length;
        let positions = model.max_position_embeddings;
        require(
            self.generation.max_length + tags <= positions,
            "task.generation.max_length",
            self.generation.max_length,
            &format!(
                "with {tags} tags it must be at most model.max_position_embeddings = {positions}"
            ),
        )?;
        require(
            (1..=64).contains(&self.validation_beams),
            "task.validation_beams",
            self.validation_beams,
            "must be from 1 to 64",
        )?;
        self.scst.validate()
    }

    fn open(
        &self,
        split: &Split,
        role: Role,
        encoder: &SequenceEncoder,
    ) -> Result<CaptionData, SourceError> {
        CaptionData::open(split, role, self, encoder.clone())
    }

    fn configure(&self, model: &mut ModelConfig) -> Result<(), SourceError> {
        model.tie_weights = self.tie_weights;
        model.freeze_embedding = self.freeze_embedding;
        Ok(())
    }

    /// Lengths as the official script restores them from the arguments of the training: tags follow
    /// at `max_seq_a_length`, and have the room that the longest sequence of the training left.
    fn adopt(
        &mut self,
        encoder: &mut SequenceConfig,
        published: &PublishedModel<ModelConfig>,
    ) -> Result<(), TaskError> {
        if published.kind != ModelKind::Captioning {
            return Err(published.wrong_kind(Self::NAME, "the weights of a captioner"));
        }
        published.set_lengths(encoder);
        if let Some(longest) = published.count("max_seq_a_length") {
            self.max_caption_length = longest;
            let learned = match published.flag("scst") {
                Some(true) => published.count("max_gen_length"),
                _ => Some(longest),
            };
            if let (Some(sequence), Some(learned)) = (published.count("max_seq_length"), learned) {
                encoder.max_seq_length = longest + sequence.saturating_sub(learned);
            }
        }
        self.tie_weights = published.config.tie_weights;
        self.freeze_embedding = published.config.freeze_embedding;
        Ok(())
    }

    fn files(&mut self) -> Vec<&mut PathBuf> {
        self.scst.document_frequencies.iter_mut().collect()
    }
}
