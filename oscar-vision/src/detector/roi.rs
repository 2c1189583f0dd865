//! The cells of regions, from the feature map: the two operations, on the host.

use rayon::prelude::*;

use super::boxes::{Rect, STRIDE};
use super::config::Pooler;

/// A feature map of one picture on the host: `[height, width, channels]`.
#[derive(Clone, Debug)]
pub struct FeatureMap {
    /// Row-major values.
    pub values: Vec<f32>,
    /// Cells from top to bottom.
    pub height: usize,
    /// Cells from left to right.
    pub width: usize,
    /// Values of a cell.
    pub channels: usize,
}

impl FeatureMap {
    fn cell(&self, y: usize, x: usize) -> &[f32] {
        &self.values[(y * self.width + x) * self.channels..][..self.channels]
    }
}

/// The cells of each region, `[boxes, resolution, resolution, channels]`; boxes are in pixels of
/// the network's input.
#[must_use]
pub fn pool(pooler: Pooler, map: &FeatureMap, boxes: &[Rect], resolution: usize) -> Vec<f32> {
    let row = resolution * map.channels;
    let mut out = vec![0.0; boxes.len() * resolution * row];
    let rows = out.par_chunks_mut(row.max(1)).enumerate();
    rows.for_each(|(number, row)| {
        let (rect, y) = (boxes[number / resolution], number % resolution);
        match pooler {
            Pooler::RoiPool => roi_pool_row(map, rect, y, resolution, row),
            Pooler::RoiAlign => roi_align_row(map, rect, y, resolution, row),
        }
    });
    out
}

/// The source cells of output `at` on one axis of `roi_pool`, as `torchvision.ops.roi_pool` has
/// them: half-way values round away from 0.
fn pool_range(low: f32, high: f32, at: usize, resolution: usize, size: usize) -> [usize; 2] {
    let start = (low / STRIDE).round();
    let end = (high / STRIDE).round();
    let bin = (end - start + 1.0).max(1.0) / resolution as f32;
    let inside = |value: f32| (value + start).clamp(0.0, size as f32) as usize;
    [
        inside((at as f32 * bin).floor()),
        inside(((at + 1) as f32 * bin).ceil()),
    ]
}

fn roi_pool_row(map: &FeatureMap, rect: Rect, at: usize, resolution: usize, out: &mut [f32]) {
    let [top, bottom] = pool_range(rect[1], rect[3], at, resolution, map.height);
    for (x, out) in out.chunks_exact_mut(map.channels).enumerate() {
        let [left, right] = pool_range(rect[0], rect[2], x, resolution, map.width);
        if top >= bottom || left >= right {
            // An empty cell is 0.
            continue;
        }
        out.copy_from_slice(map.cell(top, left));
        for y in top..bottom {
            for x in left..right {
                for (most, value) in out.iter_mut().zip(map.cell(y, x)) {
                    *most = most.max(*value);
                }
            }
        }
    }
}

/// A sample on one axis: two cells and their weights; none if it is outside and counts as 0.
type Sample = Option<([usize; 2], [f32; 2])>;

/// The samples of output `at` on one axis of `roi_align` (not aligned, adaptive).
fn align_samples(low: f32, high: f32, at: usize, resolution: usize, size: usize) -> Vec<Sample> {
    let start = low / STRIDE;
    let length = (high / STRIDE - start).max(1.0);
    let bin = length / resolution as f32;
    let count = (length / resolution as f32).ceil().max(1.0) as usize;
    let sample = |k: usize| {
        let place = start + at as f32 * bin + (k as f32 + 0.5) * bin / count as f32;
        if !(-1.0..=size as f32).contains(&place) {
            return None;
        }
        let place = place.max(0.0);
        let first = place as usize;
        if first >= size - 1 {
            return Some(([size - 1; 2], [1.0, 0.0]));
        }
        let after = place - first as f32;
        Some(([first, first + 1], [1.0 - after, after]))
    };
    (0..count).map(sample).collect()
}

fn roi_align_row(map: &FeatureMap, rect: Rect, at: usize, resolution: usize, out: &mut [f32]) {
    let rows = align_samples(rect[1], rect[3], at, resolution, map.height);
    for (x, out) in out.chunks_exact_mut(map.channels).enumerate() {
        let columns = align_samples(rect[0], rect[2], x, resolution, map.width);
        for (ys, down) in rows.iter().flatten() {
            for (xs, across) in columns.iter().flatten() {
                let cells = [(0, 0), (0, 1), (1, 0), (1, 1)];
                let weights = cells.map(|(i, j)| down[i] * across[j]);
                let [a, b, c, d] = cells.map(|(i, j)| map.cell(ys[i], xs[j]));
                for (channel, sum) in out.iter_mut().enumerate() {
                    *sum += weights[0] * a[channel]
                        + weights[1] * b[channel]
                        + weights[2] * c[channel]
                        + weights[3] * d[channel];
                }
            }
        }
        let count = (rows.len() * columns.len()) as f32;
        out.iter_mut().for_each(|sum| *sum /= count);
    }
}
