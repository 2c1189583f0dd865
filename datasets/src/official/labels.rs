//! Object tags of images, as the official label files hold them.

use std::borrow::Cow;
use std::path::Path;

use oscar_files::python::json_text;
use serde::{Deserialize, Deserializer};

use super::KeyIndex;
use super::row::empty_key;
use crate::error::{DatasetError, Result};
use crate::findings::Defect;
use crate::keys::require_common;
use crate::store::Tag;
use crate::tsv::TsvFile;

const FIX: &str = "a label row is `key, [{\"class\", \"rect\", \"conf\"}, …]`, or an object with \
                   that list as \"objects\" beside \"image_h\" and \"image_w\"";

/// What to do about a key that occurs twice.
pub(super) const TWICE: &str = "keys must be unique: remove one of the rows";

/// Which of the lists of objects in a label row are the tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TagChoice {
    /// What the detector found: the list itself, or `objects`.
    #[default]
    Objects,
    /// What people annotated: `gt_objects`, which every row must have.
    GtObjects,
}

/// The content of a label row.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelRow {
    /// The objects, in file order.
    pub tags: Vec<Tag>,
    /// Width and height in pixels, if it says.
    pub size: Option<(u32, u32)>,
}

/// The JSON forms of a label row, with objects of type `T`.
#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct Labels<T> {
    objects: Option<Vec<T>>,
    gt_objects: Option<Vec<T>>,
    image_h: Option<f64>,
    image_w: Option<f64>,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    class: Cow<'a, str>,
    conf: Option<f32>,
    #[serde(default, deserialize_with = "rect")]
    rect: Option<[f32; 4]>,
    // Null where an object has none.
    attributes: Option<Vec<String>>,
    #[serde(borrow, default)]
    feature: Option<Cow<'a, str>>,
}

/// An object with its features, in base64, if its file has them.
pub(crate) struct Detection<'a> {
    pub(crate) tag: Tag,
    pub(crate) feature: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Class<'a> {
    #[serde(borrow)]
    class: Cow<'a, str>,
}

/// Reads the JSON of a label row, whichever of the official forms it has.
///
/// # Errors
/// JSON of another form; no list of the kind of `choice`.
pub fn parse_labels(json: &str, choice: TagChoice) -> Result<LabelRow, Defect> {
    let json = json_text(json);
    let (detections, size) = parse_detections(&json, choice)?;
    let tags = detections
        .into_iter()
        .map(|detection| detection.tag)
        .collect();
    Ok(LabelRow { tags, size })
}

/// The objects in the JSON of a label row with their features, and the image's size.
pub(crate) fn parse_detections(
    json: &str,
    choice: TagChoice,
) -> Result<Objects<Detection<'_>>, Defect> {
    let (objects, size) = parse::<Object<'_>>(json, choice)?;
    let detections = objects.into_iter().map(|object| Detection {
        tag: Tag {
            class: object.class.trim().to_string(),
            score: object.conf.unwrap_or(1.0),
            box_px: object.rect,
            attributes: object.attributes.unwrap_or_default(),
        },
        feature: object.feature,
    });
    Ok((detections.collect(), size))
}

/// The classes in the JSON of a label row, joined by single spaces, in file order.
///
/// # Errors
/// As [`parse_labels`].
pub fn parse_classes(json: &str, choice: TagChoice) -> Result<String, Defect> {
    let json = json_text(json);
    let (objects, _) = parse::<Class<'_>>(&json, choice)?;
    let mut text = String::new();
    for object in objects {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(object.class.trim());
    }
    Ok(text)
}

/// Objects, and width and height of their image.
pub(crate) type Objects<T> = (Vec<T>, Option<(u32, u32)>);

fn parse<'a, T: Deserialize<'a>>(json: &'a str, choice: TagChoice) -> Result<Objects<T>, Defect> {
    let unreadable =
        |error: serde_json::Error| Defect::new(format!("its labels cannot be read ({error})"), FIX);
    if json.trim_start().starts_with('[') {
        return match choice {
            TagChoice::Objects => Ok((serde_json::from_str(json).map_err(unreadable)?, None)),
            TagChoice::GtObjects => Err(lacks("gt_objects")),
        };
    }
    let labels: Labels<T> = serde_json::from_str(json).map_err(unreadable)?;
    let objects = match choice {
        TagChoice::Objects => labels.objects.ok_or_else(|| lacks("objects"))?,
        TagChoice::GtObjects => labels.gt_objects.ok_or_else(|| lacks("gt_objects"))?,
    };
    let size = match (labels.image_w, labels.image_h) {
        (Some(width), Some(height)) => Some((pixels(width)?, pixels(height)?)),
        _ => None,
    };
    Ok((objects, size))
}

