//! A detector of the sample's things.

use std::sync::Arc;

use oscar_vision::scenes::{Detector, Known, feature};
use rand::Rng;
use rayon::prelude::*;

use super::scene::CANVASES;
use super::sheets::{MAX_TURN, Pose, Sheets, Style};
use crate::miniature::{Draws, Part};

/// Poses of each drawing that the detector knows.
const CROPS: usize = 8;

/// Seed of the poses: another one makes another detector.
const SEED: u64 = 1;

/// A nearest-neighbour detector that knows eight poses of each drawing of these styles.
///
/// With [`Style::TRAINING`] it names things of those vendors almost always right, as it has seen
/// these very drawings, and about four of five things of the vendor held out.
pub fn detector(sheets: &Sheets, styles: &[Style]) -> Arc<Detector> {
    let drawings: Vec<(Style, usize)> = styles
        .iter()
        .flat_map(|style| (0..sheets.kinds.len()).map(|kind| (*style, kind)))
        .collect();
    let known = |&(style, kind): &(Style, usize)| -> Vec<Known> {
        let draws = Draws::new(SEED, style.name()).part(Part::Crops);
        let mut rng = draws.rng(kind);
        let known = (0..CROPS).map(|_| {
            let thing = &sheets.kinds[kind];
            let pose = Pose {
                turned: rng.random_range(-MAX_TURN..=MAX_TURN),
                mirrored: rng.random_range(0..2_u32) == 1 && !thing.one_way,
                size: rng.random_range(super::scene::SIZES),
            };
            let canvas = CANVASES[rng.random_range(0..CANVASES.len() as u32) as usize];
            let image = sheets.draw(style, kind, pose, canvas);
            let (width, height) = image.dimensions();
            Known {
                name: thing.name.clone(),
                vendor: style.vendor().into(),
                feature: feature(&image, [0, 0, width, height]),
            }
        });
        known.collect()
    };
    let known: Vec<Vec<Known>> = drawings.par_iter().map(known).collect();
    Arc::new(Detector::new(known.into_iter().flatten()))
}
