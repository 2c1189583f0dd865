//! An opened split: every text as ids, every image found.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use oscar_core::input::{EncodedSequence, ExampleSeed, RegionHandle, SequenceEncoder, SourceError};
use oscar_datasets::captions::{self, CaptionedImage};
use oscar_datasets::{DatasetError, RowSet, SharedImages, open_images};
use oscar_task::{ClassData, EncodedRow, Evaluation, Logits, Role, Target, TaskData, required};
use rand::Rng;
use rayon::prelude::*;

use crate::candidates::Candidates;
use crate::official;
use crate::{Retrieval, Split};

/// A text and its ids.
pub(crate) struct Caption {
    pub image: u32,
    pub text: String,
    pub ids: Vec<u32>,
}

/// An image of the split.
pub(crate) struct Image {
    pub key: String,
    /// Its row in the source of images.
    pub row: usize,
    /// Its captions, and of these the used ones.
    pub captions: Range<u32>,
    pub used: Range<u32>,
    pub tags: Vec<u32>,
}

/// A split, opened: texts are ids, images were found.
pub struct RetrievalData {
    path: PathBuf,
    pub(crate) images: Vec<Image>,
    pub(crate) captions: Vec<Caption>,
    /// The used captions of all images: the examples of training.
    used: Vec<u32>,
    candidates: Candidates,
    training: bool,
    source: SharedImages,
    pub(crate) encoder: SequenceEncoder,
}

impl RetrievalData {
    /// Opens `split` and checks every row.
    ///
    /// # Errors
    ///
    /// A file that cannot be read; an image without regions or captions; a caption without words; a
    /// key or a candidate that the captions do not know; a single image.
    pub fn open(
        split: &Split,
        role: Role,
        task: &Retrieval,
        encoder: SequenceEncoder,
    ) -> Result<Self, SourceError> {
        let source = open_images(required(&split.regions, "regions", "the region store")?)?;
        let captions = required(&split.captions, "captions", "the file of captions")?;
        let (rows, mut chosen) = described(captions::read(captions, None)?)?;
        if let Some(keys) = &split.image_keys {
            chosen = only(&rows, &chosen, keys)?;
        }
        let path = rows.path().to_path_buf();
        if role != Role::Evaluate && chosen.len() < 2 {
            let fix = "give at least two, so that one can be the other's negative";
            return Err(DatasetError::malformed(&path, "a single image", fix).into());
        }

        let tokenized = chosen
            .par_iter()
            .map(|index| tokenize(&rows, *index, &source, &encoder))
            .collect::<Result<Vec<_>, SourceError>>()?;
        let (mut images, mut captions) = (Vec::new(), Vec::new());
        for (number, (index, found)) in chosen.into_iter().zip(tokenized).enumerate() {
            let image = rows[index].clone();
            let first = captions.len() as u32;
            let count = image.captions.len() as u32;
            let used = match task.captions_per_image {
                0 => count,
                most => count.min(u32::try_from(most).unwrap_or(u32::MAX)),
            };
            let texts = image.captions.into_iter().zip(found.captions);
            captions.extend(texts.map(|(text, ids)| Caption {
                image: number as u32,
                text,
                ids,
            }));
            images.push(Image {
                key: image.key,
                row: found.row,
                captions: first..first + count,
                used: first..first + used,
                tags: found.tags,
            });
        }
        let used = images.iter().flat_map(|image| image.used.clone()).collect();
        let mut data = Self {
            path,
            images,
            captions,
            used,
            candidates: Candidates::All(Vec::new()),
            training: role == Role::Train,
            source,
            encoder,
        };
        data.candidates = data.candidates(split.candidates.as_deref(), role, task)?;
        Ok(data)
    }

    fn candidates(
        &self,
        file: Option<&Path>,
        role: Role,
        task: &Retrieval,
    ) -> Result<Candidates, SourceError> {
        if let Some(file) = file
            && role != Role::Train
        {
            let keys: Vec<&str> = self.images.iter().map(|image| image.key.as_str()).collect();
            let captions: Vec<_> = self.images.iter().map(|i| i.captions.clone()).collect();
            return Candidates::read(file, &keys, &captions);
        }
        Ok(match role {
            Role::Validate => {
                let used: Vec<_> = self.images.iter().map(|image| image.used.clone()).collect();
                Candidates::draw(&used, task.validation_candidates)
            }
            Role::Train | Role::Evaluate => Candidates::All(self.used.clone()),
        })
    }

    /// The file of captions.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of images.
    pub fn num_images(&self) -> usize {
        self.images.len()
    }

    /// Captions that compete for each image.
    pub fn width(&self) -> usize {
        self.candidates.width()
    }

    /// The captions, by number, that compete for image `image`.
    pub(crate) fn candidates_of(&self, image: usize) -> &[u32] {
        self.candidates.of(image)
    }

    /// The captions of the columns, if they are the same for all images.
    pub(crate) fn columns(&self) -> Option<&[u32]> {
        match &self.candidates {
            Candidates::All(captions) => Some(captions),
            Candidates::Lists { .. } => None,
        }
    }

