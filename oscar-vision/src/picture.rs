//! Decodes PNG and JPEG pictures, within limits on their size.

use std::io::Cursor;

use image::{ImageError, ImageReader, Limits, RgbImage};

use crate::VisionError;

/// How large a picture may be. A file of a few kilobytes can describe gigabytes of pixels, so the
/// size is checked before anything is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureLimits {
    /// Longest side in pixels; 32,768 by default.
    pub max_side: u32,
    /// Memory that decoding may take, in bytes; 512 MiB by default.
    pub max_memory: u64,
}

impl Default for PictureLimits {
    fn default() -> Self {
        Self {
            max_side: 1 << 15,
            max_memory: 1 << 29,
        }
    }
}

/// A decoded picture.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Its pixels.
    pub image: RgbImage,
    /// The file it comes from, for messages.
    pub origin: String,
}

impl Picture {
    /// Decodes `bytes`, a whole PNG or JPEG file. Grey values and palettes become RGB, 16 bits
    /// become 8, transparency is dropped. `origin` names the picture in messages.
    ///
    /// # Errors
    /// Bytes that are neither PNG nor JPEG, or damaged; a picture beyond `limits`.
    pub fn decode(
        origin: impl Into<String>,
        bytes: &[u8],
        limits: PictureLimits,
    ) -> Result<Self, VisionError> {
        let origin = origin.into();
        let mut allowed = Limits::no_limits();
        allowed.max_image_width = Some(limits.max_side);
        allowed.max_image_height = Some(limits.max_side);
        allowed.max_alloc = Some(limits.max_memory);
        let decoded = ImageReader::new(Cursor::new(bytes))
            .with_guessed_format()
            .map_err(ImageError::from)
            .and_then(|mut reader| {
                reader.limits(allowed);
                reader.decode()
            });
        match decoded {
            Ok(image) => Ok(Self {
                image: image.into_rgb8(),
                origin,
            }),
            Err(ImageError::Limits(error)) => Err(VisionError::picture(
                origin,
                format!("the picture is too large ({error})"),
                "give a smaller picture",
            )),
            Err(error) => Err(VisionError::picture(
                origin,
                format!("not a PNG or JPEG picture ({error})"),
                "give a PNG or JPEG picture",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, ImageFormat};

    use super::*;

    fn file(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn every_kind_of_pixel_becomes_rgb() {
        let rgb = RgbImage::from_pixel(3, 2, image::Rgb([10, 20, 30]));
        let limits = PictureLimits::default();
        for (bytes, wanted) in [
            (file(rgb.clone(), ImageFormat::Png), [10, 20, 30]),
            (
                file(
                    image::GrayImage::from_pixel(3, 2, image::Luma([7])),
                    ImageFormat::Png,
                ),
                [7; 3],
            ),
            (
                file(
                    image::RgbaImage::from_pixel(3, 2, image::Rgba([1, 2, 3, 0])),
                    ImageFormat::Png,
                ),
                [1, 2, 3],
            ),
        ] {
            let picture = Picture::decode("a.png", &bytes, limits).unwrap();
            assert_eq!(picture.image.dimensions(), (3, 2));
            assert_eq!(picture.image.get_pixel(1, 1).0, wanted);
        }
        let grey = file(
            RgbImage::from_pixel(8, 8, image::Rgb([90; 3])),
            ImageFormat::Jpeg,
        );
        assert!(Picture::decode("a.jpg", &grey, limits).is_ok());
    }

    #[test]
    fn large_and_damaged_pictures_are_named_and_refused() {
        let bytes = file(RgbImage::new(200, 100), ImageFormat::Png);
        let refused = |bytes: &[u8], limits| match Picture::decode("a.png", bytes, limits) {
            Err(VisionError::Picture { picture, found, .. }) => {
                assert_eq!(picture, "a.png");
                found
            }
            other => panic!("{other:?}"),
        };
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
        let limits = PictureLimits::default();
        assert!(refused(&bytes[..bytes.len() / 2], limits).contains("not a PNG"));
        assert!(refused(b"hello", limits).contains("not a PNG"));
    }
}
