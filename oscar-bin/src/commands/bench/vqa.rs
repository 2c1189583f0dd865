//! VQA training steps: 3,129 answers, binary cross entropy.

use std::sync::Arc;

use anyhow::Result;
use burn::module::Module;
use burn::tensor::backend::Backend;
use oscar_core::config::ModelConfig;
use oscar_core::input::{SequenceConfig, SequenceEncoder, Tokenizer};
use oscar_core::ops::TrainBackend;
use oscar_task::{ClassBatch, FinetuneModel, FinetuneSource};
use oscar_vqa::Vqa;

use super::flops::Flops;
use super::report::Run;
use super::synthetic::{Questions, Rows};
use super::training::{Size, positions, train};
use super::{Plan, Work};

/// Answers of the published vocabulary.
const ANSWERS: usize = 3129;

/// Norm to which the published recipe clips.
const CLIP: f64 = 1.0;

impl<B: Backend> Size for ClassBatch<B> {
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
    let config = ModelConfig {
        num_labels: ANSWERS,
        loss_type: "bce".into(),
        ..plan.model.clone()
    };
    let (max_seq_length, max_regions) = plan.lengths.limits(Work::Vqa);
    let rows = plan.lengths.rows(Work::Vqa, plan.rows());
    let sequences = SequenceConfig {
        max_seq_length,
        max_regions,
        ..SequenceConfig::default()
    };
    let tokenizer = Arc::new(Tokenizer::bert_base_uncased()?);
    let encoder = SequenceEncoder::new(tokenizer, sequences, plan.lengths.padding())?;
    let encoder = Arc::new(encoder);

    let count = Flops::new(&config);
    let flops = plan.per_step(&rows, |row| {
        count.train_classifier(row.text(max_seq_length), row.regions, ANSWERS)
    });
    let questions = Arc::new(Questions {
        rows: Rows::new(rows, config.img_feature_dim),
        encoder: encoder.clone(),
        labels: ANSWERS,
    });
    let source = FinetuneSource::new(questions, encoder, ANSWERS, plan.seed, true);
    let model = FinetuneModel::<B, Vqa>::new(&config, Vqa::default(), device);
    let parameters = model.num_params();
    let source = Arc::new(source);
    let steps = train::<B, _, ClassBatch<B>>(model, source, plan, CLIP, &flops, device)?;
    Ok(Run { parameters, steps })
}
