//! Pixels to draw on: frames, filled areas and text in a bitmap font.

use std::convert::Infallible;

use embedded_graphics::Drawable;
use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::iso_8859_1::{FONT_7X13_BOLD, FONT_9X15_BOLD, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::text::{Baseline, Text};
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

const BLACK: Rgb<u8> = Rgb([0; 3]);
const WHITE: Rgb<u8> = Rgb([255; 3]);

/// Pixels around the letters of a name.
const MARGIN: u32 = 2;

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Area {
    /// Pixels in both.
    pub(super) fn overlap(&self, other: &Self) -> u64 {
        let side = |a: u32, a_len: u32, b: u32, b_len: u32| {
            u64::from((a + a_len).min(b + b_len).saturating_sub(a.max(b)))
        };
        side(self.x, self.width, other.x, other.width)
            * side(self.y, self.height, other.y, other.height)
    }
}

/// A font in which each pixel may be a block of several.
#[derive(Clone, Copy)]
pub(super) struct Font {
    glyphs: &'static MonoFont<'static>,
    block: u32,
}

impl Font {
    /// A font that can be read in a picture whose shorter side this is.
    pub(super) fn for_side(side: u32) -> Self {
        let (glyphs, block) = match side {
            0..500 => (&FONT_7X13_BOLD, 1),
            500..1000 => (&FONT_9X15_BOLD, 1),
            1000..1600 => (&FONT_10X20, 1),
            more => (&FONT_10X20, more / 800),
        };
        Self { glyphs, block }
    }

    /// Width and height of a name with its background.
    pub(super) fn size(self, text: &str) -> (u32, u32) {
        let Size { width, height } = self.glyphs.character_size;
        let letters = text.chars().count() as u32;
        let padding = 2 * MARGIN * self.block;
        (
            letters * width * self.block + padding,
            height * self.block + padding,
        )
    }

    /// The text, cut so that it takes no more than `width` pixels.
    pub(super) fn fit(self, text: &str, width: u32) -> String {
        let room = width.saturating_sub(2 * MARGIN * self.block)
            / (self.glyphs.character_size.width * self.block);
        let room = room as usize;
        match text.chars().count() > room {
            true => {
                let start: String = text.chars().take(room.saturating_sub(2)).collect();
                format!("{start}..").chars().take(room).collect()
            }
            false => text.into(),
        }
    }
}

/// A picture to draw on; pixels outside it are ignored.
pub(super) struct Canvas(RgbImage);

impl Canvas {
    /// A copy of a picture, `scale` times as large.
    pub(super) fn enlarged(picture: &RgbImage, scale: u32) -> Self {
        if scale == 1 {
            return Self(picture.clone());
        }
        let (width, height) = (picture.width() * scale, picture.height() * scale);
        Self(imageops::resize(
            picture,
            width,
            height,
            FilterType::Nearest,
        ))
    }

    pub(super) fn width(&self) -> u32 {
        self.0.width()
    }

    pub(super) fn height(&self) -> u32 {
        self.0.height()
    }

    pub(super) fn into_image(self) -> RgbImage {
        self.0
    }

    /// Fills an area.
    pub(super) fn fill(&mut self, area: Area, color: Rgb<u8>) {
        for y in area.y..(area.y + area.height).min(self.height()) {
            for x in area.x..(area.x + area.width).min(self.width()) {
                self.0.put_pixel(x, y, color);
            }
        }
    }

    /// Draws the edge of an area, inside it; a black line around sets it off from any background.
    pub(super) fn frame(&mut self, area: Area, thickness: u32, color: Rgb<u8>) {
        let outer = Area {
            x: area.x.saturating_sub(1),
            y: area.y.saturating_sub(1),
            width: area.width + 1 + area.x.min(1),
            height: area.height + 1 + area.y.min(1),
        };
        self.edge(outer, 1, BLACK);
        self.edge(area, thickness, color);
    }

    fn edge(&mut self, area: Area, thickness: u32, color: Rgb<u8>) {
        let t = thickness.min(area.width).min(area.height);
        let horizontal = Area { height: t, ..area };
        let vertical = Area { width: t, ..area };
        let (right, bottom) = (area.x + area.width - t, area.y + area.height - t);
        for line in [
            horizontal,
            Area {
                y: bottom,
                ..horizontal
            },
            vertical,
            Area {
                x: right,
                ..vertical
            },
        ] {
            self.fill(line, color);
        }
    }

    /// Writes a name on a background of this colour, in black or white, whichever can be read.
    pub(super) fn name(&mut self, area: Area, text: &str, font: Font, color: Rgb<u8>) {
        self.fill(area, color);
        let [r, g, b] = color.0.map(u32::from);
        let ink = match 299 * r + 587 * g + 114 * b > 128_000 {
            true => BLACK,
            false => WHITE,
        };
        let style = MonoTextStyle::new(font.glyphs, BinaryColor::On);
        let mut target = Ink {
            canvas: self,
            area,
            block: font.block,
            ink,
        };
        let Ok(_) =
            Text::with_baseline(text, Point::zero(), style, Baseline::Top).draw(&mut target);
    }
}

/// Where the font's pixels go: blocks of ink inside a name's area.
struct Ink<'a> {
    canvas: &'a mut Canvas,
    area: Area,
    block: u32,
    ink: Rgb<u8>,
}

impl OriginDimensions for Ink<'_> {
    fn size(&self) -> Size {
        Size::new(self.area.width / self.block, self.area.height / self.block)
    }
}

impl DrawTarget for Ink<'_> {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Infallible> {
        for Pixel(Point { x, y }, color) in pixels {
            if let (BinaryColor::On, Ok(x), Ok(y)) = (color, u32::try_from(x), u32::try_from(y)) {
                let block = Area {
                    x: self.area.x + (MARGIN + x) * self.block,
                    y: self.area.y + (MARGIN + y) * self.block,
                    width: self.block,
                    height: self.block,
                };
                self.canvas.fill(block, self.ink);
            }
        }
        Ok(())
    }
}
