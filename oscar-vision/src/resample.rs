//! Pillow's resampling of 8-bit pixels, to the last bit.
//!
//! A filter that widens when shrinking, in fixed point, across and then down, with rounded and clipped
//! values in between. Pillow up to version 12 always goes across first; version 13 does not for some
//! sizes.

use image::RgbImage;
use rayon::prelude::*;

/// Binary digits after the point in Pillow's weights.
const PRECISION: u32 = 32 - 8 - 2;

/// The kernel of a resampling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// A triangle.
    Bilinear,
    /// Cubic convolution with a = -0.5.
    Bicubic,
}

impl Filter {
    /// Source pixels on each side of the centre, when not shrinking.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, distance: f64) -> f64 {
        const A: f64 = -0.5;
        let x = distance.abs();
        match self {
            Self::Bilinear => (1.0 - x).max(0.0),
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Self::Bicubic => 0.0,
        }
    }
}

/// Pixels of `C` values each, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels<const C: usize> {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `[height * width]`
    pub values: Vec<[u8; C]>,
}

impl From<&RgbImage> for Pixels<3> {
    fn from(image: &RgbImage) -> Self {
        Self {
            width: image.width() as usize,
            height: image.height() as usize,
            values: image.as_raw().as_chunks::<3>().0.to_vec(),
        }
    }
}

/// `pixels` in another size. A direction whose size stays is left alone.
///
/// # Panics
///
/// If a side of either size is 0.
#[must_use]
pub fn resample<const C: usize>(
    pixels: Pixels<C>,
    (width, height): (usize, usize),
    filter: Filter,
) -> Pixels<C> {
    let mut current = pixels;
    if width != current.width {
        current = across(&current, width, filter);
    }
    if height != current.height {
        current = down(&current, height, filter);
    }
    current
}

/// Pillow's `resize(NEAREST)`: the position in the source is added up in double precision.
#[must_use]
pub fn nearest<const C: usize>(pixels: &Pixels<C>, (width, height): (usize, usize)) -> Pixels<C> {
    let positions = |from: usize, to: usize| -> Vec<usize> {
        let scale = from as f64 / to as f64;
        let at = std::iter::successors(Some(0.5 * scale), |at| Some(at + scale));
        at.take(to).map(|at| (at as usize).min(from - 1)).collect()
    };
    let columns = positions(pixels.width, width);
    let rows = positions(pixels.height, height);
    let row = |row: &usize| &pixels.values[row * pixels.width..][..pixels.width];
    Pixels {
        width,
        height,
        values: rows
            .iter()
            .map(row)
            .flat_map(|row| columns.iter().map(|column| row[*column]))
            .collect(),
    }
}

/// The source range of an output position, and its integer weights.
struct Window {
    start: usize,
    weights: Vec<i32>,
}

fn windows(from: usize, to: usize, filter: Filter) -> Vec<Window> {
    let scale = from as f64 / to as f64;
    let widened = scale.max(1.0);
    let support = filter.support() * widened;
    let window = |at: usize| {
        let centre = (at as f64 + 0.5) * scale;
        // Casts to integers truncate and saturate at 0.
        let start = (centre - support + 0.5) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);
        let weight = |at: usize| filter.weight((at as f64 - centre + 0.5) / widened);
        let weights: Vec<f64> = (start..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |weight: &f64| {
            let scaled = weight / sum * f64::from(1 << PRECISION);
            // Rounded away from zero.
            (scaled + 0.5_f64.copysign(scaled)) as i32
        };
        Window {
            start,
            weights: weights.iter().map(fixed).collect(),
        }
    };
    (0..to).map(window).collect()
}

const HALF: i32 = 1 << (PRECISION - 1);

fn finish(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

fn across<const C: usize>(pixels: &Pixels<C>, width: usize, filter: Filter) -> Pixels<C> {
    let windows = windows(pixels.width, width, filter);
    let mut values = vec![[0; C]; width * pixels.height];
    let from = pixels.values.par_chunks(pixels.width);
    values
        .par_chunks_mut(width)
        .zip(from)
        .for_each(|(to, from)| {
            for (pixel, window) in to.iter_mut().zip(&windows) {
                let mut sums = [HALF; C];
                for (pixel, weight) in from[window.start..].iter().zip(&window.weights) {
                    for (sum, value) in sums.iter_mut().zip(pixel) {
                        *sum += i32::from(*value) * weight;
                    }
                }
                *pixel = sums.map(finish);
            }
        });
    Pixels {
        width,
        height: pixels.height,
        values,
    }
}

fn down<const C: usize>(pixels: &Pixels<C>, height: usize, filter: Filter) -> Pixels<C> {
    let windows = windows(pixels.height, height, filter);
    let width = pixels.width;
    let mut values = vec![[0; C]; width * height];
    values
        .par_chunks_mut(width)
        .zip(&windows)
        .for_each(|(to, window)| {
            let mut sums = vec![[HALF; C]; width];
            let rows = pixels.values[window.start * width..].chunks_exact(width);
            for (row, weight) in rows.zip(&window.weights) {
                for (sums, pixel) in sums.iter_mut().zip(row) {
                    for (sum, value) in sums.iter_mut().zip(pixel) {
                        *sum += i32::from(*value) * weight;
                    }
                }
            }
            for (pixel, sums) in to.iter_mut().zip(sums) {
                *pixel = sums.map(finish);
            }
        });
    Pixels {
        width,
        height,
        values,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_picture_stays_constant() {
        let pixels = Pixels {
            width: 7,
            height: 5,
            values: vec![[3u8, 200, 255]; 35],
        };
        for size in [(1, 1), (3, 9), (40, 2)] {
            for filter in [Filter::Bilinear, Filter::Bicubic] {
                let resized = resample(pixels.clone(), size, filter);
                assert_eq!((resized.width, resized.height), size);
                assert!(resized.values.iter().all(|pixel| *pixel == [3, 200, 255]));
            }
        }
    }

    #[test]
    fn bicubic_overshoots_and_is_clipped() {
        let edge = Pixels {
            width: 8,
            height: 1,
            values: [0u8, 0, 0, 0, 255, 255, 255, 255]
                .map(|value| [value])
                .to_vec(),
        };
        let resized = resample(edge, (16, 1), Filter::Bicubic);
        let values: Vec<u8> = resized.values.iter().map(|[value]| *value).collect();
        assert!(values.is_sorted(), "{values:?}");
        assert_eq!((values[0], values[15]), (0, 255));
    }
}
