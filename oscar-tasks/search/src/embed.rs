//! From texts and pictures to vectors.

use std::path::Path;
use std::sync::Arc;

use oscar_core::input::{EncodedSequence, SequenceEncoder};
use oscar_core::model::OscarDualEncoder;
use oscar_core::model::dual_encoder::Side;
use oscar_core::ops::OscarBackend;
use oscar_files::FileError;
use oscar_task::batches::run_sorted;
use oscar_task::{Ask, Opened, Seen, TaskError};
use oscar_vision::RegionExtractor;

use crate::Search;
use crate::index::identity::checkpoint_identity;

/// Sequences per batch, where the caller names no number.
const BATCH: usize = 32;

/// Vectors of one width, one after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vectors {
    width: usize,
    values: Vec<f32>,
}

impl Vectors {
    /// Vectors of `width` values each, whose number must divide that of `values`.
    ///
    /// # Errors
    ///
    /// [`TaskError::Question`] if it does not.
    pub fn new(width: usize, values: Vec<f32>) -> Result<Self, TaskError> {
        match width > 0 && values.len().is_multiple_of(width) {
            true => Ok(Self { width, values }),
            false => Err(TaskError::Question(format!(
                "{} values are no vectors of {width}",
                values.len()
            ))),
        }
    }

    /// Values of each.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All values, `[vectors, width]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Vector `number`, which must be below [`len`](Self::len).
    pub fn row(&self, number: usize) -> &[f32] {
        &self.values[number * self.width..][..self.width]
    }

    /// The vectors in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.width.max(1))
    }
}

/// What makes vectors of texts and of pictures: opened weights of search, on some backend.
pub trait Embedder: Send {
    /// Values of a vector.
    fn width(&self) -> usize;

    /// Vectors of texts, of length 1, in their order.
    ///
    /// # Errors
    ///
    /// If a text has no token.
    fn embed_texts(&self, texts: &[String]) -> Result<Vectors, TaskError>;

    /// Vectors of pictures, of length 1, in their order.
    ///
    /// # Errors
    ///
    /// If a picture cannot be read, has regions of another size than the model reads, or nothing finds
    /// its regions.
    fn embed_pictures(&self, pictures: &[Seen]) -> Result<Vectors, TaskError>;

    /// Vectors of encoded images or texts.
    ///
    /// # Errors
    ///
    /// If regions cannot be read.
    fn embed(
        &self,
        side: Side,
        rows: Vec<EncodedSequence>,
        batch_size: usize,
    ) -> Result<Vectors, TaskError>;

    /// What encodes texts and images.
    fn encoder(&self) -> &SequenceEncoder;

    /// Values per region that the model reads.
    fn region_dim(&self) -> usize;

    /// What the vectors depend on, as a hash: weights, configuration, vocabulary, settings of the encoder.
    ///
    /// # Errors
    ///
    /// If a file of the weights cannot be read.
    fn identity(&self) -> Result<String, FileError>;

    /// The directory of the weights.
    fn path(&self) -> &Path;

    /// Sets what finds the regions and tags of pictures.
    fn set_extractor(&mut self, extractor: Arc<dyn RegionExtractor>);
}

/// Opens weights of search.
///
/// # Errors
///
/// If a file is missing or wrong, or the weights are another task's.
pub fn open_embedder<B: OscarBackend>(
    path: &Path,
    device: &B::Device,
) -> Result<Box<dyn Embedder>, TaskError> {
    Ok(Box::new(Opened::<Search, B>::open(path, device)?))
}

/// The vectors of `rows`, batched by length.
pub(crate) fn embed_rows<B: OscarBackend>(
    (model, device): (&OscarDualEncoder<B>, &B::Device),
    encoder: &SequenceEncoder,
    side: Side,
    rows: Vec<EncodedSequence>,
    batch_size: usize,
) -> Result<Vec<Vec<f32>>, TaskError> {
    // Regions first: both lengths decide how much of a batch is padding.
    let length = |row: &EncodedSequence| (row.num_regions(), row.input_ids.len());
    run_sorted(rows, batch_size.max(1), length, |rows| {
        let vectors = model.embed(side, encoder.batch(rows, device)?);
        let [_, width] = vectors.dims();
        let values: Vec<f32> = vectors.into_data().iter::<f32>().collect();
        Ok(values.chunks_exact(width).map(<[f32]>::to_vec).collect())
    })
}

/// A text alone.
pub(crate) fn encode_text(
    encoder: &SequenceEncoder,
    text: &str,
) -> Result<EncodedSequence, TaskError> {
    let origin = format!("the text {text:?}");
    Ok(encoder.encode(origin, text, "", &[])?)
}

/// A picture alone, whose regions are known.
pub(crate) fn encode_seen(encoder: &SequenceEncoder, seen: &Seen) -> EncodedSequence {
    let tags = encoder.tokenizer().encode(seen.tags());
    let regions = seen.regions().cloned();
    let regions = regions.as_slice();
    encoder.encode_image("the picture".into(), &tags, regions)
}

impl<B: OscarBackend> Embedder for Opened<Search, B> {
    fn width(&self) -> usize {
        self.checkpoint.model.projection_dim
    }

    fn embed_texts(&self, texts: &[String]) -> Result<Vectors, TaskError> {
        let encoder = Opened::encoder(self);
        let rows = texts.iter().map(|text| encode_text(encoder, text));
        self.embed(Side::Text, rows.collect::<Result<_, _>>()?, BATCH)
    }

    fn embed_pictures(&self, pictures: &[Seen]) -> Result<Vectors, TaskError> {
        let asks = [Ask {
            images: pictures.to_vec(),
            ..Ask::default()
        }];
        let encoder = Opened::encoder(self);
        let asks = self.with_regions(&asks)?;
        let images = asks.iter().flat_map(|ask| &ask.images);
        let rows = images.map(|seen| encode_seen(encoder, seen)).collect();
        self.embed(Side::Image, rows, BATCH)
    }

    fn embed(
        &self,
        side: Side,
        rows: Vec<EncodedSequence>,
        batch_size: usize,
    ) -> Result<Vectors, TaskError> {
        let parts = (&self.model, &self.device);
        let encoder = Opened::encoder(self);
        let vectors = embed_rows(parts, encoder, side, rows, batch_size)?;
        Vectors::new(self.width(), vectors.concat())
    }

    fn encoder(&self) -> &SequenceEncoder {
        Opened::encoder(self)
    }

    fn region_dim(&self) -> usize {
        self.checkpoint.model.img_feature_dim
    }

    fn identity(&self) -> Result<String, FileError> {
        checkpoint_identity(&self.checkpoint)
    }

    fn path(&self) -> &Path {
        &self.checkpoint.path
    }

    fn set_extractor(&mut self, extractor: Arc<dyn RegionExtractor>) {
        self.extractor = Some(extractor);
    }
}
