//! NLVR2 and NLVR: is a statement true of its images?
//!
//! Statements are read in any of the forms of [`oscar_datasets::nlvr2`]. Scores: accuracy,
//! consistency, and accuracy on the balanced and the unbalanced pairs; predictions are the official
//! CSV.
//!
//! A deviation from the official code: it cuts the tokens of a long statement in place while it
//! encodes the left image, so that the right one gets the shortened statement however much room
//! there is. Here each image has the statement as it stands.

mod data;
mod scores;

use oscar_core::checkpoint::ModelKind;
use oscar_core::config::{ConfigError, ModelConfig, require};
use oscar_core::input::{SequenceConfig, SequenceEncoder, SourceError};
use oscar_task::{Classify, Oscar, PublishedModel, Role, Task, TaskError, split};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use data::Nlvr2Data;
pub use oscar_datasets::nlvr2::{Identifier, Statement};
pub use scores::{accuracy, consistency, subsets};

/// `[task]` of an NLVR2 recipe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Nlvr2 {
    /// How the images of a statement are read.
    pub images: Arrangement,
}

/// How the images of a statement are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Arrangement {
    /// Each in a sequence of its own, with the statement; the head joins both pooled vectors:
    /// `--use_pair` of the official script, and what was published.
    #[default]
    Pair,
    /// All in one sequence, the left one's regions first; also for statements about one image.
    Joined,
}

split! {
    /// A split: statements, and the images they name.
    pub struct Split {
        /// Statements, in any of the forms above.
        pub statements,
        /// Region store.
        pub regions,
    }
}

/// Images of a pair.
const PAIR: usize = 2;

impl Task for Nlvr2 {
    const NAME: &'static str = "nlvr2";
    type Family = Oscar;
    type Split = Split;
    type Data = Nlvr2Data;

    fn validate(&self, model: &ModelConfig, _: &SequenceConfig) -> Result<(), ConfigError> {
        require(
            !self.is_pair() || model.num_choice == PAIR,
            "model.num_choice",
            model.num_choice,
            "must be 2: a statement is about a left and a right image",
        )
    }

    fn open(
        &self,
        split: &Split,
        role: Role,
        encoder: &SequenceEncoder,
    ) -> Result<Nlvr2Data, SourceError> {
        Nlvr2Data::open(split, self.images, role, encoder.clone())
    }

    fn adopt(
        &mut self,
        encoder: &mut SequenceConfig,
        published: &PublishedModel<ModelConfig>,
    ) -> Result<(), TaskError> {
        published.set_lengths(encoder);
        self.images = match published.kind {
            ModelKind::PairClassifier { .. } => Arrangement::Pair,
            _ => Arrangement::Joined,
        };
        Ok(())
    }

    fn configure(&self, model: &mut ModelConfig) -> Result<(), SourceError> {
        model.num_labels = 2;
        model.loss_type = "ce".into();
        Ok(())
    }
}

impl Classify for Nlvr2 {
    fn is_pair(&self) -> bool {
        self.images == Arrangement::Pair
    }

    fn most_images(&self) -> usize {
        PAIR
    }

    fn class_names(&self) -> Result<Vec<String>, SourceError> {
        Ok(["False", "True"].map(String::from).to_vec())
    }
}
