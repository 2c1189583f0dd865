//! Images that are to be found by their captions, and captions by their images: what retrieval and
//! search read, texts as ids.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use oscar_core::input::{RegionHandle, SequenceEncoder, SourceError};
use rayon::prelude::*;

use crate::captions::{self, CaptionedImage};
use crate::error::DatasetError;
use crate::images::{SharedImages, open_images};
use crate::rows::RowSet;
use crate::text::open_text;

/// Where captions and images are, and what of them is used.
#[derive(Clone, Copy, Debug)]
pub struct CaptionedFiles<'a> {
    /// Captions in any form; see [`captions`].
    pub captions: &'a Path,
    /// Region store.
    pub regions: &'a Path,
    /// Images to take, one key a line; all if there is none.
    pub image_keys: Option<&'a Path>,
    /// Captions used of an image, the first ones; 0 for all.
    pub captions_per_image: usize,
}

/// Images with their captions, in the order of the file.
pub struct CaptionedImages {
    /// The file of captions.
    pub path: PathBuf,
    /// The images.
    pub images: Vec<TokenizedImage>,
    /// The captions of all images, those of an image one after the other.
    pub captions: Vec<TokenizedCaption>,
    /// The regions of the images.
    pub source: SharedImages,
}

/// A caption and its ids.
#[derive(Clone, Debug)]
pub struct TokenizedCaption {
    /// Its image, by number.
    pub image: u32,
    /// The text.
    pub text: String,
    /// Its tokens.
    pub ids: Vec<u32>,
}

/// An image and its tags.
#[derive(Clone, Debug)]
pub struct TokenizedImage {
    /// Its key.
    pub key: String,
    /// Its row in the source of images.
    pub row: usize,
    /// Its captions, by number.
    pub captions: Range<u32>,
    /// The captions that are used: the first of them.
    pub used: Range<u32>,
    /// The tokens of its tags.
    pub tags: Vec<u32>,
    /// The tags that the file gives it, in the place of those stored with it.
    pub own_tags: Option<String>,
}

impl CaptionedFiles<'_> {
    /// Reads the files and checks every row.
    ///
    /// # Errors
    ///
    /// A file that cannot be read; an image without regions or captions; a caption without words; a key
    /// that the captions do not know.
    pub fn open(&self, encoder: &SequenceEncoder) -> Result<CaptionedImages, SourceError> {
        let source = open_images(self.regions)?;
        let (rows, mut chosen) = described(captions::read(self.captions, None)?)?;
        if let Some(keys) = self.image_keys {
            chosen = only(&rows, &chosen, keys)?;
        }
        let tokenized = chosen
            .par_iter()
            .map(|index| tokenize(&rows, *index, &source, encoder))
            .collect::<Result<Vec<_>, SourceError>>()?;
        let (mut images, mut captions) = (Vec::new(), Vec::new());
        for (number, (index, found)) in chosen.into_iter().zip(tokenized).enumerate() {
            let image = rows[index].clone();
            let first = captions.len() as u32;
            let count = image.captions.len() as u32;
            let used = match self.captions_per_image {
                0 => count,
                most => count.min(u32::try_from(most).unwrap_or(u32::MAX)),
            };
            let texts = image.captions.into_iter().zip(found.captions);
            captions.extend(texts.map(|(text, ids)| TokenizedCaption {
                image: number as u32,
                text,
                ids,
            }));
            images.push(TokenizedImage {
                key: image.key,
                row: found.row,
                captions: first..first + count,
                used: first..first + used,
                tags: found.tags,
                own_tags: image.tags,
            });
        }
        Ok(CaptionedImages {
            path: rows.path().to_path_buf(),
            images,
            captions,
            source,
        })
    }
}

impl CaptionedImages {
    /// The used captions of all images, by number.
    pub fn used(&self) -> Vec<u32> {
        let images = self.images.iter();
        images.flat_map(|image| image.used.clone()).collect()
    }

    /// The regions of an image, still in their store.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    pub fn regions(&self, image: usize) -> Result<RegionHandle, SourceError> {
        RegionHandle::new(self.source.clone(), self.images[image].row)
    }

    /// The tags of an image.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn tag_text(&self, image: usize) -> Result<String, DatasetError> {
        let image = &self.images[image];
        match &image.own_tags {
            Some(tags) => Ok(tags.clone()),
            None => self.source.tag_text(image.row),
        }
    }

    /// Refuses a single image: in training another one is its negative.
    ///
    /// # Errors
    ///
    /// If there is none beside it.
    pub fn require_two(&self) -> Result<(), DatasetError> {
        match self.images.len() {
            0 | 1 => Err(DatasetError::malformed(
                &self.path,
                "a single image",
                "give at least two, so that one can be the other's negative",
            )),
            _ => Ok(()),
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
    image_keys(keys)?.into_iter().map(take).collect()
}

/// `test_img_keys.tsv`: one image id per line, with its line.
fn image_keys(path: &Path) -> Result<Vec<(usize, String)>, SourceError> {
    /// Longer lines are not ids.
    const MAX_LINE: u64 = 4096;
    let mut keys = Vec::new();
    let (mut file, mut line) = (open_text(path)?, String::new());
    for number in 1.. {
        line.clear();
        // A packed file may hold lines far larger than itself.
        let read = (&mut file).take(MAX_LINE + 1).read_line(&mut line);
        match read.map_err(DatasetError::io("read", path))? as u64 {
            0 => break,
            1..=MAX_LINE => {}
            _ => {
                let found = format!("line {number}: more than {MAX_LINE} bytes");
                return Err(
                    DatasetError::malformed(path, found, "give one image id a line").into(),
                );
            }
        }
        let key = line.split('\t').next().unwrap_or_default().trim();
        if !key.is_empty() {
            keys.push((number, key.to_string()));
        }
    }
    if keys.is_empty() {
        return Err(DatasetError::malformed(path, "no key", "give one image id a line").into());
    }
    Ok(keys)
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
        let ids = encoder.encode_text(text);
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
