//! Which captions describe which image, in any of the forms that such files have.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use oscar_core::input::SourceError;
use oscar_datasets::annotations::captions::{self, CaptionedImage};
use oscar_datasets::{Rows, rows};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::official;
use oscar_files::FileError;

/// The images of a file of captions, each once, in the order of the file.
#[derive(Clone, Debug)]
pub(crate) struct Captions {
    pub path: PathBuf,
    pub images: Vec<CaptionedImage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    image: String,
    captions: Vec<String>,
    #[serde(default)]
    tags: Option<String>,
    #[serde(default, rename = "id")]
    _id: Option<IgnoredAny>,
}

impl Captions {
    /// Reads `path`: the official `.pt`, COCO's JSON, or rows of `{"image", "captions"}`; by its
    /// content.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or is none of these; an image twice, or without captions.
    pub fn read(path: &Path) -> Result<Self, SourceError> {
        let mut start = [0; 2];
        let mut file = rows::open(path)?;
        let read = file.read(&mut start).map_err(FileError::io("read", path))?;
        drop(file);
        let images = match start.get(..read) {
            // A zip archive, or a pickle of protocol 2 and later.
            Some([b'P', b'K'] | [0x80, _]) => official::captions(path)?,
            _ if rows::is_object_with(path, &["annotations"])? => coco(path)?,
            _ => plain(path)?,
        };
        let captions = Self {
            path: path.to_path_buf(),
            images,
        };
        captions.check()?;
        Ok(captions)
    }

    fn check(&self) -> Result<(), FileError> {
        let wrong = |found, fix| Err(FileError::malformed(&self.path, found, fix));
        if self.images.is_empty() {
            return wrong("no image".into(), "give at least one");
        }
        let mut seen = HashMap::with_capacity(self.images.len());
        for (row, image) in self.images.iter().enumerate() {
            if image.captions.is_empty() {
                let found = format!("image {} (row {}) has no caption", image.key, row + 1);
                return wrong(found, "give it at least one, or drop it");
            }
            if let Some(first) = seen.insert(image.key.as_str(), row) {
                let found = format!("image {} in rows {} and {}", image.key, first + 1, row + 1);
                return wrong(found, "give all captions of an image in one row");
            }
        }
        Ok(())
    }
}

fn plain(path: &Path) -> Result<Vec<CaptionedImage>, SourceError> {
    let rows: Rows<Row> = Rows::read(path)?;
    Ok(rows
        .iter()
        .map(|row| CaptionedImage {
            key: row.image.clone(),
            captions: row.captions.clone(),
            tags: row.tags.clone(),
            ..CaptionedImage::default()
        })
        .collect())
}

fn coco(path: &Path) -> Result<Vec<CaptionedImage>, SourceError> {
    let mut images = captions::coco(path)?;
    let all = images.len();
    images.retain(|image| !image.captions.is_empty());
    if images.len() < all {
        let without = all - images.len();
        tracing::warn!(
            "{}: {without} of {all} images have no caption and are left out",
            path.display()
        );
    }
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<CaptionedImage>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("captions");
        std::fs::write(&path, text).unwrap();
        match Captions::read(&path) {
            Ok(captions) => Ok(captions.images),
            Err(error) => Err(error.to_string()),
        }
    }

    fn image(key: &str, captions: &[&str]) -> CaptionedImage {
        CaptionedImage {
            key: key.into(),
            captions: captions.iter().map(|text| text.to_string()).collect(),
            ..CaptionedImage::default()
        }
    }

    #[test]
    fn rows_and_coco() {
        let wanted = [image("7", &["a dog", "one dog"]), image("12", &["a cat"])];
        let rows = "{\"image\": \"7\", \"captions\": [\"a dog\", \"one dog\"]}\n\
                    {\"image\": \"12\", \"captions\": [\"a cat\"], \"id\": 3}\n";
        assert_eq!(read(rows).unwrap(), wanted);
        let coco = r#"{"info": {}, "images": [{"id": 7, "file_name": "x.jpg"}, {"id": 12}, {"id": 9}],
            "annotations": [{"image_id": 12, "id": 1, "caption": "a cat"},
            {"image_id": 7, "id": 2, "caption": "a dog"}, {"image_id": 7, "caption": "one dog"}]}"#;
        assert_eq!(read(coco).unwrap(), wanted);
        let tags = r#"[{"image": "7", "captions": ["a dog"], "tags": "dog grass"}]"#;
        assert_eq!(read(tags).unwrap()[0].tags.as_deref(), Some("dog grass"));
    }

    #[test]
    fn wrong_files_are_named() {
        for (text, wanted) in [
            (
                r#"{"image": "7", "captions": []}"#,
                "captions: image 7 (row 1) has no caption; give it",
            ),
            (
                "{\"image\": \"7\", \"captions\": [\"a\"]}\n{\"image\": \"7\", \"captions\": [\"b\"]}",
                "image 7 in rows 1 and 2; give all captions",
            ),
            (
                r#"{"image": "7"}"#,
                "captions:1: column 14: missing field `captions`",
            ),
            (
                r#"{"annotations": [{"id": 3}]}"#,
                "missing field `image_id`",
            ),
            (r#"{"annotations": []}"#, "no image"),
            ("", "no row"),
            ("id,text\n", "neither a JSON array nor JSON lines"),
        ] {
            let found = read(text).expect_err(text);
            assert!(found.contains(wanted), "{text:?}: {found}");
        }
    }
}
