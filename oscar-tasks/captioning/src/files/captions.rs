//! Which captions describe which image.
//!
//! | form | what it is |
//! |---|---|
//! | rows | `{"image", "caption"}` or `{"image", "captions": [..]}`, as JSON lines or an array; optionally `tags` |
//! | official rows | `[{"image_id", "id", "caption"}, ..]`, one per caption |
//! | COCO's | `{"images": [{"id"}], "annotations": [{"image_id", "caption"}]}`; NoCaps' too, whose images also have an `open_images_id` |

use std::path::{Path, PathBuf};

use oscar_core::input::SourceError;
use oscar_datasets::annotations::captions::{CaptionedImage, ImageId, ImagesByKey, coco};
use oscar_datasets::{Rows, rows};
use serde::Deserialize;
use serde::de::IgnoredAny;

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
    #[serde(alias = "image_id")]
    image: ImageId,
    #[serde(default)]
    caption: Option<String>,
    #[serde(default)]
    captions: Vec<String>,
    #[serde(default)]
    tags: Option<String>,
    #[serde(default, rename = "id")]
    _id: Option<IgnoredAny>,
}

impl Captions {
    /// Reads `path`, by its content; plain or gzip.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or has none of the forms.
    pub fn read(path: &Path) -> Result<Self, SourceError> {
        let images = match rows::is_object_with(path, &["images", "annotations"])? {
            true => coco(path)?,
            false => plain(path)?,
        };
        if images.is_empty() {
            return Err(FileError::malformed(path, "no image", "give at least one").into());
        }
        Ok(Self {
            path: path.to_path_buf(),
            images,
        })
    }
}

fn plain(path: &Path) -> Result<Vec<CaptionedImage>, SourceError> {
    let mut collected = ImagesByKey::default();
    let rows: Rows<Row> = Rows::read(path)?;
    for row in rows.into_rows() {
        let image = collected.image(row.image);
        image.captions.extend(row.caption);
        image.captions.extend(row.captions);
        image.tags = row.tags.or(image.tags.take());
    }
    Ok(collected.into_images())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<CaptionedImage>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("captions");
        std::fs::write(&path, text).unwrap();
        let captions = Captions::read(&path).map_err(|error| error.to_string())?;
        Ok(captions.images)
    }

    fn image(key: &str, captions: &[&str]) -> CaptionedImage {
        CaptionedImage {
            key: key.into(),
            captions: captions.iter().map(|text| text.to_string()).collect(),
            ..CaptionedImage::default()
        }
    }

    #[test]
    fn all_forms() {
        let wanted = [image("7", &["a dog", "one dog"]), image("12", &["a cat"])];
        for text in [
            "{\"image\": \"7\", \"captions\": [\"a dog\", \"one dog\"]}\n\
             {\"image\": \"12\", \"caption\": \"a cat\", \"id\": 3}\n",
            r#"[{"image_id": "7", "id": 1, "caption": "a dog"}, {"image_id": "12", "id": 2,
                "caption": "a cat"}, {"image_id": "7", "id": 3, "caption": "one dog"}]"#,
            r#"{"info": {}, "images": [{"id": 7, "file_name": "x.jpg"}, {"id": 12}],
                "annotations": [{"image_id": 12, "id": 1, "caption": "a cat"},
                {"image_id": 7, "id": 2, "caption": "a dog"}, {"image_id": 7, "caption": "one dog"}]}"#,
        ] {
            assert_eq!(read(text).unwrap(), wanted, "{text}");
        }
        let nocaps = r#"{"images": [{"id": 0, "open_images_id": "004e2", "width": 3}]}"#;
        let found = read(nocaps).unwrap();
        assert_eq!(found[0].key, "0");
        assert_eq!(found[0].open_images_id.as_deref(), Some("004e2"));
        assert!(found[0].captions.is_empty());
        let tags = r#"[{"image": "7", "caption": "a dog", "tags": "dog grass"}]"#;
        assert_eq!(read(tags).unwrap()[0].tags.as_deref(), Some("dog grass"));
    }

    #[test]
    fn wrong_files_are_named() {
        for (text, wanted) in [
            (
                r#"{"caption": "a"}"#,
                "captions:1: column 16: missing field `image`",
            ),
            (
                r#"[{"image": "a", "text": "b"}]"#,
                "captions:1: line 1, column 23: unknown field `text`",
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
