//! Features of a thing in a scene: the directions of its edges and its colours, whitened.
//!
//! A crop's pixels tell a drawing, not what it shows: another artist's dog shares few pixels with
//! the first one's. Where edges run and which colours lie where is closer to what it shows. The
//! arithmetic is made of additions, multiplications, divisions and square roots in a fixed order,
//! so that the values are the same on every machine.

use std::f64::consts::{FRAC_PI_2, PI};
use std::sync::LazyLock;

use half::f16;
use image::RgbImage;
use safetensors::SafeTensors;

/// Side of the small crop that features are computed from.
pub const CROP: usize = 24;
/// Values of edges and colours.
pub const EDGES_COLOURS: usize = CELLS * CELLS * (BINS + 3);
/// Values per region.
pub const FEATURE_DIM: usize = 128;

/// Cells along a side of the crop.
const CELLS: usize = 6;
/// Pixels along a side of a cell.
const CELL: usize = CROP / CELLS;
/// Directions that edges are sorted into.
const BINS: usize = 6;
/// Length of the colour part; the part of the edges has length one.
const COLOUR_NORM: f64 = 0.6;
/// Subtracted from colours: drawings are bright.
const COLOUR_OFFSET: f64 = 0.6;
/// Length of a feature vector.
pub const NORM: f32 = 8.0;

/// A small crop, row by row.
pub type Crop = [[u8; 3]; CROP * CROP];

/// `[x1, y1, x2, y2]` of `image`, resized to [`CROP`] pixels a side, each the mean of the area that
/// it covers.
pub fn crop(image: &RgbImage, [x1, y1, x2, y2]: [u32; 4]) -> Crop {
    let (width, height) = (u64::from(x2 - x1), u64::from(y2 - y1));
    // In units of a pixel's CROP-th part every limit is whole, and so are the sums.
    let unit = CROP as u64;
    let covers = |at: usize, side: u64| {
        let (from, to) = (at as u64 * side, (at as u64 + 1) * side);
        (from / unit..to.div_ceil(unit)).map(move |pixel| {
            let shared = to.min((pixel + 1) * unit) - from.max(pixel * unit);
            (pixel as u32, shared)
        })
    };
    let area = width * height;
    let mut small = [[0; 3]; CROP * CROP];
    for (at, out) in small.iter_mut().enumerate() {
        let mut sums = [0_u64; 3];
        for (y, tall) in covers(at / CROP, height) {
            for (x, wide) in covers(at % CROP, width) {
                let pixel = image.get_pixel(x1 + x, y1 + y).0;
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += tall * wide * u64::from(value);
                }
            }
        }
        *out = sums.map(|sum| ((sum + area / 2) / area) as u8);
    }
    small
}

/// Edge directions, `[6 * 6 cells, 6 bins]`, then colours, `[6 * 6 cells, 3]`.
pub fn edges_and_colours(crop: &Crop) -> [f32; EDGES_COLOURS] {
    let value = |x: usize, y: usize, channel: usize| f64::from(crop[y * CROP + x][channel]) / 255.0;
    let mut values = [0.0_f64; EDGES_COLOURS];
    let (edges, colours) = values.split_at_mut(CELLS * CELLS * BINS);
    for y in 0..CROP {
        for x in 0..CROP {
            let cell = y / CELL * CELLS + x / CELL;
            for channel in 0..3 {
                colours[cell * 3 + channel] += value(x, y, channel);
            }
            // Central differences; there is none across the border of the crop.
            let inner = |at: usize| (1..CROP - 1).contains(&at);
            let mut strongest = (0.0, 0.0, 0.0);
            for channel in 0..3 {
                let dx = match inner(x) {
                    true => value(x + 1, y, channel) - value(x - 1, y, channel),
                    false => 0.0,
                };
                let dy = match inner(y) {
                    true => value(x, y + 1, channel) - value(x, y - 1, channel),
                    false => 0.0,
                };
                let magnitude = (dx * dx + dy * dy).sqrt();
                if magnitude > strongest.0 {
                    strongest = (magnitude, dx, dy);
                }
            }
            let (magnitude, dx, dy) = strongest;
            let place = direction(dx, dy) / PI * BINS as f64;
            let (bin, share) = (place.floor(), place - place.floor());
            let bin = bin as usize;
            edges[cell * BINS + bin % BINS] += magnitude * (1.0 - share);
            edges[cell * BINS + (bin + 1) % BINS] += magnitude * share;
        }
    }
    let pixels = (CELL * CELL) as f64;
    for edge in edges.iter_mut() {
        *edge = (*edge / pixels).sqrt();
    }
    for colour in colours.iter_mut() {
        *colour = *colour / pixels - COLOUR_OFFSET;
    }
    scale(edges, 1.0);
    scale(colours, COLOUR_NORM);
    values.map(|value| value as f32)
}

