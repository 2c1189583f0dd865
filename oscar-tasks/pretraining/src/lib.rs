//! Pre-training on a list of objectives: by default masked tokens and the contrastive image-text
//! relation (paper §3.1).
//!
//! [`pretrain`] runs a recipe ([`PretrainConfig`]) from corpus to report.

mod config;
mod corpora;
mod data;
mod exhibit;
mod grounding;
mod held_out;
mod knowledge;
mod objective;
mod probe;
mod run;
mod share;
mod task;

pub use config::{CorpusConfig, DataConfig, ExtraConfig, MixConfig, PretrainConfig, PretrainError};
pub use data::PretrainSource;
pub use exhibit::exhibit;
pub use grounding::{Grounding, GroundingConfig, GroundingProbe, OutOfDomain, Shown, UnknownWord};
pub use objective::{
    CONTRASTIVE_ACCURACY, CONTRASTIVE_LOSS, MATCHING_ACCURACY, MATCHING_LOSS, MLM_ACCURACY,
    MLM_LOSS, Objective, ObjectiveConfig, Objectives, REGION_ATTRIBUTE_ACCURACY,
    REGION_ATTRIBUTE_LOSS, REGION_FEATURE_LOSS, REGION_OBJECT_ACCURACY, REGION_OBJECT_LOSS,
    TRANSPORT_LOSS,
};
pub use probe::{Probed, probe};
pub use run::{PretrainReport, TASK_NAME, pretrain};
pub use share::Share;
pub use task::PretrainingTask;
