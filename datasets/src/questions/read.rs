//! Question files of every form.

use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::path::Path;

use super::Question;
use super::row::Row;
use crate::annotations::vqa::{Annotation, Question as Asked, VqaFile, read_rows};
use crate::answers::{AnswerCounts, normalise};
use crate::error::{DatasetError, Result};
use crate::rows::{Rows, open};

/// The first member of a row of JSON lines; that of a published file is another.
const OF_ROWS: &[&str] = &[
    "id",
    "image",
    "question",
    "answers",
    "answer",
    "tags",
    "question_type",
    "answer_type",
    "q",
    "o",
    "an",
    "s",
    "img_id",
    "q_id",
];

/// The questions in `questions`, with what people answered in `annotations`; and whether a
/// question is known by its row, rather than by its id.
pub(super) fn questions(
    questions: &Path,
    annotations: Option<&Path>,
) -> Result<(Vec<Question>, bool)> {
    if is_published(questions)? {
        let rows = read_rows(questions, annotations)?;
        let all = rows
            .into_iter()
            .map(|row| published(row.question, row.annotation));
        return Ok((all.collect(), false));
    }
    let mut list = read_plain(questions)?;
    if let Some(path) = annotations {
        annotate(questions, &mut list, path)?;
    }
    Ok((list, true))
}

/// Counts the most agreed answers of a file: annotations of VQA v2 (as the evaluation compares
/// them), or rows of any form with answers in words (as they are).
///
/// # Errors
/// A file that cannot be read, or in which no question has an answer in words.
pub fn count_answers(path: &Path, counts: &mut AnswerCounts) -> Result<()> {
    let before = counts.questions();
    if is_published(path)? {
        for annotation in VqaFile::<Annotation>::read(path)?.records {
            counts.add(normalise(&annotation.multiple_choice_answer));
        }
    } else {
        for question in read_plain(path)? {
            if let Some(answer) = question.most_agreed() {
                counts.add(answer.to_owned());
            }
        }
    }
    match counts.questions() > before {
        true => Ok(()),
        false => Err(DatasetError::malformed(
            path,
            "no answer in words",
            "give annotations of VQA v2, or rows with `answers` or `answer`",
        )),
    }
}

fn read_plain(path: &Path) -> Result<Vec<Question>> {
    let rows: Rows<Row> = Rows::read(path)?;
    let path = rows.path().to_path_buf();
    let to_question = |(index, row): (usize, Row)| {
        let wrong = |(found, fix)| DatasetError::Row {
            origin: format!("{}:{}", path.display(), index + 1),
            found,
            fix,
        };
        row.question().map_err(wrong)
    };
    rows.into_rows()
        .into_iter()
        .enumerate()
        .map(to_question)
        .collect()
}

/// Whether `path` is an object with one long list, as VQA v2 is published.
fn is_published(path: &Path) -> Result<bool> {
    let mut reader = open(path)?;
    let failed = || DatasetError::io("read", path);
    let first = reader.first_byte().map_err(failed())?;
    if first != Some(b'{') {
        return Ok(false);
    }
    reader.consume(1);
    let mut key = Vec::new();
    if reader.first_byte().map_err(failed())? == Some(b'"') {
        reader.consume(1);
        let mut start = reader.take(64);
        start.read_until(b'"', &mut key).map_err(failed())?;
        key.pop();
    }
    Ok(!OF_ROWS.iter().any(|name| name.as_bytes() == key))
}

fn published(asked: Asked, annotation: Option<Annotation>) -> Question {
    let mut question = Question {
        id: Some(asked.question_id.to_string()),
        image: Some(asked.image_id.to_string()),
        text: asked.question,
        ..Question::default()
    };
    if let Some(annotation) = annotation {
        question.add(annotation);
    }
    question
}

impl Question {
    fn add(&mut self, annotation: Annotation) {
        self.people = annotation.answers.into_iter().map(|a| a.answer).collect();
        self.question_type = Some(annotation.question_type);
        self.answer_type = Some(annotation.answer_type);
    }
}

/// Joins what people answered to questions by their ids.
fn annotate(questions: &Path, list: &mut [Question], annotations: &Path) -> Result<()> {
    let file = VqaFile::<Annotation>::read(annotations)?;
    let by_id = file
        .records
        .into_iter()
        .map(|a| (a.question_id.to_string(), a));
    let mut by_id: HashMap<String, Annotation> = by_id.collect();
    for (index, question) in list.iter_mut().enumerate() {
        let own = question.id.as_ref().and_then(|id| by_id.remove(id));
        let Some(own) = own else {
            let id = question.id.as_deref().unwrap_or("without id");
            let annotations = annotations.display();
            return Err(DatasetError::Row {
                origin: format!("{}:{}", questions.display(), index + 1),
                found: format!("question {id} has no annotation in {annotations}"),
                fix: "give the annotations of this split, and each id once",
            });
        };
        question.add(own);
    }
    Ok(())
}
