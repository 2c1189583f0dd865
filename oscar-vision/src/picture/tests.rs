use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use rstest::rstest;

use super::*;

fn file(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// What is wrong with a picture.
fn refused(bytes: &[u8], limits: PictureLimits) -> String {
    match Picture::decode("a.png", bytes, limits) {
        Err(VisionError::Picture { picture, found, .. }) => {
            assert_eq!(picture, "a.png");
            found
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_kind_of_pixel_becomes_rgb() {
    let cases: [(DynamicImage, [u8; 3]); 7] = [
        (
            RgbImage::from_pixel(3, 2, Rgb([10, 20, 30])).into(),
            [10, 20, 30],
        ),
        (
            image::GrayImage::from_pixel(3, 2, image::Luma([7])).into(),
            [7; 3],
        ),
        (
            image::GrayAlphaImage::from_pixel(3, 2, image::LumaA([7, 0])).into(),
            [7; 3],
        ),
        (
            image::RgbaImage::from_pixel(3, 2, image::Rgba([1, 2, 3, 0])).into(),
            [1, 2, 3],
        ),
        (
            image::ImageBuffer::from_pixel(3, 2, image::Luma([0x12FFu16])).into(),
            [0x12; 3],
        ),
        (
            image::ImageBuffer::from_pixel(3, 2, Rgb([0x01FFu16, 0x02FF, 0xFFFF])).into(),
            [1, 2, 255],
        ),
        (
            image::ImageBuffer::from_pixel(3, 2, image::Rgba([0x0100u16, 0x0280, 0x03FF, 9]))
                .into(),
            [1, 2, 3],
        ),
    ];
    for (image, wanted) in cases {
        let bytes = file(image, ImageFormat::Png);
        let picture = Picture::decode("a.png", &bytes, PictureLimits::default()).unwrap();
        assert_eq!(picture.image.dimensions(), (3, 2));
        assert_eq!(picture.image.get_pixel(1, 1).0, wanted);
    }
}

#[rstest]
#[case(ImageFormat::WebP)]
#[case(ImageFormat::Gif)]
#[case(ImageFormat::Bmp)]
#[case(ImageFormat::Tiff)]
fn formats_without_loss_keep_every_pixel(#[case] format: ImageFormat) {
    let image = RgbImage::from_fn(5, 4, |x, y| Rgb([x as u8 * 50, y as u8 * 60, 200]));
    let picture = Picture::decode("a", &file(image.clone(), format), PictureLimits::default());
    assert_eq!(picture.unwrap().image, image);
}

#[rstest]
#[case(ImageFormat::Png)]
#[case(ImageFormat::Jpeg)]
#[case(ImageFormat::Bmp)]
#[case(ImageFormat::Gif)]
#[case(ImageFormat::WebP)]
fn truncated_pictures_are_refused(#[case] format: ImageFormat) {
    let image = RgbImage::from_fn(64, 64, |x, y| {
        Rgb([(x * 37 + y * 11) as u8, y as u8, x as u8])
    });
    let bytes = file(image, format);
    for part in [3, 2] {
        let short = &bytes[..bytes.len() * (part - 1) / part];
        let found = refused(short, PictureLimits::default());
        assert!(!found.is_empty());
    }
}

#[test]
fn a_header_beyond_the_limits_is_refused_before_it_is_decoded() {
    let bytes = file(RgbImage::new(200, 100), ImageFormat::Png);
    let narrow = PictureLimits {
        max_side: 199,
        ..PictureLimits::default()
    };
    assert!(refused(&bytes, narrow).contains("too large"));
    let small = PictureLimits {
        max_memory: 1000,
        ..PictureLimits::default()
    };
    assert!(refused(&bytes, small).contains("too large"));
    // A PNG whose header says 30,000 x 30,000; nothing else in it matters.
    let mut huge = bytes.clone();
    huge[16..20].copy_from_slice(&30_000u32.to_be_bytes());
    huge[20..24].copy_from_slice(&30_000u32.to_be_bytes());
    let crc = crc32(&huge[12..29]);
    huge[29..33].copy_from_slice(&crc.to_be_bytes());
    assert!(refused(&huge, PictureLimits::default()).contains("too large"));
    // And a JPEG: the size stands behind the marker of the frame.
    let mut jpeg = file(RgbImage::new(16, 16), ImageFormat::Jpeg);
    let frame = jpeg
        .windows(2)
        .position(|pair| pair == [0xFF, 0xC0])
        .unwrap();
    jpeg[frame + 5..frame + 7].copy_from_slice(&30_000u16.to_be_bytes());
    jpeg[frame + 7..frame + 9].copy_from_slice(&30_000u16.to_be_bytes());
    assert!(refused(&jpeg, PictureLimits::default()).contains("too large"));
}

#[test]
fn what_is_no_picture_is_named_as_such() {
    let limits = PictureLimits::default();
    assert!(refused(b"", limits).contains("empty"));
    assert!(refused(b"hello, this is text", limits).contains("\"hello, this "));
    assert!(refused(&[0x80, 2, 0xFF, 7], limits).contains("80"));
    let phone = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic";
    assert!(refused(phone, limits).contains("HEIC"));
}

#[test]
fn one_pixel_is_a_picture() {
    let bytes = file(RgbImage::from_pixel(1, 1, Rgb([1, 2, 3])), ImageFormat::Png);
    let picture = Picture::decode("a", &bytes, PictureLimits::default()).unwrap();
    assert_eq!(picture.image.get_pixel(0, 0).0, [1, 2, 3]);
}

/// The checksum of a PNG's chunk.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    };
    !bytes.iter().fold(!0, step)
}

#[test]
fn a_small_file_of_a_large_picture_is_refused_by_its_size_and_profiles_are_not_read() {
    let grey = file(image::GrayImage::new(5000, 5000), ImageFormat::Png);
    assert!(grey.len() < 1 << 20);
    let found = refused(&grey, PictureLimits::default());
    assert!(found.contains("5000 x 5000 pixels"), "{found}");
    // A profile that is no profile, in front of the pixels.
    let plain = file(RgbImage::from_pixel(3, 2, Rgb([1, 2, 3])), ImageFormat::Png);
    let (before, after) = plain.split_at(8 + 25);
    let profile = [&7u32.to_be_bytes()[..], b"iCCP", b"a\0\0nope", &[0; 4]].concat();
    let bytes = [before, &profile, after].concat();
    let picture = Picture::decode("a.png", &bytes, PictureLimits::default()).unwrap();
    assert_eq!(picture.image.get_pixel(2, 1).0, [1, 2, 3]);
}
