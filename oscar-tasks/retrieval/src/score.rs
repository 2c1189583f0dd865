//! Scores of pairs, each text tokenised once and each image's regions projected once.
//!
//! Pairs are taken in blocks of whole images. A block's regions are projected together; its pairs are
//! sorted by length, so that a batch is hardly padded; its scores are written before the next.

use std::sync::Arc;
use std::time::Instant;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use oscar_core::config::ModelConfig;
use oscar_core::input::{EncodedSequence, RegionHandle, RegionSource, SourceError};
use oscar_core::model::OscarClassifier;
use oscar_core::ops::OscarBackend;
use oscar_task::batches::{BATCHES_SORTED, run_sorted};
use oscar_task::cross_encoder::match_scores;
use oscar_task::{EvaluateOptions, Throughput};
use rayon::prelude::*;

use crate::cache::{Fingerprint, ScoreCache};
use crate::data::RetrievalData;

/// Given the scores of a block, and how many there are by then.
pub type Keep<'a> = dyn FnMut(&[f32], usize) -> Result<(), SourceError> + 'a;

/// Scores every image of `data` with its candidates, `[images, width]`; resumes from the options'
/// cache, if they have one.
///
/// # Errors
///
/// If an image cannot be read, or the cache cannot be read or written.
pub(crate) fn score_or_resume<B: OscarBackend>(
    (model, config): (&OscarClassifier<B>, &ModelConfig),
    data: &RetrievalData,
    options: &EvaluateOptions<'_>,
    device: &B::Device,
) -> Result<(Vec<f32>, Throughput), SourceError> {
    let total = data.num_images() * data.width();
    let (mut cache, done) = match options.cache {
        None => (None, Vec::new()),
        Some(directory) => {
            let fingerprint = fingerprint(model, config, data)?;
            let (cache, done) = ScoreCache::open(directory, &fingerprint, total)?;
            if !done.is_empty() {
                tracing::info!(
                    "{} of {total} scores are in {}",
                    done.len(),
                    cache.path().display()
                );
            }
            (Some(cache), done)
        }
    };
    let mut keep = |scores: &[f32], so_far: usize| {
        if let Some(cache) = &mut cache {
            cache.append(scores)?;
        }
        (options.progress)(so_far, total);
        Ok(())
    };
    score_pairs(model, data, options.batch_size, done, &mut keep, device)
}

/// Scores the pairs of `data` after the `done` first ones, and gives each block to `keep`.
///
/// # Errors
///
/// If an image cannot be read, or `keep` fails.
pub fn score_pairs<B: OscarBackend>(
    model: &OscarClassifier<B>,
    data: &RetrievalData,
    batch_size: usize,
    done: Vec<f32>,
    keep: &mut Keep<'_>,
    device: &B::Device,
) -> Result<(Vec<f32>, Throughput), SourceError> {
    let started = Instant::now();
    let width = data.width();
    let total = data.num_images() * width;
    let mut throughput = Throughput {
        examples: total - done.len(),
        ..Throughput::default()
    };
    let mut scores = done;
    scores.reserve_exact(total - scores.len());
    let images_per_block = (batch_size * BATCHES_SORTED / width.max(1)).max(1);
    while scores.len() < total {
        let start = scores.len();
        let first = start / width;
        let end = ((first + images_per_block) * width).min(total);
        let last = (end - 1) / width;
        let projected = project(model, data, first..last + 1, device)?;
        let pairs = (start..end)
            .into_par_iter()
            .map(|pair| {
                let (image, column) = (pair / width, pair % width);
                let caption = data.candidates_of(image)[column] as usize;
                let regions = RegionHandle::new(projected.clone(), image - first)?;
                data.pair(image, caption, regions)
            })
            .collect::<Result<Vec<EncodedSequence>, SourceError>>()?;
        let regions_then_text = |row: &EncodedSequence| {
            let text = row.input_ids.len();
            (row.len() - text, text)
        };
        let block = run_sorted(pairs, batch_size, regions_then_text, |rows| {
            throughput.tokens += rows.iter().map(EncodedSequence::len).sum::<usize>();
            let logits = model.forward_projected(data.encoder.batch(rows, device)?)?;
            Ok::<_, SourceError>(match_scores(logits))
        })?;
        scores.extend(&block);
        keep(&block, scores.len())?;
    }
    throughput.seconds = started.elapsed().as_secs_f64();
    Ok((scores, throughput))
}

