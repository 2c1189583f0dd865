//! From a picture to the pixels that CLIP reads: short side, bicubic; the middle; normalised.

use image::{ColorType, RgbImage};

use crate::picture::{PictureLimits, decode_as_stored};
use crate::resample::{Filter, Pixels, nearest, resample};
use crate::{Picture, VisionError};

/// Mean of CLIP's training pictures, per channel, of values from 0 to 1.
pub const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];

/// Their standard deviation.
pub const STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// Which of the two published pipelines is followed; they agree on RGB and grey pictures but for the
/// place of the crop, by a pixel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pipeline {
    /// OpenAI's `clip`: resized in the picture's own mode (palettes by their nearest pixel, transparent
    /// ones premultiplied), the crop's offset rounded half to even.
    #[default]
    OpenAi,
    /// HuggingFace's `CLIPImageProcessor`: RGB first, the crop's offset rounded down.
    HuggingFace,
}

/// A decoded picture in the mode in which Pillow would open it.
#[derive(Clone, Debug)]
pub enum Raster {
    /// `L`
    Grey(Pixels<1>),
    /// `LA`
    GreyAlpha(Pixels<2>),
    /// `RGB`
    Rgb(Pixels<3>),
    /// `RGBA`
    Rgba(Pixels<4>),
    /// `P` or `1`, as the colours of its pixels: Pillow resizes them by their nearest pixel.
    Palette(Pixels<3>),
}

impl From<&RgbImage> for Raster {
    fn from(image: &RgbImage) -> Self {
        Self::Rgb(Pixels::from(image))
    }
}

impl Raster {
    /// Decodes the bytes of a picture file. `origin` names the picture in messages. What a file says of
    /// its orientation is ignored, as OpenAI's code does; 16 bits become 8.
    ///
    /// # Errors
    ///
    /// Bytes that are no picture, or damaged; a picture beyond `limits`.
    pub fn decode(
        origin: impl Into<String>,
        bytes: &[u8],
        limits: PictureLimits,
    ) -> Result<Self, VisionError> {
        let decoded = decode_as_stored(bytes, limits);
        let (image, _) =
            decoded.map_err(|(found, fix)| VisionError::picture(origin, found, fix))?;
        let (width, height) = (image.width(), image.height());
        Ok(match (png_mode(bytes), image.color()) {
            (Some(PngMode::Palette), _) => {
                Self::Palette(pixels(width, height, image.to_rgb8().as_raw()))
            }
            (Some(PngMode::Grey), _) => {
                Self::Grey(pixels(width, height, image.to_luma8().as_raw()))
            }
            (Some(PngMode::Rgb), _) => Self::Rgb(pixels(width, height, image.to_rgb8().as_raw())),
            (_, ColorType::L8 | ColorType::L16) => {
                Self::Grey(pixels(width, height, image.to_luma8().as_raw()))
            }
            (_, ColorType::La8 | ColorType::La16) => {
                Self::GreyAlpha(pixels(width, height, image.to_luma_alpha8().as_raw()))
            }
            (_, ColorType::Rgba8 | ColorType::Rgba16) => {
                Self::Rgba(pixels(width, height, image.to_rgba8().as_raw()))
            }
            _ => Self::Rgb(pixels(width, height, image.to_rgb8().as_raw())),
        })
    }

    /// Width and height.
    pub fn size(&self) -> (usize, usize) {
        match self {
            Self::Grey(pixels) => (pixels.width, pixels.height),
            Self::GreyAlpha(pixels) => (pixels.width, pixels.height),
            Self::Rgb(pixels) | Self::Palette(pixels) => (pixels.width, pixels.height),
            Self::Rgba(pixels) => (pixels.width, pixels.height),
        }
    }

    /// As Pillow's `convert("RGB")`: transparency is dropped.
    pub fn into_rgb(self) -> Pixels<3> {
        match self {
            Self::Rgb(pixels) | Self::Palette(pixels) => pixels,
            Self::Grey(pixels) => map(&pixels, |[grey]| [grey; 3]),
            Self::GreyAlpha(pixels) => map(&pixels, |[grey, _]| [grey; 3]),
            Self::Rgba(pixels) => map(&pixels, |[red, green, blue, _]| [red, green, blue]),
        }
    }

