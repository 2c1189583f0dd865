//! From the bytes of a file to upright RGB.

use std::borrow::Cow;
use std::io::Cursor;

use image::metadata::Orientation;
use image::{
    ColorType, DynamicImage, ImageBuffer, ImageDecoder, ImageError, ImageFormat, ImageReader,
    Limits, Pixel, RgbImage,
};

use oscar_files::Budget;

use super::{PictureLimits, jpeg};

/// Bytes of memory that a byte of a file may take, beyond the base: pictures are compressed to a
/// twentieth of their pixels, drawings further.
const FACTOR: u64 = 32;

/// Share of transparent pixels from which a picture is worth a warning: what they hide is read as
/// if it were seen, as OpenCV does.
const MUCH_TRANSPARENCY: f64 = 0.01;

const FORMATS: &str = "give a JPEG, PNG, WebP, GIF, BMP or TIFF picture";

/// What was found, and what to do.
pub(crate) type Problem = (String, &'static str);

pub(super) fn decode(
    origin: &str,
    bytes: &[u8],
    limits: PictureLimits,
) -> Result<RgbImage, Problem> {
    let (mut image, orientation) = decode_as_stored(bytes, limits)?;
    if let Some(orientation) = orientation {
        image.apply_orientation(orientation);
    }
    warn_of_transparency(origin, &image);
    to_rgb(image)
}

/// The pixels in the mode and the orientation in which they are stored, and how to turn them.
pub(crate) fn decode_as_stored(
    bytes: &[u8],
    limits: PictureLimits,
) -> Result<(DynamicImage, Option<Orientation>), Problem> {
    let max_memory = limits
        .max_memory
        .min(Budget::of_file(bytes.len() as u64, FACTOR).left());
    let bytes = &*without_profiles(bytes);
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let mut reader = reader.map_err(|error| problem(&ImageError::from(error), None))?;
    let Some(format) = reader.format() else {
        return Err((not_a_picture(bytes), FORMATS));
    };
    let of_format = |error: ImageError| problem(&error, Some(format));
    let mut allowed = Limits::no_limits();
    allowed.max_image_width = Some(limits.max_side);
    allowed.max_image_height = Some(limits.max_side);
    allowed.max_alloc = Some(max_memory);
    reader.limits(allowed);
    let mut decoder = reader.into_decoder().map_err(of_format)?;
    let (width, height) = decoder.dimensions();
    // The pixels as they are stored, and what they become beside them.
    let rgb = match decoder.color_type() {
        ColorType::Rgb8 => 0,
        _ => 3 * u64::from(width) * u64::from(height),
    };
    let needed = decoder.total_bytes().saturating_add(rgb);
    if needed > max_memory || width.max(height) > limits.max_side {
        let mebibytes = max_memory >> 20;
        let found = format!(
            "the picture is too large: {width} x {height} pixels; at most {} pixels a side and \
             {mebibytes} MiB are decoded of a file of its size",
            limits.max_side
        );
        return Err((found, "give a smaller picture"));
    }
    if format == ImageFormat::Jpeg && jpeg::is_truncated(bytes) {
        return Err(("the JPEG picture is truncated".into(), "copy it again"));
    }
    // An orientation that cannot be read is none.
    let orientation = decoder.orientation().ok();
    let image = DynamicImage::from_decoder(decoder).map_err(of_format)?;
    Ok((image, orientation))
}

/// A PNG file without its colour profile, which is not used, and of which a few kilobytes may
/// expand to gigabytes.
fn without_profiles(bytes: &[u8]) -> Cow<'_, [u8]> {
    const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
    const PROFILE: &[u8] = b"iCCP";
    let Some(mut rest) = bytes.strip_prefix(SIGNATURE) else {
        return Cow::Borrowed(bytes);
    };
    // Chunks: length, type, content, checksum. A profile comes before the pixels.
    while let Some((head, _)) = rest.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let whole = length.saturating_add(12);
        match (&head[4..], rest.get(whole..)) {
            (PROFILE, Some(after)) => {
                let before = &bytes[..bytes.len() - rest.len()];
                return Cow::Owned([before, after].concat());
            }
            (b"IDAT", _) | (_, None) => break,
            (_, Some(after)) => rest = after,
        }
    }
    Cow::Borrowed(bytes)
}