    /// The regions of an image, still in their store.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    pub(crate) fn regions(&self, image: usize) -> Result<RegionHandle, SourceError> {
        RegionHandle::new(self.source.clone(), self.images[image].row)
    }

    /// Caption `caption` with the tags of image `image` and the regions `regions`.
    ///
    /// # Errors
    ///
    /// None that opening the split would not have found.
    pub(crate) fn pair(
        &self,
        image: usize,
        caption: usize,
        regions: RegionHandle,
    ) -> Result<EncodedSequence, SourceError> {
        let ids = &self.captions[caption].ids;
        let origin = match self.training {
            true => format!("{}: caption {caption}", self.path.display()),
            // Of millions of pairs none needs a name of its own: what can fail is the image.
            false => String::new(),
        };
        let tags = &self.images[image].tags;
        Ok(self.encoder.encode_ids(origin, ids, tags, &[regions])?)
    }

    fn row(&self, image: usize, caption: usize) -> Result<EncodedRow, SourceError> {
        let matched = self.captions[caption].image as usize == image;
        Ok(EncodedRow {
            sequences: vec![self.pair(image, caption, self.regions(image)?)?],
            target: Some(Target::Class(u32::from(matched))),
        })
    }

    /// A pair that does not match: half the time the caption of another image, else another image
    /// with its own tags.
    fn negative(&self, image: usize, caption: usize, rng: &mut impl Rng) -> (usize, usize) {
        let mut other = rng.random_range(0..self.images.len() - 1);
        other += usize::from(other >= image);
        match rng.random_bool(0.5) {
            true => {
                let used = &self.images[other].used;
                (image, rng.random_range(used.start..used.end) as usize)
            }
            false => (other, caption),
        }
    }
}

/// The rows that have captions: published files also have images without.
fn described(
    rows: RowSet<CaptionedImage>,
) -> Result<(RowSet<CaptionedImage>, Vec<usize>), DatasetError> {
    if !rows.is_published() {
        rows.require_labels()?;
    }
    let has_captions = |index: &usize| !rows[*index].captions.is_empty();
    let described: Vec<usize> = (0..rows.len()).filter(has_captions).collect();
    let (path, all) = (rows.path(), rows.len());
    if described.is_empty() {
        let fix = "give at least one caption";
        return Err(DatasetError::malformed(path, "no image has a caption", fix));
    }
    if described.len() < all {
        let without = all - described.len();
        tracing::warn!(
            "{}: {without} of {all} images have no caption and are left out",
            path.display()
        );
    }
    Ok((rows, described))
}

/// Those of `rows` that the file `keys` names, in its order.
fn only(
    rows: &RowSet<CaptionedImage>,
    described: &[usize],
    keys: &Path,
) -> Result<Vec<usize>, SourceError> {
    let mut by_key: HashMap<&str, usize> = described
        .iter()
        .map(|index| (rows[*index].key.as_str(), *index))
        .collect();
    let mut seen = HashSet::new();
    let take = |(line, key): (usize, String)| {
        let wrong = |found: String, fix| {
            SourceError::from(DatasetError::malformed(
                keys,
                format!("line {line}: {found}"),
                fix,
            ))
        };
        let index = by_key
            .remove(key.as_str())
            .ok_or_else(|| match seen.contains(&key) {
                true => wrong(format!("image {key} again"), "name it once"),
                false => wrong(
                    format!("image {key} has no captions in the split"),
                    "does the file belong to these captions?",
                ),
            })?;
        seen.insert(key);
        Ok(index)
    };
    official::image_keys(keys)?.into_iter().map(take).collect()
}

/// The row of an image's regions, and its texts as ids.
struct Tokenized {
    row: usize,
    tags: Vec<u32>,
    captions: Vec<Vec<u32>>,
}

fn tokenize(
    rows: &RowSet<CaptionedImage>,
    index: usize,
    source: &SharedImages,
    encoder: &SequenceEncoder,
) -> Result<Tokenized, SourceError> {
    let image = &rows[index];
    let row = image
        .find(&**source)
        .map_err(|defect| rows.refuse(index, defect))?;
    let tags = match &image.tags {
        Some(tags) => encoder.tokenizer().encode(tags),
        None => encoder.tokenizer().encode(&source.tag_text(row)?),
    };
    let captions = image.captions.iter().enumerate().map(|(number, text)| {
        let ids = encoder.tokenizer().encode(text);
        match ids.is_empty() {
            false => Ok(ids),
            true => {
                let found = format!("caption {} has no token: {text:?}", number + 1);
                Err(rows.wrong(index, found, "drop the caption").into())
            }
        }
    });
    let captions = captions.collect::<Result<Vec<_>, SourceError>>()?;
    Ok(Tokenized {
        row,
        tags,
        captions,
    })
}

impl TaskData for RetrievalData {
    fn len(&self) -> usize {
        match self.training {
            true => self.used.len(),
            false => self.images.len(),
        }
    }

    fn region_dim(&self) -> usize {
        self.source.region_dim()
    }

    fn extractor(&self) -> Option<String> {
        self.source.extractor().map(String::from)
    }
}

impl ClassData for RetrievalData {
    fn rows_per_example(&self) -> usize {
        match self.training {
            true => 2,
            false => self.width(),
        }
    }

    fn example(&self, index: usize, seed: ExampleSeed) -> Result<Vec<EncodedRow>, SourceError> {
        if !self.training {
            let candidates = self.candidates_of(index).iter();
            return candidates
                .map(|caption| self.row(index, *caption as usize))
                .collect();
        }
        let caption = self.used[index] as usize;
        let image = self.captions[caption].image as usize;
        let (other_image, other_caption) = self.negative(image, caption, &mut seed.rng(index));
        Ok(vec![
            self.row(image, caption)?,
            self.row(other_image, other_caption)?,
        ])
    }

    fn evaluate(&self, _: &Logits) -> Result<Evaluation, SourceError> {
        Err("the pairs of a retrieval compete: they are scored by ranks, not one by one".into())
    }
}
