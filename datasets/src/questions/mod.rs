//! Questions about images, with their answers: what VQA and GQA read.
//!
//! These forms, detected by content:
//!
//! - the official code's, a JSON array of `{"q", "o", "an", "s", "img_id", "q_id"}`: `o` are tags
//!   joined by `;`, `an` and `s` labels of the answer vocabulary and their scores (none in test
//!   splits);
//! - VQA v2, OK-VQA and VQA-CP as published: a file of questions and one of annotations;
//! - GQA as published: an object of `{"question", "imageId", "answer", …}` by question id;
//! - VizWiz as published: an array of `{"image", "question", "answers": [{"answer"}, …], …}`;
//! - LXMERT's, an array of `{"sent", "img_id", "question_id", "label": {answer: score}}`;
//! - plain rows, JSON lines or an array, of `{"image", "question"}` with `"answers"` (what each
//!   person said, or scores by answer) or `"answer"` (one, or what each person said, as in ALBEF's
//!   and LAVIS' files), and optionally `"tags"`, `"id"`, `"question_type"`, `"answer_type"`.
//!
//! A blank answer is none: its question is one that nobody has answered.

mod published;
mod row;

use std::path::Path;

use oscar_core::input::{EncodedSequence, RegionHandle, SequenceEncoder, SourceError};
use serde::Deserialize;

use crate::answers::{AnswerCounts, AnswerVocabulary, normalise, soft_score};
use crate::error::{DatasetError, Result};
use crate::findings::{Counts, Defect, Problems};
use crate::images::{ImageSource, SharedImages, open_images};
use crate::records::Records;
use crate::rows::{self, Row, RowSet, has_words};

use published::PEOPLE;
pub use published::{Annotation, read_annotations};
pub(crate) use published::{Annotations, is_annotations};

/// A question, in the words of its file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "row::Fields")]
pub struct Question {
    /// The question's own name, unique in its file.
    pub id: Option<String>,
    /// Key of the image; a question without one is asked without an image.
    pub image: Option<String>,
    /// The text of the question.
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

    /// The answers of exactly ten people, on which VQA's accuracy is defined.
    pub fn ten_answers(&self) -> Option<&[String]> {
        (self.people.len() == PEOPLE).then_some(&self.people)
    }

    /// Labels of `vocabulary` with their scores, the most agreed answer first. Answers that the
    /// vocabulary lacks are left out.
    ///
    /// People's answers are looked up verbatim and scored by how many of ten people gave them; where
    /// there were not ten people, by their share.
    ///
    /// # Errors
    /// A label that the vocabulary does not have.
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
        targets.retain(|(_, score)| *score > 0.0);
        targets.sort_by(|a, b| b.1.total_cmp(&a.1));
        if targets.is_empty() {
            targets = self.agreed(vocabulary);
        }
        Ok(targets)
    }

    fn agreed(&self, vocabulary: &AnswerVocabulary) -> Vec<(u32, f32)> {
        let asked = self.people.len();
        let of_ten = |count: usize| (count * PEOPLE + asked / 2) / asked.max(1);
        let scored = |(label, count)| (label, soft_score(of_ten(count)));
        let people = self.people.iter().map(String::as_str);
        let people = people.filter(|said| !row::is_blank(said));
        let counts = vocabulary.counts(people).into_iter();
        counts.map(scored).collect()
    }

    /// The question with what people answered as the VQA evaluation compares it, so that "The dog." is the
    /// vocabulary's "dog".
    pub fn with_normalised_answers(&self) -> Self {
        Self {
            people: self.people.iter().map(|said| normalise(said)).collect(),
            ..self.clone()
        }
    }

    /// The most agreed answer, in the words of the file; of equally agreed ones the first.
    pub fn most_agreed(&self) -> Option<&str> {
        let scored = self.scored.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((answer, _)) = scored {
            return Some(answer);
        }
        let count = |answer: &&String| self.people.iter().filter(|said| said == answer).count();
        let given = self.people.iter().filter(|said| !row::is_blank(said));
        given.rev().max_by_key(count).map(String::as_str)
    }
}

impl Row for Question {
    const LABEL: &'static str = "answer";

    fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn is_labelled(&self) -> bool {
        self.is_answered()
    }

    fn check(&self, _: &Self) -> Result<(), Defect> {
        has_words("question", &self.text)?;
        let scores = self.scored.iter().map(|(_, score)| score);
        let mut scores = scores.chain(self.labels.iter().map(|(_, score)| score));
        match scores.find(|score| !(0.0..=1.0).contains(*score)) {
            Some(score) => {
                let found = format!("a score of {score} for an answer");
                Err(Defect::new(found, "scores are from 0 to 1"))
            }
            None => Ok(()),
        }
    }

    fn find_images(&self, images: &dyn ImageSource, found: &mut Vec<usize>) -> Result<(), Defect> {
        if let Some(key) = &self.image {
            found.push(images.require(key)?);
        }
        Ok(())
    }

    fn count(&self, counts: &mut Counts) {
        counts.add_words(&self.text);
        let answers = self.people.len() + self.scored.len() + self.labels.len();
        counts.add("answers", answers);
    }
}

