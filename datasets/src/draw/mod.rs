//! Draws boxes with their names onto pictures, so that one can see whether data are right.

mod canvas;
mod marks;
mod palette;
mod place;
mod png;

use image::{Rgb, RgbImage};

use self::canvas::{Area, Canvas, Font};
use self::place::place;

pub use marks::marks;
pub use palette::color;
pub use png::write_png;

// Pictures are enlarged until their sides are at least this long: names must fit beside what they
// name. But not beyond the last, and not into blocks of pixels without end.
const LONG_SIDE: u32 = 800;
const SHORT_SIDE: u32 = 400;
const MAX_SIDE: u32 = 1600;
const MAX_SCALE: u32 = 8;

/// Background where there is no picture.
const PLAIN: Rgb<u8> = Rgb([235, 235, 235]);

/// A box to be drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// x1, y1, x2, y2 in pixels of the picture.
    pub box_px: [f32; 4],
    /// Colour of frame and name; see [`color`].
    pub color: [u8; 3],
    /// Written beside the box; nothing if empty.
    pub name: String,
    /// Whether the frame is thin.
    pub thin: bool,
}

/// A picture with boxes.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// The pixels.
    pub image: RgbImage,
    /// How many times the picture was enlarged.
    pub scale: u32,
}

/// A picture of one colour, for images whose own is not at hand.
pub fn plain(width: u32, height: u32) -> RgbImage {
    RgbImage::from_pixel(width, height, PLAIN)
}

/// Draws `marks` onto a picture, enlarging a small one by a whole number.
///
/// Frames lie inside their boxes, small boxes over large ones; names have a background, stay
/// inside the picture, and give way to each other as far as there is room.
pub fn draw(picture: &RgbImage, marks: &[Mark]) -> Drawing {
    let (width, height) = picture.dimensions();
    let scale = scale(width, height);
    let mut canvas = Canvas::enlarged(picture, scale);
    let side = canvas.width().min(canvas.height());
    let thick = (side / 200).clamp(2, 8);
    let font = Font::for_side(side);

    let mut order: Vec<(&Mark, Area)> = marks
        .iter()
        .map(|mark| (mark, area(mark, scale, &canvas)))
        .collect();
    order
        .sort_by_key(|(_, area)| std::cmp::Reverse(u64::from(area.width) * u64::from(area.height)));
    let boxes: Vec<Area> = order.iter().map(|(_, area)| *area).collect();
    for (mark, area) in &order {
        let thickness = match mark.thin {
            true => thick.div_ceil(2),
            false => thick,
        };
        canvas.frame(*area, thickness, Rgb(mark.color));
    }
    let mut names = Vec::new();
    for (mark, area) in order.iter().filter(|(mark, _)| !mark.name.is_empty()) {
        let name = font.fit(&mark.name, canvas.width());
        let picture = (canvas.width(), canvas.height());
        let spot = place(*area, font.size(&name), picture, &names, &boxes);
        canvas.name(spot, &name, font, Rgb(mark.color));
        names.push(spot);
    }
    Drawing {
        image: canvas.into_image(),
        scale,
    }
}

/// The picture below a line of text.
pub fn titled(picture: &RgbImage, title: &str) -> RgbImage {
    let (width, height) = picture.dimensions();
    let font = Font::for_side(width.min(height));
    let title = font.fit(title, width);
    let (_, line) = font.size(&title);
    let mut canvas = Canvas::enlarged(&plain(width, height + line), 1);
    let area = Area {
        x: 0,
        y: 0,
        width,
        height: line,
    };
    canvas.name(area, &title, font, PLAIN);
    let mut image = canvas.into_image();
    image::imageops::replace(&mut image, picture, 0, line.into());
    image
}

/// How many times a picture of this size is enlarged.
fn scale(width: u32, height: u32) -> u32 {
    let (long, short) = (width.max(height).max(1), width.min(height).max(1));
    let wanted = LONG_SIDE.div_ceil(long).max(SHORT_SIDE.div_ceil(short));
    wanted.min(MAX_SIDE / long).clamp(1, MAX_SCALE)
}

/// The pixels of a mark's box in the enlarged picture, cut to it; at least one.
fn area(mark: &Mark, scale: u32, canvas: &Canvas) -> Area {
    let [x1, y1, x2, y2] = mark.box_px;
    let side = |from: f32, to: f32, limit: u32| {
        // `as` takes what is not a number, or outside the range, to the nearest number there is.
        let start = ((from * scale as f32).round() as u32).min(limit.saturating_sub(1));
        let end = ((to * scale as f32).round() as u32).clamp(start + 1, limit.max(start + 1));
        (start, end - start)
    };
    let (x, width) = side(x1, x2, canvas.width());
    let (y, height) = side(y1, y2, canvas.height());
    Area {
        x,
        y,
        width,
        height,
    }
}
