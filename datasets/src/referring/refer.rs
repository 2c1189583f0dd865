//! The files of REFER: references as a pickle, boxes in the `instances.json` of COCO's form.
//!
//! `refs(UNC).p` is a list of `{"ref_id", "ann_id", "image_id", "split", "sentences": [{"sent_id",
//! "sent"}]}`; each sentence is an expression.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use oscar_files::open_regular;
use oscar_files::pytorch::{Dict, TorchFile, Value};
use serde::Deserialize;

use super::ExpressionFiles;
use super::expression::{Expression, corners, size};
use crate::error::{DatasetError, Result};
use crate::findings::{Defect, Kind, Problem, Problems};
use crate::records::Records;

const INSTANCES: &str = "instances.json";

const FIX: &str = "give a file of REFER: a list of references with `sentences` and `ann_id`";

/// The lists of an `instances.json` that are read.
const LISTS: &[&str] = &["images", "annotations"];

/// What a pickle holds.
pub(super) struct References {
    pub(super) rows: Vec<(usize, Expression)>,
    /// In the order in which they occur.
    pub(super) splits: Vec<String>,
}

/// Whether `path` is a pickle, of Python 3 or, in text form, of Python 2.
pub(super) fn is_pickle(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    let (file, _) = open_regular(path)?;
    file.take(4)
        .read_to_end(&mut start)
        .map_err(DatasetError::io("read", path))?;
    Ok(matches!(
        start[..],
        [0x80, 2..=5, ..] | [b'(', b'l', b'p', ..] | [b']', b'q', ..]
    ))
}

/// An image of the data set.
#[derive(Deserialize)]
struct Picture {
    id: i64,
    width: Option<f64>,
    height: Option<f64>,
}

/// A thing in an image.
#[derive(Deserialize)]
struct Instance {
    id: i64,
    bbox: [f32; 4],
}

/// Boxes of things and sizes of images, by their numbers.
#[derive(Default)]
struct Instances {
    path: PathBuf,
    boxes: HashMap<i64, [f32; 4]>,
    sizes: HashMap<i64, (u32, u32)>,
}

impl Instances {
    fn open(path: PathBuf, problems: &mut Problems) -> Result<Self> {
        let mut found = Self::default();
        let mut records = Records::open(&path, LISTS)?;
        while let Some(record) = records.next()? {
            let (list, number) = (record.list, record.number);
            let read = match list {
                Some("images") => record.parse().and_then(|picture: Picture| {
                    let size = size(picture.width, picture.height)?;
                    found.sizes.extend(size.map(|size| (picture.id, size)));
                    Ok(())
                }),
                _ => record.parse().map(|instance: Instance| {
                    found.boxes.insert(instance.id, corners(instance.bbox));
                }),
            };
            if let Err(defect) = read {
                let defect = defect.within(list.unwrap_or("annotations"));
                problems.at_line(&path, number, defect);
            }
        }
        if found.boxes.is_empty() {
            let wrong = "it has no `annotations`";
            let fix = "give the instances.json of the same data set";
            return Err(DatasetError::malformed(&path, wrong, fix));
        }
        found.path = path;
        Ok(found)
    }
}

/// Reads the pickle and the boxes.
pub(super) fn read(files: &ExpressionFiles<'_>, problems: &mut Problems) -> Result<References> {
    let path = files.path;
    let malformed = |found: String| DatasetError::malformed(path, found, FIX);
    let file = TorchFile::open(path).map_err(|error| malformed(error.to_string()))?;
    let list = file.value().as_slice();
    let list = list.ok_or_else(|| malformed(format!("it holds a {}", file.value().type_name())))?;
    let beside = || path.with_file_name(INSTANCES);
    let instances = files.instances.map_or_else(beside, Path::to_path_buf);
    let instances = Instances::open(instances, problems)?;
    let mut found = References {
        rows: Vec::new(),
        splits: Vec::new(),
    };
    for (at, value) in list.iter().enumerate() {
        let reference = Reference::of(value).and_then(|reference| {
            if !found.splits.iter().any(|known| known == reference.split) {
                found.splits.push(reference.split.into());
            }
            let wanted = files.split.is_none_or(|wanted| wanted == reference.split);
            match wanted {
                true => reference.expressions(&instances),
                false => Ok(Vec::new()),
            }
        });
        match reference {
            Ok(expressions) => found
                .rows
                .extend(expressions.into_iter().map(|row| (at + 1, row))),
            Err(defect) => {
                let name = format!("reference {}", at + 1);
                problems.push(Problem::of_key(path, name, defect));
            }
        }
    }
    Ok(found)
}

/// A reference: a thing, and the sentences that mean it.
struct Reference<'a> {
    split: &'a str,
    annotation: i64,
    image: i64,
    sentences: &'a [Value],
}

impl<'a> Reference<'a> {
    fn of(value: &'a Value) -> Result<Self, Defect> {
        let fields = dict(value)?;
        let sentences = field(fields, "sentences", Value::as_slice)?;
        Ok(Self {
            split: field(fields, "split", Value::as_str)?,
            annotation: field(fields, "ann_id", Value::as_i64)?,
            image: field(fields, "image_id", Value::as_i64)?,
            sentences,
        })
    }

    fn expressions(&self, instances: &Instances) -> Result<Vec<Expression>, Defect> {
        let annotation = self.annotation;
        let box_px = instances.boxes.get(&annotation).copied().ok_or_else(|| {
            let path = instances.path.display();
            let found = format!("annotation {annotation} is not in {path}");
            Defect::of(Kind::OrphanAnnotation, found)
                .fix("give the instances.json of the same data set")
        })?;
        let expression = |value| {
            let fields = dict(value)?;
            let text = field(fields, "sent", Value::as_str)?;
            Ok(Expression {
                id: Some(field(fields, "sent_id", Value::as_i64)?.to_string()),
                image: self.image.to_string(),
                expression: text.into(),
                tags: None,
                box_px: Some(box_px),
                size: instances.sizes.get(&self.image).copied(),
            })
        };
        self.sentences.iter().map(expression).collect()
    }
}

fn dict(value: &Value) -> Result<&Dict, Defect> {
    let found = || format!("a {} instead of a dict", value.type_name());
    value.as_dict().ok_or_else(|| Defect::new(found(), FIX))
}

fn field<'a, T>(
    fields: &'a Dict,
    name: &str,
    read: fn(&'a Value) -> Option<T>,
) -> Result<T, Defect> {
    let value = fields.get(name);
    let value = value.ok_or_else(|| Defect::new(format!("no `{name}`"), FIX))?;
    let found = || format!("`{name}` is a {}", value.type_name());
    read(value).ok_or_else(|| Defect::new(found(), FIX))
}
