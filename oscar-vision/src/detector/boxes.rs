//! Boxes: anchors, deltas, overlap and suppression, in f32 as the references compute them.

use super::config::{Flavour, RpnConfig};

/// x1, y1, x2, y2.
pub type Rect = [f32; 4];

/// Pixels of the network's input per cell of res4.
pub const STRIDE: f32 = 16.0;

/// Growth of a box is limited to a factor of 1000 / 16.
const MAX_LOG_GROWTH: f32 = 4.135_166_5;

/// The anchors of cell (0, 0).
///
/// Frcnn: centred on 0, sizes outside, ratios inside. VinVL: centred on 7.5 with rounded sides,
/// ratios outside, sizes inside.
#[must_use]
pub fn cell_anchors(flavour: Flavour, config: &RpnConfig) -> Vec<Rect> {
    let mut anchors = Vec::new();
    match flavour {
        Flavour::Frcnn => {
            for &size in &config.anchor_sizes {
                for &ratio in &config.anchor_ratios {
                    let (size, ratio) = (f64::from(size), f64::from(ratio));
                    let width = (size * size / ratio).sqrt();
                    let height = ratio * width;
                    let (x, y) = ((width / 2.0) as f32, (height / 2.0) as f32);
                    anchors.push([-x, -y, x, y]);
                }
            }
        }
        Flavour::Vinvl => {
            for &ratio in &config.anchor_ratios {
                let ratio = f64::from(ratio);
                let width = (256.0 / ratio).sqrt().round_ties_even();
                let height = (width * ratio).round_ties_even();
                for &size in &config.anchor_sizes {
                    let scale = f64::from(size) / 16.0;
                    let x = (width * scale - 1.0) / 2.0;
                    let y = (height * scale - 1.0) / 2.0;
                    anchors.push([7.5 - x, 7.5 - y, 7.5 + x, 7.5 + y].map(|v| v as f32));
                }
            }
        }
    }
    anchors
}

/// The anchors of a map of `height x width` cells: row by row, in each cell in the order of
/// `cell`.
#[must_use]
pub fn grid_anchors(cell: &[Rect], height: usize, width: usize) -> Vec<Rect> {
    let mut anchors = Vec::with_capacity(height * width * cell.len());
    for y in 0..height {
        for x in 0..width {
            let (x, y) = (x as f32 * STRIDE, y as f32 * STRIDE);
            anchors.extend(
                cell.iter()
                    .map(|a| [a[0] + x, a[1] + y, a[2] + x, a[3] + y]),
            );
        }
    }
    anchors
}

/// How boxes are decoded and clipped.
#[derive(Clone, Copy, Debug)]
pub struct BoxCoder {
    weights: [f32; 4],
    /// What a box's last pixel is before its end.
    one: f32,
}

impl BoxCoder {
    /// Deltas are divided by `weights`.
    #[must_use]
    pub fn new(flavour: Flavour, weights: [f32; 4]) -> Self {
        let one = match flavour {
            Flavour::Frcnn => 0.0,
            Flavour::Vinvl => 1.0,
        };
        Self { weights, one }
    }

    /// `rect` moved and scaled by `delta`.
    #[must_use]
    pub fn decode(&self, rect: Rect, delta: [f32; 4]) -> Rect {
        let Self { weights, one } = *self;
        let width = rect[2] - rect[0] + one;
        let height = rect[3] - rect[1] + one;
        let centre_x = rect[0] + 0.5 * width;
        let centre_y = rect[1] + 0.5 * height;
        let x = delta[0] / weights[0] * width + centre_x;
        let y = delta[1] / weights[1] * height + centre_y;
        let width = (delta[2] / weights[2]).min(MAX_LOG_GROWTH).exp() * width;
        let height = (delta[3] / weights[3]).min(MAX_LOG_GROWTH).exp() * height;
        [
            x - 0.5 * width,
            y - 0.5 * height,
            x + 0.5 * width - one,
            y + 0.5 * height - one,
        ]
    }

    /// `rect` inside a picture of `height` and `width` network pixels.
    #[must_use]
    pub fn clip(&self, rect: Rect, [height, width]: [u32; 2]) -> Rect {
        let (x, y) = (width as f32 - self.one, height as f32 - self.one);
        [
            rect[0].clamp(0.0, x),
            rect[1].clamp(0.0, y),
            rect[2].clamp(0.0, x),
            rect[3].clamp(0.0, y),
        ]
    }

    /// Whether a proposal is large enough.
    #[must_use]
    pub fn is_large_enough(&self, rect: Rect, min_size: f32) -> bool {
        let (width, height) = (rect[2] - rect[0], rect[3] - rect[1]);
        match self.one == 0.0 {
            true => width > min_size && height > min_size,
            false => width + self.one >= min_size && height + self.one >= min_size,
        }
    }
}

/// Intersection over union, without the added pixel in either detector.
#[must_use]
pub fn overlap(a: Rect, b: Rect) -> f32 {
    let area = |r: Rect| (r[2] - r[0]) * (r[3] - r[1]);
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let intersection = width * height;
    intersection / (area(a) + area(b) - intersection)
}

/// Indices in the order of descending scores; of equal ones the first comes first.
#[must_use]
pub fn descending(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

/// Non-maximum suppression: the boxes that no better kept box overlaps by more than `threshold`,
/// by descending score, at most `most`.
#[must_use]
pub fn nms(boxes: &[Rect], scores: &[f32], threshold: f64, most: usize) -> Vec<usize> {
    let mut kept: Vec<usize> = Vec::new();
    for at in descending(scores) {
        if kept.len() == most {
            break;
        }
        // Compared as PyTorch does: an f32 overlap with an f64 threshold.
        let suppressed = |&better: &usize| f64::from(overlap(boxes[better], boxes[at])) > threshold;
        if !kept.iter().any(suppressed) {
            kept.push(at);
        }
    }
    kept
}
