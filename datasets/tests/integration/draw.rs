//! What is drawn stands where it should, and pictures are found.

use crate::common;

use std::fs;
use std::io::Write;
use std::path::Path;

use common::{drawing, message, save, square, write_store};
use image::{Rgb, RgbImage};
use oscar_datasets::draw::{Mark, color, draw, marks, plain, write_png};
use oscar_datasets::pictures::{Pictures, read_picture};
use oscar_datasets::store::Tag;
use oscar_datasets::{RegionStore, find_image, recorded_pictures};
use oscar_sample::nlvr1::{BuildOptions, build};
use oscar_vision::drawings::crop_to_key;
use rstest::rstest;

const RED: [u8; 3] = [255, 26, 26];

fn mark(box_px: [f32; 4], name: &str) -> Mark {
    Mark {
        box_px,
        color: RED,
        name: name.into(),
        thin: false,
    }
}

/// Whether every pixel of the columns and rows is of this colour.
fn all(
    image: &RgbImage,
    xs: std::ops::Range<u32>,
    ys: std::ops::Range<u32>,
    color: [u8; 3],
) -> bool {
    xs.flat_map(|x| ys.clone().map(move |y| (x, y)))
        .all(|(x, y)| image.get_pixel(x, y).0 == color)
}

#[test]
fn frames_stand_on_the_edges_of_their_boxes() {
    let picture = plain(100, 100);
    let drawing = draw(&picture, &[mark([20.0, 30.0, 60.0, 80.0], "")]);
    assert_eq!((drawing.scale, drawing.image.dimensions()), (8, (800, 800)));
    let (image, grey) = (&drawing.image, picture.get_pixel(0, 0).0);
    // Eight pixels for one: the box is 160..480 by 240..640, its frame four pixels thick.
    for (xs, ys) in [
        (160..480, 240..244),
        (160..480, 636..640),
        (160..164, 240..640),
        (476..480, 240..640),
    ] {
        assert!(all(image, xs, ys, RED));
    }
    assert!(
        all(image, 164..476, 244..636, grey),
        "the inside is left alone"
    );
    assert!(
        all(image, 159..160, 240..640, [0; 3]),
        "a black line around it"
    );
    assert!(all(image, 159..481, 640..641, [0; 3]));
    assert!(all(image, 0..159, 0..800, grey) && all(image, 481..800, 0..800, grey));
    assert!(all(image, 0..800, 0..239, grey) && all(image, 0..800, 641..800, grey));
}

#[rstest]
#[case::above([20.0, 30.0, 60.0, 80.0], (160, 221))]
#[case::at_the_top([20.0, 0.0, 60.0, 80.0], (160, 640))]
#[case::all_of_it([0.0, 0.0, 100.0, 100.0], (0, 0))]
#[case::at_the_right([99.0, 30.0, 100.0, 80.0], (760, 221))]
#[case::at_the_bottom_right([99.0, 99.0, 100.0, 100.0], (760, 773))]
#[case::outside([300.0, 300.0, 400.0, 400.0], (760, 780))]
#[case::not_a_number([f32::NAN, 30.0, f32::INFINITY, 80.0], (0, 221))]
fn names_stand_by_their_boxes_inside_the_picture(
    #[case] box_px: [f32; 4],
    #[case] corner: (u32, u32),
) {
    // Four letters of nine by fifteen pixels, and two around them: 40 by 19.
    let image = draw(&plain(100, 100), &[mark(box_px, "dogs")]).image;
    let (x, y) = corner;
    let mut ink = 0;
    for (x, y) in (x..x + 40).flat_map(|x| (y..y + 19).map(move |y| (x, y))) {
        match image.get_pixel(x, y).0 {
            RED => {}
            [255, 255, 255] => ink += 1,
            other => panic!("pixel {x}, {y} is {other:?}"),
        }
    }
    assert!((50..300).contains(&ink), "{ink} pixels of letters");
}

#[test]
fn small_boxes_are_drawn_over_large_ones() {
    let large = mark([0.0, 0.0, 100.0, 100.0], "");
    let small = Mark {
        color: color(1),
        ..mark([0.0, 0.0, 20.0, 20.0], "")
    };
    for marks in [[small.clone(), large.clone()], [large, small]] {
        let image = draw(&plain(100, 100), &marks).image;
        assert!(all(&image, 0..160, 0..4, color(1)));
        assert!(all(&image, 170..800, 0..4, RED));
    }
}

#[test]
fn thin_frames_and_long_names() {
    let thin = Mark {
        thin: true,
        ..mark([10.0, 10.0, 90.0, 90.0], "")
    };
    let image = draw(&plain(100, 100), &[thin]).image;
    assert!(all(&image, 80..720, 80..82, RED) && !all(&image, 80..720, 82..83, RED));
    let long = "a very long name of an object ".repeat(20);
    let image = draw(&plain(100, 100), &[mark([50.0, 50.0, 60.0, 60.0], &long)]).image;
    // Cut to the width of the picture.
    assert!(all(&image, 4..800, 381..382, RED));
}

