//! VQA v2: open questions about photographs, each answered by ten people.
//!
//! Two files belong together, `…Questions….json` and `…annotations….json`, joined by
//! `question_id`; the test splits have questions alone.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Extra, Item, has_words, read_document, without_place};
use crate::check::{Finding, Kind};
use crate::error::{DatasetError, Result, excerpt};

/// How many people answered each question.
pub const ANSWERS: usize = 10;

/// The list of a file of questions.
pub(crate) const QUESTIONS: &str = "questions";
/// The list of a file of annotations.
pub(crate) const ANNOTATIONS: &str = "annotations";

const FIX: &str = "correct the record, or drop it";

/// A question, as it stands in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Unique over all splits.
    pub question_id: u64,
    /// COCO's number of the image.
    pub image_id: u64,
    /// The text.
    pub question: String,
    /// Other members.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What people answered to a question, as it stands in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Annotation {
    /// The question.
    pub question_id: u64,
    /// COCO's number of the image.
    pub image_id: u64,
    /// How the question begins: `what color is`.
    pub question_type: String,
    /// `yes/no`, `number` or `other`.
    pub answer_type: String,
    /// The most frequent answer.
    pub multiple_choice_answer: String,
    /// Ten answers.
    pub answers: Vec<Answer>,
    /// Other members.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One person's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The text.
    pub answer: String,
    /// Whether the person was sure.
    pub answer_confidence: Confidence,
    /// Number of the answer, from 1.
    pub answer_id: u32,
    /// Other members.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How sure a person was of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Sure.
    Yes,
    /// Fairly.
    Maybe,
    /// Not at all.
    No,
}

/// A record of one of the two files.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// The list it stands in.
    const LIST: &'static str;

    fn question_id(&self) -> u64;

    /// What is wrong with it, whatever else is in the file.
    fn findings(&self) -> Vec<Finding>;
}

impl Record for Question {
    const LIST: &'static str = QUESTIONS;

    fn question_id(&self) -> u64 {
        self.question_id
    }

    fn findings(&self) -> Vec<Finding> {
        match has_words(&self.question) {
            true => Vec::new(),
            false => {
                let found = format!("the question is {}", excerpt(&self.question));
                vec![Finding::new(Kind::BlankText, found)]
            }
        }
    }
}

impl Record for Annotation {
    const LIST: &'static str = ANNOTATIONS;

    fn question_id(&self) -> u64 {
        self.question_id
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.answers.len() != ANSWERS {
            let found = format!("{} answers, where {ANSWERS} are given", self.answers.len());
            findings.push(Finding::new(Kind::Answers, found));
        }
        // "!!!" is an answer that somebody gave; a blank is none.
        let blank = self.answers.iter().find(|a| a.answer.trim().is_empty());
        if let Some(blank) = blank {
            let found = format!("answer {} is blank", blank.answer_id);
            findings.push(Finding::new(Kind::BlankText, found));
        }
        findings
    }
}

/// A file of [`Question`]s or of [`Annotation`]s.
#[derive(Clone, Debug, PartialEq)]
pub struct VqaFile<R> {
    /// What else the file says: licence, split, ….
    pub header: Extra,
    /// The records, in file order.
    pub records: Vec<R>,
}

impl VqaFile<Question> {
    /// Reads a file of questions.
    ///
    /// # Errors
    /// A missing or damaged file; a record that lacks a member or has one of another type; a blank
    /// question; a `question_id` that occurs twice: the message names file and question.
    pub fn read(path: &Path) -> Result<Self> {
        read(path)
    }

    /// Writes the file as it was read.
    ///
    /// # Errors
    /// The writer's own.
    pub fn write(&self, out: impl Write) -> std::io::Result<()> {
        write(self, out)
    }
}

impl VqaFile<Annotation> {
    /// Reads a file of annotations.
    ///
    /// # Errors
    /// As for questions; an annotation that does not have ten answers, or a blank one.
    pub fn read(path: &Path) -> Result<Self> {
        read(path)
    }

    /// Writes the file as it was read.
    ///
    /// # Errors
    /// The writer's own.
    pub fn write(&self, out: impl Write) -> std::io::Result<()> {
        write(self, out)
    }
}

