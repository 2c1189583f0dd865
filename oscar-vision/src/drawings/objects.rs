//! Finds the objects of an image by their exact colours, and compares them with annotations.
//!
//! Objects are drawn in three exact colours on grey; the edges of circles and triangles are
//! blended into the background, and no two objects touch in any published image. A connected patch
//! of one exact colour is therefore the inside of one object: each of the nine kinds of object has
//! a patch of its own extent and pixel count, by which it is known. A patch that is none of the
//! nine is an error, not a guess.

use image::RgbImage;

use super::{HEIGHT, WIDTH};

/// Left edge of the three grey boxes, in pixels of the image.
pub const BOX_X: [u32; 3] = [0, 150, 300];
/// Width and height of a grey box, in pixels.
pub const BOX_SIZE: u32 = 100;

/// Grey between the boxes.
const SEPARATOR: [u8; 3] = [128; 3];

/// Grey of the boxes.
const BACKGROUND: [u8; 3] = [211; 3];

/// The least share of a box that is grey is 1 of so many: objects do not fill it.
const LEAST_GREY: usize = 10;

/// An object's colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Color {
    /// 255, 255, 0.
    Yellow,
    /// 0, 153, 255.
    Blue,
    /// 0, 0, 0.
    Black,
}

/// An object's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// A square, parallel to the image.
    Square,
    /// A circle.
    Circle,
    /// A triangle, standing.
    Triangle,
}

impl Color {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Yellow => "yellow",
            Self::Blue => "blue",
            Self::Black => "black",
        }
    }

    fn of_pixel(pixel: &[u8; 3]) -> Option<Self> {
        match pixel {
            [255, 255, 0] => Some(Self::Yellow),
            [0, 153, 255] => Some(Self::Blue),
            [0, 0, 0] => Some(Self::Black),
            _ => None,
        }
    }

    /// From the name in the annotations.
    pub fn of_annotation(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "yellow" => Some(Self::Yellow),
            "#0099ff" | "blue" => Some(Self::Blue),
            "black" => Some(Self::Black),
            _ => None,
        }
    }
}

impl Shape {
    /// The word for it, singular; add an s for more than one.
    pub fn word(self) -> &'static str {
        match self {
            Self::Square => "square",
            Self::Circle => "circle",
            Self::Triangle => "triangle",
        }
    }

    /// From the name in the annotations.
    pub fn of_annotation(name: &str) -> Option<Self> {
        [Self::Square, Self::Circle, Self::Triangle]
            .into_iter()
            .find(|shape| shape.word() == name)
    }
}

/// An object in a grey box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// Index of the grey box, from the left.
    pub grey_box: usize,
    /// Colour.
    pub color: Color,
    /// Shape.
    pub shape: Shape,
    /// Width and height in pixels: 10, 20 or 30.
    pub size: u32,
    /// Left edge in pixels, relative to its grey box.
    pub x: u32,
    /// Top edge in pixels.
    pub y: u32,
}

impl Object {
    /// The object of a region with this class and box in pixels of the image; `None` if it is not a
    /// region of a drawing.
    pub fn of_region(class: &str, [x1, y1, x2, _]: [f32; 4]) -> Option<Self> {
        let (color, shape) = class.split_once(' ')?;
        let grey_box = BOX_X.iter().rposition(|left| *left as f32 <= x1)?;
        Some(Self {
            grey_box,
            color: Color::of_annotation(color)?,
            shape: Shape::of_annotation(shape)?,
            size: (x2 - x1) as u32,
            x: x1 as u32 - BOX_X[grey_box],
            y: y1 as u32,
        })
    }

    /// Colour and shape in words: its object tag.
    pub fn class(&self) -> String {
        format!("{} {}", self.color.word(), self.shape.word())
    }

    /// x1, y1, x2, y2 in pixels, relative to its grey box.
    pub fn box_px(&self) -> [f32; 4] {
        let (x, y, size) = (self.x as f32, self.y as f32, self.size as f32);
        [x, y, x + size, y + size]
    }

    /// x1, y1, x2, y2 in pixels of the image.
    pub fn image_box_px(&self) -> [f32; 4] {
        let left = BOX_X[self.grey_box] as f32;
        let [x1, y1, x2, y2] = self.box_px();
        [left + x1, y1, left + x2, y2]
    }
}

/// What an object's patch of exact colour looks like.
struct Patch {
    shape: Shape,
    size: u32,
    /// Width and height of the patch.
    extent: u32,
    /// Pixels in it.
    pixels: u32,
    /// From the object's left and top edge to the patch's.
    inset: (u32, u32),
}

const fn patch(shape: Shape, size: u32, extent: u32, pixels: u32, inset: (u32, u32)) -> Patch {
    Patch {
        shape,
        size,
        extent,
        pixels,
        inset,
    }
}

// Measured on the dev images against their annotations, where they locate every object exactly.
// Triangles stand on the bottom of their box; the two rows of their tip are blended away.
const PATCHES: [Patch; 9] = [
    patch(Shape::Square, 10, 10, 100, (0, 0)),
    patch(Shape::Square, 20, 20, 400, (0, 0)),
    patch(Shape::Square, 30, 30, 900, (0, 0)),
    patch(Shape::Circle, 10, 8, 60, (1, 1)),
    patch(Shape::Circle, 20, 18, 276, (1, 1)),
    patch(Shape::Circle, 30, 30, 656, (0, 0)),
    patch(Shape::Triangle, 10, 8, 40, (1, 2)),
    patch(Shape::Triangle, 20, 18, 180, (1, 2)),
    patch(Shape::Triangle, 30, 28, 420, (1, 2)),
];

