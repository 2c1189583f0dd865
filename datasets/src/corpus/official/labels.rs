//! Label folders: text B of the rows, as object tags or as answers.
//!
//! `predictions_gt.tsv` has a row per image, `QA_fileB.tsv` one per question. The former is large
//! (every object with its box), so its rows are read when they are needed; the latter is checked
//! when the corpus is opened.

use std::borrow::Cow;
use std::path::Path;

use serde::Deserialize;

use super::id_map::IdMap;
use crate::error::{DatasetError, Result};
use crate::tsv::TsvFile;

const TAGS_FILE: &str = "predictions_gt.tsv";
const TAGS_IDS: &str = "imageid2idx.json";
const ANSWERS_FILE: &str = "QA_fileB.tsv";
const ANSWERS_IDS: &str = "QA_qaid2idx.json";

const OTHER_ROW: &str = "the JSON file of row numbers belongs to another version of the table; copy \
                         both again";

/// A table of labels and the rows of its ids.
pub(super) struct Table {
    file: TsvFile,
    ids: IdMap,
}

/// The labels of one data set, while a corpus is opened.
pub(super) struct LabelFolder {
    pub(super) tags: Table,
    /// Answers to questions, if the data set has some.
    pub(super) answers: Option<Table>,
}

/// The labels of one data set, to be read by row.
pub(super) struct Labels {
    tags: TsvFile,
    answers: Option<TsvFile>,
    use_gtlabels: bool,
}

impl Table {
    fn open(file: &Path, ids: &Path) -> Result<Self> {
        let file = TsvFile::open(file)?;
        let ids = IdMap::open(ids, file.len())?;
        Ok(Self { file, ids })
    }

    /// The row of `id`.
    ///
    /// # Errors
    /// If there is none, without the corpus row that asks for it.
    pub(super) fn row(&self, id: &str) -> Result<u32, String> {
        self.ids.row(id)
    }

    /// The row of answers `id`, which is read and checked.
    ///
    /// # Errors
    /// If there is none, or it holds no answer.
    pub(super) fn answer_row(&self, id: &str) -> Result<u32, String> {
        let row = self.row(id)?;
        answers(&self.file, row, id).map_err(|error| error.to_string())?;
        Ok(row)
    }
}

impl LabelFolder {
    /// Opens the label files in `folder`.
    ///
    /// # Errors
    /// If the table of tags or its row numbers are missing or damaged; those of answers, if only
    /// one of the two is there.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let answers = [ANSWERS_FILE, ANSWERS_IDS].map(|name| folder.join(name));
        let answers = match answers.iter().any(|path| path.exists()) {
            true => Some(Table::open(&answers[0], &answers[1])?),
            false => None,
        };
        Ok(Self {
            tags: Table::open(&folder.join(TAGS_FILE), &folder.join(TAGS_IDS))?,
            answers,
        })
    }

    /// Forgets the ids.
    pub(super) fn into_labels(self, use_gtlabels: bool) -> Labels {
        Labels {
            tags: self.tags.file,
            answers: self.answers.map(|table| table.file),
            use_gtlabels,
        }
    }
}

impl Labels {
    /// The classes of the objects in image `id`, in row `row`, joined by single spaces.
    ///
    /// # Errors
    /// If the row is damaged or another image's.
    pub(super) fn tags(&self, row: u32, id: &str) -> Result<String> {
        let json = content(&self.tags, row, id)?;
        let objects: Objects<'_> = parse(&self.tags, row, json)?;
        // An image without annotations has what was detected.
        let annotated = objects
            .gt_objects
            .filter(|gt| self.use_gtlabels && !gt.is_empty());
        let classes = annotated.unwrap_or(objects.objects);
        let classes: Vec<&str> = classes.iter().map(|object| &*object.class).collect();
        Ok(classes.join(" "))
    }

    /// The answers `id`, in row `row`.
    ///
    /// # Errors
    /// If the row is damaged or another question's, or holds no answer.
    pub(super) fn answers(&self, row: u32, id: &str) -> Result<Vec<String>> {
        match &self.answers {
            Some(file) => answers(file, row, id),
            None => Err(self.tags.wrong(
                row as usize,
                format!("no answers beside it, though answer {id:?} was found when it was opened"),
                "open the corpus again",
            )),
        }
    }
}

fn answers(file: &TsvFile, row: u32, id: &str) -> Result<Vec<String>> {
    let Answers { labels } = parse(file, row, content(file, row, id)?)?;
    if labels.is_empty() || labels.iter().any(|answer| answer.trim().is_empty()) {
        let found = format!("answer {id:?} is empty");
        return Err(file.wrong(
            row as usize,
            found,
            "write the answer, or drop the question",
        ));
    }
    Ok(labels.into_iter().map(Into::into).collect())
}

/// The JSON in `row`, which must be that of `id`.
fn content<'a>(file: &'a TsvFile, row: u32, id: &str) -> Result<&'a str> {
    let [key, json] = file.fields::<2>(row as usize)?;
    match key == id {
        true => Ok(json),
        false => {
            let found = format!("the row of {key:?}, where that of {id:?} should be");
            Err(file.wrong(row as usize, found, OTHER_ROW))
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(file: &TsvFile, row: u32, json: &'a str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| -> DatasetError {
        let found = format!("its labels cannot be read ({error})");
        file.wrong(row as usize, found, "copy the file again")
    })
}

/// A row of tags; boxes and sizes are ignored.
#[derive(Deserialize)]
struct Objects<'a> {
    #[serde(borrow)]
    objects: Vec<Object<'a>>,
    #[serde(borrow, default)]
    gt_objects: Option<Vec<Object<'a>>>,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    class: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Answers<'a> {
    #[serde(borrow)]
    labels: Vec<Cow<'a, str>>,
}
