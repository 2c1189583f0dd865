//! From the examples of a split to batches.

use std::sync::Arc;

use burn::tensor::backend::Backend;
use oscar_core::input::{CaptionBatch, EncodedSequence, ExampleSeed, OscarInput, SourceError};
use oscar_task::Role;
use oscar_train::{BatchSource, ExampleRef};

use crate::data::CaptionData;

/// Captions to learn, images to describe, or both.
#[derive(Clone, Debug)]
pub struct Batch<B: Backend> {
    /// Captions with gaps.
    pub captions: Option<CaptionBatch<B>>,
    /// Images to describe.
    pub images: Option<ImageBatch<B>>,
    /// Examples.
    pub num_examples: usize,
    /// Text tokens and regions that are no padding.
    pub num_tokens: usize,
}

/// Images to describe.
#[derive(Clone, Debug)]
pub struct ImageBatch<B: Backend> {
    /// Tags and regions.
    pub context: OscarInput<B>,
    /// Numbers of the images in their split.
    pub images: Vec<usize>,
    /// What is drawn of each follows this.
    pub seeds: Vec<ExampleSeed>,
}

/// A captioning split as the training engine reads it.
///
/// | split opened for | a batch has |
/// |---|---|
/// | training | captions with gaps |
/// | training by reward | images |
/// | validation | images, and the first caption of each with gaps, always the same |
pub struct CaptionSource {
    data: Arc<CaptionData>,
    /// Most tokens of a caption to be generated.
    longest: usize,
    seed: u64,
}

impl CaptionSource {
    /// Batches of `data`; captions of up to `longest` tokens will be generated.
    pub fn new(data: Arc<CaptionData>, longest: usize, seed: u64) -> Self {
        Self {
            data,
            longest,
            seed,
        }
    }
}

impl<B: Backend> BatchSource<B> for CaptionSource {
    type Batch = Batch<B>;

    fn len(&self) -> usize {
        self.data.num_examples()
    }

    fn name(&self, pick: ExampleRef) -> String {
        let index = pick.index as usize;
        match self.data.by_image() {
            true => self.data.image_name(index),
            false => self.data.caption_name(index),
        }
    }

    fn batch(&self, picks: &[ExampleRef], device: &B::Device) -> Result<Batch<B>, SourceError> {
        let data = &self.data;
        let indices = || picks.iter().map(|pick| pick.index as usize);
        let seed = |pick: &ExampleRef| ExampleSeed {
            seed: self.seed,
            epoch: pick.epoch,
        };
        let captions = match (data.by_image(), data.role()) {
            (false, _) => picks
                .iter()
                .map(|pick| data.caption(pick.index as usize, seed(pick)))
                .collect::<Result<Vec<_>, _>>()?,
            (true, Role::Validate) => indices()
                .filter_map(|image| data.first_caption(image).transpose())
                .collect::<Result<_, _>>()?,
            (true, _) => Vec::new(),
        };
        let captions = match captions.is_empty() {
            true => None,
            false => Some(data.encoder().batch(&captions, device)?),
        };
        let mut num_tokens = captions.as_ref().map_or(0, |captions| captions.num_tokens);
        let images = match data.by_image() {
            false => None,
            true => {
                let contexts = indices().map(|image| data.context(image));
                let contexts: Vec<EncodedSequence> = contexts.collect::<Result<_, _>>()?;
                num_tokens += contexts.iter().map(EncodedSequence::len).sum::<usize>();
                Some(ImageBatch {
                    context: data
                        .encoder()
                        .batch_contexts(&contexts, self.longest, device)?,
                    images: indices().collect(),
                    seeds: picks.iter().map(seed).collect(),
                })
            }
        };
        Ok(Batch {
            captions,
            images,
            num_examples: picks.len(),
            num_tokens,
        })
    }
}
