//! Scoring pairs of image and caption: encoder and a head of two classes, no gradient.
//!
//! A step scores four images with enough captions for four batches, each caption with each image, as an
//! evaluation does: regions are read from a store and projected once per image.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use burn::module::Module;
use oscar_core::config::ModelConfig;
use oscar_core::input::{
    SequenceConfig, SequenceEncoder, SourceError, Tokenizer, Truncation, packed_len,
};
use oscar_core::model::{OscarClassifier, for_inference};
use oscar_core::ops::OscarBackend;
use oscar_datasets::{Boxes, ImageRegions, StoreDtype, StoreOptions, StoreWriter};
use oscar_retrieval::{Retrieval, Split, score_pairs};
use oscar_task::{Role, Task};

use super::device::sync;
use super::flops::Flops;
use super::lengths::Captioned;
use super::report::{Run, Step};
use super::synthetic::{text, values};
use super::{Plan, Work};

/// Images of a step.
const IMAGES: usize = 4;

/// Match and no match.
const LABELS: usize = 2;

/// Box values that follow the appearance of a region.
const BOX: usize = 6;

/// Times steps.
///
/// # Errors
///
/// If the device fails or the temporary directory cannot be written.
pub fn run<B: OscarBackend>(plan: &Plan, device: &B::Device) -> Result<Run> {
    let config = ModelConfig {
        num_labels: LABELS,
        ..plan.model.clone()
    };
    let (max_seq_length, max_regions) = plan.lengths.limits(Work::Retrieval);
    let sequences = SequenceConfig {
        max_seq_length,
        max_regions,
        truncation: Truncation::TextB,
        ..SequenceConfig::default()
    };
    let tokenizer = Arc::new(Tokenizer::bert_base_uncased()?);
    let padding = plan.lengths.padding();
    let encoder = SequenceEncoder::new(tokenizer, sequences, padding)?;
    let captions = plan.batch_size.div_ceil(IMAGES);
    let groups = plan
        .lengths
        .groups(plan.warmup + plan.steps, IMAGES, captions);
    let task = Retrieval {
        captions_per_image: 0,
        ..Retrieval::default()
    };
    let model = for_inference(OscarClassifier::<B>::new(&config, device));
    let count = Flops::new(&config);
    let mut steps = Vec::with_capacity(plan.steps);
    for (number, group) in groups.iter().enumerate() {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let data = make(directory.path(), group, config.img_feature_dim)
            .and_then(|split| task.open(&split, Role::Evaluate, &encoder))
            .map_err(|error| anyhow!("cannot make pairs: {error}"))?;
        sync::<B>(device)?;
        let start = Instant::now();
        let mut keep = |_: &[f32], _: usize| Ok(());
        let (scores, throughput) = score_pairs(
            &model,
            &data,
            plan.batch_size,
            Vec::new(),
            &mut keep,
            device,
        )
        .map_err(|error| anyhow!("cannot score pairs: {error}"))?;
        let seconds = start.elapsed().as_secs_f64();
        if number < plan.warmup {
            continue;
        }
        let pairs = pairs(group, max_seq_length);
        let limits = (max_seq_length, max_regions, padding.pad_multiple);
        let regions: usize = group.iter().map(|image| image.image.regions).sum();
        let of_pairs = pairs
            .iter()
            .map(|&(text, r)| count.classify(text, r, LABELS));
        steps.push(Step {
            samples: scores.len(),
            tokens: throughput.tokens,
            padded: padded(pairs.clone(), plan.batch_size, limits),
            flops: count.regions(regions) + of_pairs.sum::<f64>(),
            seconds,
            optimizer: None,
        });
    }
    Ok(Run {
        parameters: model.num_params(),
        steps,
    })
}

/// Text positions and regions of each caption with each image.
fn pairs(group: &[Captioned], longest: usize) -> Vec<(usize, usize)> {
    let captions: Vec<usize> = group.iter().flat_map(|one| one.captions.clone()).collect();
    let with_image = |image: &Captioned| {
        let row = image.image;
        captions.iter().map(move |&text_a| {
            let pair = super::lengths::Row { text_a, ..row };
            (pair.text(longest), row.regions)
        })
    };
    group.iter().flat_map(with_image).collect()
}

/// Computed positions of the batches of these pairs, which are sorted by regions, then text.
fn padded(
    mut pairs: Vec<(usize, usize)>,
    batch_size: usize,
    (text, regions, multiple): (usize, usize, usize),
) -> usize {
    let up = |longest: usize, limit: usize| longest.next_multiple_of(multiple).min(limit);
    pairs.sort_by_key(|&(text, regions)| (regions, text));
    let positions = |batch: &[(usize, usize)]| {
        let longest = batch.iter().map(|pair| pair.0).max().unwrap_or(0);
        let most = batch.iter().map(|pair| pair.1).max().unwrap_or(0);
        let real = batch.iter().map(|pair| pair.0 + pair.1).sum();
        packed_len(real, batch.len() * (up(longest, text) + up(most, regions)))
    };
    pairs.chunks(batch_size).map(positions).sum()
}

/// A store and a file of captions.
fn make(directory: &Path, group: &[Captioned], dim: usize) -> Result<Split, SourceError> {
    let regions = directory.join("regions");
    let options = StoreOptions {
        dtype: StoreDtype::F32,
        ..StoreOptions::new(dim - BOX)
    };
    let mut store = StoreWriter::create(&regions, options)?;
    let mut rows = String::new();
    for (number, captioned) in group.iter().enumerate() {
        let image = captioned.image;
        let key = number.to_string();
        store.push(ImageRegions {
            key: &key,
            width: 640,
            height: 480,
            features: &values(image.regions * (dim - BOX)),
            boxes: Boxes::Pixels(&vec![[10.0, 10.0, 200.0, 200.0]; image.regions]),
            tags: &[],
        })?;
        let captions = captioned
            .captions
            .iter()
            .map(|&pieces| text(pieces, number));
        let row = serde_json::json!({
            "image": key,
            "captions": captions.collect::<Vec<_>>(),
            "tags": text(image.text_b, number + 1),
        });
        rows.push_str(&format!("{row}\n"));
    }
    store.finish()?;
    let captions = directory.join("captions.jsonl");
    std::fs::write(&captions, rows)?;
    Ok(Split {
        captions: Some(captions),
        regions: Some(regions),
        ..Split::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_that_of_sorted_batches() {
        // Sorted: (9, 10), (20, 10) | (13, 47), (15, 48).
        let pairs = vec![(20, 10), (15, 48), (9, 10), (13, 47)];
        let found = padded(pairs, 2, (22, 50, 8));
        // 49 and 123 positions, in sixteens.
        assert_eq!(found, 64 + 128);
    }
}
