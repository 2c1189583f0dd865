//! Images that a file of captions calls by a number and by the name of their file.

use crate::common;

use std::fs;

use common::store;
use oscar_datasets::captions::CaptionedImage;
use oscar_datasets::{RowSet, SharedImages};

/// The row of the only image of COCO's annotations with this id and file.
fn found(images: &SharedImages, id: u32, file: &str) -> Result<u32, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("captions.json");
    let image = format!(r#"{{"id": {id}, "file_name": "{file}"}}"#);
    let caption = format!(r#"{{"image_id": {id}, "id": 1, "caption": "a dog"}}"#);
    fs::write(
        &path,
        format!(r#"{{"images": [{image}], "annotations": [{caption}]}}"#),
    )
    .unwrap();
    let rows = oscar_datasets::captions::read(&path, Some(images.clone()));
    let rows: RowSet<CaptionedImage> = rows.map_err(|error| error.to_string())?;
    Ok(rows.images(0)[0])
}

#[test]
fn a_number_that_is_another_image_is_not_taken_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let images: SharedImages = store(&dir.path().join("s"), &["1", "2", "dog", "58350"]);
    assert_eq!(found(&images, 1, "1.jpg"), Ok(0));
    assert_eq!(found(&images, 7, "train/2.jpg"), Ok(1));
    assert_eq!(found(&images, 2, "unknown.jpg"), Ok(1));
    assert_eq!(found(&images, 1, "dog.jpg"), Ok(2));
    let coco = "COCO_val2014_000000058350.jpg";
    assert_eq!(found(&images, 58350, coco), Ok(3));
    assert_eq!(found(&images, 9, coco), Ok(3));
    let error = found(&images, 1, "2.jpg").unwrap_err();
    assert!(error.contains("image `1` is called `2`, too"), "{error}");
    let error = found(&images, 9, "cat.jpg").unwrap_err();
    assert!(error.contains("image `9` is not in"), "{error}");

    let files: SharedImages = store(&dir.path().join("t"), &["1.jpg", "dog.jpg"]);
    assert_eq!(found(&files, 1, "dog.jpg"), Ok(1));
}
