//! Names of the classes that detectors give by number.

use std::path::Path;
use std::sync::Arc;

use oscar_core::input::{LabelNames, RegionLabels};
use oscar_files::{SMALL_FILE, read_text};

use super::matrix::Matrix;
use super::source::SourceBoxes;
use crate::error::Result;
use crate::findings::Defect;
use crate::store::Tag;

const NAMES: &str = "a vocabulary has one name a line and nothing else: a class has the number of its line, \
                     from 0";

/// Names of classes and attributes; without them, files that give numbers have no tags.
#[derive(Clone, Debug, Default)]
pub struct Vocabularies {
    /// Class names, by number.
    pub classes: Option<Vec<String>>,
    /// Attribute names, by number.
    pub attributes: Option<Vec<String>>,
}

/// Classes, their scores, attributes and their scores, by region, as a file gives them.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    pub(super) classes: Vec<i64>,
    pub(super) scores: Option<Vec<f32>>,
    pub(super) attributes: Option<Vec<i64>>,
    pub(super) attribute_scores: Option<Vec<f32>>,
}

impl Numbers {
    /// Those of so many regions: arrays that are `padded`, of one length for all images, are longer.
    pub(super) fn of_regions(mut self, regions: usize, padded: bool) -> Self {
        if padded {
            self.classes.truncate(regions);
            let scores = [&mut self.scores, &mut self.attribute_scores];
            scores
                .into_iter()
                .flatten()
                .for_each(|scores| scores.truncate(regions));
            if let Some(attributes) = &mut self.attributes {
                attributes.truncate(regions);
            }
        }
        self
    }

    /// The labels of an image of so many regions; arrays of one length for all images may be longer.
    ///
    /// # Errors
    /// Fewer numbers than regions, or one that is no class.
    pub(super) fn labels(&self, regions: usize) -> Result<RegionLabels, Defect> {
        const FIX: &str = "the file is inconsistent: make it again";
        let numbers = |numbers: &[i64]| {
            let first = numbers.get(..regions).ok_or_else(|| {
                let found = format!(
                    "{} classes or attributes for {regions} regions",
                    numbers.len()
                );
                Defect::new(found, FIX)
            })?;
            let class = |number: &i64| match u16::try_from(*number) {
                Ok(number) if number < u16::MAX => Ok(number),
                _ => Err(Defect::new(format!("the class {number}"), FIX)),
            };
            first
                .iter()
                .map(class)
                .collect::<Result<Vec<u16>, Defect>>()
        };
        let scores = |scores: &Option<Vec<f32>>| match scores {
            None => Ok(vec![1.0; regions]),
            Some(scores) => scores.get(..regions).map(<[f32]>::to_vec).ok_or_else(|| {
                let found = format!("{} scores for {regions} regions", scores.len());
                Defect::new(found, FIX)
            }),
        };
        let attributes = match &self.attributes {
            Some(attributes) => (numbers(attributes)?, scores(&self.attribute_scores)?),
            None => (Vec::new(), Vec::new()),
        };
        Ok(RegionLabels {
            objects: numbers(&self.classes)?,
            object_scores: scores(&self.scores)?,
            attributes: attributes.0,
            attribute_scores: attributes.1,
        })
    }
}

impl Vocabularies {
    /// The names, as a store keeps them; none if there are no classes.
    pub(super) fn label_names(&self) -> Option<Arc<LabelNames>> {
        let objects = self.classes.clone()?;
        let attributes = self.attributes.clone().unwrap_or_default();
        Some(Arc::new(LabelNames {
            objects,
            attributes,
        }))
    }

