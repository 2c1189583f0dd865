//! Pictures and tags of the images of examples.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat, RgbImage};
use oscar_datasets::pictures::Pictures;
use oscar_datasets::store::{INDEX_FILE, Tag};
use oscar_datasets::{ImagesAt, RegionStore, recorded_pictures};

/// Longest side of a picture in the page; larger ones are scaled down.
const LONGEST: u32 = 640;
/// Pictures up to this side are embedded losslessly.
const SMALL: u32 = 200;
const QUALITY: u8 = 85;

/// Images by key.
#[derive(Default)]
pub struct Gallery {
    stores: Vec<Arc<RegionStore>>,
    /// Pictures that the user named.
    named: Option<Pictures>,
    /// Picture locations recorded in data sets, by store.
    recorded: HashMap<PathBuf, Option<Pictures>>,
    found: usize,
}

/// Size and tags of an image.
pub struct Image {
    /// Width and height in pixels; 0 if unknown.
    pub size: (u32, u32),
    pub tags: Vec<Tag>,
    store: Arc<RegionStore>,
}

impl Gallery {
    /// Opens the region stores among `paths`; pictures come from `images`, else from the locations
    /// recorded in the data sets.
    ///
    /// # Errors
    /// If a store or `images` cannot be opened.
    pub fn open(paths: &[PathBuf], images: Option<&Path>) -> Result<Self> {
        let mut gallery = Self {
            named: images.map(Pictures::open).transpose()?,
            ..Self::default()
        };
        for path in paths {
            // A view changes what a model reads, not the pictures.
            let dir = ImagesAt::of(path)?.path;
            let known = gallery.stores.iter().any(|store| store.dir() == dir);
            if !known && dir.join(INDEX_FILE).is_file() {
                gallery.stores.push(RegionStore::open(&dir)?);
            }
        }
        Ok(gallery)
    }

    /// Size and tags of the image `key`, if a store has it.
    pub fn find(&self, key: &str) -> Result<Option<Image>> {
        for store in &self.stores {
            if let Some(row) = store.find(key) {
                return Ok(Some(Image {
                    size: store.size(row),
                    tags: store.tags(row)?,
                    store: store.clone(),
                }));
            }
        }
        Ok(None)
    }

    /// The picture of the image `key` for the page, its type and bytes; `None` if there is none.
    pub fn picture(&mut self, key: &str, image: &Image) -> Result<Option<(&'static str, Vec<u8>)>> {
        let pictures = match &mut self.named {
            Some(named) => Some(named),
            None => match self.recorded.entry(image.store.dir().to_path_buf()) {
                std::collections::hash_map::Entry::Occupied(found) => found.into_mut().as_mut(),
                std::collections::hash_map::Entry::Vacant(empty) => {
                    let path = recorded_pictures(&image.store);
                    empty
                        .insert(path.as_deref().map(Pictures::open).transpose()?)
                        .as_mut()
                }
            },
        };
        let found = match pictures {
            Some(pictures) => pictures.find(key)?,
            None => None,
        };
        let Some(picture) = found else {
            return Ok(None);
        };
        self.found += 1;
        let encoded = encode(picture.image);
        Ok(Some(encoded.with_context(|| {
            format!("cannot encode the picture of {key}")
        })?))
    }

    /// Warns if the pictures that the user named are of none of the images that were asked for.
    pub fn warn_of_other_images(&self) {
        if let Some(named) = self.named.as_ref().filter(|_| self.found == 0) {
            let first = match named.is_empty() {
                true => "it has no picture at all".into(),
                false => format!(
                    "its pictures are {}, the first is `{}`",
                    named.len(),
                    named.key(0)
                ),
            };
            tracing::warn!(
                "{} has a picture of none of the images that are shown: {first}; the page is without \
                 pictures",
                named.path().display()
            );
        }
    }

    /// Number of pictures found so far.
    pub fn pictures_found(&self) -> usize {
        self.found
    }
}

fn encode(picture: RgbImage) -> image::ImageResult<(&'static str, Vec<u8>)> {
    let mut bytes = Vec::new();
    let longest = picture.width().max(picture.height());
    let picture = DynamicImage::from(picture);
    if longest <= SMALL {
        picture.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)?;
        return Ok(("image/png", bytes));
    }
    let picture = match longest > LONGEST {
        true => picture.resize(LONGEST, LONGEST, FilterType::Triangle),
        false => picture,
    };
    picture.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, QUALITY))?;
    Ok(("image/jpeg", bytes))
}
