//! Writes a picture whole or not at all.

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, RgbImage};

use crate::error::{DatasetError, Result};

/// Writes `image` to `path` as PNG, replacing what is there once it is complete.
///
/// # Errors
/// If the name does not end in `.png`, or the disk refuses.
pub fn write_png(image: &RgbImage, path: &Path) -> Result<()> {
    let is_png = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("png"));
    if !is_png {
        let found = "pictures are written as PNG";
        return Err(DatasetError::malformed(
            path,
            found,
            "give a name that ends in .png",
        ));
    }
    let mut bytes = Cursor::new(Vec::new());
    image
        .write_to(&mut bytes, ImageFormat::Png)
        .map_err(|error| DatasetError::malformed(path, error.to_string(), "draw another image"))?;
    Ok(oscar_files::write_file(path, bytes.get_ref())?)
}
