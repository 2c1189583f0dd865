//! Referring expressions: a text that means one thing of an image, and the box of that thing.
//!
//! | form | a row |
//! |---|---|
//! | JSON lines, or a JSON array | `{"image", "expression", "box": [x1, y1, x2, y2]}`, in pixels; optionally `width`, `height`, `tags`, `id` |
//! | ROSITA's JSON | `{SPLIT: [{"text", "img_file", "gt_boxes": [x, y, w, h], "image_h", "image_w", …}]}` |
//! | REFER's pickles | `refs(unc).p`, beside `instances.json`, of RefCOCO, RefCOCO+ and RefCOCOg |
//!
//! Pickles are read without executing them. Files of several splits are read one split at a time.

mod expression;
mod refer;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::error::{DatasetError, Result};
use crate::findings::Problems;
use crate::images::SharedImages;
use crate::records::Records;
use crate::rows::{RowSet, no_row, parse};

use refer::References;

pub use expression::Expression;

/// Splits of published files.
const SPLITS: &[&str] = &["train", "val", "testA", "testB", "test", "trainval"];

/// Files of expressions.
#[derive(Clone, Copy, Debug)]
pub struct ExpressionFiles<'a> {
    /// The expressions.
    pub path: &'a Path,
    /// REFER's `instances.json`; the one in the directory of the pickle by default.
    pub instances: Option<&'a Path>,
    /// The split that is read, of a file of several.
    pub split: Option<&'a str>,
}

impl ExpressionFiles<'_> {
    /// Reads every row; the images they name must be in `images`.
    ///
    /// # Errors
    /// A file that is missing or damaged, or without any row; a split that it does not have, or none
    /// named of several; [`DatasetError::Problems`] with the first wrong rows.
    pub fn open(&self, images: Option<SharedImages>) -> Result<RowSet<Expression>> {
        Problems::refuse(|problems| {
            let (rows, splits) = self.read(images, problems)?;
            match (self.split, &splits[..]) {
                (None, [_, _, ..]) => {
                    let found = format!("it has the splits {}", splits.join(", "));
                    let fix = "name one of them";
                    Err(DatasetError::malformed(self.path, found, fix))
                }
                _ => Ok(rows),
            }
        })
    }

    /// The rows that are right, of the split that is named or of all, and the splits that there are;
    /// what is wrong is added to `problems`.
    pub(crate) fn read(
        &self,
        images: Option<SharedImages>,
        problems: &mut Problems,
    ) -> Result<(RowSet<Expression>, Vec<String>)> {
        let References { rows, splits } = match refer::is_pickle(self.path)? {
            true => refer::read(self, problems)?,
            false => {
                let records = Records::open(self.path, SPLITS)?;
                if !records.is_object() {
                    let rows = self.of_one_list(records, problems)?;
                    let rows = RowSet::new(self.path, rows, None, images, problems);
                    return Ok((rows, Vec::new()));
                }
                self.of_lists(records, problems)?
            }
        };
        self.check_split(&splits, rows.is_empty(), problems)?;
        let rows = RowSet::new(self.path, rows, Some("expression"), images, problems);
        Ok((rows, splits))
    }

    /// The rows of a file without splits.
    fn of_one_list(
        &self,
        records: Records,
        problems: &mut Problems,
    ) -> Result<Vec<(usize, Expression)>> {
        if let Some(split) = self.split {
            let found = format!("the split {split} of a file without splits");
            let fix = "leave the split out";
            return Err(DatasetError::malformed(self.path, found, fix));
        }
        parse(self.path, records, problems)
    }

    /// The rows of an object of lists, one for each split.
    #[allow(
        clippy::type_complexity,
        reason = "numbered rows, and the names of the splits"
    )]
    fn of_lists(&self, mut records: Records, problems: &mut Problems) -> Result<References> {
        let (mut rows, mut splits) = (Vec::new(), Vec::<String>::new());
        while let Some(record) = records.next()? {
            let split = record.list.unwrap_or_default();
            if splits.last().is_none_or(|last| last != split) {
                splits.push(split.into());
            }
            if self.split.is_some_and(|wanted| wanted != split) {
                continue;
            }
            match record.parse() {
                Ok(row) => rows.push((record.number, row)),
                Err(defect) => {
                    problems.at_line(self.path, record.number, defect.within(split));
                }
            }
        }
        Ok(References { rows, splits })
    }

    fn check_split(&self, splits: &[String], empty: bool, problems: &Problems) -> Result<()> {
        match self.split {
            Some(split) if !splits.iter().any(|known| known == split) => {
                let found = format!("there is no split {split} in it, but {}", splits.join(", "));
                Err(DatasetError::malformed(
                    self.path,
                    found,
                    "name one of them",
                ))
            }
            _ if empty && problems.ok => Err(no_row(self.path)),
            _ => Ok(()),
        }
    }
}
