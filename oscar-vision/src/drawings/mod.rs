//! The drawings of NLVR v1: coloured shapes in three grey boxes, read from their pixels without
//! error and without a network.

mod features;
mod objects;

use std::collections::BTreeMap;

use image::imageops;
use rayon::prelude::*;

pub use features::FEATURE_DIM;
pub use objects::{BOX_SIZE, BOX_X, Color, Object, Shape, TOLERANCE, compare, find_objects};

use crate::{ExtractorIdentity, Picture, Region, RegionExtractor, Regions, VisionError};

/// Width of a drawing in pixels.
pub const WIDTH: u32 = 400;
/// Height of a drawing in pixels.
pub const HEIGHT: u32 = 100;

/// Version of what [`DrawingReader`] returns; raised when its regions change.
const VERSION: u32 = 1;

/// Reads the objects of drawings: a region each, with its exact box, its class ("black square")
/// and its pixels as features. Regions come box by box, each box in reading order.
#[derive(Clone, Copy, Debug, Default)]
pub struct DrawingReader;

impl RegionExtractor for DrawingReader {
    fn identity(&self) -> ExtractorIdentity {
        ExtractorIdentity {
            name: "drawings".into(),
            settings: BTreeMap::from([("version".into(), VERSION.to_string())]),
        }
    }

    fn feature_dim(&self) -> usize {
        FEATURE_DIM
    }

    fn is_exclusive(&self) -> bool {
        false
    }

    fn extract(&self, pictures: &[Picture]) -> Vec<Result<Regions, VisionError>> {
        pictures.par_iter().map(read).collect()
    }
}

fn read(picture: &Picture) -> Result<Regions, VisionError> {
    let objects = find_objects(&picture.image).map_err(|found| {
        VisionError::picture(&picture.origin, found, "give an unchanged image of NLVR v1")
    })?;
    let mut found = Regions::default();
    for object in &objects {
        features::append(&picture.image, object, &mut found.features);
        found.regions.push(Region {
            box_px: object.image_box_px(),
            class: object.class(),
            score: 1.0,
            attributes: Vec::new(),
        });
    }
    Ok(found)
}

/// The key of a grey box of image `image`: `dev-1373-0.b2`.
pub fn box_key(image: &str, grey_box: usize) -> String {
    format!("{image}.b{grey_box}")
}

/// Image and grey box, if `key` is of this form.
pub fn parse_box_key(key: &str) -> Option<(&str, usize)> {
    let (image, grey_box) = key.rsplit_once(".b")?;
    let grey_box = grey_box.parse().ok().filter(|n| *n < BOX_X.len())?;
    Some((image, grey_box))
}

/// The grey box that `key` names, if `picture` is a drawing; else the whole picture.
#[must_use]
pub fn crop_to_key(picture: Picture, key: &str) -> Picture {
    match parse_box_key(key) {
        Some((_, grey_box)) if picture.image.dimensions() == (WIDTH, HEIGHT) => {
            let cut = imageops::crop_imm(&picture.image, BOX_X[grey_box], 0, BOX_SIZE, BOX_SIZE);
            Picture {
                image: cut.to_image(),
                origin: format!("box {grey_box} of {}", picture.origin),
            }
        }
        _ => picture,
    }
}
