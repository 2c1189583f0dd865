//! Questions about images, with their answers: what VQA and GQA read.
//!
//! Three forms, told apart by what a file begins with:
//!
//! - the official code's, a JSON array of `{"q", "o", "an", "s", "img_id", "q_id"}`: `o` are tags
//!   joined by `;`, `an` and `s` labels of the answer vocabulary and their scores (none in test
//!   splits);
//! - VQA v2 as published: a file of questions and one of annotations;
//! - plain rows, JSON lines or an array, of `{"image", "question"}` with `"answers"` (what each
//!   person said, or scores by answer) or `"answer"`, and optionally `"tags"`, `"id"`,
//!   `"question_type"`, `"answer_type"`.

mod read;
mod row;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oscar_core::input::{EncodedSequence, RegionHandle, SequenceEncoder, SourceError};

use crate::annotations::has_words;
use crate::annotations::vqa::ANSWERS;
use crate::answers::{AnswerVocabulary, soft_score};
use crate::error::{DatasetError, Result, excerpt};
use crate::images::{SharedImages, open_images};

pub use read::count_answers;

/// A question, in the words of its file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question {
    /// The question's own name, unique in its file.
    pub id: Option<String>,
    /// Key of the image; the question is asked of none without one.
    pub image: Option<String>,
    /// What is asked.
    pub text: String,
    /// Object tags instead of those stored with the image.
    pub tags: Option<String>,
    /// What people answered, one entry each.
    pub people: Vec<String>,
    /// Answers with their scores.
    pub scored: Vec<(String, f32)>,
    /// Labels of the answer vocabulary with their scores.
    pub labels: Vec<(u32, f32)>,
    /// How the question begins, for a breakdown.
    pub question_type: Option<String>,
    /// Kind of its answer, for a breakdown.
    pub answer_type: Option<String>,
}

impl Question {
    /// Whether any answer is known.
    pub fn is_answered(&self) -> bool {
        !(self.people.is_empty() && self.scored.is_empty() && self.labels.is_empty())
    }

    /// What ten people answered, if they were asked: what VQA's accuracy is defined on.
    pub fn ten_answers(&self) -> Option<&[String]> {
        (self.people.len() == ANSWERS).then_some(&self.people)
    }

    /// Labels of `vocabulary` with their scores, the most agreed answer first. Answers that the
    /// vocabulary lacks are left out.
    ///
    /// What people say is looked up as they say it, and scored by how many of ten say it; the
    /// share counts where others than ten were asked.
    ///
    /// # Errors
    /// What is wrong: a label that the vocabulary does not have, a score that is none.
    pub fn targets(&self, vocabulary: &AnswerVocabulary) -> Result<Vec<(u32, f32)>, String> {
        let labels = vocabulary.len();
        let mut targets = Vec::new();
        for &(label, score) in &self.labels {
            if label as usize >= labels {
                return Err(format!(
                    "label {label}, but the vocabulary has {labels} answers"
                ));
            }
            targets.push((label, score));
        }
        for (answer, score) in &self.scored {
            if let Some(label) = vocabulary.label(answer) {
                targets.push((label, *score));
            }
        }
        if let Some((label, score)) = targets.iter().find(|(_, s)| !(0.0..=1.0).contains(s)) {
            let answer = vocabulary.answer(*label as usize).unwrap_or_default();
            return Err(format!("a score of {score} for {}", excerpt(answer)));
        }
        targets.retain(|(_, score)| *score > 0.0);
        targets.sort_by(|a, b| b.1.total_cmp(&a.1));
        if targets.is_empty() {
            targets = self.agreed(vocabulary);
        }
        Ok(targets)
    }

    fn agreed(&self, vocabulary: &AnswerVocabulary) -> Vec<(u32, f32)> {
        let mut counts: Vec<(u32, usize)> = Vec::new();
        for label in self.people.iter().filter_map(|said| vocabulary.label(said)) {
            match counts.iter_mut().find(|(known, _)| *known == label) {
                Some((_, count)) => *count += 1,
                None => counts.push((label, 1)),
            }
        }
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let asked = self.people.len();
        let of_ten = |count: usize| (count * ANSWERS + asked / 2) / asked.max(1);
        let scored = |(label, count)| (label, soft_score(of_ten(count)));
        counts.into_iter().map(scored).collect()
    }

    /// The most agreed answer, in the words of the file; of equally agreed ones the first.
    pub fn most_agreed(&self) -> Option<&str> {
        let scored = self.scored.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((answer, _)) = scored {
            return Some(answer);
        }
        let count = |answer: &&String| self.people.iter().filter(|said| said == answer).count();
        self.people
            .iter()
            .rev()
            .max_by_key(count)
            .map(String::as_str)
    }
}

