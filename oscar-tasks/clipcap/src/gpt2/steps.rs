//! GPT-2 that continues prefixes word by word.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use oscar_core::decode::Decoder;
use oscar_core::model::CaptionCache;
use oscar_core::ops::{self, CaptionKeyValues, KeyValue, OscarBackend};

use super::Gpt2LmHead;

/// [`Gpt2LmHead`] as a [`Decoder`]: keys and values of the prefixes are computed once per image and
/// shared by its rows, those of the words are kept, so that a step computes one token a row.
///
/// The first call of [`next`](Decoder::next) gives the logits after the prefixes, whatever its tokens.
#[derive(Debug)]
pub struct Gpt2Steps<'a, B: Backend> {
    model: &'a Gpt2LmHead<B>,
    /// Keys and values of the prefixes in every layer, `[images, length, width]`.
    prefix: Vec<KeyValue<B>>,
    length: usize,
    words: CaptionCache<B>,
    /// Logits after the prefixes, until they are asked for.
    first: Option<Tensor<B, 2>>,
    images: usize,
    rows: usize,
    device: B::Device,
}

impl<'a, B: OscarBackend> Gpt2Steps<'a, B> {
    /// One row for each image of `prefix` `[images, length, width]`.
    pub fn new(model: &'a Gpt2LmHead<B>, prefix: Tensor<B, 3>) -> Self {
        let [images, length, width] = prefix.dims();
        let device = prefix.device();
        let mask = ops::causal_mask(images, length, &device);
        let mut hidden = model.transformer.embed(prefix, 0);
        let mut kept = Vec::with_capacity(model.transformer.h.len());
        for block in &model.transformer.h {
            let (output, own) = block.forward_keeping(hidden, mask.clone());
            kept.push(own);
            hidden = output;
        }
        let last = hidden.narrow(1, length - 1, 1).reshape([images, width]);
        let first = model.logits(model.transformer.last_norm(last));
        Self {
            model,
            prefix: kept,
            length,
            words: CaptionCache::default(),
            first: Some(first),
            images,
            rows: images,
            device,
        }
    }
}

impl<B: OscarBackend> Decoder<B> for Gpt2Steps<'_, B> {
    fn images(&self) -> usize {
        self.images
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn device(&self) -> B::Device {
        self.device.clone()
    }

    fn next(&mut self, tokens: &[u32]) -> Tensor<B, 2> {
        if let Some(first) = self.first.take() {
            return first;
        }
        let (rows, known) = (tokens.len(), self.words.len());
        let ids: Vec<i32> = tokens.iter().map(|token| *token as i32).collect();
        let ids = Tensor::<B, 2, Int>::from_data(TensorData::new(ids, [rows, 1]), &self.device);
        let vectors = self.model.embed_words(ids);
        let mut hidden = ops::flatten(self.model.transformer.embed(vectors, self.length + known));

        // Nothing is masked: every word and every vector of the prefix comes before the newest.
        let mask = Tensor::zeros([rows, 1, 1, self.length + known + 1], &self.device);
        let positions = self.words.places(rows, 1, &self.device);
        let blocks = self.model.transformer.h.iter().zip(&self.prefix);
        for (layer, (block, prefix)) in blocks.enumerate() {
            let (query, own) = block.project_newest(hidden.clone());
            let words = CaptionKeyValues {
                steps: self.words.push(layer, own),
                positions: &positions,
            };
            hidden = block.read(hidden, query, prefix, &words, mask.clone());
        }
        self.words.add_words(rows, 1, 1);
        self.model.logits(self.model.transformer.last_norm(hidden))
    }

    fn select(&mut self, images: Option<&[usize]>, rows: &[usize]) {
        let unchanged =
            rows.len() == self.rows && rows.iter().enumerate().all(|(at, row)| at == *row);
        if images.is_none() && unchanged {
            return;
        }
        let indices = |numbers: &[usize]| {
            let numbers: Vec<i32> = numbers.iter().map(|number| *number as i32).collect();
            let shape = [numbers.len()];
            Tensor::<B, 1, Int>::from_data(TensorData::new(numbers, shape), &self.device)
        };
        if let Some(images) = images {
            let kept = indices(images);
            for layer in &mut self.prefix {
                *layer = layer.select(&kept);
            }
            self.images = images.len();
        }
        if let Some(first) = self.first.take() {
            self.first = Some(first.select(0, indices(rows)));
        }
        self.words.select(rows);
        self.rows = rows.len();
    }
}