/// A question with its answers.
#[derive(Clone, Debug, PartialEq)]
pub struct VqaRow {
    /// The question.
    pub question: Question,
    /// What people answered; none in test splits.
    pub annotation: Option<Annotation>,
}

/// Reads questions with their annotations, in the order of the questions.
///
/// # Errors
/// As [`VqaFile::read`]; if `annotations` are given, also a question without annotation, an
/// annotation of a question that is not there, or the two naming different images.
pub fn read_rows(questions: &Path, annotations: Option<&Path>) -> Result<Vec<VqaRow>> {
    let asked: VqaFile<Question> = read(questions)?;
    let Some(path) = annotations else {
        let alone = |question| VqaRow {
            question,
            annotation: None,
        };
        return Ok(asked.records.into_iter().map(alone).collect());
    };
    let answered: VqaFile<Annotation> = read(path)?;
    let mut by_id: HashMap<u64, Annotation> = answered
        .records
        .into_iter()
        .map(|annotation| (annotation.question_id, annotation))
        .collect();
    let mut rows = Vec::with_capacity(asked.records.len());
    for question in asked.records {
        let id = question.question_id;
        let Some(annotation) = by_id.remove(&id) else {
            let found = format!("question {id} of {} has no annotation", questions.display());
            return Err(DatasetError::malformed(
                path,
                found,
                "give both of one split",
            ));
        };
        if annotation.image_id != question.image_id {
            let found = format!(
                "question {id} is about image {}, but about image {} in {}",
                annotation.image_id,
                question.image_id,
                questions.display()
            );
            return Err(DatasetError::malformed(
                path,
                found,
                "give both of one split",
            ));
        }
        rows.push(VqaRow {
            question,
            annotation: Some(annotation),
        });
    }
    match by_id.keys().min() {
        None => Ok(rows),
        Some(id) => {
            let found = format!(
                "{} annotation(s) of questions that are not in {}, such as {id}",
                by_id.len(),
                questions.display()
            );
            Err(DatasetError::malformed(
                path,
                found,
                "give both of one split",
            ))
        }
    }
}

/// A record as a type, or what it lacks. `Err` has the name by which it can be found.
pub(crate) fn parse<R: Record>(item: Item) -> Result<R, (String, Finding)> {
    let place = match item.value.get("question_id").and_then(Value::as_u64) {
        Some(id) => id.to_string(),
        None => format!("{}[{}]", R::LIST, item.index),
    };
    serde_json::from_value(item.value)
        .map_err(|error| (place, Finding::new(Kind::Field, without_place(&error))))
}

fn read<R: Record>(path: &Path) -> Result<VqaFile<R>> {
    let mut records: Vec<R> = Vec::new();
    let mut seen = HashMap::new();
    let header = read_document(path, R::LIST, &mut |item| {
        let index = item.index;
        let wrong = |place: &str, found: &str| {
            DatasetError::malformed(path, format!("question {place}: {found}"), FIX)
        };
        let record: R = parse(item).map_err(|(place, finding)| wrong(&place, &finding.found))?;
        let id = record.question_id();
        if let Some(finding) = record.findings().first() {
            return Err(wrong(&id.to_string(), &finding.found));
        }
        if let Some(first) = seen.insert(id, index) {
            let found = format!("{0}[{index}] repeats {0}[{first}]", R::LIST);
            return Err(wrong(&id.to_string(), &found));
        }
        records.push(record);
        Ok(())
    })?;
    Ok(VqaFile { header, records })
}

fn write<R: Record>(file: &VqaFile<R>, mut out: impl Write) -> std::io::Result<()> {
    #[derive(Serialize)]
    struct Whole<'a, R> {
        #[serde(flatten)]
        header: &'a Extra,
        #[serde(flatten)]
        list: HashMap<&'static str, &'a [R]>,
    }
    let whole = Whole {
        header: &file.header,
        list: HashMap::from([(R::LIST, &file.records[..])]),
    };
    serde_json::to_writer(&mut out, &whole)?;
    out.flush()
}
