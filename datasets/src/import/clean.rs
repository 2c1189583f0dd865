//! Fits boxes into their images, and counts what had to be changed.

use oscar_core::input::RegionLabels;
use serde::{Deserialize, Serialize};

use super::source::{SourceBoxes, SourceImage};
use crate::boxes::{Fit, check_shares, fit};
use crate::findings::Defect;
use crate::store::{Boxes, ImageRegions, Tag};

const GIVE_SIZE: &str = "give the size of the image, in `sizes`";
const GIVE_BOXES: &str =
    "give the label file of the same detector, one object a region, as `labels`";
const OTHER_SIZE: &str = "check that boxes and size belong to one image and one scale; `clip` sets \
                          how many pixels outside it are allowed";

/// What was imported, and what had to be changed on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Images stored.
    pub images: usize,
    /// Regions stored.
    pub regions: usize,
    /// Object tags stored.
    pub tags: usize,
    /// Images without any region.
    pub images_without_regions: usize,
    /// Images for which no label file or field has tags.
    pub images_without_tags: usize,
    /// Images whose size is not known.
    pub images_without_size: usize,
    /// Regions whose box reached outside the image by rounding, and was clipped.
    pub regions_clipped: usize,
    /// Regions left out because their box has no area in the image.
    pub regions_dropped: usize,
    /// Tags whose box was clipped.
    pub tag_boxes_clipped: usize,
    /// Tags stored without their box, which has no area in the image or is far outside it.
    pub tag_boxes_dropped: usize,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.images += other.images;
        self.regions += other.regions;
        self.tags += other.tags;
        self.images_without_regions += other.images_without_regions;
        self.images_without_tags += other.images_without_tags;
        self.images_without_size += other.images_without_size;
        self.regions_clipped += other.regions_clipped;
        self.regions_dropped += other.regions_dropped;
        self.tag_boxes_clipped += other.tag_boxes_clipped;
        self.tag_boxes_dropped += other.tag_boxes_dropped;
    }
}

/// What to do with boxes that do not fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BoxRules {
    /// How many pixels a box may reach outside the image, to be clipped.
    pub(super) clip: f32,
    /// Refuse an image rather than change it.
    pub(super) strict: bool,
}

/// An image that fits a store.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CleanImage {
    image: SourceImage,
    tags: Vec<Tag>,
    pub(super) counts: Counts,
}

impl CleanImage {
    /// Fits `image` into its size.
    ///
    /// # Errors
    /// A region without box, a box in pixels of an image of unknown size, a box that is inverted,
    /// not finite, or further outside than the rules allow, six values of a box that are no shares
    /// of an image; with `strict`, any box that does not fit.
    pub(super) fn new(mut image: SourceImage, rules: BoxRules) -> Result<Self, Defect> {
        let mut counts = Counts {
            images: 1,
            images_without_size: usize::from(image.size.is_none()),
            images_without_tags: usize::from(image.tags.is_none()),
            ..Counts::default()
        };
        fit_regions(&mut image, rules, &mut counts)?;
        counts.regions = image.boxes.len();
        counts.images_without_regions = usize::from(image.boxes.is_empty());
        let mut tags = image.tags.take().unwrap_or_default();
        for tag in &mut tags {
            fit_tag(tag, image.size, rules, &mut counts)
                .map_err(|defect| defect.within(format_args!("tag `{}`", tag.class)))?;
        }
        counts.tags = tags.len();
        Ok(Self {
            image,
            tags,
            counts,
        })
    }

    /// The classes of its regions.
    pub(super) fn labels(&self) -> Option<&RegionLabels> {
        self.image.labels.as_ref()
    }

    /// The image, to be stored.
    pub(super) fn regions(&self) -> ImageRegions<'_> {
        let (width, height) = self.image.size.unwrap_or_default();
        ImageRegions {
            key: &self.image.key,
            width,
            height,
            features: &self.image.features,
            boxes: match &self.image.boxes {
                SourceBoxes::Pixels(boxes) => Boxes::Pixels(boxes),
                SourceBoxes::Relative(boxes) => Boxes::Relative(boxes),
                SourceBoxes::Missing(_) => Boxes::Relative(&[]),
            },
            tags: &self.tags,
        }
    }
}

