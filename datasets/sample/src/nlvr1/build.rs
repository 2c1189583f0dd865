//! Builds described boxes and human statements from the images of a split.
//!
//! Two orders are kept apart on purpose. A caption names objects by position, left to right.
//! Regions and tags follow reading order (top to bottom, then left to right), as a detector's
//! output follows an order that has nothing to do with the caption. Were tags in caption order,
//! masked words could be copied from the tag at the same place, and nothing would be learned from
//! the regions; so the order has to be taken from the boxes.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::ATTRIBUTION;
use super::annotations::{self, Annotation};
use super::images::Images;
use super::output::{Writers, seen_boxes};
use oscar_datasets::{DATASET_FILE, DatasetError, Result};
use oscar_files::{StagedDir, write_file};
use oscar_vision::drawings::{DrawingReader, Object, compare};
use oscar_vision::{Picture, Region, RegionExtractor, Regions, VisionError};

/// What `dataset.json` of a directory that [`build`] makes says it is.
pub(crate) const NLVR1_FORMAT: &str = "oscar-nlvr1";

/// Version of the directory that [`build`] makes; raised when its content changes.
pub const DATASET_VERSION: u32 = 1;

/// Images in memory at a time.
const CHUNK: usize = 256;

/// How many differences between pixels and annotations an error shows.
const SHOWN: usize = 20;

/// What to build.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Images whose names begin with this; by default, those of the only split there is.
    pub split_name: Option<String>,
    /// Leave out this many sentence groups at the beginning of the annotations.
    pub skip: usize,
    /// Take at most this many sentence groups after them; all by default.
    ///
    /// Groups are never divided, so `limit: Some(n)` and `skip: n` cut a held-out part from one
    /// file without sharing an image or a sentence.
    pub limit: Option<usize>,
    /// Build whole images and human statements too; on by default.
    pub whole_images: bool,
    /// A data set made by [`build`], usually the training split: grey boxes that look exactly like
    /// one of its boxes are left out; none by default.
    ///
    /// Without it, two of three held-out boxes may be known: half of the images show towers of
    /// blocks, of which there are few, so that the same box occurs in many groups. Whole images
    /// and statements are not filtered: upstream's split of them is a published one.
    pub held_out_from: Option<PathBuf>,
    /// Replace a data set that is already there; off by default.
    pub overwrite: bool,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self {
            split_name: None,
            skip: 0,
            limit: None,
            whole_images: true,
            held_out_from: None,
            overwrite: false,
        }
    }
}

/// What was built: the content of `dataset.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetInfo {
    /// Always `oscar-nlvr1`.
    pub format: String,
    /// See [`DATASET_VERSION`].
    pub version: u32,
    /// The split, as in the names of the images.
    pub split: String,
    /// File name of the images' archive or directory.
    pub images: String,
    /// File name of the annotations.
    pub annotations: String,
    /// Where the images are, to show what is in the stores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pictures: Option<PathBuf>,
    /// Whose data these are.
    pub attribution: String,
    /// How much there is.
    pub counts: Counts,
}

/// How much a data set holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Sentence groups taken from the annotations.
    pub groups: usize,
    /// Images of those groups.
    pub images: usize,
    /// Images that no annotation names; they are left out.
    pub images_without_annotation: usize,
    /// Images whose objects were compared with annotated ones, and agreed.
    pub verified: usize,
    /// Grey boxes described: images of the store `regions`, rows of `boxes.jsonl`.
    pub boxes: usize,
    /// Grey boxes without objects; they are left out.
    pub empty_boxes: usize,
    /// Grey boxes that look like one of `held_out_from`; they are left out.
    pub seen_boxes: usize,
    /// Objects in the described boxes.
    pub objects: usize,
    /// Words in the captions of all boxes.
    pub caption_words: usize,
    /// Rows of `statements.jsonl`.
    pub statements: usize,
    /// Statements about images without objects; they are left out.
    pub statements_without_regions: usize,
}

