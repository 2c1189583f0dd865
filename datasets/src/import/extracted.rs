//! Pictures whose regions an extractor finds when they are asked about, without a store.

use std::sync::Arc;

use oscar_core::input::{LabelNames, RegionHandle, RegionLabels, RegionSource, SourceError};
use oscar_vision::{Picture, RegionExtractor, Regions};

use super::clean::{BoxRules, CleanImage};
use super::source::{SourceBoxes, SourceImage};
use crate::boxes::{CLIP, relative};
use crate::error::{DatasetError, Result};
use crate::findings::Defect;
use crate::store::{Boxes, Tag};

/// A picture's regions and tags: what an import of the picture would store of it, in 32 bits.
pub struct ExtractedImage {
    key: String,
    size: (u32, u32),
    region_dim: usize,
    /// Features and box of each region, one after the other.
    values: Vec<f32>,
    boxes: Vec<[f32; 4]>,
    tags: Vec<Tag>,
}

/// The regions of each picture, in order and in the batches that the extractor wants.
///
/// # Errors
/// One for each picture that cannot be read, and for each one left when the extractor failed.
pub fn extract(
    extractor: &dyn RegionExtractor,
    pictures: &[Picture],
) -> Vec<Result<Arc<ExtractedImage>>> {
    let dim = extractor.feature_dim();
    let batches = pictures.chunks(extractor.batch_size().max(1));
    let found = batches.flat_map(|batch| batch.iter().zip(extractor.extract(batch)));
    found
        .map(|(picture, found)| {
            let size = picture.image.dimensions();
            let image = ExtractedImage::new(&picture.origin, size, dim, found?);
            image.map(Arc::new).map_err(|defect| DatasetError::Image {
                key: picture.origin.clone(),
                found: defect.found,
                fix: defect.fix,
            })
        })
        .collect()
}

/// What an import takes of the regions of a picture: their classes are its object tags, and their labels
/// where the extractor has `names` of all classes.
pub(super) fn source_image(
    key: &str,
    size: (u32, u32),
    found: Regions,
    names: Option<&LabelNames>,
) -> SourceImage {
    let labels = names.and_then(|names| labels(&found, names));
    let boxes = found.regions.iter().map(|region| region.box_px).collect();
    let tags = found.regions.into_iter().map(|region| Tag {
        class: region.class,
        score: region.score,
        box_px: Some(region.box_px),
        attributes: region.attributes.into_iter().map(|a| a.name).collect(),
    });
    SourceImage {
        key: key.to_string(),
        size: Some(size),
        features: found.features,
        boxes: SourceBoxes::Pixels(boxes),
        tags: Some(tags.collect()),
        labels,
    }
}

/// Classes and attributes of regions by number; `None` if a class has no number.
fn labels(found: &Regions, names: &LabelNames) -> Option<RegionLabels> {
    let number = |names: &[String], name: &str| {
        let at = names.iter().position(|known| known == name)?;
        u16::try_from(at).ok()
    };
    let mut labels = RegionLabels::default();
    for region in &found.regions {
        labels.objects.push(number(&names.objects, &region.class)?);
        labels.object_scores.push(region.score.clamp(0.0, 1.0));
        if names.attributes.is_empty() {
            continue;
        }
        // A region without one has one that nothing is certain of.
        let best = region.attributes.first();
        let best = best.and_then(|best| Some((number(&names.attributes, &best.name)?, best.score)));
        let (attribute, score) = best.unwrap_or_default();
        labels.attributes.push(attribute);
        labels.attribute_scores.push(score.clamp(0.0, 1.0));
    }
    Some(labels)
}

impl ExtractedImage {
    /// The regions `found` in a picture of this size, each of `feature_dim` values and its box.
    ///
    /// # Errors
    /// Features of another size, or a box far outside the picture.
    pub fn new(
        key: &str,
        size: (u32, u32),
        feature_dim: usize,
        found: Regions,
    ) -> Result<Self, Defect> {
        let fix = "report this fault of the extractor";
        if found.features.len() != found.regions.len() * feature_dim {
            let (values, regions) = (found.features.len(), found.regions.len());
            let found = format!("{values} values for {regions} regions of {feature_dim}");
            return Err(Defect::new(found, fix));
        }
        if found.features.iter().any(|value| !value.is_finite()) {
            return Err(Defect::new("a feature is not finite", fix));
        }
        let rules = BoxRules {
            clip: CLIP,
            strict: false,
        };
        let clean = CleanImage::new(source_image(key, size, found, None), rules)?;
        let stored = clean.regions();
        let boxes = match stored.boxes {
            Boxes::Pixels(boxes) => boxes.to_vec(),
            Boxes::Relative(_) => Vec::new(),
        };
        let mut values = Vec::with_capacity(boxes.len() * (feature_dim + 6));
        for (features, b) in stored.features.chunks_exact(feature_dim.max(1)).zip(&boxes) {
            values.extend_from_slice(features);
            values.extend(relative(*b, size.0, size.1));
        }
        Ok(Self {
            key: key.to_string(),
            size,
            region_dim: feature_dim + 6,
            values,
            boxes,
            tags: stored.tags.to_vec(),
        })
    }

    /// Its regions, as a model reads them.
    ///
    /// # Errors
    /// None: what can be read from elsewhere is here in memory.
    pub fn regions(self: &Arc<Self>) -> Result<RegionHandle, SourceError> {
        RegionHandle::new(self.clone(), 0)
    }

    /// The classes of its objects, joined by single spaces, in the extractor's order.
    pub fn tag_text(&self) -> String {
        let classes: Vec<&str> = self.tags.iter().map(|tag| tag.class.as_str()).collect();
        classes.join(" ")
    }

    /// Its objects.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// x1, y1, x2, y2 of its regions, in pixels.
    pub fn boxes(&self) -> &[[f32; 4]] {
        &self.boxes
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }
}

impl RegionSource for ExtractedImage {
    fn region_dim(&self) -> usize {
        self.region_dim
    }

    fn num_regions(&self, _: usize) -> Result<usize, SourceError> {
        Ok(self.boxes.len())
    }

    fn copy_regions(&self, _: usize, out: &mut [f32]) -> Result<(), SourceError> {
        out.copy_from_slice(&self.values[..out.len()]);
        Ok(())
    }

    fn image_key(&self, _: usize) -> String {
        self.key.clone()
    }

    fn image_size(&self, _: usize) -> Option<(u32, u32)> {
        Some(self.size)
    }
}