#[rstest]
#[case((400, 100), 4)]
#[case((100, 100), 8)]
#[case((640, 480), 2)]
#[case((1000, 600), 1)]
#[case((4000, 30), 1)]
#[case((1, 1), 8)]
#[case((1, 3000), 1)]
fn small_pictures_are_enlarged(#[case] size: (u32, u32), #[case] scale: u32) {
    let mut picture = plain(size.0, size.1);
    picture.put_pixel(0, 0, Rgb([1, 2, 3]));
    let drawing = draw(&picture, &[]);
    assert_eq!(drawing.scale, scale);
    assert_eq!(drawing.image.dimensions(), (size.0 * scale, size.1 * scale));
    assert!(all(&drawing.image, 0..scale, 0..scale, [1, 2, 3]));
}

#[test]
fn what_is_drawn_of_an_image() {
    let tag = |class: &str, box_px| Tag {
        class: class.into(),
        score: 1.0,
        box_px: Some(box_px),
        attributes: vec![],
    };
    let regions = [[10.0, 10.0, 30.0, 30.0], [50.0, 50.0, 90.0, 90.0]];
    let tags = [tag("dog", regions[1]), tag("cat", [0.0, 0.0, 95.0, 95.0])];
    let image = draw(&plain(100, 100), &marks(&regions, &tags)).image;
    assert!(all(&image, 400..404, 420..720, color(0)), "the dog");
    assert!(all(&image, 0..4, 100..760, color(1)), "the cat");
    assert!(
        all(&image, 80..82, 100..240, [200; 3]),
        "a region without tag"
    );
}

fn png(pixels: &RgbImage, format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    pixels.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn zip(path: &Path, files: &[(&str, &[u8])]) {
    let mut archive = zip::ZipWriter::new(fs::File::create(path).unwrap());
    for (name, bytes) in files {
        archive
            .start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
}

#[rstest]
fn pictures_are_found_by_key(#[values(false, true)] archive: bool) {
    let dir = tempfile::tempdir().unwrap();
    let named = |shade| {
        png(
            &RgbImage::from_pixel(8, 8, Rgb([shade; 3])),
            image::ImageFormat::Png,
        )
    };
    let files: Vec<(String, Vec<u8>)> = [
        ("val2014/COCO_val2014_000000000042.jpg", 10),
        ("val2014/COCO_val2014_000000000142.jpg", 20),
        ("a.png", 30),
        ("deep/b.JPEG", 40),
        ("notes-7.txt", 50),
        ("twin-7.png", 60),
        ("deep/other-7.png", 70),
        ("broken.png", 80),
    ]
    .map(|(name, shade)| (name.to_string(), named(shade)))
    .into();
    let path = dir.path().join(if archive { "p.zip" } else { "p" });
    let mut files: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (&n[..], &b[..])).collect();
    files[7].1 = b"no picture";
    match archive {
        true => zip(&path, &files),
        false => {
            for (name, bytes) in files {
                let file = path.join(name);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, bytes).unwrap();
            }
        }
    }
    let pictures = Pictures::open(&path).unwrap();
    let shade = |key: &str| {
        let picture = pictures.find(key).unwrap()?;
        assert!(
            picture.origin.contains(&path.display().to_string()),
            "{}",
            picture.origin
        );
        Some(picture.image.get_pixel(0, 0).0[0])
    };
    assert_eq!(shade("a"), Some(30));
    assert_eq!(shade("a.png"), Some(30));
    assert_eq!(shade("a.jpg"), Some(30));
    assert_eq!(shade("b"), Some(40));
    assert_eq!(shade("42"), Some(10));
    assert_eq!(shade("000000000142"), Some(20));
    assert_eq!(shade("COCO_val2014_000000000142"), Some(20));
    assert_eq!(shade("2"), None);
    assert_eq!(shade("notes-7"), None);
    let found = message(pictures.find("7"));
    assert!(
        found.contains("other-7.png and twin-7.png")
            || found.contains("twin-7.png and other-7.png"),
        "{found}"
    );
    let found = message(pictures.find("broken"));
    assert!(
        found.contains("broken.png in") && found.contains("picture"),
        "{found}"
    );
}

