//! Saved weights and the held-out corpus that they are inspected with.

use std::path::Path;
use std::sync::Arc;

use oscar_core::checkpoint::{self, RandomInit};
use oscar_core::config::ModelConfig;
use oscar_core::input::{ExampleSource, PretrainEncoder, Tokenizer};
use oscar_core::model::OscarForPretraining;
use oscar_core::ops::OscarBackend;
use oscar_train::{MODEL_FILE, TrainError};

use crate::config::{PretrainConfig, PretrainError};
use crate::corpora::open_validation;

/// What it takes to run a pre-trained model over the held-out corpus of a configuration.
pub(crate) struct HeldOut {
    pub model: ModelConfig,
    pub corpus: Arc<dyn ExampleSource>,
    pub encoder: Arc<PretrainEncoder>,
}

impl HeldOut {
    /// Opens the corpus for the weights in `directory`, the `best` or `last` of a run.
    pub fn open(config: &PretrainConfig, directory: &Path) -> Result<Self, PretrainError> {
        let file = directory.join("config.json");
        let model = ModelConfig::from_file(file).map_err(PretrainError::Model)?;
        let tokenizer = Arc::new(Tokenizer::from_vocab_file(directory.join("vocab.txt"))?);
        let vocabulary = model.check_vocabulary(tokenizer.vocab_size());
        vocabulary.map_err(PretrainError::Model)?;
        let (corpus, region_dim) = open_validation(&config.data)?;
        if region_dim != model.img_feature_dim {
            return Err(PretrainError::RegionDim {
                key: "data.validation".into(),
                found: region_dim,
                expected: model.img_feature_dim,
            });
        }
        let encoder = PretrainEncoder::new(tokenizer, config.encoder.clone(), config.padding)?;
        Ok(Self {
            model,
            corpus,
            encoder: Arc::new(encoder),
        })
    }
}

/// The weights in `directory`.
pub(crate) fn load<B: OscarBackend>(
    model: &ModelConfig,
    directory: &Path,
    device: &B::Device,
) -> Result<OscarForPretraining<B>, PretrainError> {
    let model = OscarForPretraining::<B>::new(model, device);
    let file = directory.join(MODEL_FILE);
    let loaded = checkpoint::load(model, file, &RandomInit::Refuse).map_err(TrainError::from)?;
    Ok(loaded.0)
}