fn lacks(list: &str) -> Defect {
    Defect::new(
        format!("its labels have no `{list}`"),
        "choose the other list of objects as tags, or another label file",
    )
}

/// A side of an image: a whole number of pixels.
pub(crate) fn pixels(side: f64) -> Result<u32, Defect> {
    if side >= 1.0 && side <= f64::from(u32::MAX) && side.fract() == 0.0 {
        return Ok(side as u32);
    }
    let found = format!("an image side of {side} pixels");
    Err(Defect::new(
        found,
        "give width and height as whole numbers above 0",
    ))
}

/// A box, which some files give as an empty list where there is none.
fn rect<'de, D: Deserializer<'de>>(input: D) -> Result<Option<[f32; 4]>, D::Error> {
    use serde::de::Error;
    let values: Option<Vec<f32>> = Option::deserialize(input)?;
    match values.as_deref() {
        None | Some([]) => Ok(None),
        Some(&[x1, y1, x2, y2]) => Ok(Some([x1, y1, x2, y2])),
        Some(other) => Err(D::Error::invalid_length(other.len(), &"a rect of 4 values")),
    }
}

/// A label file opened for reading, with its rows found by key.
pub struct LabelFile {
    file: TsvFile,
    keys: KeyIndex,
}

impl LabelFile {
    /// Opens the label file at `path` and reads its keys.
    ///
    /// # Errors
    /// As [`TsvFile::open`]; a row without key, or two with the same.
    pub fn open(path: &Path) -> Result<Self> {
        let file = TsvFile::open(path)?;
        let keys = index_keys(&file)?;
        Ok(Self { file, keys })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Its keys, by row.
    pub fn keys(&self) -> &KeyIndex {
        &self.keys
    }

    /// The row of the image that is called `key`, here or in other files: see [`keys`](crate::keys).
    pub(crate) fn find(&self, key: &str) -> Option<usize> {
        self.keys.find_otherwise(self.path(), key)
    }

    /// Refuses the file if it has none of these images.
    ///
    /// # Errors
    /// If it has none.
    pub(crate) fn require<'a>(&'a self, images: impl Iterator<Item = &'a str>) -> Result<()> {
        let has = |key: &str| self.find(key).is_some();
        require_common(self.path(), self.keys.iter(), images, has)
    }

    /// The content of row `row`.
    ///
    /// # Errors
    /// If the row cannot be read, with file and row.
    pub fn read(&self, row: usize, choice: TagChoice) -> Result<LabelRow> {
        let [_, json] = self.file.first_and_last(row)?;
        parse_labels(json, choice).map_err(|defect| self.located(row, defect))
    }

    /// The content of row `row` for a store, whose tags all have a class.
    ///
    /// # Errors
    /// As [`read`](Self::read); an object without a class.
    pub(crate) fn read_named(&self, row: usize, choice: TagChoice) -> Result<LabelRow> {
        with_classes(self.read(row, choice)?).map_err(|defect| self.located(row, defect))
    }

    /// The classes of row `row`, joined by single spaces, in file order.
    ///
    /// # Errors
    /// If the row cannot be read, with file and row.
    pub fn classes(&self, row: usize, choice: TagChoice) -> Result<String> {
        let [_, json] = self.file.first_and_last(row)?;
        parse_classes(json, choice).map_err(|defect| self.located(row, defect))
    }

    fn located(&self, row: usize, defect: Defect) -> DatasetError {
        let key = self.keys.key(row);
        self.file
            .located(row, defect.within(format_args!("image `{key}`")))
    }
}