/// The objects of a 400x100 image, box by box, each box in reading order (by y, then x); or those of
/// one grey box that was cut out of it, 100x100.
///
/// # Errors
/// What was found, without the image's name: an image that is neither a grey box nor divided into
/// three, or a patch of colour that is none of the known objects.
pub fn find_objects(image: &RgbImage) -> Result<Vec<Object>, String> {
    let mut objects = Vec::new();
    if image.dimensions() == (BOX_SIZE, BOX_SIZE) {
        let grey = image.pixels().filter(|pixel| pixel.0 == BACKGROUND).count();
        if grey * LEAST_GREY < (BOX_SIZE * BOX_SIZE) as usize {
            return Err("it is not a grey box: hardly a pixel is of its grey".into());
        }
        find_in_box(image, 0, 0, &mut objects)?;
        objects.sort_by_key(|o| (o.y, o.x));
        return Ok(objects);
    }
    if image.dimensions() != (WIDTH, HEIGHT) {
        let (width, height) = image.dimensions();
        return Err(format!(
            "it has {width}x{height} pixels, not {WIDTH}x{HEIGHT} or, for one box, {BOX_SIZE}x{BOX_SIZE}"
        ));
    }
    for x in [BOX_SIZE + 25, BOX_X[1] + BOX_SIZE + 25] {
        if let Some(y) = (0..HEIGHT).find(|&y| image.get_pixel(x, y).0 != SEPARATOR) {
            let pixel = image.get_pixel(x, y).0;
            return Err(format!(
                "pixel {x}, {y} is {pixel:?}, where boxes are set apart in grey"
            ));
        }
    }
    for (grey_box, left) in BOX_X.into_iter().enumerate() {
        let start = objects.len();
        find_in_box(image, grey_box, left, &mut objects)?;
        objects[start..].sort_by_key(|o| (o.y, o.x));
    }
    Ok(objects)
}

fn find_in_box(
    image: &RgbImage,
    grey_box: usize,
    left: u32,
    objects: &mut Vec<Object>,
) -> Result<(), String> {
    const N: usize = BOX_SIZE as usize;
    let color = |x: usize, y: usize| Color::of_pixel(&image.get_pixel(left + x as u32, y as u32).0);
    let mut seen = [false; N * N];
    let mut stack = Vec::new();
    for start in 0..N * N {
        let Some(wanted) = color(start % N, start / N).filter(|_| !seen[start]) else {
            continue;
        };
        let (mut x1, mut y1, mut x2, mut y2, mut pixels) = (N, N, 0, 0, 0);
        seen[start] = true;
        stack.push(start);
        while let Some(at) = stack.pop() {
            let (x, y) = (at % N, at / N);
            (x1, y1, x2, y2) = (x1.min(x), y1.min(y), x2.max(x), y2.max(y));
            pixels += 1;
            for ny in y.saturating_sub(1)..=(y + 1).min(N - 1) {
                for nx in x.saturating_sub(1)..=(x + 1).min(N - 1) {
                    let next = ny * N + nx;
                    if !seen[next] && color(nx, ny) == Some(wanted) {
                        seen[next] = true;
                        stack.push(next);
                    }
                }
            }
        }
        let (w, h) = ((x2 - x1 + 1) as u32, (y2 - y1 + 1) as u32);
        let (x1, y1) = (x1 as u32, y1 as u32);
        let object = PATCHES
            .iter()
            .find(|p| p.extent == w && p.extent == h && p.pixels == pixels)
            .and_then(|p| {
                let (x, y) = (x1.checked_sub(p.inset.0)?, y1.checked_sub(p.inset.1)?);
                let inside = x + p.size <= BOX_SIZE && y + p.size <= BOX_SIZE;
                inside.then_some(Object {
                    grey_box,
                    color: wanted,
                    shape: p.shape,
                    size: p.size,
                    x,
                    y,
                })
            });
        objects.push(object.ok_or_else(|| {
            format!(
                "box {grey_box} has a {} patch of {w}x{h} pixels ({pixels} filled) at {x1}, {y1}, \
                 which is not an object of NLVR v1",
                wanted.word()
            )
        })?);
    }
    Ok(())
}

/// How far apart, in pixels, a found and an annotated object may be.
pub const TOLERANCE: u32 = 2;

/// The first difference between found and annotated objects, if there is any: each annotated
/// object must be found in the same box with the same colour, shape and size, at most
/// [`TOLERANCE`] pixels away, and no other.
pub fn compare(found: &[Object], annotated: &[Object]) -> Option<String> {
    let mut free: Vec<&Object> = found.iter().collect();
    for wanted in annotated {
        let at = free.iter().position(|o| {
            (o.grey_box, o.color, o.shape, o.size)
                == (wanted.grey_box, wanted.color, wanted.shape, wanted.size)
                && o.x.abs_diff(wanted.x) <= TOLERANCE
                && o.y.abs_diff(wanted.y) <= TOLERANCE
        });
        match at {
            Some(at) => drop(free.swap_remove(at)),
            None => return Some(format!("{} is annotated but not seen", describe(wanted))),
        }
    }
    free.first()
        .map(|o| format!("{} is seen but not annotated", describe(o)))
}

fn describe(o: &Object) -> String {
    format!(
        "a {} of {} pixels at {}, {} in box {}",
        o.class(),
        o.size,
        o.x,
        o.y,
        o.grey_box
    )
}
