//! From a corpus and its region store to batches.

use std::sync::Arc;

use burn::tensor::backend::Backend;
use oscar_core::input::{
    EncodedPair, ExampleSeed, ExampleSource, InputError, PretrainBatch, PretrainEncoder,
};
use oscar_train::{BatchSource, ExampleRef, Portion};

/// A corpus, encoded anew in each epoch.
pub struct PretrainSource {
    corpus: Arc<dyn ExampleSource>,
    encoder: Arc<PretrainEncoder>,
    /// Encodes the examples of steps before this one.
    early: Option<(usize, Arc<PretrainEncoder>)>,
    seed: u64,
    portions: Vec<Portion>,
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
        seed: u64,
    ) -> Result<Self, InputError> {
        encoder.check_corpus(&*corpus)?;
        let portions = vec![Portion {
            examples: corpus.len(),
            weight: 1,
        }];
        Ok(Self {
            corpus,
            encoder,
            early: None,
            seed,
            portions,
        })
    }

    /// Lets `encoder` encode the examples of optimiser steps before `step`, counted from 0.
    pub fn with_early(self, step: usize, encoder: Arc<PretrainEncoder>) -> Self {
        Self {
            early: Some((step, encoder)),
            ..self
        }
    }

    /// Draws these portions of the corpus, which together are all of it, at rates of their own.
    /// Pollution takes its texts from the whole corpus all the same.
    pub fn with_portions(self, portions: Vec<Portion>) -> Self {
        Self { portions, ..self }
    }

    fn encode(
        &self,
        encoder: &PretrainEncoder,
        pick: ExampleRef,
    ) -> Result<EncodedPair, InputError> {
        let seed = ExampleSeed {
            seed: self.seed,
            epoch: pick.epoch,
        };
        encoder.encode(&*self.corpus, pick.index as usize, seed)
    }

    fn batch_by<B: Backend>(
        &self,
        encoder: &PretrainEncoder,
        picks: &[ExampleRef],
        device: &B::Device,
    ) -> Result<PretrainBatch<B>, Box<dyn std::error::Error + Send + Sync>> {
        let rows = picks.iter().map(|pick| self.encode(encoder, *pick));
        let rows: Vec<EncodedPair> = rows.collect::<Result<_, _>>()?;
        Ok(encoder.batch(&rows, device)?)
    }
}

impl<B: Backend> BatchSource<B> for PretrainSource {
    type Batch = PretrainBatch<B>;

    fn len(&self) -> usize {
        self.corpus.len()
    }

    fn portions(&self) -> Vec<Portion> {
        self.portions.clone()
    }

    fn name(&self, pick: ExampleRef) -> String {
        let image = self.corpus.get(pick.index as usize).map(|row| row.image);
        match (self.encode(&self.encoder, pick), image) {
            (Ok(pair), Ok(image)) => format!("{}, image {image}", pair.sequence.origin),
            _ => format!("row {}", pick.index + 1),
        }
    }

    fn batch(
        &self,
        picks: &[ExampleRef],
        device: &B::Device,
    ) -> Result<PretrainBatch<B>, Box<dyn std::error::Error + Send + Sync>> {
        self.batch_by(&self.encoder, picks, device)
    }

    fn batch_of_step(
        &self,
        step: usize,
        picks: &[ExampleRef],
        device: &B::Device,
    ) -> Result<PretrainBatch<B>, Box<dyn std::error::Error + Send + Sync>> {
        let early = self.early.as_ref().filter(|(start, _)| step < *start);
        let encoder = early.map_or(&self.encoder, |(_, early)| early);
        self.batch_by(encoder, picks, device)
    }
}