/// Refuses an object without a class.
fn with_classes(labels: LabelRow) -> Result<LabelRow, Defect> {
    let mut classes = labels.tags.iter().map(|tag| tag.class.as_str());
    match classes.position(str::is_empty) {
        None => Ok(labels),
        Some(object) => {
            let found = format!("object {object} has no class");
            Err(Defect::new(found, "drop the object or name its class"))
        }
    }
}

/// The keys of a table's rows, each once.
pub(crate) fn index_keys(file: &TsvFile) -> Result<KeyIndex> {
    let index = index_repeated_keys(file)?;
    file.require_tabs()?;
    match index.repeated() {
        None => Ok(index),
        Some((first, second)) => {
            let found = format!(
                "image `{}` is in line {} already",
                index.key(first),
                first + 1
            );
            Err(file.wrong(second, found, TWICE))
        }
    }
}

/// The keys of a table's rows.
pub(super) fn index_repeated_keys(file: &TsvFile) -> Result<KeyIndex> {
    KeyIndex::build(file.len(), |row| row_key(file, row))
}

/// The key of a table's row, without a look at the rest of the row.
pub(super) fn row_key(file: &TsvFile, row: usize) -> Result<&str> {
    match file.first_field(row)? {
        "" => Err(file.located(row, empty_key())),
        key => Ok(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"[{"class": "Dog ", "rect": [1, 1, 30, 40.5], "conf": 0.5, "x": [1], "attributes": null},
                           {"class": "red hat", "rect": [], "attributes": ["red"]}]"#;

    #[test]
    fn every_official_form() {
        let nested = format!(r#"{{"image_h": 480, "image_w": 640.0, "objects": {LIST}}}"#);
        let with_gt = format!(r#"{{"objects": [], "relations": null, "gt_objects": {LIST}}}"#);
        let gt = TagChoice::GtObjects;
        for (json, choice, size) in [
            (LIST, TagChoice::Objects, None),
            (&nested, TagChoice::Objects, Some((640, 480))),
            (&with_gt, gt, None),
        ] {
            let row = parse_labels(json, choice).unwrap();
            assert_eq!(row.size, size);
            let [dog, hat] = &row.tags[..] else {
                panic!("{row:?}")
            };
            assert_eq!((dog.class.as_str(), dog.score), ("Dog", 0.5));
            assert_eq!(dog.box_px, Some([1.0, 1.0, 30.0, 40.5]));
            assert_eq!((hat.score, hat.box_px), (1.0, None));
            assert_eq!(hat.attributes, ["red"]);
            assert_eq!(parse_classes(json, choice).unwrap(), "Dog red hat");
        }
        assert_eq!(parse_classes(&with_gt, TagChoice::Objects).unwrap(), "");
        let printed = "[{'class': 'dog', 'conf': 0.5, 'rect': (1, 1, 30, 40.5), 'x': None}]";
        let quoted =
            "\"[{\"\"class\"\": \"\"dog\"\", \"\"conf\"\": 0.5, \"\"rect\"\": [1, 1, 30, 40.5]}]\"";
        for json in [printed, quoted] {
            let row = parse_labels(json, TagChoice::Objects).unwrap();
            assert_eq!(row.tags[0].box_px, Some([1.0, 1.0, 30.0, 40.5]));
            assert_eq!(parse_classes(json, TagChoice::Objects).unwrap(), "dog");
        }
    }

    #[test]
    fn other_json() {
        let objects = TagChoice::Objects;
        for (json, choice, wanted) in [
            ("", objects, "cannot be read"),
            (r#"[{"conf": 1}]"#, objects, "missing field `class`"),
            (
                r#"[{"class": "a", "rect": [1, 2, 3]}]"#,
                objects,
                "a rect of 4 values",
            ),
            (r#"{"gt_objects": []}"#, objects, "no `objects`"),
            (r#"[]"#, TagChoice::GtObjects, "no `gt_objects`"),
            (
                r#"{"objects": [], "image_h": 0, "image_w": 5}"#,
                objects,
                "side of 0 pixels",
            ),
            (
                r#"{"objects": [], "image_h": 1.5, "image_w": 5}"#,
                objects,
                "side of 1.5 pixels",
            ),
        ] {
            let found = parse_labels(json, choice).unwrap_err().found;
            assert!(found.contains(wanted), "{json}: {found}");
        }
    }
}
