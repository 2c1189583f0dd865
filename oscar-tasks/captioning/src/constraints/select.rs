//! Selects the detected objects that a caption must name.

use super::boxes::DetectedBox;
use super::hierarchy::Hierarchy;

/// Most constraints of an image: each one doubles the states.
pub const MAX_CONSTRAINTS: usize = 3;

/// Boxes that overlap more than this (intersection over union) are the same object.
const SAME_OBJECT: f64 = 0.85;

/// Classes that captions do not name, or name anyway.
const UNNAMED: [&str; 40] = [
    "__background__",
    "auto part",
    "bathroom accessory",
    "bicycle wheel",
    "boy",
    "building",
    "clothing",
    "door handle",
    "fashion accessory",
    "footwear",
    "girl",
    "hiking equipment",
    "human arm",
    "human beard",
    "human body",
    "human ear",
    "human eye",
    "human face",
    "human foot",
    "human hair",
    "human hand",
    "human head",
    "human leg",
    "human mouth",
    "human nose",
    "land vehicle",
    "mammal",
    "man",
    "person",
    "personal care",
    "plant",
    "plumbing fixture",
    "seat belt",
    "skull",
    "sports equipment",
    "tire",
    "tree",
    "vehicle registration plate",
    "wheel",
    "woman",
];

/// The names of classes in captions.
const RENAMED: [(&str, &str); 6] = [
    ("band-aid", "bandaid"),
    ("kitchen & dining room table", "table"),
    ("luggage and bags", "luggage"),
    ("power plugs and sockets", "power plugs"),
    ("salt and pepper shakers", "salt and pepper"),
    ("wood-burning stove", "wood burning stove"),
];

/// Chooses constraints among detected boxes.
#[derive(Clone, Debug)]
pub struct BoxFilter {
    hierarchy: Hierarchy,
    official: bool,
}

impl BoxFilter {
    /// A filter with this hierarchy. With `official` no box hides another (the condition under which
    /// the official code drops one never holds).
    pub fn new(hierarchy: Hierarchy, official: bool) -> Self {
        Self {
            hierarchy,
            official,
        }
    }

    /// At most three class names, each once, of the objects with the highest confidence.
    ///
    /// Of two boxes around the same object, the one of the more specific class is kept.
    pub fn select(&self, found: &[DetectedBox]) -> Vec<String> {
        let named = found
            .iter()
            .filter(|found| found.conf > 0.0 && !UNNAMED.contains(&found.class.as_str()));
        let mut named: Vec<(usize, &DetectedBox)> = named
            .map(|found| (self.hierarchy.height(&found.class, self.official), found))
            .collect();
        named.sort_by_key(|(height, _)| *height);
        let mut kept: Vec<(usize, &DetectedBox)> = Vec::new();
        for (height, found) in named {
            let shadowed = |(finer, other): &(usize, &DetectedBox)| {
                let same = overlap(&other.rect, &found.rect) > SAME_OBJECT;
                !self.official && *finer < height && same
            };
            if !kept.iter().any(shadowed) {
                kept.push((height, found));
            }
        }
        kept.sort_by(|(_, a), (_, b)| b.conf.total_cmp(&a.conf));
        kept.truncate(MAX_CONSTRAINTS);
        let mut names: Vec<String> = Vec::new();
        for (_, found) in kept {
            let renamed = RENAMED.iter().find(|(class, _)| *class == found.class);
            let name = renamed.map_or(found.class.as_str(), |(_, name)| name);
            if !names.iter().any(|known| known == name) {
                names.push(name.to_string());
            }
        }
        names
    }
}

/// Intersection over union of boxes whose last pixels belong to them.
fn overlap(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let area = |r: &[f64; 4]| (r[2] - r[0] + 1.0) * (r[3] - r[1] + 1.0);
    let width = (a[2].min(b[2]) - a[0].max(b[0]) + 1.0).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1]) + 1.0).max(0.0);
    let both = width * height;
    both / (area(a) + area(b) - both)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = r#"{"LabelName": "Entity", "Subcategory": [
        {"LabelName": "Animal", "Subcategory": [{"LabelName": "Dog"}, {"LabelName": "Cat"}]},
        {"LabelName": "Hot dog"}, {"LabelName": "Band-aid"}]}"#;

    fn filter(official: bool) -> BoxFilter {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hierarchy.json");
        std::fs::write(&path, TREE).unwrap();
        BoxFilter::new(Hierarchy::read(&path).unwrap(), official)
    }

    fn found(class: &str, conf: f64, x: f64) -> DetectedBox {
        DetectedBox {
            rect: [x, 0.0, x + 99.0, 99.0],
            class: class.into(),
            conf,
        }
    }

    #[test]
    fn particular_classes_hide_general_ones_in_the_same_place() {
        let filter = filter(false);
        let select = |boxes: &[DetectedBox]| filter.select(boxes);
        let same = [found("animal", 0.9, 0.0), found("dog", 0.5, 2.0)];
        assert_eq!(select(&same), ["dog"]);
        assert_eq!(self::filter(true).select(&same), ["animal", "dog"]);
        let apart = [found("animal", 0.9, 0.0), found("dog", 0.5, 60.0)];
        assert_eq!(select(&apart), ["animal", "dog"]);
        // Equally particular ones stay.
        let both = [found("cat", 0.4, 0.0), found("dog", 0.5, 0.0)];
        assert_eq!(select(&both), ["dog", "cat"]);
    }

    #[test]
    fn the_most_confident_three_are_selected() {
        let boxes = [
            found("person", 0.99, 0.0),
            found("zebra", 0.2, 0.0),
            found("dog", 0.5, 300.0),
            found("dog", 0.6, 600.0),
            found("band-aid", 0.7, 900.0),
            found("cat", 0.0, 1200.0),
        ];
        // Three boxes, two of them dogs; people are never constraints, nor is a confidence of 0.
        assert_eq!(filter(false).select(&boxes), ["bandaid", "dog"]);
        assert!(filter(false).select(&[]).is_empty());
    }

    #[test]
    fn heights() {
        let hierarchy = filter(false).hierarchy;
        let exact = |class| hierarchy.height(class, false);
        assert_eq!(
            [
                exact("entity"),
                exact("animal"),
                exact("dog"),
                exact("zebra")
            ],
            [2, 1, 0, 0]
        );
        // `dog` is part of the name, and comes first.
        assert_eq!(hierarchy.height("animal dog", true), 1);
    }
}
