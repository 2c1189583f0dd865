//! The sizes and the resizing of pictures as each reference does it, to the last bit.
//!
//! The two resizers differ by tens of grey levels on fine texture, so the resizer is part of what a
//! detector is.

use image::RgbImage;
use rayon::prelude::*;

use crate::resample::{Filter, Pixels, resample};

/// The network size `(height, width)` of a picture by the rule of the HuggingFace detector
/// (`processing_image.py`): the short side becomes `short`, unless the long one would exceed
/// `long`; both are rounded half up. A side may become 0.
#[must_use]
pub fn frcnn_size(height: u32, width: u32, short: u32, long: u32) -> (u32, u32) {
    let (h, w, size) = (f64::from(height), f64::from(width), f64::from(short));
    let scale = size / h.min(w);
    let (mut h, mut w) = match h < w {
        true => (size, scale * w),
        false => (scale * h, size),
    };
    let longest = h.max(w);
    if longest > f64::from(long) {
        let scale = f64::from(long) / longest;
        (h, w) = (h * scale, w * scale);
    }
    ((h + 0.5) as u32, (w + 0.5) as u32)
}

/// The network size `(height, width)` of a picture by the rule of VinVL
/// (`maskrcnn_benchmark/data/transforms`): the short side becomes `short`, or what makes the long
/// one about `long`; the long side is truncated. A side may become 0.
#[must_use]
pub fn vinvl_size(height: u32, width: u32, short: u32, long: u32) -> (u32, u32) {
    let (least, most) = (height.min(width), height.max(width));
    let mut size = short;
    if f64::from(most) / f64::from(least) * f64::from(short) > f64::from(long) {
        // Python rounds half to even.
        size = (f64::from(long) * f64::from(least) / f64::from(most)).round_ties_even() as u32;
    }
    if least == size {
        return (height, width);
    }
    let other = (f64::from(size) * f64::from(most) / f64::from(least)) as u32;
    match width < height {
        true => (other, size),
        false => (size, other),
    }
}

/// PyTorch's `interpolate(bilinear, align_corners=False)` without antialiasing: values 0 to 255,
/// `[height, width, 3]`.
#[must_use]
pub fn bilinear(image: &RgbImage, height: u32, width: u32) -> Vec<f32> {
    let (columns, rows) = (taps(image.width(), width), taps(image.height(), height));
    let source = image.as_raw();
    let stride = image.width() as usize * 3;
    let mut out = vec![0.0; height as usize * width as usize * 3];
    let lines = out.par_chunks_mut((width as usize * 3).max(1)).zip(&rows);
    lines.for_each(|(line, row)| {
        let rows = row.at.map(|y| &source[y * stride..][..stride]);
        for (pixel, column) in line.as_chunks_mut::<3>().0.iter_mut().zip(&columns) {
            for (channel, value) in pixel.iter_mut().enumerate() {
                let across = |row: &[u8]| {
                    let [left, right] = column.at.map(|x| f32::from(row[x * 3 + channel]));
                    left * column.weights[0] + right * column.weights[1]
                };
                *value = across(rows[0]) * row.weights[0] + across(rows[1]) * row.weights[1];
            }
        }
    });
    out
}

/// The two source positions of an output position, and their weights.
struct Tap {
    at: [usize; 2],
    weights: [f32; 2],
}

fn taps(from: u32, to: u32) -> Vec<Tap> {
    let scale = from as f32 / to as f32;
    let tap = |at: u32| {
        let source = (scale * (at as f32 + 0.5) - 0.5).max(0.0);
        let first = (source as usize).min(from as usize - 1);
        let right = (source - first as f32).clamp(0.0, 1.0);
        Tap {
            at: [first, (first + 1).min(from as usize - 1)],
            weights: [1.0 - right, right],
        }
    };
    (0..to).map(tap).collect()
}

/// Pillow's `resize(BILINEAR)` of 8-bit pixels.
#[must_use]
pub fn pillow_bilinear(image: &RgbImage, height: u32, width: u32) -> RgbImage {
    let size = (width as usize, height as usize);
    let resized = resample(Pixels::from(image), size, Filter::Bilinear);
    RgbImage::from_raw(width, height, resized.values.into_flattened())
        .expect("three values for each pixel")
}
