//! VQA v2 as published: a file of questions and one of annotations, joined by `question_id`; the
//! test splits have questions alone.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Question;
use crate::error::{DatasetError, Result};
use crate::findings::{Defect, Kind, Problem, Problems};
use crate::records::Records;

/// How many people answered each question.
pub(super) const PEOPLE: usize = 10;

/// The list of a file of questions.
pub(super) const QUESTIONS: &str = "questions";
/// The list of a file of annotations.
pub(crate) const ANNOTATIONS: &str = "annotations";

/// The lists of both.
pub(super) const LISTS: &[&str] = &[QUESTIONS, ANNOTATIONS];

/// What people answered to a question.
#[derive(Clone, Debug, PartialEq, Deserialize)]
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
}

/// One person's answer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Answer {
    /// The text.
    pub answer: String,
    /// Number of the answer, from 1.
    pub answer_id: u32,
    #[serde(rename = "answer_confidence")]
    _confidence: Confidence,
}

/// How sure a person was of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Confidence {
    Yes,
    Maybe,
    No,
}

impl Annotation {
    fn check(&self) -> Result<(), Defect> {
        if self.answers.len() != PEOPLE {
            let found = format!("{} answers, where {PEOPLE} are given", self.answers.len());
            return Err(Defect::of(Kind::Answers, found));
        }
        // "!!!" is an answer that somebody gave; a blank is none.
        match self.answers.iter().find(|a| a.answer.trim().is_empty()) {
            Some(blank) => {
                let found = format!("answer {} is blank", blank.answer_id);
                Err(Defect::of(Kind::BlankText, found))
            }
            None => Ok(()),
        }
    }
}

/// Hands each good record of the list `list` of the file at `path` to `each`, with its number.
fn read_list<T: DeserializeOwned>(
    path: &Path,
    list: &'static str,
    problems: &mut Problems,
    mut each: impl FnMut(usize, T, &mut Problems),
) -> Result<()> {
    #[derive(Deserialize)]
    struct Id {
        question_id: u64,
    }
    let mut records = Records::open(path, LISTS)?;
    let mut any = false;
    while let Some(record) = records.next()? {
        if record.list != Some(list) {
            continue;
        }
        any = true;
        match record.parse() {
            Ok(item) => each(record.number, item, problems),
            Err(defect) => {
                let place = match record.parse::<Id>() {
                    Ok(id) => id.question_id.to_string(),
                    Err(_) => format!("{list}[{}]", record.number - 1),
                };
                problems.push(Problem::of_key(path, place, defect));
            }
        }
    }
    let found = match (records.is_object(), any) {
        (true, true) => return Ok(()),
        (true, false) => format!("an object without a record in the list `{list}`"),
        (false, _) => format!("not an object with the list `{list}`"),
    };
    let fix = "give the file as it was published";
    Err(DatasetError::malformed(path, found, fix))
}

/// Reads the questions of the file at `path`, with their numbers.
pub(super) fn read_questions(
    path: &Path,
    problems: &mut Problems,
) -> Result<Vec<(usize, Question)>> {
    #[derive(Deserialize)]
    struct Published {
        question_id: u64,
        image_id: u64,
        question: String,
    }
    let mut questions = Vec::new();
    read_list(path, QUESTIONS, problems, |number, row: Published, _| {
        let question = Question {
            id: Some(row.question_id.to_string()),
            image: Some(row.image_id.to_string()),
            text: row.question,
            ..Question::default()
        };
        questions.push((number, question));
    })?;
    Ok(questions)
}

/// Annotations of questions, by the question's id.
#[derive(Default)]
pub(crate) struct Annotations {
    paths: Vec<PathBuf>,
    /// With the number of the file that each is in.
    by_id: HashMap<String, (usize, Annotation)>,
    pub(crate) count: usize,
}

impl Annotations {
    /// Reads those of the file at `path`.
    ///
    /// # Errors
    /// A file that is missing, damaged or of another form.
    pub(crate) fn read(&mut self, path: &Path, problems: &mut Problems) -> Result<()> {
        let file = self.paths.len();
        self.paths.push(path.to_path_buf());
        read_list(
            path,
            ANNOTATIONS,
            problems,
            |_, row: Annotation, problems| {
                self.count += 1;
                let id = row.question_id.to_string();
                let mut wrong = |defect| problems.push(Problem::of_key(path, &id, defect));
                if let Err(defect) = row.check() {
                    wrong(defect);
                }
                if let Some((first, _)) = self.by_id.get(&id) {
                    let first = self.paths[*first].display();
                    let found = format!("it is annotated in {first} already");
                    wrong(Defect::of(Kind::DuplicateKey, found));
                } else {
                    self.by_id.insert(id, (file, row));
                }
            },
        )
    }

    /// Adds to each of `questions`, rows of `path`, what people answered to it.
    pub(super) fn join(
        &mut self,
        path: &Path,
        questions: &mut [(usize, Question)],
        published: bool,
        problems: &mut Problems,
    ) {
        for (number, question) in questions {
            let id = question.id.as_deref().unwrap_or("without id");
            let Some((file, own)) = self.by_id.remove(id) else {
                let found = format!("question {id} has no annotation");
                let defect = Defect::of(Kind::MissingAnnotation, found)
                    .fix("give the annotations of this split");
                problems.push(match published {
                    true => Problem::of_key(path, id, defect),
                    false => Problem::at_line(path, *number, defect),
                });
                continue;
            };
            if published && question.image.as_deref() != Some(&own.image_id.to_string()) {
                let image = question.image.as_deref().unwrap_or_default();
                let found = format!(
                    "annotated about image {}, but asked about image {image}",
                    own.image_id
                );
                let defect = Defect::of(Kind::Mismatch, found).fix("give both files of one split");
                problems.push(Problem::of_key(&self.paths[file], id, defect));
            }
            question.people = own.answers.into_iter().map(|a| a.answer).collect();
            question.question_type = Some(own.question_type);
            question.answer_type = Some(own.answer_type);
        }
    }

    /// Reports the annotations that no question was joined with.
    pub(crate) fn orphans(&self, problems: &mut Problems) {
        let mut orphans: Vec<_> = self.by_id.values().collect();
        orphans.sort_by_key(|(file, annotation)| (*file, annotation.question_id));
        for (file, annotation) in orphans {
            let id = annotation.question_id.to_string();
            let found = "an annotation of a question that is not in the file of questions";
            let defect =
                Defect::of(Kind::OrphanAnnotation, found).fix("give both files of one split");
            problems.push(Problem::of_key(&self.paths[*file], id, defect));
        }
    }
}

/// Reads the annotations of VQA v2 in `path`, in order.
///
/// # Errors
/// A file that is missing, damaged or of another form; [`DatasetError::Problems`] with the first
/// wrong annotations.
pub fn read_annotations(path: &Path) -> Result<Vec<Annotation>> {
    Problems::refuse(|problems| {
        let mut all = Vec::new();
        read_list(
            path,
            ANNOTATIONS,
            problems,
            |_, row: Annotation, problems| match row.check() {
                Ok(()) => all.push(row),
                Err(defect) => {
                    let id = row.question_id.to_string();
                    problems.push(Problem::of_key(path, id, defect));
                }
            },
        )?;
        Ok(all)
    })
}
