//! The marks of an image: its regions and its object tags.

use super::{Mark, color};
use crate::store::Tag;

/// Frame of a region beside tags, which have the colours.
const GREY: [u8; 3] = [200; 3];

/// Boxes whose corners differ by less, in pixels, are one and the same.
const SAME: f32 = 1.0;

/// The marks of an image with these regions (boxes in pixels) and tags: a colour for each class of
/// tags; regions by their numbers, thin beside tags; one mark where a tag's box is a region's.
pub fn marks(regions: &[[f32; 4]], tags: &[Tag]) -> Vec<Mark> {
    let mut classes: Vec<&str> = Vec::new();
    let mut shown = vec![false; regions.len()];
    let mut marks = Vec::new();
    for tag in tags {
        let Some(box_px) = tag.box_px else {
            continue;
        };
        let class = match classes.iter().position(|class| *class == tag.class) {
            Some(class) => class,
            None => {
                classes.push(&tag.class);
                classes.len() - 1
            }
        };
        // Two tags may name one region, whose number is given with the first of them.
        let region = (0..regions.len()).find(|&r| !shown[r] && same(&regions[r], &box_px));
        let number = region.map_or_else(String::new, |region| {
            shown[region] = true;
            format!("{region} ")
        });
        marks.push(Mark {
            box_px,
            color: color(class),
            name: format!("{number}{}{}", tag.class, score(tag.score)),
            thin: false,
        });
    }
    let alone = marks.is_empty();
    for (region, box_px) in regions.iter().enumerate() {
        if !shown[region] {
            marks.push(Mark {
                box_px: *box_px,
                color: if alone { color(region) } else { GREY },
                name: region.to_string(),
                thin: !alone,
            });
        }
    }
    marks
}

fn same(a: &[f32; 4], b: &[f32; 4]) -> bool {
    a.iter().zip(b).all(|(a, b)| (a - b).abs() < SAME)
}

/// The score, unless it is certain.
fn score(score: f32) -> String {
    match score {
        1.0 => String::new(),
        score => format!(" {score:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(class: &str, score: f32, box_px: Option<[f32; 4]>) -> Tag {
        Tag {
            class: class.into(),
            score,
            box_px,
            attributes: vec![],
        }
    }

    #[test]
    fn tags_and_regions_are_told_apart() {
        let regions = [[0., 0., 10., 10.], [5., 5., 9., 9.], [1., 1., 3., 3.]];
        let tags = [
            tag("dog", 0.931, Some([5.2, 5.0, 9.0, 9.0])),
            tag("sky", 1.0, None),
            tag("cat", 1.0, Some([0., 0., 10., 10.])),
            tag("dog", 0.5, Some([5.0, 5.0, 9.0, 9.0])),
        ];
        let found = marks(&regions, &tags);
        let names: Vec<&str> = found.iter().map(|mark| &mark.name[..]).collect();
        assert_eq!(names, ["1 dog 0.93", "0 cat", "dog 0.50", "2"]);
        assert_eq!(found[0].color, found[2].color);
        assert_ne!(found[0].color, found[1].color);
        assert_eq!((found[3].color, found[3].thin), (GREY, true));
        assert!(!found[0].thin);

        let untagged = marks(&regions, &tags[1..2]);
        assert_eq!(untagged.len(), 3);
        assert_ne!(untagged[0].color, untagged[1].color);
        assert!(!untagged[0].thin);
    }
}
