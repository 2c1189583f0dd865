//! Images and archives that cannot be used are named, with what is wrong.

use crate::common;

use std::fs;
use std::path::Path;

use common::{drawing, message, sample, save, square};
use image::RgbImage;
use oscar_sample::nlvr1::images::Images;
use oscar_sample::nlvr1::{BuildOptions, annotations, build};

const BLACK: [u8; 3] = [0; 3];

/// How building fails when image 7-0 is `image`, or the file that `write` leaves.
fn bad_image(image: &RgbImage, write: impl FnOnce(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &[("7-0", image)]);
    write(&dir.path().join("dev-7-0-0.png"));
    let annotations = dir.path().join("lines.jsonl");
    fs::write(&annotations, "{\"identifier\":\"7-0\"}").unwrap();
    message(build(
        dir.path(),
        &annotations,
        &dir.path().join("out"),
        &BuildOptions::default(),
    ))
}

#[test]
fn bad_images_are_named() {
    let size = bad_image(&RgbImage::new(40, 30), |_| {});
    assert!(
        size.contains("dev-7-0-0.png in ") && size.contains("it has 40x30 pixels, not 400x100"),
        "{size}"
    );
    let photo = bad_image(&RgbImage::new(400, 100), |_| {});
    assert!(
        photo.contains("dev-7-0-0.png in ") && photo.contains("pixel 125, 0 is [0, 0, 0]"),
        "{photo}"
    );
    let mut merged = drawing();
    square(&mut merged, 10, 10, 20, BLACK);
    square(&mut merged, 30, 10, 20, BLACK);
    let merged = bad_image(&merged, |_| {});
    assert!(
        merged.contains("box 0 has a black patch of 40x20 pixels (800 filled) at 10, 10"),
        "{merged}"
    );
    let text = bad_image(&drawing(), |path| fs::write(path, "hello").unwrap());
    assert!(
        text.contains("dev-7-0-0.png in ") && text.contains("not a picture"),
        "{text}"
    );
    let cut = bad_image(&square_drawing(), |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    });
    assert!(
        cut.contains("dev-7-0-0.png in ") && cut.contains("damaged"),
        "{cut}"
    );
}

#[test]
fn bad_sources_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &Path, split| message(Images::open(path, split));
    let found = open(&dir.path().join("none.zip"), None);
    assert!(found.contains("none.zip is missing"), "{found}");
    let zip = dir.path().join("cut.zip");
    fs::write(
        &zip,
        &fs::read(sample().join("dev_images.zip")).unwrap()[..1000],
    )
    .unwrap();
    let found = open(&zip, None);
    assert!(
        found.contains("cut.zip: not a whole zip archive"),
        "{found}"
    );
    let found = open(&sample().join("dev_images.zip"), Some("test"));
    assert!(
        found.contains("dev_images.zip: no image named test-GROUP-LETTER-0.png"),
        "{found}"
    );
    let pictures = dir.path().join("pictures");
    save(&pictures, &[("7-0", &drawing())]);
    fs::copy(
        pictures.join("dev-7-0-0.png"),
        pictures.join("train-7-0-0.png"),
    )
    .unwrap();
    let found = open(&pictures, None);
    assert!(
        found.contains("images of two splits, `dev` and `train`"),
        "{found}"
    );
    assert_eq!(Images::open(&pictures, Some("train")).unwrap().len(), 1);
    let lines = dir.path().join("lines.jsonl.gz");
    fs::write(
        &lines,
        &fs::read(sample().join("dev.jsonl.gz")).unwrap()[..5000],
    )
    .unwrap();
    let found = message(annotations::read(&lines));
    assert!(
        found.contains("lines.jsonl.gz:") && found.contains("the file is damaged"),
        "{found}"
    );
}

fn square_drawing() -> RgbImage {
    let mut image = drawing();
    square(&mut image, 60, 5, 20, BLACK);
    image
}
