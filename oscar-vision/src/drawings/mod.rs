//! The drawings of NLVR v1: coloured shapes in three grey boxes, read without error from their
//! pixels.

mod features;
mod objects;

pub use features::{FEATURE_DIM, append_features};
pub use objects::{BOX_SIZE, BOX_X, Color, Object, Shape, TOLERANCE, compare, find_objects};

/// Width of a drawing in pixels.
pub const WIDTH: u32 = 400;
/// Height of a drawing in pixels.
pub const HEIGHT: u32 = 100;

/// The key of a grey box of image `image`: `dev-1373-0.b2`.
pub fn box_key(image: &str, grey_box: usize) -> String {
    format!("{image}.b{grey_box}")
}

/// Image and grey box, if `key` is of this form.
pub fn parse_box_key(key: &str) -> Option<(&str, usize)> {
    let (image, grey_box) = key.rsplit_once(".b")?;
    let grey_box = grey_box.parse().ok().filter(|n| *n < BOX_X.len())?;
    Some((image, grey_box))
}
