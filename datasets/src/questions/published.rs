//! VQA v2 as published: a file of questions and one of annotations, joined by `question_id`; the
//! test splits have questions alone. OK-VQA's files are the same but for `multiple_choice_answer`;
//! those of VQA-CP are lists without the object around them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Question;
use super::row::Said;
use crate::error::{DatasetError, Result};
use crate::findings::{Defect, Kind, Problem, Problems};
use crate::keys::is_same;
use crate::records::Records;
use crate::rows::Key;

/// How many people answered each question.
pub(super) const PEOPLE: usize = 10;

/// The list of a file of questions.
pub(super) const QUESTIONS: &str = "questions";
/// The list of a file of annotations.
pub(crate) const ANNOTATIONS: &str = "annotations";

/// The list of TextVQA's files, of questions with their answers.
pub(super) const DATA: &str = "data";

/// The lists of both.
pub(super) const LISTS: &[&str] = &[QUESTIONS, ANNOTATIONS];

/// What people answered to a question.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "Written")]
pub struct Annotation {
    /// The question.
    pub question_id: String,
    /// The image, if the annotation names it: COCO's number, or any key.
    pub image_id: Option<String>,
    /// How the question begins: `what color is`.
    pub question_type: Option<String>,
    /// `yes/no`, `number` or `other`.
    pub answer_type: Option<String>,
    /// The most frequent answer, if the annotation says so.
    pub multiple_choice_answer: Option<String>,
    /// What each person answered: ten answers in published files.
    pub answers: Vec<String>,
}

/// An annotation as it is written; whatever else it has is not used.
#[derive(Deserialize)]
struct Written {
    question_id: Key,
    image_id: Option<Key>,
    question_type: Option<String>,
    answer_type: Option<String>,
    multiple_choice_answer: Option<Key>,
    #[serde(default)]
    answers: Vec<Said>,
    answer: Option<Key>,
}

impl From<Written> for Annotation {
    fn from(row: Written) -> Self {
        let mut answers: Vec<String> = row.answers.into_iter().map(Said::text).collect();
        let chosen = row.multiple_choice_answer.map(|answer| answer.0);
        if answers.is_empty() {
            let only = row.answer.map(|answer| answer.0);
            answers.extend(only.or(chosen.clone()));
        }
        Self {
            question_id: row.question_id.0,
            image_id: row.image_id.map(|image| image.0),
            question_type: row.question_type,
            answer_type: row.answer_type,
            multiple_choice_answer: chosen,
            answers,
        }
    }
}

impl Annotation {
    /// The most frequent answer: the annotation's own, or else counted; of equal ones the first.
    pub fn most_agreed(&self) -> Option<&str> {
        let count = |answer: &&String| self.answers.iter().filter(|a| a == answer).count();
        let counted = || self.answers.iter().rev().max_by_key(count);
        let chosen = self.multiple_choice_answer.as_ref();
        chosen.or_else(counted).map(String::as_str)
    }

    /// Checks the answers by themselves.
    fn check(&self) -> Result<(), Defect> {
        if self.answers.is_empty() {
            return Err(Defect::of(Kind::Answers, "no answers"));
        }
        // "!!!" is an answer that somebody gave; a blank is none.
        match self.answers.iter().position(|a| a.trim().is_empty()) {
            Some(blank) => {
                let found = format!("answer {} is blank", blank + 1);
                Err(Defect::of(Kind::BlankText, found))
            }
            None => Ok(()),
        }
    }
}

/// How many people answered the questions of a file.
#[derive(Default)]
struct Asked {
    by_ten: usize,
    /// Questions with another number of answers, and the number.
    others: Vec<(String, usize)>,
}

impl Asked {
    fn count(&mut self, row: &Annotation) {
        match row.answers.len() {
            PEOPLE => self.by_ten += 1,
            0 => {}
            other => self.others.push((row.question_id.clone(), other)),
        }
    }

    /// Reports the questions that lack answers of published files, which have ten each. Own
    /// annotations may have any number.
    fn report(self, path: &Path, problems: &mut Problems) {
        if self.by_ten == 0 || self.by_ten < self.others.len() {
            return;
        }
        for (id, answers) in self.others {
            let found = format!("{answers} answers, where {PEOPLE} are given");
            problems.push(Problem::of_key(path, id, Defect::of(Kind::Answers, found)));
        }
    }
}