#[test]
fn pictures_of_a_table() {
    use base64_simd::STANDARD;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train.tsv");
    let jpeg = png(
        &RgbImage::from_pixel(16, 16, Rgb([200, 10, 10])),
        image::ImageFormat::Jpeg,
    );
    let row = |key: &str| format!("{key}\t[]\t{}\n", STANDARD.encode_to_string(&jpeg));
    fs::write(&path, row("a") + "b\t[]\t/9j/AAAA\n" + &row("c")).unwrap();
    let pictures = Pictures::open(&path).unwrap();
    let found = pictures.find("c").unwrap().unwrap();
    assert_eq!(found.image.dimensions(), (16, 16));
    let [r, g, b] = found.image.get_pixel(8, 8).0;
    assert!(r > 180 && g < 30 && b < 30, "decoded as JPEG: {r} {g} {b}");
    assert!(found.origin.ends_with("train.tsv:3"));
    assert!(pictures.find("z").unwrap().is_none());
    let found = message(pictures.find("b"));
    assert!(found.contains("train.tsv:2: the JPEG picture"), "{found}");
    let found = message(Pictures::open(&dir.path().join("nowhere")));
    assert!(found.contains("nowhere"), "{found}");
}

#[test]
fn a_grey_box_is_cut_out_of_its_drawing() {
    let dir = tempfile::tempdir().unwrap();
    let mut drawn = drawing();
    square(&mut drawn, 310, 20, 10, [0; 3]);
    save(&dir.path().join("pictures"), &[("7-0", &drawn)]);
    let lines = dir.path().join("lines.jsonl");
    fs::write(&lines, r#"{"identifier": "7-0"}"#).unwrap();
    let set = dir.path().join("set");
    build(
        &dir.path().join("pictures"),
        &lines,
        &set,
        &BuildOptions::default(),
    )
    .unwrap();

    let (store, row) = find_image(&set, "dev-7-0.b2").unwrap();
    assert_eq!(
        (store.key(row), store.size(row)),
        ("dev-7-0.b2", (100, 100))
    );
    let recorded = recorded_pictures(&store).unwrap();
    let pictures = Pictures::open(&recorded).unwrap();
    let picture = pictures.find("dev-7-0.b2").unwrap().unwrap();
    assert_eq!(picture.image.dimensions(), (100, 100));
    assert!(all(&picture.image, 10..20, 20..30, [0; 3]));
    assert!(
        picture.origin.starts_with("box 2 of dev-7-0-0.png"),
        "{}",
        picture.origin
    );
    let whole = pictures.find("dev-7-0").unwrap().unwrap();
    assert_eq!(whole.image, drawn);
    let file = dir.path().join("pictures/dev-7-0-0.png");
    let cut = crop_to_key(read_picture(&file).unwrap(), "dev-7-0.b0");
    assert!(all(&cut.image, 0..100, 0..100, [211; 3]));

    // Moved together, they still find each other; without the pictures, there are none.
    let moved = dir.path().join("moved");
    fs::create_dir(&moved).unwrap();
    fs::rename(&set, moved.join("set")).unwrap();
    fs::rename(dir.path().join("pictures"), moved.join("pictures")).unwrap();
    let store = RegionStore::open(&moved.join("set/images")).unwrap();
    assert_eq!(recorded_pictures(&store), Some(moved.join("pictures")));
    fs::remove_dir_all(moved.join("pictures")).unwrap();
    assert_eq!(recorded_pictures(&store), None);
}

#[test]
fn images_are_found_in_stores_and_sets_of_them() {
    let dir = tempfile::tempdir().unwrap();
    write_store(&dir.path().join("one"), &["cat-1", "cat-2"]).unwrap();
    write_store(&dir.path().join("two"), &["dog-1", "dog-22"]).unwrap();
    let key =
        |dir: &Path, key: &str| find_image(dir, key).map(|(store, row)| store.key(row).to_string());
    assert_eq!(key(dir.path(), "dog-1").unwrap(), "dog-1");
    assert_eq!(key(&dir.path().join("one"), "cat-2").unwrap(), "cat-2");
    let found = message(key(dir.path(), "dog-2"));
    assert!(
        found.contains("no image `dog-2`; the nearest keys are `dog-22`, `dog-1`"),
        "{found}"
    );
    let found = message(key(dir.path(), "COCO_000000000009"));
    assert!(
        found.contains("none is like it") && found.contains("`cat-1`"),
        "{found}"
    );
    let found = message(key(&dir.path().join("three"), "dog-1"));
    assert!(found.contains("index.safetensors is missing"), "{found}");
}

#[test]
fn a_picture_is_written_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    let pixels = RgbImage::from_fn(5, 4, |x, y| Rgb([x as u8, y as u8, 9]));
    for _ in 0..2 {
        write_png(&pixels, &path).unwrap();
        assert_eq!(read_picture(&path).unwrap().image, pixels);
    }
    let found = message(write_png(&pixels, &dir.path().join("a.jpg")));
    assert!(
        found.contains("a.jpg: pictures are written as PNG"),
        "{found}"
    );
    let found = message(write_png(&pixels, &dir.path().join("no/such/a.png")));
    assert!(found.contains("no/such"), "{found}");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1);
}
