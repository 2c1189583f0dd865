//! The sheets of drawings, one for each style, and a thing drawn from them.
//!
//! Turning and scaling are done in whole numbers, so that a scene has the same pixels on every
//! machine.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use image::{ImageFormat, ImageReader, RgbImage, imageops};
use oscar_datasets::mapped::read_file;
use oscar_datasets::{DatasetError, Result};
use oscar_vision::scenes::differs;
use serde::{Deserialize, Serialize};

use super::kinds::{HINT, Kind, read};

/// Side of a drawing on its sheet.
const CELL: u32 = 64;
/// Drawings in a row of a sheet.
const COLUMNS: u32 = 16;

/// Furthest turn of a drawing, in degrees to either side.
pub(super) const MAX_TURN: i32 = 15;

/// A style of drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// Google's, since 2017.
    Noto,
    /// Google's, before.
    NotoV1,
    /// Microsoft's, in plain colours.
    FluentFlat,
    /// Microsoft's, with light and shade; the outlines are those of the plain ones.
    #[serde(rename = "fluent_3d")]
    Fluent3d,
    /// Twitter's.
    Twemoji,
}

impl Style {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::Noto,
        Self::NotoV1,
        Self::FluentFlat,
        Self::Fluent3d,
        Self::Twemoji,
    ];

    /// Those of the vendors that are trained on.
    pub const TRAINING: [Self; 4] = [Self::Noto, Self::NotoV1, Self::FluentFlat, Self::Fluent3d];

    /// The style of the vendor that is held out.
    pub const HELD_OUT: [Self; 1] = [Self::Twemoji];

    /// Its name, and that of its file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Noto => "noto",
            Self::NotoV1 => "noto_v1",
            Self::FluentFlat => "fluent_flat",
            Self::Fluent3d => "fluent_3d",
            Self::Twemoji => "twemoji",
        }
    }

    /// Who drew it. Styles of one vendor share outlines: a vendor is held out, not a style.
    pub fn vendor(self) -> &'static str {
        match self {
            Self::Noto | Self::NotoV1 => "noto",
            Self::FluentFlat | Self::Fluent3d => "fluent",
            Self::Twemoji => "twemoji",
        }
    }
}

/// All drawings.
#[derive(Clone, Debug)]
pub struct Sheets {
    /// The kinds, in the order of the cells.
    pub kinds: Vec<Arc<Kind>>,
    /// By style, colours multiplied by opacity: red, green, blue (to 255 * 255) and opacity.
    sheets: Vec<Vec<[u32; 4]>>,
}

/// How a drawing is put into a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pose {
    /// Clockwise, in degrees.
    pub turned: i32,
    /// Left and right exchanged, before it is turned.
    pub mirrored: bool,
    /// Its longest side in pixels.
    pub size: u32,
}

impl Sheets {
    /// Opens the drawings in `dir`: `datasets/sample/scenes` of the repository.
    ///
    /// # Errors
    /// A file that is missing, cannot be decoded, or has another size than the kinds need.
    pub fn open(dir: &Path) -> Result<Self> {
        let kinds = read(dir)?;
        let rows = (kinds.len() as u32).div_ceil(COLUMNS);
        let sheet = |style: Style| {
            let path = dir.join(format!("{}.webp", style.name()));
            let bytes = read_file(&path, HINT)?;
            let mut reader = ImageReader::new(Cursor::new(&bytes[..]));
            reader.set_format(ImageFormat::WebP);
            let wrong = |found: String| DatasetError::malformed(&path, found, HINT);
            let image = reader
                .decode()
                .map_err(|error| wrong(error.to_string()))?
                .into_rgba8();
            let wanted = (COLUMNS * CELL, rows * CELL);
            if image.dimensions() != wanted {
                let (width, height) = image.dimensions();
                return Err(wrong(format!(
                    "{width}x{height} pixels, but {} kinds need {}x{}",
                    kinds.len(),
                    wanted.0,
                    wanted.1
                )));
            }
            let pixel = |pixel: &image::Rgba<u8>| {
                let [r, g, b, a] = pixel.0.map(u32::from);
                [r * a, g * a, b * a, a]
            };
            Ok(image.pixels().map(pixel).collect())
        };
        let sheets = Style::ALL.into_iter().map(sheet).collect::<Result<_>>()?;
        Ok(Self { kinds, sheets })
    }

