//! Decodes pictures as OpenCV's `imread` does, within limits on their size.

mod decode;
mod jpeg;

pub(crate) use decode::decode_as_stored;
use image::RgbImage;

use crate::VisionError;

/// The endings of files that [`Picture::decode`] reads, in lower case.
pub const ENDINGS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// How large a picture may be. A file of a few kilobytes can describe gigabytes of pixels, so the
/// size in its header is checked before anything is decoded.
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
    /// Its pixels, upright: an orientation in the file is applied.
    pub image: RgbImage,
    /// The file it comes from, for messages.
    pub origin: String,
}

impl Picture {
    /// Decodes `bytes`, a whole file of JPEG, PNG, WebP, GIF (the first frame), BMP or TIFF.
    /// `origin` names the picture in messages.
    ///
    /// Pixels are those that `cv2.imread` gives, as RGB: the EXIF orientation is applied, grey
    /// values, palettes and CMYK become RGB, 16 bits become 8 by their high byte, transparency is
    /// dropped, colour profiles are ignored. JPEG decoders differ by up to two levels.
    ///
    /// # Errors
    /// Bytes that are not a picture of these formats, or damaged or truncated; a picture beyond
    /// `limits`, before memory is taken for it.
    pub fn decode(
        origin: impl Into<String>,
        bytes: &[u8],
        limits: PictureLimits,
    ) -> Result<Self, VisionError> {
        let origin = origin.into();
        match decode::decode(&origin, bytes, limits) {
            Ok(image) => Ok(Self { image, origin }),
            Err((found, fix)) => Err(VisionError::picture(origin, found, fix)),
        }
    }
}

#[cfg(test)]
mod tests;
