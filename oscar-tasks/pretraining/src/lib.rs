//! Pre-training: masked tokens and the contrastive image-text relation (paper §3.1).
//!
//! [`pretrain`] runs a recipe ([`PretrainConfig`]) from corpus to report.

mod config;
mod corpora;
mod data;
mod grounding;
mod run;
mod task;

pub use config::{CorpusConfig, DataConfig, ExtraConfig, MixConfig, PretrainConfig, PretrainError};
pub use data::PretrainSource;
pub use grounding::{Grounding, GroundingConfig, GroundingProbe, UnknownWord};
pub use run::{PretrainReport, RunOptions, pretrain};
pub use task::{CONTRASTIVE_ACCURACY, CONTRASTIVE_LOSS, MLM_ACCURACY, MLM_LOSS, PretrainingTask};
