//! From a corpus and its region store to batches.

use std::sync::Arc;

use burn::tensor::backend::Backend;
use oscar_core::input::{
    EncodedPair, ExampleSeed, ExampleSource, InputError, PretrainBatch, PretrainBatcher,
    PretrainEncoder,
};
use oscar_train::BatchSource;

/// A corpus, encoded anew in each epoch.
pub struct PretrainSource {
    corpus: Arc<dyn ExampleSource>,
    encoder: Arc<PretrainEncoder>,
    batcher: PretrainBatcher,
    seed: u64,
}

impl PretrainSource {
    /// Batches of `corpus` as `encoder` makes them; masks and pollution follow `seed`.
    ///
    /// # Errors
    ///
    /// If the corpus lacks what the encoder's recipe asks for.
    pub fn new(
        corpus: Arc<dyn ExampleSource>,
        encoder: Arc<PretrainEncoder>,
        batcher: PretrainBatcher,
        seed: u64,
    ) -> Result<Self, InputError> {
        encoder.check_corpus(&*corpus)?;
        Ok(Self {
            corpus,
            encoder,
            batcher,
            seed,
        })
    }

    fn encode(&self, epoch: u64, index: u32) -> Result<EncodedPair, InputError> {
        let seed = ExampleSeed {
            seed: self.seed,
            epoch,
        };
        self.encoder.encode(&*self.corpus, index as usize, seed)
    }
}

impl<B: Backend> BatchSource<B> for PretrainSource {
    type Batch = PretrainBatch<B>;

    fn len(&self) -> usize {
        self.corpus.len()
    }

    fn batch(
        &self,
        epoch: u64,
        indices: &[u32],
        device: &B::Device,
    ) -> Result<PretrainBatch<B>, Box<dyn std::error::Error + Send + Sync>> {
        let rows: Result<Vec<_>, _> = indices
            .iter()
            .map(|index| self.encode(epoch, *index))
            .collect();
        Ok(self.batcher.try_batch(rows?, device)?)
    }
}
