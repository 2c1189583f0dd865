//! Search: which of a million pictures does this text describe?
//!
//! A model that reads text and picture together has to read every pair: it cannot search. A *dual
//! encoder* ([`oscar_core::model::OscarDualEncoder`]) reads each by itself and gives a vector of length
//! 1; what belongs together has a large product. The vectors of the pictures are computed once and kept
//! in an index ([`VectorIndex`]); a query is one pass over a text, and products.
//!
//! | to | see |
//! |---|---|
//! | train | [`Search`], the section of a recipe: contrastive loss over the batch, and distillation from a cross-encoder |
//! | embed | [`Embedder`], which opened weights are |
//! | make an index | [`build_index`] |
//! | search | [`Searcher`]; [`search`] over any vectors |
//! | re-rank what was found | [`Reranker`], which an [`oscar_task::CrossEncoder`] is; [`evaluate_stages`] says what it gains |
//!
//! Search is exact: every vector is compared. On two cores a million vectors of 256 values take a tenth
//! of a second, which leaves an approximate index nothing to gain.

mod data;
mod embed;
mod evaluate;
mod exact;
mod index;
mod predict;
mod rerank;
mod searcher;
mod stages;
#[cfg(feature = "train")]
mod train;

use std::path::PathBuf;

use oscar_core::config::{ConfigError, ModelConfig, require};
use oscar_core::input::{AttentionRestriction, SequenceConfig, SequenceEncoder, SourceError};
use oscar_task::{Oscar, Role, Task, optional_path, split};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use data::SearchData;
pub use embed::{Embedder, Vectors, open_embedder};
pub use exact::{Hit, search};
pub use index::{IndexError, NewIndex, VectorIndex, build_index, store_identity};
pub use rerank::{RerankOptions, Reranker};
pub use searcher::{Found, Searcher};
pub use stages::{Stage, StageOptions, evaluate_stages};
#[cfg(feature = "train")]
pub use train::{CONTRASTIVE_LOSS, DISTILLATION_LOSS, SearchBatch, SearchModel, SearchSource};

/// The most values of a vector.
const MAX_WIDTH: usize = 4096;

/// `[task]` of a search recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Search {
    /// Values of a vector, in the space that texts and images share.
    pub projection_dim: usize,
    /// Captions used of an image, the first ones; 0 for all.
    pub captions_per_image: usize,
    /// Weights of matching or retrieval whose scores are distilled: a directory. Without it there is no
    /// distillation.
    #[serde(with = "optional_path")]
    #[schemars(with = "Option<PathBuf>")]
    pub teacher: Option<PathBuf>,
    /// Images that the teacher scores for each text: those of the batch that the student ranks highest.
    pub teacher_candidates: usize,
    /// Weight of the loss of distillation, beside 1 for the contrastive loss.
    pub teacher_weight: f64,
    /// What the scores of teacher and student are divided by before they become probabilities.
    pub teacher_temperature: f64,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            projection_dim: 256,
            captions_per_image: 5,
            teacher: None,
            teacher_candidates: 8,
            teacher_weight: 1.0,
            teacher_temperature: 2.0,
        }
    }
}

split! {
    /// A split: captions, and the images they describe.
    pub struct Split {
        /// Captions: COCO's JSON, the official `.pt`, or rows of `{"image", "captions": [..]}`.
        pub captions,
        /// Region store.
        pub regions,
        /// Images to take, one key a line (`test_img_keys_1k.tsv`); all if it is not set.
        pub image_keys,
    }
}

impl Task for Search {
    const NAME: &'static str = "search";
    const ANSWERS: &'static str = "similarities";
    type Family = Oscar;
    type Split = Split;
    type Data = SearchData;

    fn validate(&self, _: &ModelConfig, encoder: &SequenceConfig) -> Result<(), ConfigError> {
        let width = self.projection_dim;
        require(
            (1..=MAX_WIDTH).contains(&width),
            "task.projection_dim",
            width,
            &format!("must be from 1 to {MAX_WIDTH}"),
        )?;
        let candidates = self.teacher_candidates;
        require(
            candidates >= 2,
            "task.teacher_candidates",
            candidates,
            "must be at least 2",
        )?;
        let weight = self.teacher_weight;
        require(
            weight >= 0.0 && weight.is_finite(),
            "task.teacher_weight",
            weight,
            "must be at least 0",
        )?;
        let temperature = self.teacher_temperature;
        require(
            temperature > 0.0 && temperature.is_finite(),
            "task.teacher_temperature",
            temperature,
            "must be above 0",
        )?;
        let attention = serde_json::to_value(encoder.attention).unwrap_or_default();
        require(
            encoder.attention == AttentionRestriction::Clr,
            "encoder.attention",
            attention,
            "must be \"CLR\": text and image are read apart",
        )
    }

    fn open(
        &self,
        split: &Split,
        role: Role,
        encoder: &SequenceEncoder,
    ) -> Result<SearchData, SourceError> {
        SearchData::open(split, role, self, encoder.clone())
    }

    fn configure(&self, model: &mut ModelConfig) -> Result<(), SourceError> {
        model.projection_dim = self.projection_dim;
        Ok(())
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        self.teacher.iter_mut().collect()
    }
}
