//! Image-text matching: does this text belong to this image?
//!
//! Anyone's pairs, one JSON object a line:
//!
//! ```json
//! {"image": "ad-17", "text": "a cold drink on a hot day", "label": true}
//! ```
//!
//! with the regions and tags of the images in a region store. A row may bring its own
//! `tags`, and an `id`, which is not read.
//! Scores: accuracy at one half, area under the ROC curve, average precision.

mod data;
mod metrics;

use oscar_core::config::ModelConfig;
use oscar_core::input::{SequenceConfig, SequenceEncoder, SourceError};
use oscar_task::{Classify, Oscar, PublishedModel, Role, Task, TaskError, split};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use data::MatchingData;
pub use metrics::{average_precision, roc_auc};

/// `[task]` of a matching recipe; it has no key of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Matching {}

split! {
    /// A split: pairs, and the images they name.
    pub struct Split {
        /// JSON lines of `{"image", "text", "label"}`.
        pub pairs,
        /// Region store.
        pub regions,
    }
}

impl Task for Matching {
    const NAME: &'static str = "matching";
    type Family = Oscar;
    type Split = Split;
    type Data = MatchingData;

    fn open(
        &self,
        split: &Split,
        role: Role,
        encoder: &SequenceEncoder,
    ) -> Result<MatchingData, SourceError> {
        MatchingData::open(split, role, encoder.clone())
    }

    fn adopt(
        &mut self,
        encoder: &mut SequenceConfig,
        published: &PublishedModel<ModelConfig>,
    ) -> Result<(), TaskError> {
        published.set_lengths(encoder);
        Ok(())
    }

    fn configure(&self, model: &mut ModelConfig) -> Result<(), SourceError> {
        model.num_labels = 2;
        model.loss_type = "ce".into();
        Ok(())
    }
}

impl Classify for Matching {
    fn class_names(&self) -> Result<Vec<String>, SourceError> {
        Ok(["no match", "match"].map(String::from).to_vec())
    }
}
