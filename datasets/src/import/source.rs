//! What the importer reads: images with their regions, by row.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use oscar_core::input::{LabelNames, RegionLabels};

use crate::error::{DatasetError, Result};
use crate::findings::Defect;
use crate::official::{BOX_VALUES, LabelRow};
use crate::store::Tag;

/// An image as its source has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceImage {
    /// Its key.
    pub key: String,
    /// Width and height in pixels, if known.
    pub size: Option<(u32, u32)>,
    /// Row-major `[regions, feature_dim]`.
    pub features: Vec<f32>,
    /// One box a region.
    pub boxes: SourceBoxes,
    /// Its objects, in file order; `None` if the source says nothing of them.
    pub tags: Option<Vec<Tag>>,
    /// The classes of its regions, if the source gives them by number.
    pub labels: Option<RegionLabels>,
}

/// Where the regions of a [`SourceImage`] are.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceBoxes {
    /// x1, y1, x2, y2 in pixels.
    Pixels(Vec<[f32; 4]>),
    /// x1/W, y1/H, x2/W, y2/H, w/W, h/H: stored as they are.
    Relative(Vec<[f32; 6]>),
    /// The source has features of this many regions, and no boxes.
    Missing(usize),
}

impl Default for SourceBoxes {
    fn default() -> Self {
        Self::Relative(Vec::new())
    }
}

impl SourceBoxes {
    /// Number of regions.
    pub fn len(&self) -> usize {
        match self {
            Self::Pixels(boxes) => boxes.len(),
            Self::Relative(boxes) => boxes.len(),
            Self::Missing(regions) => *regions,
        }
    }

    /// Whether there is no region.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl SourceImage {
    /// Takes what a label row says: its tags, its size where none is known, and its boxes for
    /// regions without, if there are as many.
    pub(super) fn take_labels(&mut self, labels: LabelRow) {
        self.size = self.size.or(labels.size);
        if let SourceBoxes::Missing(regions @ 1..) = self.boxes {
            let boxes: Vec<[f32; 4]> = labels.tags.iter().filter_map(|tag| tag.box_px).collect();
            if boxes.len() == regions {
                self.boxes = SourceBoxes::Pixels(boxes);
            }
        }
        self.tags = Some(labels.tags);
    }
}

/// Images with their regions, by row, that the importer reads on many threads.
pub trait FeatureSource: Send + Sync {
    /// Number of images.
    fn len(&self) -> usize;

    /// Whether there is no image.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key of image `row`, where it is known without reading the image.
    fn key(&self, _row: usize) -> Option<&str> {
        None
    }

    /// Image `row`, which must be below [`len`](Self::len).
    ///
    /// # Errors
    /// If it cannot be read or is damaged; the message names file and row or key.
    fn read(&self, row: usize) -> Result<SourceImage>;

    /// How many images are best read at a time; a device wants more than one.
    fn batch_size(&self) -> usize {
        1
    }

    /// The images `rows`, one result for each. Batches start at multiples of
    /// [`batch_size`](Self::batch_size), however often an import was interrupted.
    fn read_batch(&self, rows: Range<usize>) -> Vec<Result<SourceImage>> {
        rows.map(|row| self.read(row)).collect()
    }

    /// The error that image `row` has this defect: names its file, its line if it has one, and its
    /// key.
    fn locate(&self, row: usize, defect: Defect) -> DatasetError;

    /// The files that are read.
    fn files(&self) -> Vec<PathBuf>;

    /// The names of the classes of regions, if they are known.
    fn label_names(&self) -> Option<Arc<LabelNames>> {
        None
    }

    /// What a user should know of how the files were understood, one sentence each.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Where a source comes from and how it is read: kept in the store, and compared when an unfinished
/// import is resumed.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// The path by which the source was opened.
    pub path: PathBuf,
    /// Name of the format, or of the extractor.
    pub format: String,
    /// What the store says of its source, in words.
    pub description: String,
    /// Appearance values per region.
    pub feature_dim: usize,
    /// Where pictures of the images are, if they are known.
    pub pictures: Option<PathBuf>,
    /// Name of the extractor that finds the regions in them, if one does.
    pub extractor: Option<String>,
    /// Everything else that changes what is read: names and values.
    pub settings: BTreeMap<String, String>,
}

/// Divides a row-major `[regions, feature_dim + 6]` into features and boxes.
pub(super) fn split_boxes(values: &[f32], feature_dim: usize) -> (Vec<f32>, Vec<[f32; 6]>) {
    let regions = values.len() / (feature_dim + BOX_VALUES);
    let mut features = Vec::with_capacity(regions * feature_dim);
    let mut boxes = Vec::with_capacity(regions);
    for region in values.chunks_exact(feature_dim + BOX_VALUES) {
        let (appearance, geometry) = region.split_at(feature_dim);
        features.extend_from_slice(appearance);
        boxes.extend(<[f32; 6]>::try_from(geometry));
    }
    (features, boxes)
}
