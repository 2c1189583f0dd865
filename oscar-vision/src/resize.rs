//! The sizes and the resizing of pictures as each reference does it, to the last bit.
//!
//! The two resizers differ by tens of grey levels on fine texture, so the resizer is part of what a
//! detector is.

use image::RgbImage;
use rayon::prelude::*;

/// Binary digits after the point in Pillow's weights.
const PRECISION: u32 = 32 - 8 - 2;

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

/// Pillow's `resize(BILINEAR)` of 8-bit pixels: a triangle filter that widens when shrinking, in
/// fixed point, across and then down, as Pillow up to version 12 does it.
#[must_use]
pub fn pillow_bilinear(image: &RgbImage, height: u32, width: u32) -> RgbImage {
    let mut current = image.clone();
    if width != image.width() {
        current = across(&current, width);
    }
    if height != image.height() {
        current = down(&current, height);
    }
    current
}

/// The source range of an output position, and its integer weights.
struct Window {
    start: usize,
    weights: Vec<i32>,
}

fn windows(from: u32, to: u32) -> Vec<Window> {
    let scale = f64::from(from) / f64::from(to);
    let support = scale.max(1.0);
    let window = |at: u32| {
        let centre = (f64::from(at) + 0.5) * scale;
        // Casts to integers truncate and saturate at 0.
        let start = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(from as usize);
        let weight = |at: usize| {
            let distance = (at as f64 - centre + 0.5) / support;
            (1.0 - distance.abs()).max(0.0)
        };
        let weights: Vec<f64> = (start..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |weight: &f64| (0.5 + weight / sum * f64::from(1 << PRECISION)) as i32;
        Window {
            start,
            weights: weights.iter().map(fixed).collect(),
        }
    };
    (0..to).map(window).collect()
}

fn finish(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

fn across(image: &RgbImage, width: u32) -> RgbImage {
    let windows = windows(image.width(), width);
    let mut out = RgbImage::new(width, image.height());
    let from = image.as_raw().par_chunks(image.width() as usize * 3);
    let to = out.par_chunks_mut(width as usize * 3);
    to.zip(from).for_each(|(to, from)| {
        let from = from.as_chunks::<3>().0;
        for (pixel, window) in to.as_chunks_mut::<3>().0.iter_mut().zip(&windows) {
            let mut sums = [1 << (PRECISION - 1); 3];
            for (pixel, weight) in from[window.start..].iter().zip(&window.weights) {
                for channel in 0..3 {
                    sums[channel] += i32::from(pixel[channel]) * weight;
                }
            }
            *pixel = sums.map(finish);
        }
    });
    out
}

fn down(image: &RgbImage, height: u32) -> RgbImage {
    let windows = windows(image.height(), height);
    let stride = image.width() as usize * 3;
    let mut out = RgbImage::new(image.width(), height);
    let lines = out.par_chunks_mut(stride).zip(&windows);
    lines.for_each(|(to, window)| {
        let mut sums = vec![1 << (PRECISION - 1); stride];
        let rows = image.as_raw()[window.start * stride..].chunks_exact(stride);
        for (row, weight) in rows.zip(&window.weights) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += i32::from(*value) * weight;
            }
        }
        for (value, sum) in to.iter_mut().zip(sums) {
            *value = finish(sum);
        }
    });
    out
}
