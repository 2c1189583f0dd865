//! An image as it will lie in a store.

use half::f16;
use half::slice::HalfFloatSliceExt;
use oscar_core::input::RegionLabels;

use super::labels::problem;
use super::{Boxes, ImageRegions, StoreDtype, StoreOptions, box_problem};
use crate::boxes::relative;
use crate::error::{DatasetError, Result};

/// An image that was checked and converted: what takes time in writing a store, done on any
/// thread.
#[derive(Clone, Debug)]
pub struct EncodedImage {
    pub(super) key: String,
    pub(super) width: u32,
    pub(super) height: u32,
    /// The features' bytes, as they will lie in the file.
    pub(super) features: Vec<u8>,
    /// Six values a region.
    pub(super) boxes: Vec<f32>,
    /// Its line of the tags' file, without the newline.
    pub(super) tags: String,
    /// The classes of its regions.
    pub(super) labels: Option<RegionLabels>,
}

impl EncodedImage {
    /// Checks and converts `image` for a store with these options.
    ///
    /// # Errors
    /// As [`StoreWriter::push`](super::StoreWriter::push), but for what only the store knows:
    /// keys that are there already.
    pub fn new(image: &ImageRegions<'_>, options: &StoreOptions) -> Result<Self> {
        check(image, options.feature_dim)?;
        let tags = serde_json::to_string(image.tags)
            .map_err(|error| refused(image.key, error.to_string(), "correct its tags"))?;
        let boxes = match image.boxes {
            Boxes::Relative(boxes) => boxes.as_flattened().to_vec(),
            Boxes::Pixels(boxes) => {
                let relative = |b: &[f32; 4]| relative(*b, image.width, image.height);
                boxes.iter().flat_map(relative).collect()
            }
        };
        Ok(Self {
            key: image.key.into(),
            width: image.width,
            height: image.height,
            features: encode(image, options)?,
            boxes,
            tags,
            labels: None,
        })
    }

    /// The same with the classes of its regions.
    ///
    /// # Errors
    /// Another number of them than of regions, a score outside of 0 to 1, or class 65535.
    pub fn with_labels(self, labels: Option<RegionLabels>) -> Result<Self> {
        let regions = self.num_regions();
        let problem = labels.as_ref().and_then(|labels| problem(labels, regions));
        match problem {
            None => Ok(Self { labels, ..self }),
            Some(found) => Err(refused(&self.key, found, "run the detector again")),
        }
    }

    /// Number of regions.
    pub fn num_regions(&self) -> usize {
        self.boxes.len() / 6
    }
}

fn check(image: &ImageRegions<'_>, feature_dim: usize) -> Result<()> {
    let ImageRegions {
        key,
        width,
        height,
        features,
        boxes,
        tags,
    } = *image;
    let refuse = |found: String, fix| Err(refused(key, found, fix));
    if key.is_empty() || key.chars().any(char::is_control) {
        return refuse(
            "its key is empty or has control characters".into(),
            "rename it",
        );
    }
    let wanted = boxes.len() * feature_dim;
    if features.len() != wanted {
        let found = format!(
            "{} feature values for {} regions of {feature_dim} values, which take {wanted}",
            features.len(),
            boxes.len(),
        );
        return refuse(found, "check the feature dimension");
    }
    if let Some((region, problem)) = boxes_problem(boxes, width, height) {
        let found = format!("region {region}: {problem}");
        return refuse(found, "clip or drop the region");
    }
    for tag in tags {
        let class = &tag.class;
        if class.trim().is_empty() {
            return refuse(
                "a tag has no class".into(),
                "drop the tag or name its class",
            );
        }
        if !tag.score.is_finite() {
            let found = format!("tag `{class}` has score {}", tag.score);
            return refuse(found, "give a score from 0 to 1");
        }
        if let Some(problem) = tag.box_px.and_then(|b| box_problem(&b, width, height)) {
            return refuse(format!("tag `{class}`: {problem}"), "clip or drop the tag");
        }
    }
    Ok(())
}

/// The image's features as they will lie in the file.
fn encode(image: &ImageRegions<'_>, options: &StoreOptions) -> Result<Vec<u8>> {
    let values = image.features;
    match options.dtype {
        StoreDtype::F32 => {
            refuse_not_finite(image, options.feature_dim, |at| values[at].is_finite())?;
            Ok(bytemuck::cast_slice(values).to_vec())
        }
        StoreDtype::F16 => {
            let mut bytes = vec![0; 2 * values.len()];
            let mut halves = vec![f16::ZERO; values.len()];
            halves.convert_from_f32_slice(values);
            refuse_not_finite(image, options.feature_dim, |at| halves[at].is_finite())?;
            bytes.copy_from_slice(bytemuck::cast_slice(&halves));
            Ok(bytes)
        }
    }
}

/// The error about the first value that is not finite as it would be stored, if there is one.
fn refuse_not_finite(
    image: &ImageRegions<'_>,
    dim: usize,
    is_finite: impl Fn(usize) -> bool,
) -> Result<()> {
    let Some(at) = (0..image.features.len()).find(|at| !is_finite(*at)) else {
        return Ok(());
    };
    let (value, region, column) = (image.features[at], at / dim, at % dim);
    let found = match value.is_finite() {
        true => format!("region {region}, value {column} is {value}, too large for F16"),
        false => format!("region {region}, value {column} is {value}"),
    };
    Err(refused(image.key, found, "compute its features again"))
}

/// The first region whose box cannot be stored, and why.
fn boxes_problem(boxes: Boxes<'_>, width: u32, height: u32) -> Option<(usize, String)> {
    match boxes {
        Boxes::Pixels([]) | Boxes::Relative([]) => None,
        Boxes::Pixels(_) if width == 0 || height == 0 => {
            Some((0, "a box in pixels, but the image's size is unknown".into()))
        }
        Boxes::Pixels(boxes) => boxes
            .iter()
            .enumerate()
            .find_map(|(region, b)| Some((region, box_problem(b, width, height)?))),
        Boxes::Relative(boxes) => boxes
            .iter()
            .position(|b| b.iter().any(|v| !v.is_finite()))
            .map(|region| (region, format!("box {:?} is not finite", boxes[region]))),
    }
}

pub(super) fn refused(key: &str, found: String, fix: &'static str) -> DatasetError {
    DatasetError::Image {
        key: key.into(),
        found,
        fix,
    }
}