fn fit_regions(
    image: &mut SourceImage,
    rules: BoxRules,
    counts: &mut Counts,
) -> Result<(), Defect> {
    let boxes = match &mut image.boxes {
        SourceBoxes::Relative(boxes) => return check_shares(boxes.iter().map(|b| &b[..])),
        SourceBoxes::Missing(0) => return Ok(()),
        SourceBoxes::Missing(regions) => {
            let found = format!("{regions} regions without boxes");
            return Err(Defect::new(found, GIVE_BOXES));
        }
        SourceBoxes::Pixels(boxes) => boxes,
    };
    if boxes.is_empty() {
        return Ok(());
    }
    let Some((width, height)) = image.size else {
        let found = "its boxes are in pixels, and its size is not known";
        return Err(Defect::new(found, GIVE_SIZE));
    };
    if width.min(height) > 1 && boxes.as_flattened().iter().all(|v| (0.0..=1.0).contains(v)) {
        let found = format!("no box has a side over one of {width}x{height} pixels");
        let fix = "boxes that are shares of the image have six values, or must be multiplied by \
                   its size";
        return Err(Defect::new(found, fix));
    }
    let dim = image.features.len() / boxes.len();
    let (mut kept, mut stays) = (0, vec![false; boxes.len()]);
    for region in 0..boxes.len() {
        let b = boxes[region];
        let refuse = |found: String, fix| {
            Err(Defect::new(found, fix).within(format_args!("region {region}")))
        };
        let inside = match fit(b, width, height, rules.clip) {
            Err(found) => return refuse(found, OTHER_SIZE),
            Ok(Fit::Inside) => b,
            Ok(other) if rules.strict => return refuse(other.describe(b, width, height), STRICT),
            Ok(Fit::Clipped(inside)) => {
                counts.regions_clipped += 1;
                inside
            }
            Ok(Fit::Empty) => {
                counts.regions_dropped += 1;
                continue;
            }
        };
        boxes[kept] = inside;
        image
            .features
            .copy_within(region * dim..(region + 1) * dim, kept * dim);
        stays[region] = true;
        kept += 1;
    }
    boxes.truncate(kept);
    image.features.truncate(kept * dim);
    if let Some(labels) = image.labels.as_mut().filter(|_| kept < stays.len()) {
        keep(&mut labels.objects, &stays);
        keep(&mut labels.object_scores, &stays);
        keep(&mut labels.attributes, &stays);
        keep(&mut labels.attribute_scores, &stays);
    }
    Ok(())
}

/// Leaves out what regions have that do not stay; of nothing, as of missing attributes, nothing.
fn keep<T>(values: &mut Vec<T>, stays: &[bool]) {
    let mut stays = stays.iter();
    values.retain(|_| stays.next().is_some_and(|stays| *stays));
}

const STRICT: &str = "without `strict` such boxes are clipped or left out, and counted";