    /// As Pillow's `resize(BICUBIC)`.
    fn resized(self, size: (usize, usize)) -> Self {
        let bicubic = Filter::Bicubic;
        match self {
            Self::Palette(pixels) => Self::Palette(nearest(&pixels, size)),
            Self::Grey(pixels) => Self::Grey(resample(pixels, size, bicubic)),
            Self::Rgb(pixels) => Self::Rgb(resample(pixels, size, bicubic)),
            Self::GreyAlpha(pixels) => {
                let resized = resample(map(&pixels, premultiplied), size, bicubic);
                Self::GreyAlpha(map(&resized, unmultiplied))
            }
            Self::Rgba(pixels) => {
                let resized = resample(map(&pixels, premultiplied), size, bicubic);
                Self::Rgba(map(&resized, unmultiplied))
            }
        }
    }
}

/// The middle `side` x `side` pixels of a picture whose short side was resized to `side`.
pub fn preprocess(picture: Raster, side: usize, pipeline: Pipeline) -> Pixels<3> {
    let picture = match pipeline {
        Pipeline::OpenAi => picture,
        Pipeline::HuggingFace => Raster::Rgb(picture.into_rgb()),
    };
    let (width, height) = picture.size();
    let (short, long) = (width.min(height), width.max(height));
    let resized = match short == side {
        true => picture,
        false => {
            let long = ((side * long) as f64 / short as f64) as usize;
            picture.resized(match width <= height {
                true => (side, long),
                false => (long, side),
            })
        }
    };
    centre(&resized.into_rgb(), side, pipeline)
}

/// Values of pixels as CLIP reads them, `[3, height, width]`.
pub fn normalised(pixels: &Pixels<3>) -> Vec<f32> {
    let channel = |channel: usize| {
        let values = pixels.values.iter();
        let value = move |pixel: &[u8; 3]| {
            (f32::from(pixel[channel]) / 255.0 - MEAN[channel]) / STD[channel]
        };
        values.map(value)
    };
    (0..3).flat_map(channel).collect()
}

/// The pixels that CLIP reads of a decoded picture.
pub fn picture(picture: &Picture, side: usize, pipeline: Pipeline) -> Pixels<3> {
    preprocess(Raster::from(&picture.image), side, pipeline)
}

fn centre(picture: &Pixels<3>, side: usize, pipeline: Pipeline) -> Pixels<3> {
    let offset = |whole: usize| match pipeline {
        Pipeline::OpenAi => ((whole - side) as f64 / 2.0).round_ties_even() as usize,
        Pipeline::HuggingFace => (whole - side) / 2,
    };
    let (left, top) = (offset(picture.width), offset(picture.height));
    let rows = picture.values.chunks_exact(picture.width);
    Pixels {
        width: side,
        height: side,
        values: rows
            .skip(top)
            .take(side)
            .flat_map(|row| row[left..left + side].iter().copied())
            .collect(),
    }
}

/// What a PNG file says of its pixels, where the decoded ones do not tell.
enum PngMode {
    Grey,
    Rgb,
    Palette,
}

/// A file may give one colour of a grey or RGB picture transparency, for which Pillow has no alpha
/// channel; palettes and pictures of one bit are resized by their nearest pixel.
fn png_mode(bytes: &[u8]) -> Option<PngMode> {
    const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
    let header = bytes.strip_prefix(SIGNATURE)?.get(8..)?;
    let (depth, colour) = (*header.get(8)?, *header.get(9)?);
    match (colour, depth) {
        (3, _) | (0, 1) => Some(PngMode::Palette),
        (0, _) => Some(PngMode::Grey),
        (2, _) => Some(PngMode::Rgb),
        _ => None,
    }
}

fn pixels<const C: usize>(width: u32, height: u32, values: &[u8]) -> Pixels<C> {
    Pixels {
        width: width as usize,
        height: height as usize,
        values: values.as_chunks::<C>().0.to_vec(),
    }
}

fn map<const C: usize, const D: usize>(
    pixels: &Pixels<C>,
    change: impl Fn([u8; C]) -> [u8; D],
) -> Pixels<D> {
    Pixels {
        width: pixels.width,
        height: pixels.height,
        values: pixels.values.iter().map(|pixel| change(*pixel)).collect(),
    }
}

/// Colours times alpha, which comes last, as Pillow rounds it.
fn premultiplied<const C: usize>(mut pixel: [u8; C]) -> [u8; C] {
    if let [colours @ .., alpha] = &mut pixel[..] {
        for value in colours {
            let product = u32::from(*value) * u32::from(*alpha) + 128;
            *value = ((product + (product >> 8)) >> 8) as u8;
        }
    }
    pixel
}

/// The inverse of [`premultiplied`].
fn unmultiplied<const C: usize>(mut pixel: [u8; C]) -> [u8; C] {
    if let [colours @ .., alpha] = &mut pixel[..]
        && !matches!(*alpha, 0 | 255)
    {
        for value in colours {
            *value = (255 * u32::from(*value) / u32::from(*alpha)).min(255) as u8;
        }
    }
    pixel
}
