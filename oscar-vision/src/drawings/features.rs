//! Region features of drawn objects: their own pixels, small.
//!
//! No detector is needed to tell nine drawings in three colours apart. A region's appearance is
//! the object's crop at 12x12 pixels in three channels, which a linear layer reads well; the size
//! of the object is lost by that, and comes back through the region's box.

use image::RgbImage;
use image::imageops::{self, FilterType};

use super::objects::{BOX_X, Object};

/// Side of the small crop.
const SIDE: u32 = 12;

/// Values per region.
pub const FEATURE_DIM: usize = (SIDE * SIDE * 3) as usize;

/// Length of every feature vector: about 0.14 a value, near the mean of a detector's features.
const NORM: f32 = 3.0;

/// Appends the [`FEATURE_DIM`] appearance values of `object`, in order row, column, channel.
pub(super) fn append(image: &RgbImage, object: &Object, out: &mut Vec<f32>) {
    let (x, y) = (BOX_X[object.grey_box] + object.x, object.y);
    let crop = imageops::crop_imm(image, x, y, object.size, object.size).to_image();
    let small = imageops::resize(&crop, SIDE, SIDE, FilterType::Triangle);
    let start = out.len();
    out.extend(
        small
            .as_raw()
            .iter()
            .map(|&value| f32::from(value) / 127.5 - 1.0),
    );
    let values = &mut out[start..];
    let norm = values.iter().map(|v| v * v).sum::<f32>().sqrt();
    // A crop of nothing but middle grey has no direction to scale; it stays near zero.
    if norm > 1e-6 {
        values.iter_mut().for_each(|v| *v *= NORM / norm);
    }
}
