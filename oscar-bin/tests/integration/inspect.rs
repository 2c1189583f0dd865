//! `data inspect`: the numbers of an image, and its boxes on its picture.

use crate::support;

use std::path::Path;
use std::process::Output;

use image::{Rgb, RgbImage};
use oscar_datasets::store::Tag;
use oscar_datasets::{Boxes, ImageRegions, StoreOptions, StoreWriter};
use support::{Workplace, assert_fails, stderr, stdout};

fn sample(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../datasets/sample");
    path.join(name).display().to_string()
}

fn inspect(place: &Workplace, more: &[&str]) -> Output {
    place.run(&[&["data", "inspect"], more].concat())
}

fn picture(place: &Workplace, name: &str) -> RgbImage {
    let file = std::fs::read(place.path(name)).expect("a file");
    image::load_from_memory(&file)
        .expect("a picture")
        .into_rgb8()
}

/// Whether the pixels from one corner to another (excluded) have this colour.
fn all(image: &RgbImage, from: (u32, u32), to: (u32, u32), color: [u8; 3]) -> bool {
    let mut pixels = (from.0..to.0).flat_map(|x| (from.1..to.1).map(move |y| (x, y)));
    pixels.all(|(x, y)| image.get_pixel(x, y).0 == color)
}

/// The first colour that tags are drawn in.
const FIRST: [u8; 3] = [255, 26, 26];

/// A store with an image of 60x40 pixels: two regions, two tags.
fn store(place: &Workplace) {
    let mut writer =
        StoreWriter::create(&place.path("store"), StoreOptions::new(4)).expect("a store");
    let tag = |class: &str, score, box_px| Tag {
        class: class.into(),
        score,
        box_px,
        attributes: vec!["brown".into(), "small".into()],
    };
    let tags = [
        tag("dog", 0.875, Some([10.0, 5.0, 30.0, 35.0])),
        tag("grass", 0.5, None),
    ];
    for key in ["7", "17"] {
        let written = writer.push(ImageRegions {
            key,
            width: 60,
            height: 40,
            features: &[3.0, 0.0, 0.0, 4.0, -1.0, -1.0, -1.0, -1.0],
            boxes: Boxes::Pixels(&[[10.0, 5.0, 30.0, 35.0], [30.0, 10.0, 60.0, 40.0]]),
            tags: &tags,
        });
        written.expect("an image");
    }
    writer.finish().expect("a store");
}