/// Projected regions of some images, in the place of their features.
struct Projected {
    hidden: usize,
    /// Where each image's regions begin, and where the last one's end.
    offsets: Vec<usize>,
    values: Vec<f32>,
}

impl RegionSource for Projected {
    fn region_dim(&self) -> usize {
        self.hidden
    }

    fn num_regions(&self, row: usize) -> Result<usize, SourceError> {
        Ok(self.offsets[row + 1] - self.offsets[row])
    }

    fn copy_regions(&self, row: usize, out: &mut [f32]) -> Result<(), SourceError> {
        let start = self.offsets[row] * self.hidden;
        out.copy_from_slice(&self.values[start..start + out.len()]);
        Ok(())
    }
}

/// Projects the regions of `images`, all in one go and without padding.
fn project<B: OscarBackend>(
    model: &OscarClassifier<B>,
    data: &RetrievalData,
    images: std::ops::Range<usize>,
    device: &B::Device,
) -> Result<Arc<Projected>, SourceError> {
    let read = images
        .into_par_iter()
        .map(|image| read_regions(data, image))
        .collect::<Result<Vec<_>, _>>()?;
    let mut offsets = vec![0];
    let mut features = Vec::new();
    let mut dim = 0;
    for (image, width) in read {
        dim = width;
        features.extend(image);
        offsets.push(features.len() / width.max(1));
    }
    let regions = features.len() / dim.max(1);
    let (hidden, values) = match regions {
        0 => (dim, Vec::new()),
        _ => {
            let features = TensorData::new(features, [1, regions, dim]);
            let projected = model
                .backbone()
                .project_regions(Tensor::from_data(features, device));
            let [_, _, hidden] = projected.dims();
            (hidden, projected.into_data().iter::<f32>().collect())
        }
    };
    Ok(Arc::new(Projected {
        hidden,
        offsets,
        values,
    }))
}

/// The features of the regions of an image that are used, and values per region.
fn read_regions(data: &RetrievalData, image: usize) -> Result<(Vec<f32>, usize), SourceError> {
    let regions = data.regions(image)?;
    let used = regions.len().min(data.encoder.config().max_regions);
    let mut features = vec![0.0; used * regions.dim()];
    regions.copy_into(&mut features)?;
    Ok((features, regions.dim()))
}

/// Everything that decides a score.
fn fingerprint<B: OscarBackend>(
    model: &OscarClassifier<B>,
    config: &ModelConfig,
    data: &RetrievalData,
) -> Result<Fingerprint, SourceError> {
    let mut fingerprint = Fingerprint::default();
    fingerprint.add(&serde_json::to_vec(config)?);
    fingerprint.add(&serde_json::to_vec(data.encoder.config())?);
    fingerprint.add(format!("{:?}", data.encoder.tokenizer().special()).as_bytes());
    model.visit(&mut Weights(&mut fingerprint));
    let mut ids = |list: &[u32]| {
        let bytes: Vec<u8> = list.iter().flat_map(|id| id.to_le_bytes()).collect();
        fingerprint.add(&bytes);
    };
    for caption in &data.split.captions {
        ids(&[caption.image]);
        ids(&caption.ids);
    }
    match data.columns() {
        Some(captions) => ids(captions),
        None => (0..data.num_images()).for_each(|image| ids(data.candidates_of(image))),
    }
    for (number, image) in data.split.images.iter().enumerate() {
        fingerprint.add(image.key.as_bytes());
        let tags: Vec<u8> = image.tags.iter().flat_map(|id| id.to_le_bytes()).collect();
        fingerprint.add(&tags);
        let (features, _) = read_regions(data, number)?;
        let features: Vec<u8> = features.iter().flat_map(|v| v.to_le_bytes()).collect();
        fingerprint.add(&features);
    }
    Ok(fingerprint)
}

struct Weights<'a>(&'a mut Fingerprint);

impl<B: Backend> ModuleVisitor<B> for Weights<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.0.add(param.val().into_data().as_bytes());
    }
}