/// Builds the data set `out` from the images of one split and their annotations.
///
/// | file | holds |
/// |---|---|
/// | `regions/` | a store whose images are grey boxes, `dev-1373-0.b2`, 100x100 |
/// | `boxes.jsonl` | a caption for each of them, made from its objects |
/// | `images/` | a store of whole images, `dev-1373-0`, 400x100, if `whole_images` is on |
/// | `statements.jsonl` | human sentences on them, with label, if the annotations have any |
/// | `dataset.json` | [`DatasetInfo`] |
///
/// The bytes depend on input and options alone, not on the number of threads. The bar on stderr
/// is drawn on terminals only.
///
/// # Errors
/// What [`Images::open`] and [`annotations::read`] report; an annotation without image; an image
/// that cannot be read, is not a drawing of NLVR v1 or shows other objects than annotated; an output
/// directory that is already there.
pub fn build(
    images: &Path,
    annotations: &Path,
    out: &Path,
    options: &BuildOptions,
) -> Result<DatasetInfo> {
    let staged = StagedDir::create(out, DATASET_FILE, options.overwrite)?;
    let opened = Images::open(images, options.split_name.as_deref())?;
    let all = annotations::read(annotations)?;
    annotations::check_images(annotations, &all, &opened)?;
    let annotated: HashSet<&str> = all.iter().map(|a| a.identifier.as_str()).collect();
    let mut counts = Counts {
        images_without_annotation: opened.len() - annotated.len(),
        ..Counts::default()
    };
    let selected = select(&all, options, &mut counts);
    if selected.is_empty() {
        let found = format!("no group is left of {} lines", all.len());
        return Err(DatasetError::malformed(
            annotations,
            found,
            "lower `skip`, raise `limit`",
        ));
    }

    let seen = options
        .held_out_from
        .as_deref()
        .map(seen_boxes)
        .transpose()?
        .unwrap_or_default();
    let mut writers = Writers::create(staged.path(), opened.split(), options.whole_images, seen)?;
    let mut differences = Differences::default();
    let mut stored = HashSet::new();
    let bar = progress(selected.len());
    for chunk in selected.chunks(CHUNK) {
        for (annotation, drawing) in chunk.iter().zip(read_drawings(&opened, chunk)?) {
            let image = format!("{}-{}", opened.split(), annotation.identifier);
            if let Some(expected) = &annotation.objects {
                match compare(&drawing.objects, expected) {
                    None => counts.verified += 1,
                    Some(difference) => differences.add(format!("{image}: {difference}")),
                }
            }
            // An image with several sentences stands in several lines, and is stored once.
            if stored.insert(annotation.identifier.as_str()) {
                writers.push_image(&image, &drawing, &mut counts)?;
            }
            writers.push_statement(&image, annotation, &drawing, &mut counts)?;
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    differences.refuse(images, annotations)?;
    if counts.boxes == 0 {
        let found = "no grey box is left, all are empty or in the data set held out from";
        return Err(DatasetError::malformed(images, found, "take other images"));
    }
    counts.images = stored.len();
    writers.finish()?;

    let info = DatasetInfo {
        format: NLVR1_FORMAT.into(),
        version: DATASET_VERSION,
        split: opened.split().into(),
        images: file_name(images),
        annotations: file_name(annotations),
        // None if the archive was removed meanwhile.
        pictures: images.canonicalize().ok(),
        attribution: ATTRIBUTION.into(),
        counts,
    };
    write_info(&staged.path().join(DATASET_FILE), &info)?;
    staged.commit()?;
    Ok(info)
}

fn write_info(path: &Path, info: &DatasetInfo) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(info)
        .map_err(|error| DatasetError::io("write", path)(error.into()))?;
    json.push(b'\n');
    Ok(write_file(path, &json)?)
}

/// Images that show other objects than annotated.
#[derive(Default)]
struct Differences {
    /// The first of them.
    shown: Vec<String>,
    total: usize,
}

impl Differences {
    fn add(&mut self, difference: String) {
        self.total += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(difference);
        }
    }

    /// An error if there are any.
    fn refuse(self, images: &Path, annotations: &Path) -> Result<()> {
        match self.total {
            0 => Ok(()),
            total => Err(DatasetError::Mismatch {
                images: images.to_path_buf(),
                annotations: annotations.to_path_buf(),
                problems: self.shown,
                total,
            }),
        }
    }
}

/// The lines of the groups that were asked for, in file order; groups count from first appearance.
fn select<'a>(
    all: &'a [Annotation],
    options: &BuildOptions,
    counts: &mut Counts,
) -> Vec<&'a Annotation> {
    let mut order: Vec<&str> = Vec::new();
    let mut known = HashSet::new();
    for annotation in all {
        if known.insert(annotation.group()) {
            order.push(annotation.group());
        }
    }
    let limit = options.limit.unwrap_or(usize::MAX);
    let taken: HashSet<&str> = order.into_iter().skip(options.skip).take(limit).collect();
    counts.groups = taken.len();
    all.iter().filter(|a| taken.contains(a.group())).collect()
}

/// Objects of an image with their features, in reading order box by box.
pub(super) struct Drawing {
    pub(super) objects: Vec<Object>,
    pub(super) features: Vec<f32>,
}

/// The drawings of these annotations, in order.
fn read_drawings(images: &Images, chunk: &[&Annotation]) -> Result<Vec<Drawing>> {
    let picture = |annotation: &&Annotation| images.picture(&annotation.identifier);
    let pictures: Vec<Picture> = chunk.par_iter().map(picture).collect::<Result<_>>()?;
    let drawing = |found: Result<Regions, VisionError>| {
        let found = found?;
        let object = |region: &Region| Object::of_region(&region.class, region.box_px);
        Ok(Drawing {
            objects: found.regions.iter().filter_map(object).collect(),
            features: found.features,
        })
    };
    let found = DrawingReader.extract(&pictures);
    found.into_iter().map(drawing).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

fn progress(images: usize) -> ProgressBar {
    // Hidden by indicatif when stderr is no terminal.
    let bar = ProgressBar::new(images as u64);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} images, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_message("NLVR v1")
}