#[test]
fn numbers_as_a_table_and_as_json() {
    let place = Workplace::new();
    store(&place);
    let output = inspect(&place, &["store", "7"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    let lines: Vec<Vec<String>> = stdout(&output)
        .lines()
        .map(|line| line.split_whitespace().map(String::from).collect())
        .collect();
    let has = |wanted: &str| {
        let wanted: Vec<&str> = wanted.split_whitespace().collect();
        assert!(
            lines.iter().any(|line| *line == wanted),
            "{wanted:?} is not in {lines:#?}"
        );
    };
    has("7 in store: 60x40 pixels");
    has("2 regions of 4 values (F16)");
    has("0 10.0 5.0 30.0 35.0 5.000 1.7500");
    has("1 30.0 10.0 60.0 40.0 2.000 -1.0000");
    has("2 object tags");
    has("0 dog 0.875 10.0 5.0 30.0 35.0 brown, small");
    has("1 grass 0.500 - - - - brown, small");

    let output = inspect(&place, &["store", "7", "--json", "--max-regions", "1"]);
    let shown: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(
        (&shown["width"], &shown["height"]),
        (&60.into(), &40.into())
    );
    assert_eq!(
        (&shown["num_regions"], &shown["num_tags"]),
        (&2.into(), &2.into())
    );
    assert_eq!(shown["regions"].as_array().expect("a list").len(), 1);
    assert_eq!(
        shown["regions"][0]["box"],
        serde_json::json!([10.0, 5.0, 30.0, 35.0])
    );
    assert_eq!(shown["regions"][0]["norm"], 5.0);
    assert_eq!(shown["tags"][0]["class"], "dog");
    assert_eq!(shown["tags"].as_array().expect("a list").len(), 1);
    assert!(shown.get("drawing").is_none());
}

#[test]
fn boxes_are_drawn_on_the_picture() {
    let place = Workplace::new();
    store(&place);
    let green = RgbImage::from_pixel(60, 40, Rgb([10, 120, 30]));
    std::fs::create_dir(place.path("photos")).expect("a directory");
    green
        .save(place.path("photos/COCO_val_000007.png"))
        .expect("a picture");
    for (flag, from) in [
        ("--image", "photos/COCO_val_000007.png"),
        ("--images", "photos"),
    ] {
        let drawn = ["store", "7", "--out", "out.png", "--overwrite", "--json"];
        let output = inspect(&place, &[&drawn[..], &[flag, from]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let shown: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
        assert_eq!(shown["drawing"]["scale"], 8);
        assert!(
            shown["drawing"]["picture"]
                .as_str()
                .expect("text")
                .contains("COCO_val_000007.png")
        );
        let drawn = picture(&place, "out.png");
        assert_eq!(drawn.dimensions(), (480, 320));
        // The dog is at 10..30, 5..35, which is also region 0: one frame, two pixels thick.
        assert!(all(&drawn, (80, 40), (82, 280), FIRST));
        assert!(all(&drawn, (238, 40), (239, 280), FIRST));
        assert!(all(&drawn, (80, 278), (239, 280), FIRST));
        assert!(
            all(&drawn, (83, 43), (237, 277), [10, 120, 30]),
            "the inside is the picture"
        );
        // Region 1 has no tag: thin, grey.
        assert!(all(&drawn, (240, 282), (241, 320), [200; 3]));
        assert!(all(&drawn, (479, 80), (480, 320), [200; 3]));
        // The dog's name stands above it: three words in letters of 7x13.
        assert!(all(&drawn, (80, 23), (80 + 7 * 10 + 4, 24), FIRST));
    }
    let output = inspect(
        &place,
        &["store", "17", "--out", "17.png", "--images", "photos"],
    );
    assert_fails(&output, &["photos", "`17`", "--image"]);
    assert!(!place.path("17.png").exists());
    let wide = RgbImage::from_pixel(120, 40, Rgb([10, 120, 30]));
    wide.save(place.path("wide.png")).expect("a picture");
    let drawn = ["store", "7", "--out", "out.png", "--image", "wide.png"];
    assert_fails(&inspect(&place, &drawn), &["--overwrite", "out.png"]);
    let output = inspect(&place, &[&drawn[..], &["--overwrite"]].concat());
    assert!(
        stderr(&output).contains("120x40 pixels"),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("60x40"));
    let drawn = picture(&place, "out.png");
    let scale = drawn.width() / 120;
    assert!(all(
        &drawn,
        (20 * scale, 5 * scale),
        (20 * scale + 1, 35 * scale),
        FIRST
    ));
}

#[test]
fn a_plain_canvas_is_owned_up_to() {
    let place = Workplace::new();
    store(&place);
    let output = inspect(&place, &["store", "7", "--out", "out.png"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("`7`"), "{}", stderr(&output));
    let drawn = picture(&place, "out.png");
    assert!(all(&drawn, (80, 40), (82, 280), FIRST));
    assert!(all(&drawn, (0, 300), (200, 320), [235; 3]));
}

#[test]
fn a_grey_box_is_shown_on_its_drawing() {
    let place = Workplace::new();
    let (images, annotations) = (sample("dev_images.zip"), sample("dev.jsonl.gz"));
    let output = place.run(&[
        "data",
        "build",
        "nlvr1",
        "--images",
        &images,
        "--annotations",
        &annotations,
        "--limit",
        "2",
        "--out",
        "set",
        "--quiet",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let key = "dev-1572-0.b2";
    let output = inspect(&place, &["set", key, "--out", "box.png", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let shown: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(shown["store"], "set/regions");
    let origin = shown["drawing"]["picture"].as_str().expect("text");
    assert!(
        origin.starts_with("box 2 of dev-1572-0-0.png in"),
        "{origin}"
    );
    let drawn = picture(&place, "box.png");
    assert_eq!(drawn.dimensions(), (800, 800));
    // Each region of the described box has its class's colour on its left edge, and the object's
    // own colour in its middle.
    let regions = shown["regions"].as_array().expect("a list");
    assert_eq!(regions.len(), 5);
    let mut colors = std::collections::HashMap::new();
    for (region, tag) in regions
        .iter()
        .zip(shown["tags"].as_array().expect("a list"))
    {
        let corner = |at: usize| (region["box"][at].as_f64().expect("a number") * 8.0) as u32;
        let (x, y, right, bottom) = (corner(0), corner(1), corner(2), corner(3));
        let frame = drawn.get_pixel(x + 1, (y + bottom) / 2).0;
        let class = tag["class"].as_str().expect("text").to_string();
        let known = *colors.entry(class.clone()).or_insert(frame);
        assert_eq!(frame, known, "one colour for {class}");
        let middle = drawn.get_pixel((x + right) / 2, (y + bottom) / 2).0;
        let wanted = match class.split(' ').next() {
            Some("yellow") => [255, 255, 0],
            Some("blue") => [0, 153, 255],
            _ => [0; 3],
        };
        assert_eq!(middle, wanted, "{class}");
    }
    assert_eq!(
        colors.len(),
        colors
            .values()
            .collect::<std::collections::HashSet<_>>()
            .len()
    );

    let output = inspect(
        &place,
        &["set", "dev-1572-0", "--out", "whole.png", "--json"],
    );
    let shown: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(shown["store"], "set/images");
    assert_eq!(picture(&place, "whole.png").dimensions(), (1600, 400));
}

#[test]
fn mistakes_are_named() {
    let place = Workplace::new();
    store(&place);
    let output = inspect(&place, &["store", "18"]);
    assert_fails(&output, &["`18`", "`17`, `7`"]);
    let output = inspect(&place, &["nowhere", "7"]);
    assert_fails(&output, &["nowhere/index.safetensors"]);
    let output = inspect(&place, &["store", "7", "--out", "out.jpg"]);
    assert_fails(&output, &["out.jpg", ".png"]);
    let output = inspect(
        &place,
        &["store", "7", "--out", "out.png", "--image", "none.png"],
    );
    assert_fails(&output, &["none.png"]);
    assert!(!place.path("out.png").exists());
    assert_eq!(
        inspect(&place, &["store", "7", "--image", "a.png"])
            .status
            .code(),
        Some(2)
    );
    assert_eq!(inspect(&place, &["store"]).status.code(), Some(2));
}
