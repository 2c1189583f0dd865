//! Boxes: how much they overlap, and the deltas between them.
//!
//! All boxes are x1/W, y1/H, x2/W, y2/H, as a region store has them. ROSITA counts pixels, of which a
//! box has one more than the difference of its sides; `pixel` is the size of one, `[1/W, 1/H]`, so that
//! the results are the same.

/// A box as shares of its image.
pub type Share = [f64; 4];

/// An answer is right from this overlap on, and so is a region to be learned.
pub const RIGHT: f64 = 0.5;

/// Standard deviations by which deltas are normalised: Faster R-CNN's.
const DEVIATIONS: Share = [0.1, 0.1, 0.2, 0.2];

/// Keeps a sum of overlaps from being 0, as in the official code.
const EPSILON: f64 = 1e-8;

/// Largest growth of a side by its delta: `exp` of more is no box any more.
const MAX_GROWTH: f64 = 10.0;

/// Intersection over union of two boxes.
pub fn iou(a: Share, b: Share, pixel: [f64; 2]) -> f64 {
    let side = |low: f64, high: f64, axis: usize| high - low + pixel[axis];
    let shared = [0, 1].map(|axis| {
        let low = a[axis].max(b[axis]);
        side(low, a[axis + 2].min(b[axis + 2]), axis).max(0.0)
    });
    let area = |r: Share| side(r[0], r[2], 0) * side(r[1], r[3], 1);
    let shared = shared[0] * shared[1];
    let all = area(a) + area(b) - shared;
    match all > 0.0 {
        true => shared / all,
        false => 0.0,
    }
}

/// Middle and sides of a box.
fn extent(r: Share, pixel: [f64; 2]) -> ([f64; 2], [f64; 2]) {
    let sides = [r[2] - r[0] + pixel[0], r[3] - r[1] + pixel[1]];
    ([r[0] + sides[0] / 2.0, r[1] + sides[1] / 2.0], sides)
}

/// The normalised deltas from one box to another, which must have an area.
pub fn deltas(from: Share, to: Share, pixel: [f64; 2]) -> Share {
    let ((middle, sides), (goal, size)) = (extent(from, pixel), extent(to, pixel));
    let moved = |axis: usize| (goal[axis] - middle[axis]) / sides[axis];
    let grown = |axis: usize| (size[axis] / sides[axis]).ln();
    let plain = [moved(0), moved(1), grown(0), grown(1)];
    std::array::from_fn(|at| plain[at] / DEVIATIONS[at])
}

/// The box that normalised deltas lead to, cut to the image.
///
/// As in the official code it reaches to its middle and half its sides, a pixel more than those that it
/// counts, and the last pixel of the image is its limit.
pub fn decode(from: Share, deltas: Share, pixel: [f64; 2]) -> Share {
    let (middle, sides) = extent(from, pixel);
    let plain: Share = std::array::from_fn(|at| deltas[at] * DEVIATIONS[at]);
    let corner = |axis: usize, sign: f64| {
        let goal = middle[axis] + plain[axis] * sides[axis];
        let size = sides[axis] * plain[axis + 2].min(MAX_GROWTH).exp();
        (goal + sign * size / 2.0).clamp(0.0, 1.0 - pixel[axis])
    };
    [
        corner(0, -1.0),
        corner(1, -1.0),
        corner(0, 1.0),
        corner(1, 1.0),
    ]
}

/// The regions of an image among which the answer is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Candidates {
    /// Their boxes.
    pub boxes: Vec<Share>,
    /// Size of a pixel; 0 where the size of the image is not known, so that boxes have no pixel more
    /// than the difference of their sides.
    pub pixel: [f64; 2],
}

/// What is to be learned of an image's regions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowTargets {
    /// How much each region is the one that is meant: the overlaps of those that are right, divided by
    /// their sum. Empty if none is: the expression then counts in no loss.
    pub rank: Vec<f64>,
    /// Overlap of each with the right box.
    pub overlaps: Vec<f64>,
    /// Normalised deltas to the right box.
    pub deltas: Vec<Share>,
}

impl Candidates {
    /// What is to be learned if `truth` is the right box.
    pub fn targets(&self, truth: Share) -> RowTargets {
        let boxes = self.boxes.iter();
        let overlaps: Vec<f64> = boxes.clone().map(|b| iou(*b, truth, self.pixel)).collect();
        let right = |overlap: f64| if overlap >= RIGHT { overlap } else { 0.0 };
        let sum: f64 = overlaps.iter().copied().map(right).sum();
        let share = |overlap: &f64| right(*overlap) / (sum + EPSILON);
        RowTargets {
            rank: match sum > 0.0 {
                true => overlaps.iter().map(share).collect(),
                false => Vec::new(),
            },
            deltas: boxes.map(|b| deltas(*b, truth, self.pixel)).collect(),
            overlaps,
        }
    }

    /// The box that the deltas of a region lead to.
    pub fn decode(&self, region: usize, deltas: [f32; 4]) -> Share {
        decode(self.boxes[region], deltas.map(f64::from), self.pixel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of an image of 100 x 50 pixels.
    const PIXEL: [f64; 2] = [0.01, 0.02];

    fn share(b: [f64; 4]) -> Share {
        [b[0] / 100.0, b[1] / 50.0, b[2] / 100.0, b[3] / 50.0]
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn overlaps_count_pixels() {
        let a = share([0.0, 0.0, 9.0, 9.0]);
        assert!(close(iou(a, a, PIXEL), 1.0));
        // 5 x 10 of 10 x 10 + 10 x 10 - 5 x 10.
        assert!(close(
            iou(a, share([5.0, 0.0, 14.0, 9.0]), PIXEL),
            50.0 / 150.0
        ));
        // Side by side; corner to corner; far away.
        assert!(close(iou(a, share([10.0, 0.0, 19.0, 9.0]), PIXEL), 0.0));
        assert!(close(
            iou(a, share([9.0, 9.0, 18.0, 18.0]), PIXEL),
            1.0 / 199.0
        ));
        assert!(close(iou(a, share([50.0, 30.0, 60.0, 40.0]), PIXEL), 0.0));
    }

    #[test]
    fn deltas_lead_back_to_the_box_and_to_its_last_pixel() {
        let (from, to) = (
            share([10.0, 10.0, 29.0, 19.0]),
            share([20.0, 5.0, 49.0, 34.0]),
        );
        let found = decode(from, deltas(from, to, PIXEL), PIXEL);
        let wanted = share([20.0, 5.0, 50.0, 35.0]);
        assert!((0..4).all(|at| close(found[at], wanted[at])), "{found:?}");
        let far = decode(from, [99.0, -99.0, 9.0, 1e9], PIXEL);
        assert!(far.iter().all(|side| (0.0..=1.0).contains(side)), "{far:?}");
        assert!(close(far[2], 0.99), "{far:?}");
    }

    #[test]
    fn an_expression_without_a_right_region_is_not_learned() {
        let candidates = Candidates {
            boxes: vec![share([0.0, 0.0, 9.0, 9.0]), share([1.0, 0.0, 10.0, 9.0])],
            pixel: PIXEL,
        };
        let targets = candidates.targets(share([0.0, 0.0, 9.0, 9.0]));
        let second = 90.0 / 110.0;
        assert!(close(targets.overlaps[1], second));
        assert!((targets.rank[0] - 1.0 / (1.0 + second)).abs() < 1e-6);
        assert!(targets.deltas[0].iter().all(|delta| close(*delta, 0.0)));
        assert!(
            candidates
                .targets(share([40.0, 0.0, 60.0, 9.0]))
                .rank
                .is_empty()
        );
    }
}
