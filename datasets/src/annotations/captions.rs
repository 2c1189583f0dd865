//! Which captions describe which image: what COCO and NoCaps publish, and what is kept of any form.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use crate::error::{DatasetError, Result};
use crate::rows;

/// An image and the captions that describe it; there may be none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptionedImage {
    /// Its key in a region store.
    pub key: String,
    /// Another key under which its regions may lie: NoCaps' images are those of Open Images.
    pub open_images_id: Option<String>,
    /// What was said of it, in the order of the file.
    pub captions: Vec<String>,
    /// Tags in the place of those of the regions' source.
    pub tags: Option<String>,
}

/// Ids are numbers or texts; the keys of a region store are texts.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum ImageId {
    /// As COCO writes them.
    Number(i64),
    /// As keys are.
    Text(String),
}

impl ImageId {
    /// The key.
    pub fn into_text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// Images by key, in the order in which they are first named.
#[derive(Debug, Default)]
pub struct ImagesByKey {
    images: Vec<CaptionedImage>,
    places: HashMap<String, usize>,
}

impl ImagesByKey {
    /// The image called `id`, which is added if it was not named before.
    pub fn image(&mut self, id: ImageId) -> &mut CaptionedImage {
        let key = id.into_text();
        let next = self.images.len();
        let at = *self.places.entry(key.clone()).or_insert(next);
        if at == next {
            self.images.push(CaptionedImage {
                key,
                ..CaptionedImage::default()
            });
        }
        &mut self.images[at]
    }

    /// All of them.
    pub fn into_images(self) -> Vec<CaptionedImage> {
        self.images
    }
}

#[derive(Deserialize)]
struct Coco {
    #[serde(default)]
    images: Vec<CocoImage>,
    #[serde(default)]
    annotations: Vec<CocoCaption>,
}

#[derive(Deserialize)]
struct CocoImage {
    id: ImageId,
    open_images_id: Option<String>,
}

#[derive(Deserialize)]
struct CocoCaption {
    image_id: ImageId,
    caption: String,
}

/// Reads `{"images": [{"id"}], "annotations": [{"image_id", "caption"}]}`, plain or gzip: the
/// images in the order in which they are named, those without captions too.
///
/// # Errors
/// A file that cannot be read or has another form.
pub fn coco(path: &Path) -> Result<Vec<CaptionedImage>> {
    let coco: Coco = serde_json::from_reader(rows::open(path)?).map_err(|error| {
        let found = format!("as COCO's captions: {error}");
        DatasetError::malformed(path, found, "give COCO's `images` and `annotations`")
    })?;
    let mut collected = ImagesByKey::default();
    for image in coco.images {
        collected.image(image.id).open_images_id = image.open_images_id;
    }
    for row in coco.annotations {
        collected.image(row.image_id).captions.push(row.caption);
    }
    Ok(collected.into_images())
}
