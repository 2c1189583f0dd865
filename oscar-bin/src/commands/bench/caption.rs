//! Captions by beam search with cached keys and values, as in an evaluation: batches of images sorted by
//! length.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, anyhow};
use burn::module::Module;
use oscar_core::decode::{GenerationConfig, beam_search};
use oscar_core::input::{
    CaptionEncoder, CaptionMasking, EncodedSequence, SequenceConfig, SequenceEncoder, Tokenizer,
};
use oscar_core::model::{CaptionSteps, OscarForCaptioning};
use oscar_core::ops::OscarBackend;

use super::device::sync;
use super::flops::Flops;
use super::report::{Run, Step};
use super::synthetic::Rows;
use super::training::positions;
use super::{Plan, Work};

/// Positions of the longest caption, before the tags.
pub const CAPTION_LENGTH: usize = 40;

/// Times batches.
///
/// # Errors
///
/// If the device fails.
pub fn run<B: OscarBackend>(plan: &Plan, device: &B::Device) -> Result<Run> {
    let config = &plan.model;
    let (max_tags, max_regions) = plan.lengths.limits(Work::Caption);
    let rows = plan.lengths.rows(Work::Caption, plan.rows());
    let sequences = SequenceConfig {
        max_seq_length: CAPTION_LENGTH + max_tags,
        max_regions,
        ..SequenceConfig::default()
    };
    let tokenizer = Arc::new(Tokenizer::bert_base_uncased()?);
    let special = tokenizer.special();
    let sequences = SequenceEncoder::new(tokenizer.clone(), sequences, plan.lengths.padding())?;
    let encoder = CaptionEncoder::new(sequences, CAPTION_LENGTH, CaptionMasking::default())?;
    let generation = GenerationConfig::default();

    let images = Rows::new(rows, config.img_feature_dim);
    let contexts = (0..plan.rows()).map(|image| {
        let (_, tags) = images.texts(image);
        let regions = images.regions(image)?;
        Ok(encoder.encode_context(format!("image {image}"), &tokenizer.encode(&tags), &regions))
    });
    let contexts =
        contexts.collect::<Result<Vec<EncodedSequence>, oscar_core::input::SourceError>>();
    let mut contexts = contexts.map_err(|error| anyhow!("cannot make images: {error}"))?;
    contexts[plan.warmup * plan.batch_size..].sort_by_key(EncodedSequence::len);

    let model = OscarForCaptioning::<B>::new(config, device).for_inference();
    let count = Flops::new(config);
    let mut steps = Vec::with_capacity(plan.steps);
    for (number, batch) in contexts.chunks(plan.batch_size).enumerate() {
        sync::<B>(device)?;
        let start = Instant::now();
        let input = encoder.batch_contexts::<B>(batch, generation.max_length, device)?;
        let padded = positions(&input);
        let mut decoder = CaptionSteps::new(&model, input, special.mask);
        let captions = beam_search(&mut decoder, &generation, special);
        let seconds = start.elapsed().as_secs_f64();
        if number < plan.warmup {
            continue;
        }
        let flops = batch.iter().map(|image| {
            let tags = image.input_ids.len();
            let regions = image.len() - tags;
            count.caption(
                tags,
                regions,
                generation.num_beams,
                generation.max_length - 1,
            )
        });
        steps.push(Step {
            samples: captions.len(),
            tokens: batch.iter().map(EncodedSequence::len).sum(),
            padded,
            flops: flops.sum(),
            seconds,
            optimizer: None,
        });
    }
    Ok(Run {
        parameters: model.num_params(),
        steps,
    })
}