/// The questions of a split, each with its image.
pub struct QuestionSet {
    path: PathBuf,
    questions: Vec<Question>,
    by_row: bool,
    images: Option<SharedImages>,
    /// Rows of the questions' images.
    rows: Vec<Option<usize>>,
}

impl QuestionSet {
    /// Opens the questions in `questions`, what people answered to them in `annotations` (VQA v2 as
    /// published), and the images in `regions`. Without regions the questions are asked of no
    /// image.
    ///
    /// # Errors
    /// A file that cannot be read; a question without words, or whose id stands twice; an image
    /// that is not among those of `regions`. The message names file and row.
    pub fn open(
        questions: &Path,
        annotations: Option<&Path>,
        regions: Option<&Path>,
    ) -> Result<Self> {
        let (list, by_row) = read::questions(questions, annotations)?;
        let images = regions.map(open_images).transpose()?;
        let mut set = Self {
            path: questions.to_path_buf(),
            rows: Vec::with_capacity(list.len()),
            questions: list,
            by_row,
            images,
        };
        set.check()?;
        set.find_images()?;
        Ok(set)
    }

    fn check(&self) -> Result<()> {
        let mut seen = HashMap::with_capacity(self.len());
        for (index, question) in self.questions.iter().enumerate() {
            if !has_words(&question.text) {
                let found = format!("the question {} has no words", excerpt(&question.text));
                return Err(self.wrong(index, found, "correct the row, or drop it"));
            }
            let Some(id) = &question.id else { continue };
            if let Some(first) = seen.insert(id, index) {
                let found = format!("the question id {id} stands at {} too", self.origin(first));
                return Err(self.wrong(index, found, "give each question an id of its own"));
            }
        }
        Ok(())
    }

    fn find_images(&mut self) -> Result<()> {
        let Some(images) = self.images.clone() else {
            tracing::warn!(
                "{}: no `regions` are given, so its questions are asked without their images",
                self.path.display()
            );
            self.rows = vec![None; self.questions.len()];
            return Ok(());
        };
        let mut without = 0;
        for index in 0..self.questions.len() {
            let row = match &self.questions[index].image {
                None => {
                    without += 1;
                    None
                }
                Some(key) => Some(images.find(key).ok_or_else(|| {
                    let place = images.path().display();
                    let found = format!("image `{key}` is not among those of {place}");
                    self.wrong(index, found, "drop the row, or add the image's regions")
                })?),
            };
            self.rows.push(row);
        }
        if without > 0 {
            tracing::warn!(
                "{}: {without} of {} questions name no image and are asked without one",
                self.path.display(),
                self.len()
            );
        }
        Ok(())
    }

    /// The file of questions.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of questions.
    pub fn len(&self) -> usize {
        self.questions.len()
    }

    /// Whether there is no question.
    pub fn is_empty(&self) -> bool {
        self.questions.is_empty()
    }

    /// The questions in order.
    pub fn questions(&self) -> &[Question] {
        &self.questions
    }

    /// Values per region; 0 without regions.
    pub fn region_dim(&self) -> usize {
        self.images.as_ref().map_or(0, |images| images.region_dim())
    }

    /// Where question `index` stands, for messages.
    pub fn origin(&self, index: usize) -> String {
        let path = self.path.display();
        let id = self.questions.get(index).and_then(|q| q.id.as_deref());
        match (self.by_row, id) {
            (false, Some(id)) => format!("{path}: question {id}"),
            _ => format!("{path}:{}", index + 1),
        }
    }

    /// An error about question `index`.
    pub fn wrong(&self, index: usize, found: impl Into<String>, fix: &'static str) -> DatasetError {
        DatasetError::Row {
            origin: self.origin(index),
            found: found.into(),
            fix,
        }
    }

    /// Question `index`, its tags and its regions as a sequence.
    ///
    /// # Errors
    /// If the image cannot be read, or the question has no token.
    pub fn encode(
        &self,
        index: usize,
        encoder: &SequenceEncoder,
    ) -> Result<EncodedSequence, SourceError> {
        let (question, row) = match (self.questions.get(index), self.rows.get(index)) {
            (Some(question), Some(row)) => (question, *row),
            _ => return Err(format!("{}: no question {index}", self.path.display()).into()),
        };
        let mut regions = Vec::new();
        let mut stored = String::new();
        if let (Some(images), Some(row)) = (&self.images, row) {
            if question.tags.is_none() {
                stored = images.tag_text(row)?;
            }
            regions.push(RegionHandle::new(images.clone(), row)?);
        }
        let tags = question.tags.as_deref().unwrap_or(&stored);
        Ok(encoder.encode(self.origin(index), &question.text, tags, &regions)?)
    }
}