    /// What a user should know of the names that were given, and were not; `numbered` is whether any
    /// image gave its classes by number.
    pub(super) fn notes(&self, numbered: bool) -> Vec<String> {
        let given = [
            ("classes", self.classes.is_some()),
            ("attributes", self.attributes.is_some()),
        ];
        let without = |why: &'static str| {
            let unused = given.into_iter().filter(|(_, given)| *given);
            unused.map(move |(name, _)| format!("`{name}` has no effect: {why}"))
        };
        match (&self.classes, numbered) {
            (_, false) => without("no image gives classes by number").collect(),
            (Some(_), true) => Vec::new(),
            (None, true) => {
                let nameless = "the files give classes by number, and no vocabulary of classes was \
                                given: the images have no object tags from them";
                let unused = without("attributes are kept with the names of classes");
                std::iter::once(nameless.to_string())
                    .chain(unused)
                    .collect()
            }
        }
    }

    /// Reads vocabulary files: a name a line, the first of those that commas separate.
    ///
    /// # Errors
    /// A file that cannot be read, has a blank line between others, or has more than names.
    pub(super) fn open(classes: Option<&Path>, attributes: Option<&Path>) -> Result<Self> {
        Ok(Self {
            classes: classes.map(read).transpose()?,
            attributes: attributes.map(read).transpose()?,
        })
    }

    /// The best class of each region and its score, of the scores `[regions, classes]` of all. Where
    /// there is one more than the vocabulary has names, the first one is the background.
    ///
    /// # Errors
    /// Another number of classes than names.
    pub(super) fn best_of(&self, all: &Matrix) -> Result<Vec<(i64, f32)>, Defect> {
        let names = self.classes.as_ref().map(Vec::len);
        let first = match names {
            Some(names) if all.cols == names + 1 => 1,
            Some(names) if all.cols != names => {
                let found = format!(
                    "scores of {} classes, where the vocabulary has {names}",
                    all.cols
                );
                return Err(Defect::new(
                    found,
                    "give the vocabulary of the same detector",
                ));
            }
            _ => 0,
        };
        let rows = all.values.chunks_exact(all.cols.max(1));
        let best = rows.map(|row| {
            let scores = row.iter().enumerate().skip(first);
            let best = scores.rev().max_by(|a, b| a.1.total_cmp(b.1));
            best.map_or((0, 0.0), |(class, score)| ((class - first) as i64, *score))
        });
        Ok(best.collect())
    }

    /// The objects of an image whose regions these are: `attributes` are numbers and scores.
    ///
    /// # Errors
    /// Another number of classes than regions; a number without a name.
    pub(super) fn tags(
        &self,
        boxes: &SourceBoxes,
        classes: &[i64],
        scores: Option<&[f32]>,
        attributes: Option<&[i64]>,
    ) -> Result<Vec<Tag>, Defect> {
        let numbers = [
            Some(classes.len()),
            scores.map(<[_]>::len),
            attributes.map(<[_]>::len),
        ];
        if let Some(other) = numbers.into_iter().flatten().find(|n| *n != boxes.len()) {
            let found = format!(
                "{other} classes, scores or attributes for {} regions",
                boxes.len()
            );
            return Err(Defect::new(
                found,
                "the file is inconsistent: make it again",
            ));
        }
        let names = self.classes.as_deref().unwrap_or_default();
        let tags = classes.iter().enumerate().map(|(region, class)| {
            let attribute = match (attributes, &self.attributes) {
                (Some(numbers), Some(names)) => vec![name(names, numbers[region], "attribute")?],
                _ => vec![],
            };
            Ok(Tag {
                class: name(names, *class, "class")?,
                score: scores.map_or(1.0, |scores| scores[region]),
                box_px: match boxes {
                    SourceBoxes::Pixels(boxes) => Some(boxes[region]),
                    _ => None,
                },
                attributes: attribute,
            })
        });
        tags.collect()
    }
}

fn name(names: &[String], number: i64, what: &str) -> Result<String, Defect> {
    let name = usize::try_from(number)
        .ok()
        .and_then(|number| names.get(number));
    name.cloned().ok_or_else(|| {
        let found = format!(
            "{what} {number}, where the vocabulary has {} names",
            names.len()
        );
        Defect::new(found, "give the vocabulary of the same detector")
    })
}

fn read(path: &Path) -> Result<Vec<String>> {
    let text = read_text(path, SMALL_FILE)?;
    // Blank lines may end a file.
    let text = text.trim_end();
    let wrong = |at: usize, found: &str| Defect::new(found, NAMES).in_line(path, at + 1);
    if text.starts_with(['[', '{']) {
        return Err(wrong(0, "a list or an object of JSON"));
    }
    if !text.is_empty()
        && text
            .lines()
            .enumerate()
            .all(|(at, line)| is_numbered(line, at))
    {
        return Err(wrong(0, "a number before the name"));
    }
    let names = text.lines().enumerate().map(|(at, line)| {
        let name = line.split(',').next().map_or("", str::trim);
        match name {
            "" => Err(wrong(at, "a line without a name")),
            name if name.contains('\t') => Err(wrong(at, "columns, separated by tabs")),
            name => Ok(name.to_string()),
        }
    });
    names.collect()
}

/// Whether a line has its own number, from 0 or 1, before something else.
fn is_numbered(line: &str, at: usize) -> bool {
    let Some((number, rest)) = line.trim().split_once([',', '\t', ':', ' ']) else {
        return false;
    };
    let number = number.trim_matches('"').parse::<usize>();
    number.is_ok_and(|number| number == at || number == at + 1) && !rest.trim().is_empty()
}
