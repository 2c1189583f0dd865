//! Image-text retrieval: which captions belong to an image, which image to a caption?
//!
//! A pair is scored by a classifier of match and no match. Training takes each caption with its
//! image, and one pair that does not match: half the time another image's caption, else another
//! image with its own tags; or two that the model takes most for a match (`negatives = "hard"`).
//!
//! | a split opened for | has the examples |
//! |---|---|
//! | training | a caption: its pair and one that does not match |
//! | validation | an image: candidate captions that compete, R@1 among them |
//! | scoring | an image: the candidates of a file, else every caption of the split |
//!
//! Scoring every caption with every image is the square of the split, hours on the official test
//! sets. So texts are tokenised once, regions projected once per image, pairs batched by length, and
//! scores kept in a file ([`ScoreCache`]) from which an interrupted evaluation resumes.

mod cache;
mod candidates;
mod data;
mod extended;
mod hard;
mod official;
mod positives;
mod recall;
mod report;
mod score;
#[cfg(feature = "train")]
mod train;

use burn::tensor::backend::Backend;
use oscar_core::config::{ConfigError, ModelConfig, require};
use oscar_core::input::{SequenceConfig, SequenceEncoder, SourceError};
#[cfg(feature = "train")]
use oscar_core::model::OscarClassifier;
use oscar_core::ops::OscarBackend;
#[cfg(feature = "train")]
use oscar_task::Training;
use oscar_task::{
    ACCURACY, Classify, Decided, EvaluateOptions, Evaluation, Opened, Oscar, PublishedModel, Role,
    Statistic, Task, TaskError, split,
};
#[cfg(feature = "train")]
use oscar_train::BeforeEpoch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use cache::{Fingerprint, ScoreCache};
pub use data::RetrievalData;
pub use positives::{Annotation, Figures, Positives, RankingError, figures};
pub use score::{Keep, score_pairs};

/// `[task]` of a retrieval recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retrieval {
    /// 2: classes, by cross entropy; 1: a regression.
    pub num_labels: usize,
    /// Captions used of an image, the first ones; 0 for all.
    pub captions_per_image: usize,
    /// Captions that compete for an image in a validation whose split names no file of candidates:
    /// one of its own, and others sampled at random.
    pub validation_candidates: usize,
    /// Where the pairs of training that do not match come from.
    pub negatives: Negatives,
    /// `hard`: random captions that are scored for each image, and images for each caption, before each
    /// epoch.
    pub hard_candidates: usize,
    /// `hard`: how many of them are kept, those that score highest.
    pub hard_kept: usize,
}

/// Where pairs that do not match come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Negatives {
    /// One for each caption, drawn at random: Oscar.
    #[default]
    Random,
    /// Two for each caption, among those that the model takes most for a match: ROSITA.
    Hard,
}

impl Default for Retrieval {
    /// COCO as published.
    fn default() -> Self {
        Self {
            num_labels: 2,
            captions_per_image: 5,
            validation_candidates: 20,
            negatives: Negatives::default(),
            hard_candidates: 128,
            hard_kept: 5,
        }
    }
}

split! {
    /// A split: captions, and the images they describe.
    pub struct Split {
        /// Captions: the official `.pt`, COCO's JSON, or rows of `{"image", "captions": [..]}`.
        pub captions,
        /// Region store.
        pub regions,
        /// Images to take, one key a line (`test_img_keys_1k.tsv`); all if it is not set.
        pub image_keys,
        /// Captions that compete for each image (`minival_caption_indexs_top20.pt`); by default all when
        /// scoring, and some sampled at random when validating.
        pub candidates,
        /// Extended ground truth, which COCO's test split is also scored with: the data folder of the
        /// Python package `eccv-caption`, or CxC's table of images and captions.
        pub positives,
        /// COCO's annotations, which number the captions (`captions_val2014.json`); `positives` needs them.
        pub annotations,
    }
}

impl Task for Retrieval {
    const NAME: &'static str = "retrieval";
    type Family = Oscar;
    type Split = Split;
    type Data = RetrievalData;

    fn validate(&self, _: &ModelConfig, _: &SequenceConfig) -> Result<(), ConfigError> {
        require(
            matches!(self.num_labels, 1 | 2),
            "task.num_labels",
            self.num_labels,
            "must be 2 (match or not) or 1 (regression)",
        )?;
        require(
            self.num_labels == 2 || self.negatives == Negatives::Random,
            "task.negatives",
            "hard",
            "needs task.num_labels = 2",
        )?;
        require(
            (1..=self.hard_candidates).contains(&self.hard_kept),
            "task.hard_kept",
            self.hard_kept,
            &format!(
                "must be from 1 to task.hard_candidates = {}",
                self.hard_candidates
            ),
        )?;
        require(
            self.validation_candidates >= 2,
            "task.validation_candidates",
            self.validation_candidates,
            "must be at least 2",
        )
    }

    fn open(
        &self,
        split: &Split,
        role: Role,
        encoder: &SequenceEncoder,
    ) -> Result<RetrievalData, SourceError> {
        RetrievalData::open(split, role, self, encoder.clone())
    }

    fn adopt(
        &mut self,
        encoder: &mut SequenceConfig,
        published: &PublishedModel<ModelConfig>,
    ) -> Result<(), TaskError> {
        published.set_lengths(encoder);
        self.num_labels = published.config.num_labels;
        Ok(())
    }

    fn configure(&self, model: &mut ModelConfig) -> Result<(), SourceError> {
        model.num_labels = self.num_labels;
        model.loss_type = "ce".into();
        Ok(())
    }
}

impl Classify for Retrieval {
    fn class_names(&self) -> Result<Vec<String>, SourceError> {
        let names: &[&str] = match self.num_labels {
            1 => &["match"],
            _ => &["no match", "match"],
        };
        Ok(names.iter().map(|name| name.to_string()).collect())
    }

    fn metrics(&self) -> &'static [&'static str] {
        &[ACCURACY, recall::RECALL_AT_1]
    }

    fn statistics<B: Backend>(&self, decided: &Decided<B>) -> Vec<Statistic<B>> {
        let recall = recall::recall_at_1(decided);
        std::iter::once(decided.accuracy()).chain(recall).collect()
    }

    #[cfg(feature = "train")]
    fn before_epoch<B: OscarBackend>(
        &self,
        training: &Training<'_, RetrievalData>,
    ) -> Option<BeforeEpoch<OscarClassifier<B>>> {
        train::before_epoch(self, training)
    }

    fn evaluate<B: OscarBackend>(
        opened: &Opened<Self, B>,
        data: &RetrievalData,
        options: &EvaluateOptions<'_>,
    ) -> Result<Evaluation, SourceError> {
        let network = &opened.model.network;
        if network.joined() != 1 {
            return Err(
                "retrieval scores one image at a time, but this model decides on pairs".into(),
            );
        }
        let config = &opened.checkpoint.model;
        let (scores, throughput) =
            score::score_or_resume((network, config), data, options, &opened.device)?;
        let labels = opened.checkpoint.task.num_labels;
        Ok(Evaluation {
            throughput: Some(throughput),
            ..report::report(data, &scores, labels)?
        })
    }
}
