//! What turns pictures into regions.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use oscar_core::input::LabelNames;

use crate::{Picture, VisionError};

/// Finds regions in pictures: their boxes, features, classes, attributes and scores.
///
/// An implementation holds what it needs to run, its weights and its device, and is shared between
/// threads. Its options (how many regions a picture gives, for example) are fields of its own and
/// part of its [`identity`](Self::identity).
///
/// # Examples
/// ```
/// use oscar_vision::drawings::DrawingReader;
/// use oscar_vision::{Picture, PictureLimits, RegionExtractor};
///
/// fn count(extractor: &dyn RegionExtractor, picture: Picture) -> usize {
///     let found = extractor.extract(&[picture]);
///     found[0].as_ref().map_or(0, |found| found.regions.len())
/// }
///
/// let empty = image::RgbImage::from_fn(400, 100, |x, _| {
///     image::Rgb(if x % 150 < 100 { [211; 3] } else { [128; 3] })
/// });
/// let picture = Picture { image: empty, origin: "empty.png".into() };
/// assert_eq!(count(&DrawingReader, picture), 0);
/// ```
pub trait RegionExtractor: Send + Sync {
    /// Name and settings; two extractors of equal identity give the same regions.
    fn identity(&self) -> ExtractorIdentity;

    /// Values of a region's feature vector.
    fn feature_dim(&self) -> usize;

    /// How many pictures are best given at a time; a device wants more than one.
    fn batch_size(&self) -> usize {
        1
    }

    /// Whether one call uses all of the machine or of a device, so that calls at the same time would
    /// only take more memory.
    fn is_exclusive(&self) -> bool {
        true
    }

    /// The names of all classes and attributes that it knows, by number; `None` if it has no list of them.
    fn label_names(&self) -> Option<Arc<LabelNames>> {
        None
    }

    /// The regions of each picture, in the order of `pictures`: one result for every one of them.
    ///
    /// # Errors
    /// [`VisionError::Picture`] for a picture that cannot be read, which leaves the others as they
    /// are; [`VisionError::Extractor`] for every picture that was not done when the extractor
    /// failed.
    fn extract(&self, pictures: &[Picture]) -> Vec<Result<Regions, VisionError>>;
}

/// Which extractor regions come from: kept with stored regions, and compared when an unfinished
/// extraction is resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtractorIdentity {
    /// Name of the extractor.
    pub name: String,
    /// Everything that changes the regions: options, and a digest of the weights.
    pub settings: BTreeMap<String, String>,
}

impl fmt::Display for ExtractorIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = self.settings.iter();
        let settings: Vec<String> = settings
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        write!(f, "{} ({})", self.name, settings.join(", "))
    }
}

/// The regions of a picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Regions {
    /// Row-major `[regions, feature_dim]`.
    pub features: Vec<f32>,
    /// The regions, in the extractor's order.
    pub regions: Vec<Region>,
}

/// A region of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// x1, y1, x2, y2 in pixels, inside the picture.
    pub box_px: [f32; 4],
    /// Its class: one or more words, an object tag.
    pub class: String,
    /// Confidence in the class, 0 to 1.
    pub score: f32,
    /// Its attributes, the most certain first; empty if the extractor names none.
    pub attributes: Vec<Attribute>,
}

/// The six values of a box that follow a region's features: x1/W, y1/H, x2/W, y2/H, w/W, h/H, from
/// a box in pixels of a picture of `width` and `height`.
#[must_use]
pub fn relative_box([x1, y1, x2, y2]: [f32; 4], width: u32, height: u32) -> [f32; 6] {
    let (w, h) = (width as f32, height as f32);
    [x1 / w, y1 / h, x2 / w, y2 / h, (x2 - x1) / w, (y2 - y1) / h]
}

/// An attribute of a region.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// One or more words: `red`, `looking up`.
    pub name: String,
    /// Confidence, 0 to 1.
    pub score: f32,
}
