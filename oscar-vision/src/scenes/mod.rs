//! Scenes: drawings of everyday things on a plain canvas, read from their pixels.
//!
//! Things keep [`GAP`] pixels from each other, so their boxes are found exactly, without a network
//! ([`find_things`]). What they are is harder: [`feature`] describes a thing by the directions of
//! its edges and by its colours, and a [`Detector`] names it after the most similar thing that it
//! knows, with errors of its own where the artist is one it has never seen.

mod detector;
mod features;
mod things;

use std::collections::BTreeMap;
use std::sync::Arc;

use oscar_core::input::LabelNames;
use rayon::prelude::*;

pub use detector::{Detector, Known};
pub use features::{
    CROP, Crop, EDGES_COLOURS, FEATURE_DIM, NORM, crop, edges_and_colours, feature, whiten,
};
pub use things::{GAP, VISIBLE, are_close, canvas, differs, find_things};

use crate::{ExtractorIdentity, Picture, Region, RegionExtractor, Regions, VisionError};

/// Version of what [`SceneReader`] returns; raised when its regions change.
const VERSION: u32 = 1;

/// Reads the things in scenes: a region each, with its box, its name and its feature. Regions come
/// in reading order.
#[derive(Clone, Debug)]
pub struct SceneReader {
    detector: Arc<Detector>,
}

impl SceneReader {
    /// What its [identity](RegionExtractor::identity) is called.
    pub const NAME: &'static str = "scenes";

    /// A reader that names things by `detector`.
    pub fn new(detector: Arc<Detector>) -> Self {
        Self { detector }
    }

    fn read(&self, picture: &Picture) -> Result<Regions, VisionError> {
        let things = find_things(&picture.image).map_err(|found| {
            let fix = "give a picture of things on a plain background";
            VisionError::picture(&picture.origin, found, fix)
        })?;
        let mut found = Regions::default();
        for thing in things {
            let feature = feature(&picture.image, thing);
            let Some((name, score)) = self.detector.name(&feature, None) else {
                continue;
            };
            found.features.extend(feature);
            found.regions.push(Region {
                box_px: thing.map(|v| v as f32),
                class: name.into(),
                score,
                attributes: Vec::new(),
            });
        }
        Ok(found)
    }
}

impl RegionExtractor for SceneReader {
    fn identity(&self) -> ExtractorIdentity {
        let settings = [
            ("version", VERSION.to_string()),
            ("detector", format!("{:08x}", self.detector.digest())),
        ];
        ExtractorIdentity {
            name: Self::NAME.into(),
            settings: BTreeMap::from(settings.map(|(name, value)| (name.into(), value))),
        }
    }

    fn feature_dim(&self) -> usize {
        FEATURE_DIM
    }

    fn label_names(&self) -> Option<Arc<LabelNames>> {
        Some(Arc::new(LabelNames {
            objects: self.detector.names().to_vec(),
            attributes: Vec::new(),
        }))
    }

    fn extract(&self, pictures: &[Picture]) -> Vec<Result<Regions, VisionError>> {
        pictures
            .par_iter()
            .map(|picture| self.read(picture))
            .collect()
    }
}