/// Whether the file at `path` holds annotations, and no questions.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn is_annotations(path: &Path) -> Result<bool> {
    let mut records = Records::open(path, &[ANNOTATIONS])?;
    if records.is_object() {
        return Ok(true);
    }
    let Ok(Some(first)) = records.next() else {
        return Ok(false);
    };
    let row: Map<String, Value> = first.parse().unwrap_or_default();
    let has = |names: &[&str]| names.iter().any(|name| row.contains_key(*name));
    let answered = has(&["answers", "multiple_choice_answer"]);
    Ok(has(&["question_id"]) && answered && !has(&["question", "q", "sent"]))
}

/// Hands each good record of the list `list` of the file at `path`, or of the file if it is a list
/// itself, to `each`, with its number.
fn read_list<T: DeserializeOwned>(
    path: &Path,
    list: &'static str,
    problems: &mut Problems,
    mut each: impl FnMut(usize, T, &mut Problems),
) -> Result<()> {
    #[derive(Deserialize)]
    struct Id {
        question_id: Key,
    }
    let mut records = Records::open(path, LISTS)?;
    let mut any = false;
    while let Some(record) = records.next()? {
        if record.list.is_some_and(|other| other != list) {
            continue;
        }
        any = true;
        match record.parse() {
            Ok(item) => each(record.number, item, problems),
            Err(defect) => {
                let place = match record.parse::<Id>() {
                    Ok(id) => id.question_id.0,
                    Err(_) => format!("{list}[{}]", record.number - 1),
                };
                problems.push(Problem::of_key(path, place, defect));
            }
        }
    }
    let found = match (records.is_object(), any) {
        (_, true) => return Ok(()),
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
        question_id: Key,
        image_id: Key,
        question: String,
    }
    let mut questions = Vec::new();
    read_list(path, QUESTIONS, problems, |number, row: Published, _| {
        let question = Question {
            id: Some(row.question_id.0),
            image: Some(row.image_id.0),
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
    /// With the number of the file that each is in; none where a question has been joined with it.
    by_id: HashMap<String, (usize, Option<Annotation>)>,
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
        let mut asked = Asked::default();
        read_list(
            path,
            ANNOTATIONS,
            problems,
            |_, row: Annotation, problems| {
                self.count += 1;
                let id = row.question_id.clone();
                let mut wrong = |defect| problems.push(Problem::of_key(path, &id, defect));
                asked.count(&row);
                if let Err(defect) = row.check() {
                    wrong(defect);
                }
                if let Some((first, _)) = self.by_id.get(&id) {
                    let first = self.paths[*first].display();
                    let found = format!("it is annotated in {first} already");
                    wrong(Defect::of(Kind::DuplicateKey, found));
                } else {
                    self.by_id.insert(id, (file, Some(row)));
                }
            },
        )?;
        asked.report(path, problems);
        Ok(())
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
            let Some((file, own)) = self.by_id.get_mut(id) else {
                let found = format!("question {id} has no annotation");
                let defect = Defect::of(Kind::MissingAnnotation, found)
                    .fix("give the annotations of this split");
                problems.push(match published {
                    true => Problem::of_key(path, id, defect),
                    false => Problem::at_line(path, *number, defect),
                });
                continue;
            };
            // Of two rows with one id the second one is told already.
            let Some(own) = own.take() else {
                continue;
            };
            let image = question.image.as_deref().unwrap_or_default();
            if let (true, Some(annotated)) = (published, &own.image_id)
                && !is_same(image, annotated)
            {
                let found =
                    format!("annotated about image {annotated}, but asked about image {image}");
                let defect = Defect::of(Kind::Mismatch, found).fix("give both files of one split");
                problems.push(Problem::of_key(&self.paths[*file], id, defect));
            }
            question.people = own.answers;
            question.question_type = own.question_type;
            question.answer_type = own.answer_type;
        }
    }

    /// Reports the annotations that no question was joined with.
    pub(crate) fn orphans(&self, problems: &mut Problems) {
        let left = self.by_id.values();
        let left = left.filter_map(|(file, annotation)| Some((file, annotation.as_ref()?)));
        let mut orphans: Vec<_> = left.collect();
        orphans.sort_by_cached_key(|(file, annotation)| {
            let id = &annotation.question_id;
            (**file, id.parse::<u64>().ok(), id.clone())
        });
        for (file, annotation) in orphans {
            let id = annotation.question_id.clone();
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
        let (mut all, mut asked) = (Vec::new(), Asked::default());
        read_list(
            path,
            ANNOTATIONS,
            problems,
            |_, row: Annotation, problems| {
                asked.count(&row);
                match row.check() {
                    Ok(()) => all.push(row),
                    Err(defect) => {
                        problems.push(Problem::of_key(path, row.question_id, defect));
                    }
                }
            },
        )?;
        asked.report(path, problems);
        Ok(all)
    })
}