/// Reads the questions of `path` with their numbers, and whether they are published ones, which are
/// known by their ids.
fn read(path: &Path, problems: &mut Problems) -> Result<(Vec<(usize, Question)>, bool)> {
    let records = Records::open(path, published::LISTS)?;
    if records.is_object() {
        return Ok((published::read_questions(path, problems)?, true));
    }
    let data = Records::open(path, &[published::DATA])?;
    let (records, by_id) = match data.is_object() {
        true => (data, true),
        false => {
            let by_id = records.is_by_key();
            (records, by_id)
        }
    };
    let name = |key: &str, question: &mut Question| {
        question.id.get_or_insert_with(|| key.to_owned());
    };
    Ok((rows::parse_keyed(path, records, problems, name)?, by_id))
}

/// The questions of a split, each with its image.
pub struct QuestionSet {
    rows: RowSet<Question>,
}

impl QuestionSet {
    /// Opens the questions in `questions`, what people answered to them in `annotations` (VQA v2 as
    /// published), and the images in `regions`. Without regions the questions are asked without
    /// images.
    ///
    /// # Errors
    /// A file that cannot be read; [`DatasetError::Problems`] with the first wrong questions: one
    /// without words, whose id occurs twice, or whose image is not in `regions`; with annotations, a
    /// question that has none, and for published ones the reverse.
    pub fn open(
        questions: &Path,
        annotations: Option<&Path>,
        regions: Option<&Path>,
    ) -> Result<Self> {
        let images = regions.map(open_images).transpose()?;
        let set = Problems::refuse(|problems| {
            let mut answered = annotations.map(|_| Annotations::default());
            if let (Some(answered), Some(path)) = (&mut answered, annotations) {
                answered.read(path, problems)?;
            }
            let set = Self::read(questions, answered.as_mut(), images, problems)?;
            if let Some(answered) = answered.filter(|_| set.rows.is_published()) {
                answered.orphans(problems);
            }
            Ok(set)
        })?;
        set.warn_of_missing_images();
        Ok(set)
    }

    /// The questions of `path`, joined with `annotations`; what is wrong is added to `problems`.
    pub(crate) fn read(
        path: &Path,
        annotations: Option<&mut Annotations>,
        images: Option<SharedImages>,
        problems: &mut Problems,
    ) -> Result<Self> {
        let (mut questions, published) = read(path, problems)?;
        if let Some(annotations) = annotations {
            annotations.join(path, &mut questions, published, problems);
        }
        let named = published.then_some("question");
        let rows = RowSet::new(path, questions, named, images, problems);
        Ok(Self { rows })
    }

    fn warn_of_missing_images(&self) {
        let (path, all) = (self.path().display(), self.len());
        if self.rows.source().is_none() {
            tracing::warn!("{path}: no `regions` are set: questions are asked without images");
            return;
        }
        let named = self
            .questions()
            .iter()
            .filter(|q| q.image.is_some())
            .count();
        if named < all {
            let without = all - named;
            tracing::warn!("{path}: {without} of {all} questions name no image");
        }
    }

    /// The rows with their places.
    pub(crate) fn rows(&self) -> &RowSet<Question> {
        &self.rows
    }

    /// The file of questions.
    pub fn path(&self) -> &Path {
        self.rows.path()
    }

    /// Number of questions.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no question.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The questions in order.
    pub fn questions(&self) -> &[Question] {
        &self.rows
    }

    /// Values per region; 0 without regions.
    pub fn region_dim(&self) -> usize {
        self.rows.region_dim()
    }

    /// Name of the extractor that found the regions, where their source names it.
    pub fn extractor(&self) -> Option<String> {
        self.rows.extractor()
    }

    /// Where question `index` is, for messages.
    pub fn origin(&self, index: usize) -> String {
        self.rows.origin(index)
    }

    /// Checks that all questions have an answer.
    ///
    /// # Errors
    /// The first that have none.
    pub fn require_answers(&self) -> Result<()> {
        self.rows.require_labels()
    }

    /// An error about question `index`.
    pub fn wrong(&self, index: usize, found: impl Into<String>, fix: &'static str) -> DatasetError {
        self.rows.wrong(index, found, fix)
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
        let Some(question) = self.rows.get(index) else {
            return Err(format!("{}: no question {index}", self.path().display()).into());
        };
        let mut regions = Vec::new();
        let mut stored = String::new();
        if let (Some(images), [row]) = (self.rows.source(), self.rows.images(index)) {
            let row = *row as usize;
            if question.tags.is_none() {
                stored = images.tag_text(row)?;
            }
            regions.push(RegionHandle::new(images.clone(), row)?);
        }
        let tags = question.tags.as_deref().unwrap_or(&stored);
        Ok(encoder.encode(self.origin(index), &question.text, tags, &regions)?)
    }
}

/// Counts the most agreed answers of a file: annotations of VQA v2 (as the evaluation compares
/// them), or rows of any form with answers in words (as they are).
///
/// # Errors
/// A file that cannot be read, or in which no question has an answer in words.
pub fn count_answers(path: &Path, counts: &mut AnswerCounts) -> Result<()> {
    let before = counts.questions();
    if is_annotations(path)? {
        for annotation in read_annotations(path)? {
            if let Some(answer) = annotation.most_agreed() {
                counts.add(normalise(answer));
            }
        }
    } else {
        let (questions, _) = Problems::refuse(|problems| read(path, problems))?;
        for (_, question) in &questions {
            if let Some(answer) = question.most_agreed() {
                counts.add(answer.to_owned());
            }
        }
    }
    match counts.questions() > before {
        true => Ok(()),
        false => {
            let fix = "give annotations of VQA v2, or rows with `answers` or `answer`";
            Err(DatasetError::malformed(path, "no answer in words", fix))
        }
    }
}
