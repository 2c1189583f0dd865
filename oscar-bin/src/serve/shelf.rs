//! The images that the server itself has: those of a region store, and pictures.
//!
//! A request names them by key. Keys are looked up in the index of the store or of the pictures;
//! they never become a path.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use oscar_core::input::RegionHandle;
use oscar_datasets::import::ExtractedImage;
use oscar_datasets::pictures::Pictures;
use oscar_datasets::store::{INDEX_FILE, Tag};
use oscar_datasets::{RegionStore, SharedImages, open_images, recorded_pictures};
use oscar_task::{Seen, TaskError};
use oscar_vision::Picture;

use super::refusal::Refusal;

/// An image as a model sees it, with what a page draws of it.
#[derive(Clone)]
pub struct Image {
    /// Width and height in pixels; 0 if they are not known.
    pub size: (u32, u32),
    /// Its objects.
    pub objects: Vec<Tag>,
    /// x1/W, y1/H, x2/W, y2/H of its regions.
    pub regions: Vec<[f32; 4]>,
    /// What the model sees.
    pub seen: Seen,
}

impl Image {
    /// What an extractor found in a picture.
    ///
    /// # Errors
    /// If its regions cannot be read.
    pub fn extracted(image: &Arc<ExtractedImage>) -> Result<Self, TaskError> {
        let (width, height) = image.size();
        let (width, height) = (width.max(1) as f32, height.max(1) as f32);
        let boxes = image.boxes().iter();
        let regions =
            boxes.map(|[x1, y1, x2, y2]| [x1 / width, y1 / height, x2 / width, y2 / height]);
        Ok(Self {
            size: image.size(),
            objects: image.tags().to_vec(),
            regions: regions.collect(),
            seen: Seen::extracted(image)?,
        })
    }
}

/// What a key names.
pub enum Found {
    /// An image whose regions are stored.
    Stored(Image),
    /// A picture, in which a detector has to find the regions.
    Picture(Picture),
}

/// The images that the server has.
#[derive(Default)]
pub struct Shelf {
    images: Option<SharedImages>,
    /// The same, if they are a region store, which can list its keys.
    store: Option<Arc<RegionStore>>,
    pictures: Option<Pictures>,
}

impl Shelf {
    /// Opens a region store or official feature files, and pictures: those that are named, else those
    /// that the store records.
    ///
    /// # Errors
    /// If one of them cannot be opened.
    pub fn open(regions: Option<&Path>, pictures: Option<&Path>) -> Result<Self> {
        let mut shelf = Self::default();
        if let Some(path) = regions {
            if path.join(INDEX_FILE).exists() {
                let store = RegionStore::open(path)?;
                shelf.images = Some(store.clone());
                shelf.store = Some(store);
            } else {
                shelf.images = Some(open_images(path)?);
            }
        }
        let recorded = shelf
            .store
            .as_ref()
            .and_then(|store| recorded_pictures(store));
        let named = pictures.map(Path::to_path_buf);
        if let Some(path) = named.or(recorded) {
            let opened = Pictures::open(&path)
                .with_context(|| format!("cannot open the pictures in {}", path.display()))?;
            shelf.pictures = Some(opened);
        }
        Ok(shelf)
    }

    /// The stored images.
    pub fn stored_images(&self) -> Option<&SharedImages> {
        self.images.as_ref()
    }

    /// Values per region of the stored images.
    pub fn region_dim(&self) -> Option<usize> {
        Some(self.images.as_ref()?.region_dim())
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        match (&self.images, &self.pictures) {
            (Some(images), _) => images.len(),
            (None, Some(pictures)) => pictures.len(),
            (None, None) => 0,
        }
    }

    /// Whether pictures can be shown.
    pub fn has_pictures(&self) -> bool {
        self.pictures.is_some()
    }

    /// Some keys, in the order of the store or of the pictures.
    pub fn keys(&self, offset: usize, limit: usize) -> Vec<String> {
        let rows = |len: usize| (0..len).skip(offset).take(limit);
        match (&self.store, &self.images, &self.pictures) {
            (Some(store), ..) => rows(store.len()).map(|row| store.key(row).into()).collect(),
            (None, Some(images), _) => rows(images.len())
                .map(|row| images.image_key(row))
                .collect(),
            (None, None, Some(pictures)) => rows(pictures.len())
                .map(|at| pictures.key(at).into())
                .collect(),
            (None, None, None) => Vec::new(),
        }
    }

    /// The image called `key`.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn find(&self, key: &str) -> Result<Found, Refusal> {
        let Some(images) = &self.images else {
            return Ok(Found::Picture(self.picture(key)?));
        };
        let Ok(row) = images.require(key) else {
            let examples = images.examples(key);
            return Err(unknown(key, &examples));
        };
        self.stored(images, row)
            .map(Found::Stored)
            .map_err(|error| unreadable(key, &error))
    }

    fn stored(&self, images: &SharedImages, row: usize) -> Result<Image> {
        let regions = RegionHandle::new(images.clone(), row).map_err(anyhow::Error::from_boxed)?;
        let seen = Seen::Regions {
            tags: images.tag_text(row)?,
            regions,
        };
        let Some(store) = &self.store else {
            return Ok(Image {
                size: (0, 0),
                objects: Vec::new(),
                regions: Vec::new(),
                seen,
            });
        };
        let boxes = store.boxes(row).iter();
        Ok(Image {
            size: store.size(row),
            objects: store.tags(row)?,
            regions: boxes.map(|b| [b[0], b[1], b[2], b[3]]).collect(),
            seen,
        })
    }

    /// The picture of the image called `key`.
    ///
    /// # Errors
    /// If there is none, or it cannot be decoded.
    pub fn picture(&self, key: &str) -> Result<Picture, Refusal> {
        let Some(pictures) = &self.pictures else {
            return Err(Refusal::unknown(format!(
                "there is no picture of `{key}` here"
            )));
        };
        let found = pictures
            .find(key)
            .map_err(|error| unreadable(key, &error.into()))?;
        found.ok_or_else(|| {
            let count = pictures.len().min(2);
            let examples: Vec<String> = (0..count).map(|at| pictures.key(at).into()).collect();
            unknown(key, &examples)
        })
    }
}

fn unknown(key: &str, examples: &[String]) -> Refusal {
    let mut message = format!("there is no image `{key}` here");
    if !examples.is_empty() {
        let examples: Vec<String> = examples.iter().map(|key| format!("`{key}`")).collect();
        message += &format!("; keys are such as {}", examples.join(", "));
    }
    Refusal::unknown(message)
}

/// Files of this machine are named in its log alone.
fn unreadable(key: &str, error: &anyhow::Error) -> Refusal {
    tracing::error!("image `{key}`: {error:#}");
    Refusal::internal(format!(
        "image `{key}` cannot be read; the server's log says why"
    ))
}
