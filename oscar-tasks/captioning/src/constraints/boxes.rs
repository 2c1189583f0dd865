//! The objects that a detector found in each image.

use std::collections::HashMap;
use std::path::Path;

use oscar_core::input::SourceError;
use oscar_datasets::tsv::TsvFile;
use serde::Deserialize;

const FIX: &str = "a row is `image, [{\"rect\": [x1, y1, x2, y2], \"class\", \"conf\"}, ..]`";

/// A detected object.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct DetectedBox {
    /// x1, y1, x2, y2 in pixels.
    pub rect: [f64; 4],
    /// Name of the class, in lower case once read.
    pub class: String,
    /// The detector's confidence.
    pub conf: f64,
}

/// Objects by image.
#[derive(Clone, Debug, Default)]
pub struct ConstraintBoxes {
    images: HashMap<String, Vec<DetectedBox>>,
}

impl ConstraintBoxes {
    /// Reads a table of boxes.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or has a row of another form.
    pub fn read(path: &Path) -> Result<Self, SourceError> {
        let table = TsvFile::open(path)?;
        let mut images = HashMap::with_capacity(table.len());
        for row in 0..table.len() {
            let [key, json] = table.first_and_last(row)?;
            let mut boxes: Vec<DetectedBox> = serde_json::from_str(json).map_err(|error| {
                table.wrong(row, format!("its boxes cannot be read ({error})"), FIX)
            })?;
            for found in &mut boxes {
                found.class = found.class.trim().to_lowercase();
            }
            images.insert(key.to_string(), boxes);
        }
        Ok(Self { images })
    }

    /// The objects of an image, none if it has no row.
    pub fn of_image(&self, image: &str) -> &[DetectedBox] {
        self.images.get(image).map_or(&[], Vec::as_slice)
    }
}