/// The angle of a direction without sign, from 0 to below pi; 0 for no direction.
fn direction(dx: f64, dy: f64) -> f64 {
    // The same line, upwards.
    let (dx, dy) = match dy < 0.0 {
        true => (-dx, -dy),
        false => (dx, dy),
    };
    if dy == 0.0 {
        return 0.0;
    }
    match dx.abs() >= dy {
        true if dx > 0.0 => arc_tangent(dy / dx),
        true => PI - arc_tangent(dy / -dx),
        false => FRAC_PI_2 - arc_tangent(dx / dy),
    }
}

/// The arc tangent of a number between -1 and 1, to 1e-12. The standard library's is the
/// platform's, and differs between platforms in the last digit.
fn arc_tangent(x: f64) -> f64 {
    let halved = |x: f64| x / (1.0 + (1.0 + x * x).sqrt());
    let x = halved(halved(x));
    let square = x * x;
    // x - x^3/3 + x^5/5 ...; x is below 0.2.
    let series = (0..9).rev().fold(0.0, |sum, n| {
        let sign = if n % 2 == 0 { 1.0 } else { -1.0 };
        sum * square + sign / f64::from(2 * n + 1)
    });
    4.0 * x * series
}

fn scale(values: &mut [f64], norm: f64) {
    let length = values.iter().map(|v| v * v).sum::<f64>().sqrt();
    // A crop of one colour has no edges to scale.
    if length > 1e-9 {
        values.iter_mut().for_each(|v| *v *= norm / length);
    }
}

/// Mean and matrix that make the values of many crops about equally large and uncorrelated.
struct Whitening {
    mean: [f32; EDGES_COLOURS],
    /// A row for each value of edges and colours.
    matrix: Vec<[f32; FEATURE_DIM]>,
}

/// From crops of the sample's drawings, those of the vendor held out excepted.
static WHITENING: LazyLock<Whitening> = LazyLock::new(|| {
    let file = include_bytes!("whitening.safetensors");
    let tensors = SafeTensors::deserialize(file).expect("compiled in, and tested");
    let data = |name| {
        tensors
            .tensor(name)
            .expect("compiled in, and tested")
            .data()
    };
    let mut mean = [0.0; EDGES_COLOURS];
    for (value, bytes) in mean.iter_mut().zip(data("mean").chunks_exact(4)) {
        *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    let row = |bytes: &[u8]| {
        let mut row = [0.0; FEATURE_DIM];
        for (value, bytes) in row.iter_mut().zip(bytes.chunks_exact(2)) {
            *value = f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
        }
        row
    };
    let matrix = data("matrix").chunks_exact(2 * FEATURE_DIM).map(row);
    let matrix = matrix.collect();
    Whitening { mean, matrix }
});

/// `(values - mean) * matrix`, scaled to length [`NORM`].
pub fn whiten(values: &[f32; EDGES_COLOURS]) -> [f32; FEATURE_DIM] {
    let mut whitened = [0.0_f32; FEATURE_DIM];
    let whitening = &*WHITENING;
    let centred = values.iter().zip(&whitening.mean).map(|(v, mean)| v - mean);
    for (value, row) in centred.zip(&whitening.matrix) {
        for (sum, weight) in whitened.iter_mut().zip(row) {
            *sum += value * weight;
        }
    }
    let length = whitened.iter().map(|v| v * v).sum::<f32>().sqrt();
    if length > 1e-6 {
        whitened.iter_mut().for_each(|v| *v *= NORM / length);
    }
    whitened
}

/// The feature of the region `[x1, y1, x2, y2]` of `image`.
pub fn feature(image: &RgbImage, region: [u32; 4]) -> [f32; FEATURE_DIM] {
    whiten(&edges_and_colours(&crop(image, region)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_are_those_of_the_standard_library() {
        for step in 0..3600 {
            let angle = f64::from(step) / 3600.0 * 2.0 * PI;
            let (dx, dy) = (angle.cos(), angle.sin());
            let wanted = dy.atan2(dx).rem_euclid(PI);
            let found = direction(dx, dy);
            let apart = (found - wanted).abs();
            assert!(apart.min(PI - apart) < 1e-10, "{angle}: {found}, {wanted}");
        }
        assert_eq!(direction(0.0, 0.0), 0.0);
        assert_eq!(direction(-1.0, 0.0), 0.0);
    }

    #[test]
    fn a_crop_averages_the_area_it_covers() {
        // 36 pixels to 24: every output pixel covers one and a half.
        let image = RgbImage::from_fn(40, 40, |x, y| image::Rgb([x as u8 * 6, y as u8 * 6, 7]));
        let small = crop(&image, [2, 3, 38, 39]);
        // Of 2 * 6 one whole, of 3 * 6 a half.
        assert_eq!(small[0], [14, 20, 7]);
        // Of 3 * 6 a half, of 4 * 6 one whole.
        assert_eq!(small[1], [22, 20, 7]);
        let enlarged = crop(&image, [0, 0, 12, 12]);
        assert_eq!(
            (enlarged[0], enlarged[1], enlarged[2]),
            ([0, 0, 7], [0, 0, 7], [6, 0, 7])
        );
    }
}
