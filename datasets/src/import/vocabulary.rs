//! Names of the classes that detectors give by number.

use std::path::Path;

use oscar_files::{SMALL_FILE, read_text};

use super::matrix::Matrix;
use super::source::SourceBoxes;
use crate::error::Result;
use crate::findings::Defect;
use crate::store::Tag;

/// Names of classes and attributes; without them, files that give numbers have no tags.
#[derive(Clone, Debug, Default)]
pub struct Vocabularies {
    /// Class names, by number.
    pub classes: Option<Vec<String>>,
    /// Attribute names, by number.
    pub attributes: Option<Vec<String>>,
}

impl Vocabularies {
    /// Reads vocabulary files: a name a line, the first of those that commas separate.
    ///
    /// # Errors
    /// A file that cannot be read, or has a blank line.
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
    let lines = text.lines().enumerate();
    lines
        .map(|(at, line)| match line.split(',').next().map(str::trim) {
            Some(name) if !name.is_empty() => Ok(name.to_string()),
            _ => Err(
                Defect::new("a line without a name", "a vocabulary has one name a line")
                    .in_line(path, at + 1),
            ),
        })
        .collect()
}
