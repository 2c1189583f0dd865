//! Reads source and store again and compares every value.

use std::path::Path;

use half::f16;
use oscar_core::input::RegionLabels;
use serde::{Deserialize, Serialize};

use super::clean::CleanImage;
use super::pipeline::{Input, progress_bar};
use crate::boxes::relative;
use crate::error::{DatasetError, Result};
use crate::store::{Boxes, RegionStore, StoreDtype};

const FIX: &str = "the disk is failing, or the source was changed during the import: import again \
                   with `restart`";

/// What was compared, and found equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Images.
    pub images: usize,
    /// Values of features and boxes: 32-bit ones bit for bit, 16-bit ones after rounding.
    pub values: u64,
    /// Object tags.
    pub tags: usize,
}

/// Compares the store in `dir`, which holds all images of `input` but `skipped` ones, in order.
pub(super) fn verify(input: &Input, dir: &Path, skipped: usize) -> Result<Verified> {
    let store = RegionStore::open(dir)?;
    let mut verified = Verified::default();
    let mut missing = 0;
    let bar = progress_bar("verifying", input.source.len(), 0);
    let differs = |found: String| DatasetError::malformed(dir, found, FIX);
    let keep = |_, image| Ok(image);
    input.each(0, keep, |row, image: Result<CleanImage>| {
        bar.inc(1);
        let at = verified.images;
        // An image that was refused by the store itself is readable here, and not stored.
        let stored = image
            .ok()
            .filter(|image| at < store.len() && store.key(at) == image.regions().key);
        let Some(image) = stored else {
            missing += 1;
            return match missing > skipped {
                true => Err(differs(format!(
                    "image {row} of the source is not in its place"
                ))),
                false => Ok(()),
            };
        };
        compare(&store, at, &image)
            .map_err(|found| differs(format!("image `{}`: {found}", image.regions().key)))?;
        verified.values += (store.num_regions(at) * store.region_dim()) as u64;
        verified.images += 1;
        verified.tags += image.counts.tags;
        Ok(())
    })?;
    bar.finish_and_clear();
    match verified.images == store.len() {
        true => Ok(verified),
        false => {
            let (stored, read) = (store.len(), verified.images);
            Err(differs(format!("{stored} images, where {read} were read")))
        }
    }
}

/// Labels as a store keeps them.
fn rounded(labels: &RegionLabels) -> RegionLabels {
    let round = |scores: &[f32]| {
        let scores = scores.iter().map(|score| f16::from_f32(*score).to_f32());
        scores.collect()
    };
    RegionLabels {
        object_scores: round(&labels.object_scores),
        attribute_scores: round(&labels.attribute_scores),
        ..labels.clone()
    }
}

/// What differs between an image of the source and image `row` of the store.
fn compare(store: &RegionStore, row: usize, image: &CleanImage) -> Result<(), String> {
    let (labels, image) = (
        image.labels().filter(|labels| !labels.is_empty()),
        image.regions(),
    );
    if store.size(row) != (image.width, image.height) {
        return Err(format!("its size is {:?} in the store", store.size(row)));
    }
    let (regions, dim) = (store.num_regions(row), store.feature_dim());
    if regions != image.boxes.len() {
        return Err(format!(
            "{regions} regions in the store, not {}",
            image.boxes.len()
        ));
    }
    let mut stored = vec![0.0; regions * store.region_dim()];
    store.copy_regions(row, &mut stored);
    for (region, stored) in stored.chunks_exact(dim + 6).enumerate() {
        let features = &image.features[region * dim..(region + 1) * dim];
        let wanted = features.iter().map(|value| match store.dtype() {
            StoreDtype::F32 => *value,
            StoreDtype::F16 => f16::from_f32(*value).to_f32(),
        });
        let geometry = match image.boxes {
            Boxes::Relative(boxes) => boxes[region],
            Boxes::Pixels(boxes) => relative(boxes[region], image.width, image.height),
        };
        let pairs = stored.iter().zip(wanted.chain(geometry)).enumerate();
        for (column, (stored, wanted)) in pairs {
            if stored.to_bits() != wanted.to_bits() {
                return Err(format!(
                    "region {region}, value {column} is {stored} in the store, not {wanted}"
                ));
            }
        }
    }
    // An image without regions has none, beside others that have some.
    let stored = store.labels(row).filter(|labels| !labels.is_empty());
    if stored.as_ref().map(rounded) != labels.map(rounded) {
        return Err("its classes differ".into());
    }
    match store.tags(row) {
        Ok(tags) if tags == image.tags => Ok(()),
        Ok(_) => Err("its tags differ".into()),
        Err(error) => Err(error.to_string()),
    }
}
