//! Tables of the VinVL tools: objects with their features in `predictions.tsv`, or objects alone.
//!
//! A row is `key, {"objects": [{"class", "rect", "conf", "feature"}, …]}`, or that list; `feature`
//! is the base64 text of one region's appearance values, whose box is `rect`.

use std::path::Path;

use oscar_files::python::json_text;

use super::source::{SourceBoxes, SourceImage};
use super::table::{Table, locate};
use crate::error::Result;
use crate::findings::Defect;
use crate::official::{BlobLayout, TagChoice, decode_blob, parse_detections};
use crate::tsv::TsvFile;

const NO_FEATURES: &str = "give the feature file as `features`, or set `tags_only` for a store \
                           that has object tags and no regions to train on";

/// The table of objects at `path`; `tags_only` leaves features aside.
///
/// # Errors
/// As [`Table::new`].
pub(super) fn open(
    path: &Path,
    feature_dim: usize,
    tags: TagChoice,
    tags_only: bool,
    repeated_keys: bool,
) -> Result<Table> {
    let note = tags_only.then(|| "only tags are stored: there are no regions to train on".into());
    let read = move |file: &TsvFile, row: usize| {
        let [key, json] = file.first_and_last(row)?;
        let image = parse_vinvl(&json_text(json), feature_dim, tags, tags_only);
        let mut image = image.map_err(|defect| locate(file, row, defect))?;
        image.key = key.to_string();
        Ok(image)
    };
    Table::new(TsvFile::open(path)?, repeated_keys, note, Box::new(read))
}

/// Reads the JSON of a row; `tags_only` leaves features aside.
///
/// # Errors
/// JSON of another form; objects without features, or of another dimension.
pub fn parse_vinvl(
    json: &str,
    feature_dim: usize,
    choice: TagChoice,
    tags_only: bool,
) -> Result<SourceImage, Defect> {
    let (detections, size) = parse_detections(json, choice)?;
    let mut image = SourceImage {
        size,
        ..SourceImage::default()
    };
    let (mut tags, mut boxes) = (Vec::with_capacity(detections.len()), Vec::new());
    for (region, detection) in detections.into_iter().enumerate() {
        if !tags_only {
            let within = |defect: Defect| defect.within(format_args!("object {region}"));
            let blob = detection.feature.as_deref().unwrap_or_default().as_bytes();
            if blob.is_empty() {
                return Err(within(Defect::new("it has no `feature`", NO_FEATURES)));
            }
            let Some(rect) = detection.tag.box_px else {
                return Err(within(Defect::new(
                    "it has no `rect`",
                    "a region needs its box",
                )));
            };
            let layout = BlobLayout::of(blob, 1, feature_dim).map_err(within)?;
            if layout.dim != feature_dim {
                let found = format!("its feature has {} values", layout.dim);
                return Err(within(Defect::new(
                    found,
                    "the box belongs into `rect` alone",
                )));
            }
            let start = image.features.len();
            image.features.resize(start + feature_dim, 0.0);
            decode_blob(blob, layout, &mut image.features[start..]).map_err(within)?;
            boxes.push(rect);
        }
        tags.push(detection.tag);
    }
    image.boxes = SourceBoxes::Pixels(boxes);
    image.tags = Some(tags);
    Ok(image)
}
