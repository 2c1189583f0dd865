//! From pictures to the network's input.

use image::RgbImage;

use super::config::{ColourOrder, DetectorConfig, Flavour, Resizer};
use crate::resize::{bilinear, frcnn_size, pillow_bilinear, vinvl_size};

/// The shortest side that leaves a cell of the feature map.
const SHORTEST: u32 = 3;

/// A picture as the network reads it.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// `[height, width, 3]`, planes in the order of the configuration.
    pub pixels: Vec<f32>,
    /// Height and width in pixels.
    pub size: [u32; 2],
    /// Height and width of the picture itself.
    pub original: [u32; 2],
}

impl Prepared {
    /// What boxes of the network are multiplied by, on the x and the y axis.
    #[must_use]
    pub fn scales(&self) -> [f32; 2] {
        let scale = |axis: usize| {
            let ratio = f64::from(self.original[axis]) / f64::from(self.size[axis]);
            ratio as f32
        };
        [scale(1), scale(0)]
    }
}

/// Resizes `image` and subtracts the mean.
///
/// # Errors
/// What is wrong with a picture that is so narrow that nothing of it is left.
pub fn prepare(config: &DetectorConfig, image: &RgbImage) -> Result<Prepared, String> {
    let input = &config.input;
    let (width, height) = image.dimensions();
    let size = match config.flavour {
        Flavour::Frcnn => frcnn_size,
        Flavour::Vinvl => vinvl_size,
    };
    let (to_height, to_width) = size(height, width, input.short_side, input.long_side);
    if to_height.min(to_width) < SHORTEST {
        return Err(format!(
            "the picture of {width} x {height} pixels is too narrow: it would be resized to \
             {to_width} x {to_height}"
        ));
    }
    let mut pixels = match input.resizer {
        Resizer::Bilinear => bilinear(image, to_height, to_width),
        Resizer::Pillow => {
            let resized = pillow_bilinear(image, to_height, to_width);
            resized
                .as_raw()
                .iter()
                .map(|value| f32::from(*value))
                .collect()
        }
    };
    for pixel in pixels.as_chunks_mut::<3>().0 {
        if input.colour_order == ColourOrder::Bgr {
            pixel.swap(0, 2);
        }
        for (plane, value) in pixel.iter_mut().enumerate() {
            *value = (*value - input.mean[plane]) / input.std[plane];
        }
    }
    Ok(Prepared {
        pixels,
        size: [to_height, to_width],
        original: [height, width],
    })
}

/// Pictures of a batch in one array `[batch, height, width, 3]`, padded right and below, and its
/// height and width.
#[must_use]
pub fn stack(prepared: &[Prepared], pad_value: f32) -> (Vec<f32>, [usize; 2]) {
    let most = |axis: usize| {
        prepared
            .iter()
            .map(|p| p.size[axis] as usize)
            .max()
            .unwrap_or(0)
    };
    let (height, width) = (most(0), most(1));
    let mut out = vec![pad_value; prepared.len() * height * width * 3];
    for (picture, out) in prepared
        .iter()
        .zip(out.chunks_exact_mut((height * width * 3).max(1)))
    {
        let rows = picture.pixels.chunks_exact(picture.size[1] as usize * 3);
        for (from, to) in rows.zip(out.chunks_exact_mut(width * 3)) {
            to[..from.len()].copy_from_slice(from);
        }
    }
    (out, [height, width])
}
