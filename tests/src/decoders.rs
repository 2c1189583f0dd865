//! Other ways to the words of a captioner: without a cache, and with the official one.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use oscar_core::decode::Decoder;
use oscar_core::input::{AttentionMask, OscarInput};
use oscar_core::model::{CaptionCache, ContextCache, OscarForCaptioning};
use oscar_core::ops::OscarBackend;

use crate::host::ints;

/// Masks are 1 and 0; above this a position is attended to.
const ATTENDED: f32 = 0.5;

/// A captioner that encodes everything anew at each step: the reference for those that do not.
#[derive(Debug)]
pub struct UncachedSteps<'a, B: Backend> {
    model: &'a OscarForCaptioning<B>,
    context: HostContext<B>,
    captions: Vec<Vec<u32>>,
    mask_id: u32,
    images: usize,
    device: B::Device,
}

/// Tags and regions, encoded anew with every caption.
#[derive(Debug)]
struct HostContext<B: Backend> {
    images: usize,
    tags: usize,
    input_ids: Vec<i32>,
    token_type_ids: Vec<i32>,
    position_ids: Vec<i32>,
    /// `[images, tags + regions]`.
    attended: Vec<bool>,
    regions: Option<Tensor<B, 3>>,
    /// Image of each row.
    image_of: Vec<usize>,
}

impl<'a, B: OscarBackend> UncachedSteps<'a, B> {
    /// One empty caption for each image of `context`, whose text is the tags.
    ///
    /// # Panics
    ///
    /// If the mask of `context` is not a padding mask.
    pub fn new(model: &'a OscarForCaptioning<B>, context: OscarInput<B>, mask_id: u32) -> Self {
        let [images, tags] = context.input_ids.dims();
        let device = context.input_ids.device();
        let host = |tensor: Tensor<B, 2, Int>| -> Vec<i32> {
            tensor.into_data().iter::<i32>().collect::<Vec<_>>()
        };
        let position_ids = match context.position_ids {
            Some(positions) => host(positions),
            None => (0..images).flat_map(|_| 0..tags as i32).collect(),
        };
        let AttentionMask::Padding(mask) = context.attention_mask else {
            panic!("a context has a padding mask");
        };
        let mask: Vec<f32> = mask.into_data().iter::<f32>().collect();
        let context = HostContext {
            images,
            tags,
            input_ids: host(context.input_ids),
            token_type_ids: host(context.token_type_ids),
            position_ids,
            attended: mask.into_iter().map(|value| value > ATTENDED).collect(),
            regions: context.region_features,
            image_of: (0..images).collect(),
        };
        Self {
            model,
            context,
            captions: vec![Vec::new(); images],
            mask_id,
            images,
            device,
        }
    }
}

impl<B: OscarBackend> Decoder<B> for UncachedSteps<'_, B> {
    fn images(&self) -> usize {
        self.images
    }

    fn rows(&self) -> usize {
        self.captions.len()
    }

    fn device(&self) -> B::Device {
        self.device.clone()
    }

    fn next(&mut self, tokens: &[u32]) -> Tensor<B, 2> {
        for (caption, token) in self.captions.iter_mut().zip(tokens) {
            caption.push(*token);
        }
        let (input, positions) = self
            .context
            .sequences(&self.captions, self.mask_id, &self.device);
        self.model.forward(input, positions)
    }

    fn select(&mut self, images: Option<&[usize]>, rows: &[usize]) {
        self.images = images.map_or(self.images, <[usize]>::len);
        self.captions = rows.iter().map(|row| self.captions[*row].clone()).collect();
        let image_of = rows.iter().map(|row| self.context.image_of[*row]);
        self.context.image_of = image_of.collect();
    }
}

impl<B: OscarBackend> HostContext<B> {
    /// `[caption, [MASK], tags | regions]` of each row, and the position of its `[MASK]`.
    fn sequences(
        &self,
        captions: &[Vec<u32>],
        mask_id: u32,
        device: &B::Device,
    ) -> (OscarInput<B>, Tensor<B, 1, Int>) {
        let rows = captions.len();
        let words = captions.first().map_or(0, Vec::len);
        let (text, last) = (words + 1 + self.tags, words);
        let context = self.attended.len() / self.images;
        let seq = words + 1 + context;
        let (mut ids, mut types, mut positions) = (Vec::new(), Vec::new(), Vec::new());
        let mut mask = vec![0.0; rows * seq * seq];
        for (row, caption) in captions.iter().enumerate() {
            let image = self.image_of[row];
            let tags = image * self.tags..(image + 1) * self.tags;
            ids.extend(caption.iter().map(|id| *id as i32));
            ids.push(mask_id as i32);
            ids.extend(&self.input_ids[tags.clone()]);
            types.resize(row * text + words + 1, 0);
            types.extend(&self.token_type_ids[tags.clone()]);
            positions.extend(0..=words as i32);
            positions.extend(&self.position_ids[tags]);
            let attended = &self.attended[image * context..(image + 1) * context];
            let mask = &mut mask[row * seq * seq..(row + 1) * seq * seq];
            fill_mask(mask, words + 1, attended);
        }
        let images: Vec<i32> = self.image_of.iter().map(|image| *image as i32).collect();
        let regions = self
            .regions
            .clone()
            .map(|regions| regions.select(0, ints(images, [rows], device)));
        let input = OscarInput {
            input_ids: ints(ids, [rows, text], device),
            token_type_ids: ints(types, [rows, text], device),
            position_ids: Some(ints(positions, [rows, text], device)),
            attention_mask: AttentionMask::Full(Tensor::from_data(
                TensorData::new(mask, [rows, seq, seq]),
                device,
            )),
            region_features: regions,
            query_positions: None,
            packing: None,
        };
        let masks = (0..rows).map(|row| (row * seq + last) as i32).collect();
        (input, ints(masks, [rows], device))
    }
}

