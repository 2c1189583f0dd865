//! Finds the things in a scene from its pixels alone.

use image::RgbImage;

/// A pixel belongs to a thing if it differs from the canvas by more than this in a channel.
pub const VISIBLE: u8 = 8;

/// Things keep this distance from each other, in pixels: parts that are closer are of one thing.
pub const GAP: u32 = 8;

/// Whether `pixel` differs visibly from the canvas.
pub fn differs(pixel: [u8; 3], canvas: [u8; 3]) -> bool {
    let apart = pixel.iter().zip(canvas);
    apart.into_iter().any(|(a, b)| a.abs_diff(b) > VISIBLE)
}

/// Whether two boxes `[x1, y1, x2, y2]` are closer than [`GAP`] both ways.
pub fn are_close(a: [u32; 4], b: [u32; 4]) -> bool {
    let apart = |low: usize| {
        let (high_a, high_b) = (a[low + 2], b[low + 2]);
        b[low]
            .saturating_sub(high_a)
            .max(a[low].saturating_sub(high_b))
    };
    apart(0) < GAP && apart(1) < GAP
}

/// The colour of the canvas: the one that most pixels of the picture's border have.
///
/// # Errors
/// What was found, if less than half of the border has one colour, give or take [`VISIBLE`].
pub fn canvas(image: &RgbImage) -> Result<[u8; 3], String> {
    let (width, height) = image.dimensions();
    let rows = (0..width).flat_map(|x| [(x, 0), (x, height - 1)]);
    let columns = (0..height).flat_map(|y| [(0, y), (width - 1, y)]);
    let mut border: Vec<[u8; 3]> = rows
        .chain(columns)
        .map(|(x, y)| image.get_pixel(x, y).0)
        .collect();
    border.sort_unstable();
    let most = border.chunk_by(|a, b| a == b).max_by_key(|same| same.len());
    let canvas = most.map_or([0; 3], |same| same[0]);
    let plain = border
        .iter()
        .filter(|pixel| !differs(**pixel, canvas))
        .count();
    match 2 * plain >= border.len() {
        true => Ok(canvas),
        false => Err(format!(
            "{plain} of the {} pixels of its border have the same colour, so it has no plain \
             background",
            border.len()
        )),
    }
}

/// The boxes `[x1, y1, x2, y2]` of the things on a plain canvas, in reading order (by y, then x):
/// connected pixels that differ from the canvas, those closer than [`GAP`] together.
///
/// # Errors
/// As [`canvas`].
pub fn find_things(image: &RgbImage) -> Result<Vec<[u32; 4]>, String> {
    if image.width() == 0 || image.height() == 0 {
        return Err("it has no pixels".into());
    }
    let canvas = canvas(image)?;
    let mut boxes = joined(patches(image, canvas));
    boxes.sort_unstable_by_key(|[x1, y1, ..]| (*y1, *x1));
    Ok(boxes)
}

/// Boxes of the patches of connected pixels, corners included.
fn patches(image: &RgbImage, canvas: [u8; 3]) -> Vec<[u32; 4]> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let pixels = image.as_raw().chunks_exact(3);
    let mut open: Vec<bool> = pixels
        .map(|pixel| differs([pixel[0], pixel[1], pixel[2]], canvas))
        .collect();
    let mut boxes = Vec::new();
    let mut stack = Vec::new();
    for start in 0..open.len() {
        if !std::mem::take(&mut open[start]) {
            continue;
        }
        let (mut x1, mut y1, mut x2, mut y2) = (width, height, 0, 0);
        stack.push(start);
        while let Some(at) = stack.pop() {
            let (x, y) = (at % width, at / width);
            (x1, y1, x2, y2) = (x1.min(x), y1.min(y), x2.max(x), y2.max(y));
            for ny in y.saturating_sub(1)..=(y + 1).min(height - 1) {
                for nx in x.saturating_sub(1)..=(x + 1).min(width - 1) {
                    let next = ny * width + nx;
                    if std::mem::take(&mut open[next]) {
                        stack.push(next);
                    }
                }
            }
        }
        boxes.push([x1, y1, x2 + 1, y2 + 1].map(|v| v as u32));
    }
    boxes
}

/// Joins boxes that are close until none are.
fn joined(mut boxes: Vec<[u32; 4]>) -> Vec<[u32; 4]> {
    let mut whole: Vec<[u32; 4]> = Vec::new();
    while let Some(mut joined) = boxes.pop() {
        // A larger box may be close to what the smaller one was not.
        while let Some(at) = whole.iter().position(|other| are_close(*other, joined)) {
            let [x1, y1, x2, y2] = whole.swap_remove(at);
            let [a1, b1, a2, b2] = joined;
            joined = [x1.min(a1), y1.min(b1), x2.max(a2), y2.max(b2)];
        }
        whole.push(joined);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(boxes: &[[u32; 4]]) -> RgbImage {
        RgbImage::from_fn(64, 48, |x, y| {
            let inside =
                |[x1, y1, x2, y2]: &[u32; 4]| (*x1..*x2).contains(&x) && (*y1..*y2).contains(&y);
            image::Rgb(match boxes.iter().any(inside) {
                true => [200, 30, 30],
                false => [240, 246, 250],
            })
        })
    }

    #[test]
    fn parts_of_a_thing_are_joined_and_things_are_not() {
        // Two parts 7 apart; a thing 8 to the right of them; one that touches the edge.
        let parts = [
            [4, 4, 10, 10],
            [17, 4, 20, 12],
            [28, 4, 34, 20],
            [50, 40, 64, 48],
        ];
        let found = find_things(&scene(&parts)).unwrap();
        assert_eq!(found, [[4, 4, 20, 12], [28, 4, 34, 20], [50, 40, 64, 48]]);
        assert_eq!(find_things(&scene(&[])).unwrap(), [[0; 4]; 0]);
    }

    #[test]
    fn what_joins_three_parts_joins_all() {
        // The third is close to the box of the first two, and to neither of them.
        let parts = [[4, 4, 8, 30], [12, 26, 30, 30], [20, 4, 24, 20]];
        assert_eq!(find_things(&scene(&parts)).unwrap(), [[4, 4, 30, 30]]);
    }

    #[test]
    fn a_picture_without_a_plain_background_is_refused() {
        let photo = RgbImage::from_fn(40, 40, |x, y| image::Rgb([(x * 6) as u8, (y * 6) as u8, 9]));
        assert!(find_things(&photo).is_err());
        assert!(find_things(&RgbImage::new(0, 0)).is_err());
    }
}