    /// The texel of a drawing; nothing outside of its cell.
    fn texel(&self, style: Style, kind: usize, x: i64, y: i64) -> [u32; 4] {
        let inside = 0..i64::from(CELL);
        if !inside.contains(&x) || !inside.contains(&y) {
            return [0; 4];
        }
        let left = kind as u32 % COLUMNS * CELL + x as u32;
        let top = kind as u32 / COLUMNS * CELL + y as u32;
        self.sheets[style as usize][(top * COLUMNS * CELL + left) as usize]
    }

    /// The drawing of `kind` in `style` on a canvas, in a pose.
    ///
    /// It is trimmed to the pixels that visibly differ from the canvas; its longest side is
    /// [`Pose::size`] but for a pixel or two of faint edge.
    pub fn draw(&self, style: Style, kind: usize, pose: Pose, canvas: [u8; 3]) -> RgbImage {
        let turn = Turn::new(pose.turned);
        let (centre, longest) = self.extent(style, kind, pose, turn);
        // One pixel of the result, in pixels of the sheet.
        let step = longest / i64::from(pose.size);
        let side = pose.size + 4;
        let half = i64::from(side) << (BITS - 1);
        let mut image = RgbImage::from_pixel(side, side, image::Rgb(canvas));
        for (x, y, pixel) in image.enumerate_pixels_mut() {
            let mut sums = [0_u64; 4];
            for sub in 0..4 {
                let at = |pixel: u32, odd: i64| {
                    let place = (i64::from(pixel) << BITS) + ((1 + 2 * odd) << (BITS - 2)) - half;
                    (place * step) >> BITS
                };
                let rotated = (at(x, sub % 2) + centre.0, at(y, sub / 2) + centre.1);
                let (mut sx, sy) = turn.back(rotated);
                if pose.mirrored {
                    sx = -sx;
                }
                let middle = i64::from(CELL) << (BITS - 1);
                let sample = self.sample(style, kind, sx + middle, sy + middle);
                for (sum, value) in sums.iter_mut().zip(sample) {
                    *sum += u64::from(value);
                }
            }
            pixel.0 = on_canvas(sums, canvas);
        }
        trimmed(&image, canvas)
    }

    /// Middle and longest side of the turned drawing, in parts of a sheet's pixel, the middle from
    /// that of its cell.
    fn extent(&self, style: Style, kind: usize, pose: Pose, turn: Turn) -> ((i64, i64), i64) {
        let (mut low, mut high) = ((i64::MAX, i64::MAX), (i64::MIN, i64::MIN));
        for y in 0..i64::from(CELL) {
            for x in 0..i64::from(CELL) {
                if self.texel(style, kind, x, y)[3] < OPAQUE {
                    continue;
                }
                for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                    let place = |at: i64| (at - i64::from(CELL / 2)) << BITS;
                    let mut corner = (place(x + dx), place(y + dy));
                    if pose.mirrored {
                        corner.0 = -corner.0;
                    }
                    let (x, y) = turn.forth(corner);
                    low = (low.0.min(x), low.1.min(y));
                    high = (high.0.max(x), high.1.max(y));
                }
            }
        }
        // Every cell has a drawing: `Sheets` of this repository are tested for it.
        if low.0 > high.0 {
            return ((0, 0), i64::from(CELL) << BITS);
        }
        let middle = ((low.0 + high.0) / 2, (low.1 + high.1) / 2);
        (middle, (high.0 - low.0).max(high.1 - low.1))
    }

    /// The drawing at a place between its texels, of which the four nearest are mixed: 65,536 times
    /// its colour and opacity.
    fn sample(&self, style: Style, kind: usize, x: i64, y: i64) -> [u32; 4] {
        let (x, y) = (x - (1 << (BITS - 1)), y - (1 << (BITS - 1)));
        let (left, top) = (x >> BITS, y >> BITS);
        let beyond = |at: i64| at < -1 || at >= i64::from(CELL);
        if beyond(left) || beyond(top) {
            return [0; 4];
        }
        let part = |at: i64| ((at & ((1 << BITS) - 1)) >> (BITS - 8)) as u32;
        let (right, below) = (part(x), part(y));
        let mut mixed = [0; 4];
        for (dx, wide) in [(0, 256 - right), (1, right)] {
            for (dy, tall) in [(0, 256 - below), (1, below)] {
                let texel = self.texel(style, kind, left + dx, top + dy);
                for (sum, value) in mixed.iter_mut().zip(texel) {
                    // All weights together are 65,536: the sum stays below 2^32.
                    *sum += wide * tall * value;
                }
            }
        }
        mixed
    }
}

