//! Referring expressions: which thing of an image does this text mean? (RefCOCO, RefCOCO+, RefCOCOg;
//! the fine-tuning task of ROSITA.)
//!
//! Every region gets a score and the deltas from its box to the right one; the answer is the box of
//! the best region, corrected by its deltas. An answer is right if it overlaps the annotated box by at
//! least one half (intersection over union), as in the official evaluation.
//!
//! Data: [`oscar_datasets::referring`]. A path of a file with several splits may end in the one that is
//! read, `refs(unc).p?split=testA`, where there is no key for it.

mod boxes;
mod data;
mod predict;
#[cfg(feature = "train")]
mod train;

use std::path::{Path, PathBuf};

use oscar_core::config::{ConfigError, ModelConfig, require};
use oscar_core::input::{SequenceConfig, SequenceEncoder, SourceError};
use oscar_task::{Oscar, PublishedModel, Role, Task, TaskError, optional_path};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use boxes::{Candidates, RIGHT, RowTargets, Share, decode, deltas, iou};
pub use data::{EncodedExpression, ReferData};
#[cfg(feature = "train")]
pub use train::{REGION_ACCURACY, ReferBatch, ReferModel, ReferSource};

/// What separates a path from the name of a split.
const SPLIT: &str = "?split=";

/// `[task]` of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Refer {
    /// Weight of the loss of the boxes, beside 1 for the ranking.
    pub box_loss_weight: f64,
}

impl Default for Refer {
    /// As ROSITA was published.
    fn default() -> Self {
        Self {
            box_loss_weight: 0.5,
        }
    }
}

/// A split: expressions, and the images they are about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Split {
    /// Expressions in any form; see [`oscar_datasets::referring`].
    #[serde(with = "optional_path")]
    #[schemars(with = "Option<PathBuf>")]
    pub expressions: Option<PathBuf>,
    /// REFER's `instances.json`; the one beside the pickle by default.
    #[serde(with = "optional_path")]
    #[schemars(with = "Option<PathBuf>")]
    pub instances: Option<PathBuf>,
    /// The split that is read, of a file of several: `train`, `val`, `testA`, `testB`, `test`.
    pub split: String,
    /// Region store.
    #[serde(with = "optional_path")]
    #[schemars(with = "Option<PathBuf>")]
    pub regions: Option<PathBuf>,
}

impl oscar_task::Split for Split {
    fn new(data: PathBuf, regions: Option<PathBuf>) -> Self {
        let named = data.to_str().and_then(|path| path.rsplit_once(SPLIT));
        let (expressions, split) = match named {
            Some((path, split)) => (path.into(), split.to_string()),
            None => (data, String::new()),
        };
        Self {
            expressions: Some(expressions),
            instances: None,
            split,
            regions,
        }
    }

    fn add_annotations(&mut self, file: PathBuf) -> bool {
        self.instances = Some(file);
        true
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        let paths = [
            &mut self.expressions,
            &mut self.instances,
            &mut self.regions,
        ];
        paths.into_iter().flatten().collect()
    }
}

impl Split {
    /// The split, if one is named.
    fn split(&self) -> Option<&str> {
        Some(self.split.as_str()).filter(|split| !split.is_empty())
    }

    fn instances(&self) -> Option<&Path> {
        self.instances.as_deref()
    }
}

impl Task for Refer {
    const NAME: &'static str = "refer";
    const ANSWERS: &'static str = "boxes";
    type Family = Oscar;
    type Split = Split;
    type Data = ReferData;

    fn validate(&self, _: &ModelConfig, _: &SequenceConfig) -> Result<(), ConfigError> {
        let weight = self.box_loss_weight;
        let valid = weight >= 0.0 && weight.is_finite();
        require(valid, "task.box_loss_weight", weight, "must be at least 0")
    }

    fn open(
        &self,
        split: &Split,
        role: Role,
        encoder: &SequenceEncoder,
    ) -> Result<ReferData, SourceError> {
        ReferData::open(split, role, encoder.clone())
    }

    fn configure(&self, _: &mut ModelConfig) -> Result<(), SourceError> {
        Ok(())
    }

    fn adopt(
        &mut self,
        encoder: &mut SequenceConfig,
        published: &PublishedModel<ModelConfig>,
    ) -> Result<(), TaskError> {
        published.set_lengths(encoder);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use oscar_task::Split as _;

    use super::*;

    #[test]
    fn a_path_may_name_its_split() {
        let split = Split::new("refs(unc).p?split=testA".into(), None);
        assert_eq!(split.expressions.as_deref(), Some(Path::new("refs(unc).p")));
        assert_eq!(split.split(), Some("testA"));
        let plain = Split::new("dev.jsonl".into(), None);
        assert_eq!(plain.expressions.as_deref(), Some(Path::new("dev.jsonl")));
        assert_eq!(plain.split(), None);
    }
}
