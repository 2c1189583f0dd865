//! A captioner that generates captions word by word.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

use super::{CaptionCache, ContextCache, OscarForCaptioning};
use crate::decode::Decoder;
use crate::input::OscarInput;
use crate::ops::OscarBackend;

/// [`OscarForCaptioning`] as a [`Decoder`]: keys and values are kept, so that a step encodes two
/// tokens, the newest word and the `[MASK]`.
#[derive(Debug)]
pub struct CaptionSteps<'a, B: Backend> {
    model: &'a OscarForCaptioning<B>,
    context: ContextCache<B>,
    captions: CaptionCache<B>,
    mask_id: u32,
    rows: usize,
    device: B::Device,
}

impl<'a, B: OscarBackend> CaptionSteps<'a, B> {
    /// One empty caption for each image of `context`.
    ///
    /// The text of `context` is the tags, as [`Backbone::encode_context`](super::Backbone) reads
    /// them.
    pub fn new(model: &'a OscarForCaptioning<B>, context: OscarInput<B>, mask_id: u32) -> Self {
        let [images, _] = context.input_ids.dims();
        let device = context.input_ids.device();
        Self {
            model,
            context: model.bert.encode_context(context),
            captions: CaptionCache::default(),
            mask_id,
            rows: images,
            device,
        }
    }
}

impl<B: OscarBackend> Decoder<B> for CaptionSteps<'_, B> {
    fn images(&self) -> usize {
        self.context.images()
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn device(&self) -> B::Device {
        self.device.clone()
    }

    fn next(&mut self, tokens: &[u32]) -> Tensor<B, 2> {
        let ids = tokens.iter().flat_map(|token| [*token, self.mask_id]);
        let ids: Vec<i32> = ids.map(|id| id as i32).collect();
        let ids = TensorData::new(ids, [tokens.len(), 2]);
        let ids = Tensor::<B, 2, Int>::from_data(ids, &self.device);
        let (context, captions) = (&self.context, &mut self.captions);
        let hidden = self.model.bert.encode_next(ids, context, captions);
        self.model.logits(hidden)
    }

    fn select(&mut self, images: Option<&[usize]>, rows: &[usize]) {
        let unchanged =
            rows.len() == self.rows && rows.iter().enumerate().all(|(at, row)| at == *row);
        if images.is_none() && unchanged {
            return;
        }
        if let Some(images) = images {
            let indices: Vec<i32> = images.iter().map(|image| *image as i32).collect();
            let indices = TensorData::new(indices, [images.len()]);
            self.context
                .select(Tensor::from_data(indices, &self.device));
        }
        self.captions.select(rows);
        self.rows = rows.len();
    }
}