fn problem(error: &ImageError, format: Option<ImageFormat>) -> Problem {
    let name = format.map_or("picture".into(), |format| {
        format!("{format:?}").to_uppercase()
    });
    match error {
        ImageError::Limits(error) => (
            format!("the picture is too large ({error})"),
            "give a smaller picture",
        ),
        ImageError::Unsupported(error) => (
            format!("the {name} picture is not supported ({error})"),
            FORMATS,
        ),
        error => (
            // One decoder ends its message with a new line.
            format!(
                "the {name} picture is damaged ({})",
                one_line(&error.to_string())
            ),
            "copy it again, or convert it to PNG",
        ),
    }
}

/// Words with single spaces between them.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

fn not_a_picture(bytes: &[u8]) -> String {
    /// What the type of a file of ISO's base format says of the pictures of phones.
    const HEIC: [&[u8]; 5] = [b"heic", b"heix", b"hevc", b"mif1", b"msf1"];
    if bytes.get(4..8) == Some(b"ftyp") && bytes.get(8..12).is_some_and(|kind| HEIC.contains(&kind))
    {
        return "it is a HEIC picture, as phones take them, which is not read".into();
    }
    let start = &bytes[..bytes.len().min(12)];
    match std::str::from_utf8(start) {
        Ok("") => "the file is empty".into(),
        Ok(text) => format!("the file is not a picture; it begins with {text:?}"),
        Err(_) => {
            format!("the file is not a picture of a known format; it begins with {start:02x?}")
        }
    }
}

fn warn_of_transparency(origin: &str, image: &DynamicImage) {
    let transparent = match image {
        DynamicImage::ImageLumaA8(image) => image.pixels().filter(|p| p.0[1] == 0).count(),
        DynamicImage::ImageRgba8(image) => image.pixels().filter(|p| p.0[3] == 0).count(),
        DynamicImage::ImageLumaA16(image) => image.pixels().filter(|p| p.0[1] == 0).count(),
        DynamicImage::ImageRgba16(image) => image.pixels().filter(|p| p.0[3] == 0).count(),
        _ => 0,
    };
    let all = f64::from(image.width()) * f64::from(image.height());
    let share = transparent as f64 / all.max(1.0);
    if share > MUCH_TRANSPARENCY {
        let percent = (share * 100.0).round();
        tracing::warn!(
            "{origin}: {percent} % of the pixels are transparent; the colours that they hide are \
             used, as OpenCV does"
        );
    }
}

/// The pixels without alpha, 16 bits by their high byte.
fn to_rgb(image: DynamicImage) -> Result<RgbImage, Problem> {
    Ok(match image {
        DynamicImage::ImageRgb8(image) => image,
        DynamicImage::ImageLuma16(image) => high_bytes(&image, 1),
        DynamicImage::ImageLumaA16(image) => high_bytes(&image, 2),
        DynamicImage::ImageRgb16(image) => high_bytes(&image, 3),
        DynamicImage::ImageRgba16(image) => high_bytes(&image, 4),
        DynamicImage::ImageLuma8(_)
        | DynamicImage::ImageLumaA8(_)
        | DynamicImage::ImageRgba8(_) => image.into_rgb8(),
        other => {
            let found = format!("pixels of type {:?} have no fixed range", other.color());
            return Err((found, "convert it to a PNG of 8 bits"));
        }
    })
}

fn high_bytes<P: Pixel<Subpixel = u16>>(
    image: &ImageBuffer<P, Vec<u16>>,
    channels: usize,
) -> RgbImage {
    let high = |value: u16| (value >> 8) as u8;
    let pixels = image.as_raw().chunks_exact(channels).flat_map(|pixel| {
        // One or two channels are grey, with alpha.
        let [g, b] = if channels < 3 { [0, 0] } else { [1, 2] };
        [high(pixel[0]), high(pixel[g]), high(pixel[b])]
    });
    let (width, height) = image.dimensions();
    RgbImage::from_raw(width, height, pixels.collect()).expect("three values for each pixel")
}

#[cfg(test)]
mod tests {
    use crate::{Picture, PictureLimits};

    #[test]
    fn damage_is_told_in_one_line() {
        let cut = b"\xff\xd8\xff\xe0\0\x10JFIF\0";
        let error = Picture::decode("a.jpg", cut, PictureLimits::default()).err();
        let error = error.expect("it is cut off").to_string();
        assert!(
            error.contains("damaged") && !error.contains('\n'),
            "{error:?}"
        );
    }
}