/// The sequence-to-sequence mask of one row: a word attends to the words up to itself and to the
/// context, the context to itself.
fn fill_mask(mask: &mut [f32], words: usize, attended: &[bool]) {
    let seq = words + attended.len();
    for query in 0..seq {
        let is_word = query < words;
        if !is_word && !attended[query - words] {
            continue;
        }
        let row = &mut mask[query * seq..(query + 1) * seq];
        if is_word {
            row[..=query].fill(1.0);
        }
        for (value, attended) in row[words..].iter_mut().zip(attended) {
            *value = f32::from(*attended);
        }
    }
}

/// A captioner with the mistake of the official cached beam search: where beams change places, only
/// the newest word moves, and the older ones stay in the row they were computed in.
///
/// Images that are dropped stay in the cache, since words that do not move need every row.
#[derive(Debug)]
pub struct StaleSteps<'a, B: Backend> {
    model: &'a OscarForCaptioning<B>,
    context: ContextCache<B>,
    captions: CaptionCache<B>,
    mask_id: u32,
    /// Rows of each image.
    width: usize,
    /// The images that have not been dropped.
    active: Vec<usize>,
    device: B::Device,
}

impl<'a, B: OscarBackend> StaleSteps<'a, B> {
    /// One empty caption for each image of `context`, whose text is the tags.
    pub fn new(model: &'a OscarForCaptioning<B>, context: OscarInput<B>, mask_id: u32) -> Self {
        let [images, _] = context.input_ids.dims();
        let device = context.input_ids.device();
        Self {
            model,
            context: model.backbone().encode_context(context),
            captions: CaptionCache::default(),
            mask_id,
            width: 1,
            active: (0..images).collect(),
            device,
        }
    }

    /// The row among all images of a row among those that are left.
    fn row(&self, row: usize) -> usize {
        self.active[row / self.width] * self.width + row % self.width
    }
}

impl<B: OscarBackend> Decoder<B> for StaleSteps<'_, B> {
    fn images(&self) -> usize {
        self.active.len()
    }

    fn rows(&self) -> usize {
        self.active.len() * self.width
    }

    fn device(&self) -> B::Device {
        self.device.clone()
    }

    fn next(&mut self, tokens: &[u32]) -> Tensor<B, 2> {
        let rows: Vec<usize> = (0..self.rows()).map(|row| self.row(row)).collect();
        let all = self.context.images() * self.width;
        let mut ids: Vec<i32> = vec![self.mask_id as i32; 2 * all];
        for (row, token) in rows.iter().zip(tokens) {
            ids[2 * row] = *token as i32;
        }
        let ids = ints(ids, [all, 2], &self.device);
        let backbone = self.model.backbone();
        let hidden = backbone.encode_next(ids, &self.context, &mut self.captions);
        let rows: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
        let count = rows.len();
        let rows = ints(rows, [count], &self.device);
        self.model.logits(hidden).select(0, rows)
    }

    fn select(&mut self, images: Option<&[usize]>, rows: &[usize]) {
        let active: Vec<usize> = match images {
            None => self.active.clone(),
            Some(images) => images.iter().map(|image| self.active[*image]).collect(),
        };
        let width = rows.len() / active.len();
        let own = |row: usize| row / width * self.width + (row % width).min(self.width - 1);
        let mut parents: Vec<usize> = (0..self.context.images() * width).map(own).collect();
        for (at, row) in rows.iter().enumerate() {
            parents[active[at / width] * width + at % width] = self.row(*row);
        }
        // While there is one word, all rows of an image have it.
        let first = match self.captions.len() {
            0 | 1 => 0,
            words => words - 1,
        };
        self.captions.select_from(first, &parents);
        (self.width, self.active) = (width, active);
    }
}