/// Boxes of tags are not trained on: one that does not fit is left out, the tag stays.
fn fit_tag(
    tag: &mut Tag,
    size: Option<(u32, u32)>,
    rules: BoxRules,
    counts: &mut Counts,
) -> Result<(), Defect> {
    let Some(b) = tag.box_px else {
        return Ok(());
    };
    // Without a size there is no limit to the right and below.
    let (width, height) = size.unwrap_or((u32::MAX, u32::MAX));
    let fitted = fit(b, width, height, rules.clip);
    match fitted {
        Ok(Fit::Inside) => {}
        Err(found) if rules.strict => return Err(Defect::new(found, OTHER_SIZE)),
        Ok(other) if rules.strict => {
            return Err(Defect::new(other.describe(b, width, height), STRICT));
        }
        Ok(Fit::Clipped(inside)) => {
            counts.tag_boxes_clipped += 1;
            tag.box_px = Some(inside);
        }
        Ok(Fit::Empty) | Err(_) => {
            counts.tag_boxes_dropped += 1;
            tag.box_px = None;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: BoxRules = BoxRules {
        clip: 2.0,
        strict: false,
    };
    const STRICTLY: BoxRules = BoxRules {
        clip: 2.0,
        strict: true,
    };

    fn image(boxes: &[[f32; 4]]) -> SourceImage {
        SourceImage {
            key: "k".into(),
            size: Some((100, 50)),
            features: (0..2 * boxes.len()).map(|v| v as f32).collect(),
            boxes: SourceBoxes::Pixels(boxes.to_vec()),
            tags: None,
            labels: None,
        }
    }

    fn tag(box_px: [f32; 4]) -> Tag {
        Tag {
            class: "dog".into(),
            score: 1.0,
            box_px: Some(box_px),
            attributes: vec![],
        }
    }

    #[test]
    fn regions_are_clipped_and_dropped_together_with_their_features() {
        let boxes = [
            [0.0, 0.0, 101.0, 50.0],
            [5.0, 5.0, 5.0, 9.0],
            [1.0, 1.0, 2.0, 2.0],
        ];
        let clean = CleanImage::new(image(&boxes), RULES).unwrap();
        let counts = clean.counts;
        assert_eq!((counts.regions, counts.regions_clipped), (2, 1));
        assert_eq!((counts.regions_dropped, counts.images_without_tags), (1, 1));
        let stored = clean.regions();
        assert_eq!(stored.features, [0.0, 1.0, 4.0, 5.0]);
        let Boxes::Pixels(stored) = stored.boxes else {
            panic!("{stored:?}")
        };
        assert_eq!(stored, [[0.0, 0.0, 100.0, 50.0], [1.0, 1.0, 2.0, 2.0]]);

        for (boxes, why) in [
            (
                &boxes[..1],
                "region 0: box [0.0, 0.0, 101.0, 50.0] reaches outside",
            ),
            (
                &boxes[1..],
                "region 0: box [5.0, 5.0, 5.0, 9.0] has no area",
            ),
        ] {
            let found = CleanImage::new(image(boxes), STRICTLY).unwrap_err();
            assert!(found.found.contains(why) && found.fix == STRICT, "{found}");
        }
    }

    #[test]
    fn boxes_that_cannot_be_right() {
        let found = |image| CleanImage::new(image, RULES).unwrap_err().to_string();
        let far = found(image(&[[1.0, 1.0, 2.0, 2.0], [0.0, 0.0, 300.0, 9.0]]));
        assert!(
            far.contains("region 1") && far.contains("200 pixels outside"),
            "{far}"
        );
        let shares = found(image(&[[0.0, 0.1, 0.5, 1.0]]));
        assert!(shares.contains("no box has a side over one"), "{shares}");
        let six = |b| SourceImage {
            boxes: SourceBoxes::Relative(vec![[0.0, 0.1, 0.5, 1.01, 0.5, 0.9], b]),
            ..image(&[])
        };
        let pixels = found(six([10.0, 20.0, 60.0, 30.0, 50.0, 10.0]));
        assert!(
            pixels.contains("region 1: box [10.0") && pixels.contains("not shares"),
            "{pixels}"
        );
        assert!(CleanImage::new(six([-0.1, 0.0, 1.2, 1.0, 1.3, 1.0]), RULES).is_ok());
        let unknown = found(SourceImage {
            size: None,
            ..image(&[[1.0, 1.0, 9.0, 9.0]])
        });
        assert!(unknown.contains("its size is not known"), "{unknown}");
        let missing = found(SourceImage {
            boxes: SourceBoxes::Missing(3),
            ..image(&[])
        });
        assert!(missing.contains("3 regions without boxes"), "{missing}");
    }

    #[test]
    fn tags_keep_their_class_when_their_box_does_not_fit() {
        let boxes = [
            [1.0, 1.0, 9.0, 9.0],
            [-1.0, 0.0, 9.0, 9.0],
            [0.0, 0.0, 500.0, 9.0],
        ];
        let tagged = SourceImage {
            tags: Some(boxes.map(tag).to_vec()),
            ..image(&[])
        };
        let clean = CleanImage::new(tagged.clone(), RULES).unwrap();
        let stored: Vec<_> = clean.tags.iter().map(|tag| tag.box_px).collect();
        assert_eq!(stored, [Some(boxes[0]), Some([0.0, 0.0, 9.0, 9.0]), None]);
        let counts = clean.counts;
        assert_eq!((counts.tags, counts.images_without_tags), (3, 0));
        assert_eq!((counts.tag_boxes_clipped, counts.tag_boxes_dropped), (1, 1));
        let found = CleanImage::new(tagged.clone(), STRICTLY)
            .unwrap_err()
            .to_string();
        assert!(found.contains("tag `dog`: box [-1.0, 0.0"), "{found}");
        let sizeless = SourceImage {
            size: None,
            ..tagged
        };
        let clean = CleanImage::new(sizeless, RULES).unwrap();
        assert_eq!(clean.tags[2].box_px, Some(boxes[2]));
    }
}
