//! What corpus readers and region stores provide to the encoders.

use std::fmt;
use std::sync::Arc;

use super::scene_graph::{LabelNames, RegionLabels, SceneGraph};

/// Values at the end of each region: x1/W, y1/H, x2/W, y2/H, w/W, h/H.
pub const BOX_VALUES: usize = 6;

/// Any error of a reader; it already names file and row.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// What text B of an [`Example`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextB {
    /// Object tags detected in the image, joined by spaces.
    Tags,
    /// The answers to the question in text A, joined by spaces.
    Answer,
}

/// One row of a pre-training corpus: a word-tag-image triple, or a question-answer-image triple.
#[derive(Clone, Debug)]
pub struct Example {
    /// File and line of the row, for messages: `corpus.jsonl:17`.
    pub origin: String,
    /// Image key.
    pub image: String,
    /// Caption or question.
    pub text_a: String,
    /// Object tags or answers; empty if there are none.
    pub text_b: String,
    /// What `text_b` is.
    pub text_b_is: TextB,
    /// The image's regions.
    pub regions: RegionHandle,
    /// The scene graph of `text_a`, where the corpus has one.
    pub graph: Option<SceneGraph>,
    /// What people answered to the question in `text_a`, one entry each; empty for captions.
    pub answers: Vec<String>,
}

/// The answers that a model chooses from.
pub trait AnswerLabels: fmt::Debug + Send + Sync {
    /// Number of answers.
    fn len(&self) -> usize;

    /// Whether there is no answer.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The share of `people` who gave each answer, by its label; other answers are left out, and the
    /// shares of the rest stay what they are.
    fn shares(&self, people: &[String]) -> Vec<(u32, f32)>;
}

/// A corpus with random access, as pollution needs it (any row's texts may replace another's).
pub trait ExampleSource: Send + Sync {
    /// Number of rows.
    fn len(&self) -> usize;

    /// Whether there is no row.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Row `index`, which must be below [`len`](Self::len).
    fn get(&self, index: usize) -> Result<Example, SourceError>;

    /// The rows whose text B is an answer, in order.
    fn answer_rows(&self) -> &[u32];
}

/// The region features of many images, by row.
///
/// Errors are those of sources that decode as they read; they name file and row.
pub trait RegionSource: Send + Sync {
    /// Values per region: appearance features followed by the [box](BOX_VALUES).
    fn region_dim(&self) -> usize;

    /// Number of regions of image `row`; an image may have none.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    fn num_regions(&self, row: usize) -> Result<usize, SourceError>;

    /// Copies the first `out.len() / region_dim` regions of image `row`, region by region.
    ///
    /// `out` holds at most [`num_regions`](Self::num_regions) regions.
    ///
    /// # Errors
    ///
    /// If the image cannot be read; `out` may have been written to by then.
    fn copy_regions(&self, row: usize, out: &mut [f32]) -> Result<(), SourceError>;

    /// The key of image `row`; its number where the images have no keys.
    fn image_key(&self, row: usize) -> String {
        row.to_string()
    }

    /// Width and height of image `row` in pixels, if they are known.
    fn image_size(&self, _row: usize) -> Option<(u32, u32)> {
        None
    }

    /// The classes of the regions of image `row`, if they are known.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    fn labels(&self, _row: usize) -> Result<Option<RegionLabels>, SourceError> {
        Ok(None)
    }

    /// The names of the classes of [`labels`](Self::labels).
    fn label_names(&self) -> Option<Arc<LabelNames>> {
        None
    }
}

/// One image's regions, borrowed from where they are stored: the batcher copies them, once.
#[derive(Clone)]
pub struct RegionHandle {
    pub(super) source: Arc<dyn RegionSource>,
    pub(super) row: usize,
    len: usize,
}

impl RegionHandle {
    /// The regions of image `row` of `source`.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    pub fn new(source: Arc<dyn RegionSource>, row: usize) -> Result<Self, SourceError> {
        let len = source.num_regions(row)?;
        Ok(Self { source, row, len })
    }

    /// Number of regions.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the image has no region.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values per region.
    pub fn dim(&self) -> usize {
        self.source.region_dim()
    }

    /// The key of the image.
    pub fn image_key(&self) -> String {
        self.source.image_key(self.row)
    }

    /// Width and height of the image in pixels, if they are known.
    pub fn image_size(&self) -> Option<(u32, u32)> {
        self.source.image_size(self.row)
    }

    /// Copies the first `out.len() / dim` regions into `out`, a row-major `[regions, dim]`.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    pub fn copy_into(&self, out: &mut [f32]) -> Result<(), SourceError> {
        self.source.copy_regions(self.row, out)
    }
}

impl fmt::Debug for RegionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RegionHandle {{ row: {}, regions: {} }}",
            self.row, self.len
        )
    }
}
