//! Pre-training steps: MLM and contrastive loss.

use std::sync::Arc;

use anyhow::Result;
use burn::module::Module;
use burn::tensor::backend::Backend;
use oscar_core::input::{
    ContrastConfig, PretrainBatch, PretrainEncoder, PretrainEncoderConfig, Tokenizer,
};
use oscar_core::ops::TrainBackend;
use oscar_pretraining::{Objectives, PretrainSource, PretrainingTask};

use super::flops::Flops;
use super::report::Run;
use super::synthetic::Rows;
use super::training::{Size, positions, train};
use super::{Plan, Work};

impl<B: Backend> Size for PretrainBatch<B> {
    fn real(&self) -> (usize, usize) {
        (self.num_examples, self.num_tokens)
    }

    fn padded(&self) -> usize {
        positions(&self.input)
    }
}

/// Times them.
///
/// # Errors
///
/// If the device fails.
pub fn run<B: TrainBackend>(plan: &Plan, device: &B::Device) -> Result<Run> {
    let config = &plan.model;
    let (max_seq_length, max_regions) = plan.lengths.limits(Work::Pretrain);
    let rows = plan.lengths.rows(Work::Pretrain, plan.rows());
    let encoder = PretrainEncoderConfig {
        max_seq_length,
        max_regions,
        // A replaced text would have another length.
        contrast: ContrastConfig {
            polluted: 0.0,
            ..ContrastConfig::default()
        },
        ..PretrainEncoderConfig::default()
    };
    let tokenizer = Arc::new(Tokenizer::bert_base_uncased()?);
    let encoder = PretrainEncoder::new(tokenizer, encoder, plan.lengths.padding())?;

    let count = Flops::new(config);
    let flops = plan.per_step(&rows, |row| {
        let text = row.text(max_seq_length);
        count.pretrain(text, row.regions, config.num_contrast_classes)
    });
    let corpus = Arc::new(Rows::new(rows, config.img_feature_dim));
    let source = Arc::new(PretrainSource::new(corpus, Arc::new(encoder), plan.seed)?);
    let model = PretrainingTask::<B>::new(config, Objectives::default(), device);
    let parameters = model.num_params();
    // The published recipe does not clip.
    let steps = train::<B, _, PretrainBatch<B>>(model, source, plan, 0.0, &flops, device)?;
    Ok(Run { parameters, steps })
}
