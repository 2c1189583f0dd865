//! The scores of a split with extended ground truth: COCO's numbers of its images and captions, and
//! rankings of them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Read;
use std::path::Path;

use oscar_core::input::SourceError;
use oscar_datasets::DatasetError;
use oscar_datasets::keys::coco_number;
use oscar_datasets::text::open_text;
use rayon::prelude::*;
use serde::Deserialize;

use crate::data::RetrievalData;
use crate::positives::{Annotation, Positives, figures};
use oscar_task::ranks::CUTS;

/// A caption in COCO's annotations.
#[derive(Deserialize)]
struct Numbered {
    id: u64,
    image_id: u64,
    caption: String,
}

/// COCO's annotations, which number captions.
#[derive(Deserialize)]
struct Annotations {
    annotations: Vec<Numbered>,
}

/// What a split is scored with beside its own pairs.
pub(crate) struct Extended {
    annotations: Vec<Annotation>,
    /// Numbers of the images, and of the captions in the order of the columns.
    images: Vec<u64>,
    captions: Vec<u64>,
}

impl Extended {
    /// Reads positives, and finds COCO's numbers of images and captions in its annotations.
    ///
    /// # Errors
    /// If a file cannot be read, an image or caption is not of COCO, or not every caption competes.
    pub fn open(
        data: &RetrievalData,
        positives: &Path,
        numbers: &Path,
    ) -> Result<Self, SourceError> {
        let wrong = |found: String, fix| DatasetError::malformed(numbers, found, fix);
        let Some(columns) = data.columns() else {
            return Err(DatasetError::malformed(
                positives,
                "only some captions compete for each image",
                "extended ground truth needs all of them; remove the file of candidates",
            )
            .into());
        };
        let mut annotations = Annotation::read(positives)?;
        // These are the pairs of the split itself.
        annotations.retain(|annotation| annotation.name != "coco");
        let mut known = numbered(numbers)?;
        let mut images = Vec::with_capacity(data.split.images.len());
        for image in &data.split.images {
            images.push(coco_number(&image.key).ok_or_else(|| {
                let found = format!(
                    "the image {:?} of the split has no number of COCO",
                    image.key
                );
                wrong(found, "extended ground truth is of COCO's images")
            })?);
        }
        let mut captions = Vec::with_capacity(columns.len());
        for caption in columns
            .iter()
            .map(|caption| &data.split.captions[*caption as usize])
        {
            let image = images[caption.image as usize];
            let same = known.get_mut(&(image, words(&caption.text)));
            // Equal captions of an image have one number each.
            captions.push(same.and_then(VecDeque::pop_front).ok_or_else(|| {
                let found = format!("image {image} has no caption {:?}", caption.text);
                wrong(
                    found,
                    "name the annotations that the captions of the split are of",
                )
            })?);
        }
        Ok(Self {
            annotations,
            images,
            captions,
        })
    }

    /// Figures of `scores`, `[images, captions]` row by row, with their names.
    ///
    /// # Errors
    /// If an image or caption is annotated that is not in the split.
    pub fn scores(&self, scores: &[f32]) -> Result<Vec<(String, f64)>, SourceError> {
        let width = self.captions.len();
        let mut named = Vec::new();
        for annotation in &self.annotations {
            let most = annotation.most().max(CUTS[CUTS.len() - 1]);
            let of_image = |row: usize| {
                let row = &scores[row * width..(row + 1) * width];
                self.captions
                    .iter()
                    .copied()
                    .zip(row.iter().copied())
                    .collect()
            };
            let of_caption = |column: usize| {
                let column = scores.iter().skip(column).step_by(width);
                self.images.iter().copied().zip(column.copied()).collect()
            };
            let i2t = rankings(&self.images, &annotation.i2t, most, of_image);
            let t2i = rankings(&self.captions, &annotation.t2i, most, of_caption);
            for (way, rankings, positives) in
                [("i2t", i2t, &annotation.i2t), ("t2i", t2i, &annotation.t2i)]
            {
                let ranking = |query| rankings.get(&query).map(Vec::as_slice);
                let found = figures(positives, ranking)?.named().into_iter();
                let name = annotation.name;
                named
                    .extend(found.map(|(figure, value)| (format!("{way}_{name}_{figure}"), value)));
            }
        }
        Ok(named)
    }
}

/// The first `most` items of each query that has positives; `of` gives the items of the query at an
/// index with their scores. Of equal scores positives come last, as elsewhere: they count against
/// the model.
fn rankings(
    queries: &[u64],
    positives: &Positives,
    most: usize,
    of: impl Fn(usize) -> Vec<(u64, f32)> + Sync,
) -> BTreeMap<u64, Vec<u64>> {
    let queries = queries.par_iter().enumerate();
    let ranked = queries.filter_map(|(at, query)| {
        let right = positives.get(query)?;
        let mut items = of(at);
        let order = |a: &(u64, f32), b: &(u64, f32)| {
            let positive = right.contains(&a.0).cmp(&right.contains(&b.0));
            b.1.total_cmp(&a.1).then(positive)
        };
        if items.len() > most {
            items.select_nth_unstable_by(most, order);
            items.truncate(most);
        }
        items.sort_unstable_by(order);
        Some((*query, items.into_iter().map(|(item, _)| item).collect()))
    });
    ranked.collect()
}

/// The numbers of captions by the number of their image and their words.
fn numbered(path: &Path) -> Result<HashMap<(u64, String), VecDeque<u64>>, SourceError> {
    let mut text = String::new();
    let read = open_text(path)?.read_to_string(&mut text);
    read.map_err(DatasetError::io("read", path))?;
    let Annotations { annotations } = serde_json::from_str(&text).map_err(|error| {
        let fix = "name COCO's annotations, which number captions (captions_val2014.json)";
        DatasetError::malformed(path, error.to_string(), fix)
    })?;
    let mut numbers: HashMap<_, VecDeque<u64>> = HashMap::new();
    for Numbered {
        id,
        image_id,
        caption,
    } in annotations
    {
        numbers
            .entry((image_id, words(&caption)))
            .or_default()
            .push_back(id);
    }
    Ok(numbers)
}

/// A text without what differs between copies of it.
fn words(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase()
}
