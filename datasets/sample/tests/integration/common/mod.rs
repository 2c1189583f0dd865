//! Drawings for the tests.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use oscar_datasets::Result;

/// The sample that ships with the repository.
pub fn sample() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
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