/// Binary digits after the point.
const BITS: u32 = 16;

/// A texel below this opacity is not part of a drawing's outline.
const OPAQUE: u32 = 40;

/// A rotation by whole degrees.
#[derive(Clone, Copy)]
struct Turn {
    sin: i64,
    cos: i64,
}

impl Turn {
    /// Sines and cosines of 0 to 15 degrees, times 65,536.
    const SIN: [i64; 16] = [
        0, 1144, 2287, 3430, 4572, 5712, 6850, 7987, 9121, 10252, 11380, 12505, 13626, 14742,
        15855, 16962,
    ];
    const COS: [i64; 16] = [
        65536, 65526, 65496, 65446, 65376, 65287, 65177, 65048, 64898, 64729, 64540, 64332, 64104,
        63856, 63589, 63303,
    ];

    fn new(degrees: i32) -> Self {
        let at = degrees.unsigned_abs().min(MAX_TURN as u32) as usize;
        Self {
            sin: i64::from(degrees.signum()) * Self::SIN[at],
            cos: Self::COS[at],
        }
    }

    fn forth(self, (x, y): (i64, i64)) -> (i64, i64) {
        (
            (self.cos * x - self.sin * y) >> BITS,
            (self.sin * x + self.cos * y) >> BITS,
        )
    }

    fn back(self, (x, y): (i64, i64)) -> (i64, i64) {
        (
            (self.cos * x + self.sin * y) >> BITS,
            (self.cos * y - self.sin * x) >> BITS,
        )
    }
}

/// Four samples' sums of colour times opacity, and of opacity, put on the canvas.
fn on_canvas(sums: [u64; 4], canvas: [u8; 3]) -> [u8; 3] {
    // Four samples of weight 256 * 256, times the highest opacity.
    const WHOLE: u64 = 4 * 256 * 256 * 255;
    let mut pixel = canvas;
    for (value, sum) in pixel.iter_mut().zip(sums) {
        let mixed = sum + u64::from(*value) * (WHOLE - sums[3]);
        *value = ((mixed + WHOLE / 2) / WHOLE) as u8;
    }
    pixel
}

/// The part that differs from the canvas.
fn trimmed(image: &RgbImage, canvas: [u8; 3]) -> RgbImage {
    let (mut x1, mut y1, mut x2, mut y2) = (u32::MAX, u32::MAX, 0, 0);
    for (x, y, pixel) in image.enumerate_pixels() {
        if differs(pixel.0, canvas) {
            (x1, y1, x2, y2) = (x1.min(x), y1.min(y), x2.max(x + 1), y2.max(y + 1));
        }
    }
    let (width, height) = (x2.saturating_sub(x1), y2.saturating_sub(y1));
    imageops::crop_imm(image, x1.min(x2), y1.min(y2), width, height).to_image()
}
