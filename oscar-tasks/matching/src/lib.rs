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

use std::path::PathBuf;

use oscar_core::config::{ConfigError, ModelConfig};
use oscar_core::input::{SequenceEncoder, SourceError};
use oscar_task::{FinetuneConfig, Role, Task};
use serde::{Deserialize, Serialize};

pub use data::MatchingData;
pub use metrics::{average_precision, roc_auc};

/// `[task]` of a matching recipe; it has no key of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Matching {}

impl oscar_task::Split for Split {
    fn new(data: PathBuf, store: PathBuf) -> Self {
        Self {
            pairs: data,
            regions: store,
        }
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.pairs, &mut self.regions]
    }
}

/// A split: pairs, and the images they name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Split {
    /// JSON lines of `{"image", "text", "label"}`.
    pub pairs: PathBuf,
    /// Region store.
    pub regions: PathBuf,
}

impl Task for Matching {
    const NAME: &'static str = "matching";
    type Split = Split;
    type Data = MatchingData;

    fn validate(&self, _: &FinetuneConfig<Self>) -> Result<(), ConfigError> {
        Ok(())
    }

    fn open(
        &self,
        split: &Split,
        role: Role,
        encoder: &SequenceEncoder,
    ) -> Result<MatchingData, SourceError> {
        MatchingData::open(split, role, encoder.clone())
    }

    fn shape(&self, model: &mut ModelConfig) -> Result<(), SourceError> {
        model.num_labels = 2;
        model.loss_type = "ce".into();
        Ok(())
    }

    fn class_names(&self) -> Result<Vec<String>, SourceError> {
        Ok(["no match", "match"].map(String::from).to_vec())
    }
}
