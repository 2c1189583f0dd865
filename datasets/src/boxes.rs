//! Boxes of regions: whether they fit their image, and as shares of it.

use std::ops::RangeInclusive;

use crate::findings::Defect;

/// What a share of a side of an image may be: boxes reach outside by rounding, or because nobody
/// clipped them. Pixels are far from it.
const SHARES: RangeInclusive<f32> = -1.0..=2.0;

/// How far, in pixels, a box may reach outside its image and be clipped: detectors round.
pub(crate) const CLIP: f32 = 2.0;

/// How a box lies in its image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fit {
    /// Inside.
    Inside,
    /// It reached outside by no more than was allowed, and was cut to this.
    Clipped([f32; 4]),
    /// It has no area, or none inside the image.
    Empty,
}

impl Fit {
    /// What is the matter with box `b` of an image of this size, which fits so.
    pub(crate) fn describe(self, b: [f32; 4], width: u32, height: u32) -> String {
        let why = match self {
            Self::Inside => "is inside",
            Self::Clipped(_) => "reaches outside",
            Self::Empty => "has no area in",
        };
        format!("box {b:?} {why} the image ({width}x{height} pixels)")
    }
}

/// Fits a box in pixels, x1, y1, x2, y2, into an image of `width` x `height` pixels.
///
/// # Errors
/// What is wrong with a box that is inverted, not finite, or more than `tolerance` pixels outside.
pub(crate) fn fit(b: [f32; 4], width: u32, height: u32, tolerance: f32) -> Result<Fit, String> {
    let [x1, y1, x2, y2] = b;
    let (w, h) = (width as f32, height as f32);
    let size = || format!("({width}x{height} pixels)");
    if !b.iter().all(|v| v.is_finite()) {
        return Err(format!("box {b:?} is not finite"));
    }
    if x2 < x1 || y2 < y1 {
        return Err(format!(
            "box {b:?} is inverted; are its values x, y, width, height?"
        ));
    }
    let outside = (-x1).max(-y1).max(x2 - w).max(y2 - h);
    if outside > tolerance {
        return Err(format!(
            "box {b:?} reaches {outside} pixels outside the image {}",
            size()
        ));
    }
    let inside = [x1.max(0.0), y1.max(0.0), x2.min(w), y2.min(h)];
    Ok(if !(inside[2] > inside[0] && inside[3] > inside[1]) {
        Fit::Empty
    } else if outside > 0.0 {
        Fit::Clipped(inside)
    } else {
        Fit::Inside
    })
}

/// Refuses boxes of six values, as shares of an image, that are pixels: nothing shows afterwards
/// that they were. Values that are not finite are told elsewhere.
///
/// # Errors
/// The first region with such a box.
pub(crate) fn check_shares<'a>(boxes: impl Iterator<Item = &'a [f32]>) -> Result<(), Defect> {
    const FIX: &str = "six values of a box are x1/W, y1/H, x2/W, y2/H, w/W, h/H; boxes in pixels \
                       have four: x1, y1, x2, y2";
    let is_share = |v: &f32| !v.is_finite() || SHARES.contains(v);
    let mut wrong = boxes.enumerate().filter(|(_, b)| !b.iter().all(is_share));
    match wrong.next() {
        None => Ok(()),
        Some((region, b)) => {
            let found =
                format!("region {region}: box {b:?} has values that are not shares of the image");
            Err(Defect::new(found, FIX))
        }
    }
}

pub(crate) use oscar_vision::relative_box as relative;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_in_an_image() {
        let fit = |b| fit(b, 100, 50, 2.0);
        assert_eq!(fit([0.0, 0.0, 100.0, 50.0]), Ok(Fit::Inside));
        let clipped = [0.0, 0.0, 100.0, 50.0];
        assert_eq!(fit([-0.5, -2.0, 101.0, 50.1]), Ok(Fit::Clipped(clipped)));
        for empty in [
            [5.0, 5.0, 5.0, 9.0],
            [100.0, 0.0, 101.5, 9.0],
            [-1.0, 0.0, 0.0, 9.0],
        ] {
            assert_eq!(fit(empty), Ok(Fit::Empty), "{empty:?}");
        }
        for (wrong, why) in [
            (
                [0.0, 0.0, 102.5, 9.0],
                "reaches 2.5 pixels outside the image (100x50 pixels)",
            ),
            ([0.0, -3.0, 10.0, 9.0], "reaches 3 pixels outside"),
            ([30.0, 0.0, 20.0, 9.0], "is inverted"),
            ([0.0, 0.0, f32::NAN, 9.0], "is not finite"),
            ([f32::NEG_INFINITY, 0.0, 1.0, 9.0], "is not finite"),
        ] {
            assert!(fit(wrong).unwrap_err().contains(why), "{wrong:?}");
        }
    }
}
