//! The detector as a region extractor.

use std::collections::BTreeMap;
use std::sync::Arc;

use oscar_core::input::LabelNames;
use oscar_core::ops::Kernels;

use super::attributes::ScoredAttribute;
use super::config::{DetectorConfig, Flavour};
use super::detect::{Detection, Detector};
use super::preprocess::{Prepared, prepare};
use crate::{Attribute, ExtractorIdentity, Picture, Region, RegionExtractor, Regions, VisionError};

/// Version of what [`Detector`] returns; raised when its regions change.
const VERSION: u32 = 1;

impl<B: Kernels> Detector<B> {
    /// What `found` says of a picture of `height` and `width` pixels.
    fn regions(&self, found: &Detection, [height, width]: [u32; 2]) -> Regions {
        let dim = self.feature_dim();
        let row = |at: &usize| &found.features[at * dim..][..dim];
        let features = found.selected.keep.iter().flat_map(row).copied().collect();
        let attribute = |&(at, score): &ScoredAttribute| Attribute {
            name: self.labels.attributes[at].clone(),
            score,
        };
        let regions = found.boxes.iter().enumerate().map(|(number, rect)| Region {
            // Rounding may put an end a hair outside.
            box_px: [
                rect[0].clamp(0.0, width as f32),
                rect[1].clamp(0.0, height as f32),
                rect[2].clamp(0.0, width as f32),
                rect[3].clamp(0.0, height as f32),
            ],
            class: self.labels.classes[found.selected.classes[number]].clone(),
            score: found.selected.scores[number],
            attributes: found.attributes[number].iter().map(attribute).collect(),
        });
        Regions {
            features,
            regions: regions.collect(),
        }
    }
}

impl<B: Kernels> RegionExtractor for Detector<B> {
    fn identity(&self) -> ExtractorIdentity {
        let name = match self.config.flavour {
            Flavour::Frcnn => "frcnn",
            Flavour::Vinvl => "vinvl",
        };
        let published = DetectorConfig::published(self.config.flavour);
        let mut settings = BTreeMap::from([
            ("version".to_string(), VERSION.to_string()),
            ("weights".to_string(), self.digest.clone()),
        ]);
        // Only what is not as published, so that the text stays short.
        let json = |config: &DetectorConfig| serde_json::to_value(config).unwrap_or_default();
        let (own, published) = (json(&self.config), json(&published));
        for (section, values) in own.as_object().into_iter().flatten() {
            for (key, value) in values.as_object().into_iter().flatten() {
                if published[section][key] != *value {
                    settings.insert(format!("{section}.{key}"), value.to_string());
                }
            }
        }
        ExtractorIdentity {
            name: name.into(),
            settings,
        }
    }

    fn feature_dim(&self) -> usize {
        self.config.backbone.res5_channels()
    }

    fn batch_size(&self) -> usize {
        self.batch_size
    }

    fn label_names(&self) -> Option<Arc<LabelNames>> {
        Some(Arc::new(LabelNames {
            objects: self.labels.classes.clone(),
            attributes: self.labels.attributes.clone(),
        }))
    }

    fn extract(&self, pictures: &[Picture]) -> Vec<Result<Regions, VisionError>> {
        let mut found: Vec<Result<Regions, VisionError>> = Vec::with_capacity(pictures.len());
        // Places of pictures by their size in the network: these are computed together.
        let mut groups: BTreeMap<[u32; 2], Vec<(usize, Prepared)>> = BTreeMap::new();
        for (place, picture) in pictures.iter().enumerate() {
            match prepare(&self.config, &picture.image) {
                Ok(prepared) => {
                    groups
                        .entry(prepared.size)
                        .or_default()
                        .push((place, prepared));
                    found.push(Ok(Regions::default()));
                }
                Err(problem) => found.push(Err(VisionError::picture(
                    &picture.origin,
                    problem,
                    "cut it to a part that is less narrow",
                ))),
            }
        }
        for group in groups.into_values() {
            let (places, prepared): (Vec<usize>, Vec<Prepared>) = group.into_iter().unzip();
            let batches = places
                .chunks(self.batch_size)
                .zip(prepared.chunks(self.batch_size));
            for (places, prepared) in batches {
                let detections = self.detect(prepared);
                for ((place, picture), detection) in places.iter().zip(prepared).zip(&detections) {
                    found[*place] = Ok(self.regions(detection, picture.original));
                }
            }
        }
        found
    }
}
