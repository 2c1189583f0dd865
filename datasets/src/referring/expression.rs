//! A row: an expression and the box it means.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::boxes::{CLIP, Fit, fit};
use crate::findings::{Counts, Defect, Kind};
use crate::images::ImageSource;
use crate::rows::{Key, Row, has_words};

/// Larger sides are damage: pictures have some thousand pixels.
const MOST_PIXELS: u32 = 1 << 20;

/// The size of an image that is not known.
const LARGEST: (u32, u32) = (MOST_PIXELS, MOST_PIXELS);

const OTHER_PICTURE: &str = "check that the box and the image belong together, and that the values \
                             are x1, y1, x2, y2 in pixels";

/// An expression, and the box of what it means.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "Fields")]
pub struct Expression {
    /// Its published name, if it has one.
    pub id: Option<String>,
    /// Key of the image.
    pub image: String,
    /// The text.
    pub expression: String,
    /// Object tags instead of those stored with the image.
    pub tags: Option<String>,
    /// x1, y1, x2, y2 in pixels, if it is known what is meant.
    pub box_px: Option<[f32; 4]>,
    /// Width and height of the image in pixels, if the annotation has them.
    pub size: Option<(u32, u32)>,
}

/// Every key of both forms.
#[derive(Deserialize)]
#[serde(expecting = "an object such as {\"image\": …, \"expression\": …, \"box\": …}")]
struct Fields {
    image: Option<Key>,
    expression: Option<String>,
    #[serde(rename = "box")]
    box_px: Option<[f32; 4]>,
    width: Option<f64>,
    height: Option<f64>,
    tags: Option<String>,
    id: Option<Key>,
    // ROSITA's.
    text: Option<String>,
    text_id: Option<Key>,
    img_file: Option<Key>,
    img_id: Option<Key>,
    gt_boxes: Option<[f32; 4]>,
    image_h: Option<f64>,
    image_w: Option<f64>,
    #[serde(flatten)]
    others: BTreeMap<String, IgnoredAny>,
}

impl TryFrom<Fields> for Expression {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, String> {
        if let (Some(text), Some(image)) = (fields.text, fields.img_file.or(fields.img_id)) {
            return Ok(Self {
                id: fields.text_id.map(|id| id.0),
                image: image.0,
                expression: text,
                tags: None,
                box_px: fields.gt_boxes.map(corners),
                size: size(fields.image_w, fields.image_h)?,
            });
        }
        if let Some(unknown) = fields.others.keys().next() {
            return Err(format!(
                "unknown key `{unknown}`; a row has `image`, `expression`, `box`, and optionally \
                 `width`, `height`, `tags` and `id`"
            ));
        }
        Ok(Self {
            id: fields.id.map(|id| id.0),
            image: fields.image.ok_or("no `image`; name the image's key")?.0,
            expression: fields.expression.ok_or("no `expression`; write it")?,
            tags: fields.tags,
            box_px: fields.box_px,
            size: size(fields.width, fields.height)?,
        })
    }
}

/// x1, y1, x2, y2 of x, y, width, height.
pub(super) fn corners([x, y, width, height]: [f32; 4]) -> [f32; 4] {
    [x, y, x + width, y + height]
}

/// Width and height, of which both are given or none.
pub(super) fn size(width: Option<f64>, height: Option<f64>) -> Result<Option<(u32, u32)>, String> {
    let side = |side: f64| {
        let whole = side >= 1.0 && side.fract() == 0.0 && side <= f64::from(MOST_PIXELS);
        match whole {
            true => Ok(side as u32),
            false => Err(format!("an image of {side} pixels")),
        }
    };
    match (width, height) {
        (None, None) => Ok(None),
        (Some(width), Some(height)) => Ok(Some((side(width)?, side(height)?))),
        _ => Err("one of width and height without the other; give both".into()),
    }
}

impl Expression {
    /// The size of its image, of `images` where the annotation has none.
    pub fn image_size(&self, images: &dyn ImageSource, row: usize) -> Option<(u32, u32)> {
        self.size.or_else(|| images.image_size(row))
    }

    /// Checks the box against the size of its image, or, where that is not known, against any.
    fn check_box(&self, size: Option<(u32, u32)>) -> Result<(), Defect> {
        let Some(b) = self.box_px else {
            return Ok(());
        };
        let wrong = |found| Defect::of(Kind::Box, found).fix(OTHER_PICTURE);
        let (width, height) = size.unwrap_or(LARGEST);
        let most = width as f32 + CLIP;
        if size.is_none() && b.iter().any(|v| !(-CLIP..=most).contains(v)) {
            let found = format!("box {b:?} is in no picture");
            return Err(wrong(found));
        }
        match (fit(b, width, height, CLIP).map_err(wrong)?, size) {
            // Nobody means a part of the first pixel.
            (Fit::Inside, _) if b.iter().all(|side| *side <= 1.0) => {
                let found =
                    format!("box {b:?} is within one pixel; are its values shares of the image?");
                Err(Defect::of(Kind::Box, found).fix("multiply them by its width and height"))
            }
            (Fit::Inside | Fit::Clipped(_), _) => Ok(()),
            (empty @ Fit::Empty, Some(_)) => Err(wrong(empty.describe(b, width, height))),
            (Fit::Empty, None) => Err(wrong(format!("box {b:?} has no area"))),
        }
    }
}

impl Row for Expression {
    const LABEL: &'static str = "box";

    fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn is_labelled(&self) -> bool {
        self.box_px.is_some()
    }

    fn check(&self, _: &Self) -> Result<(), Defect> {
        has_words("expression", &self.expression)?;
        self.check_box(self.size)
    }

    fn find_images(&self, images: &dyn ImageSource, found: &mut Vec<usize>) -> Result<(), Defect> {
        let row = images.require(&self.image)?;
        match (self.size, images.image_size(row)) {
            (Some(own), Some(stored)) if own != stored => {
                let found = format!(
                    "an image of {}x{} pixels, but its regions are of one of {}x{}",
                    own.0, own.1, stored.0, stored.1
                );
                return Err(Defect::of(Kind::Mismatch, found).fix(OTHER_PICTURE));
            }
            // A box that is wrong in any image has been reported.
            _ if self.check_box(None).is_err() => {}
            (None, stored @ Some(_)) => self.check_box(stored)?,
            (None, None) if self.box_px.is_some() => {
                let found = "a box in pixels, but the size of the image is not known";
                let fix = "give `width` and `height`";
                return Err(Defect::of(Kind::Box, found).fix(fix));
            }
            _ => {}
        }
        found.push(row);
        Ok(())
    }

    fn count(&self, counts: &mut Counts) {
        counts.add_words(&self.expression);
    }
}
