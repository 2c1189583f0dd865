//! From the examples of a split to batches.

use std::sync::Arc;

use burn::tensor::backend::Backend;
use oscar_core::input::{CaptionBatch, ExampleSeed, OscarInput};
#[cfg(feature = "train")]
use {
    crate::data::CaptionData,
    oscar_core::input::{EncodedSequence, SourceError},
    oscar_task::TaskData,
    oscar_train::{BatchSource, ExampleRef},
};

use crate::scores::Reward;

/// A training batch.
#[derive(Clone, Debug)]
pub struct Batch<B: Backend> {
    /// Captions or images.
    pub content: Content<B>,
    /// Examples.
    pub num_examples: usize,
    /// Text tokens and regions, padding aside.
    pub num_tokens: usize,
}

/// The examples of a training batch.
#[derive(Clone, Debug)]
pub enum Content<B: Backend> {
    /// Captions whose masked tokens are learned.
    Captions(CaptionBatch<B>),
    /// Images, and the reward of captions that are sampled for them.
    Images(ImageBatch<B>, Arc<Reward>),
}

/// A validation batch.
#[derive(Clone, Debug)]
pub struct ValidationBatch<B: Backend> {
    /// The first caption of each image, always with the same tokens masked.
    pub captions: CaptionBatch<B>,
    /// Images to describe.
    pub images: ImageBatch<B>,
    /// Text tokens and regions, padding aside.
    pub num_tokens: usize,
}

/// Images to describe.
#[derive(Clone, Debug)]
pub struct ImageBatch<B: Backend> {
    /// Tags and regions.
    pub context: OscarInput<B>,
    /// Numbers of the images in their split.
    pub images: Vec<usize>,
    /// Seeds of the captions that are sampled for them.
    pub seeds: Vec<ExampleSeed>,
}

/// A captioning split as the training engine reads it.
///
/// | split opened for | a batch has |
/// |---|---|
/// | training | captions with masked tokens |
/// | training by reward | images |
/// | validation | images, and the first caption of each |
#[cfg(feature = "train")]
#[derive(Clone)]
pub struct CaptionSource {
    data: Arc<CaptionData>,
    /// Most tokens of a caption to be generated.
    longest: usize,
    seed: u64,
    /// Of captions sampled in training, where an example is an image.
    reward: Option<Arc<Reward>>,
}

/// The same for validation.
#[cfg(feature = "train")]
pub struct ValidationSource(pub CaptionSource);

#[cfg(feature = "train")]
impl CaptionSource {
    /// Batches of `data`; captions of up to `longest` tokens will be generated.
    pub fn new(
        data: Arc<CaptionData>,
        longest: usize,
        seed: u64,
        reward: Option<Arc<Reward>>,
    ) -> Self {
        Self {
            data,
            longest,
            seed,
            reward,
        }
    }

    fn name(&self, pick: ExampleRef) -> String {
        let index = pick.index as usize;
        match self.data.by_image() {
            true => self.data.image_name(index),
            false => self.data.caption_name(index),
        }
    }

    fn seed(&self, pick: &ExampleRef) -> ExampleSeed {
        ExampleSeed {
            seed: self.seed,
            epoch: pick.epoch,
        }
    }

    /// Images to describe, and their tokens and regions.
    fn images<B: Backend>(
        &self,
        picks: &[ExampleRef],
        device: &B::Device,
    ) -> Result<(ImageBatch<B>, usize), SourceError> {
        let images: Vec<usize> = picks.iter().map(|pick| pick.index as usize).collect();
        let contexts = images.iter().map(|image| self.data.context(*image));
        let contexts: Vec<EncodedSequence> = contexts.collect::<Result<_, _>>()?;
        let encoder = self.data.encoder();
        let batch = ImageBatch {
            context: encoder.batch_contexts(&contexts, self.longest, device)?,
            images,
            seeds: picks.iter().map(|pick| self.seed(pick)).collect(),
        };
        Ok((batch, contexts.iter().map(EncodedSequence::len).sum()))
    }
}

#[cfg(feature = "train")]
impl<B: Backend> BatchSource<B> for CaptionSource {
    type Batch = Batch<B>;

    fn len(&self) -> usize {
        self.data.len()
    }

    fn name(&self, pick: ExampleRef) -> String {
        self.name(pick)
    }

    fn batch(&self, picks: &[ExampleRef], device: &B::Device) -> Result<Batch<B>, SourceError> {
        let (content, num_tokens) = match &self.reward {
            Some(reward) => {
                let (images, tokens) = self.images(picks, device)?;
                (Content::Images(images, reward.clone()), tokens)
            }
            None => {
                let caption =
                    |pick: &ExampleRef| self.data.caption(pick.index as usize, self.seed(pick));
                let captions = picks.iter().map(caption).collect::<Result<Vec<_>, _>>()?;
                let captions: CaptionBatch<B> = self.data.encoder().batch(&captions, device)?;
                let tokens = captions.num_tokens;
                (Content::Captions(captions), tokens)
            }
        };
        Ok(Batch {
            content,
            num_examples: picks.len(),
            num_tokens,
        })
    }
}

#[cfg(feature = "train")]
impl<B: Backend> BatchSource<B> for ValidationSource {
    type Batch = ValidationBatch<B>;

    fn len(&self) -> usize {
        self.0.data.len()
    }

    fn name(&self, pick: ExampleRef) -> String {
        self.0.name(pick)
    }

    fn batch(
        &self,
        picks: &[ExampleRef],
        device: &B::Device,
    ) -> Result<ValidationBatch<B>, SourceError> {
        let data = &self.0.data;
        let captions = picks
            .iter()
            .map(|pick| data.first_caption(pick.index as usize));
        let captions = captions.collect::<Result<Vec<_>, _>>()?;
        let captions: CaptionBatch<B> = data.encoder().batch(&captions, device)?;
        let (images, tokens) = self.0.images(picks, device)?;
        Ok(ValidationBatch {
            num_tokens: captions.num_tokens + tokens,
            captions,
            images,
        })
    }
}
