//! Small stores, corpora and drawings for the tests.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use image::{Rgb, RgbImage};
use oscar_datasets::{Boxes, ImageRegions, RegionStore, Result, StoreOptions, StoreWriter, Tag};

/// A tag of this class, in a box that fits any image of 100 pixels.
pub fn tag(class: &str) -> Tag {
    Tag {
        class: class.into(),
        score: 0.5,
        box_px: Some([1.0, 2.0, 30.0, 40.0]),
        attributes: vec![],
    }
}

/// An image of 100x100 pixels with two regions of four values.
pub fn image(key: &str) -> ImageRegions<'_> {
    ImageRegions {
        key,
        width: 100,
        height: 100,
        features: &[0.5, 1.0, 1.5, 2.0, -0.5, -1.0, -1.5, -2.0],
        boxes: Boxes::Pixels(&[[0.0, 0.0, 50.0, 100.0], [25.0, 50.0, 100.0, 75.0]]),
        tags: &[],
    }
}

/// Writes a store with the images of [`image`] under these keys, tagged "dog" and "red hat".
pub fn write_store(dir: &Path, keys: &[&str]) -> Result<()> {
    let mut writer = StoreWriter::create(dir, StoreOptions::new(4))?;
    let tags = [tag("dog"), tag("red hat")];
    for key in keys {
        writer.push(ImageRegions {
            tags: &tags,
            ..image(key)
        })?;
    }
    writer.finish()
}

/// Writes and opens such a store.
pub fn store(dir: &Path, keys: &[&str]) -> Arc<RegionStore> {
    write_store(dir, keys).expect("the store is written");
    RegionStore::open(dir).expect("the store opens")
}

/// The text of an error, with those it was caused by.
pub fn message<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => {
            let source = std::error::Error::source(&error);
            format!(
                "{error}{}",
                source.map(|s| format!(": {s}")).unwrap_or_default()
            )
        }
    }
}

/// An empty drawing: three grey boxes.
pub fn drawing() -> RgbImage {
    RgbImage::from_fn(400, 100, |x, _| {
        Rgb(if x % 150 < 100 { [211; 3] } else { [128; 3] })
    })
}

/// Draws a square with its corner at x, y of the image.
pub fn square(image: &mut RgbImage, x: u32, y: u32, size: u32, color: [u8; 3]) {
    for (dx, dy) in (0..size).flat_map(|dx| (0..size).map(move |dy| (dx, dy))) {
        image.put_pixel(x + dx, y + dy, Rgb(color));
    }
}

/// Saves images as `dev-IDENTIFIER-0.png`.
pub fn save(dir: &Path, images: &[(&str, &RgbImage)]) {
    fs::create_dir_all(dir).expect("a directory");
    for (identifier, image) in images {
        image
            .save(dir.join(format!("dev-{identifier}-0.png")))
            .expect("an image is saved");
    }
}
