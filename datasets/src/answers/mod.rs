//! Answer vocabularies: the answers a classifier chooses from, by label.
//!
//! - [`AnswerVocabulary`] reads the published files (pickles and JSON) and writes JSON.
//! - [`normalise`] makes equal what the VQA evaluation takes to be equal.
//! - [`build_vocabulary`] makes one of what people answered.

mod build;
mod normalise;
mod read;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oscar_core::input::AnswerLabels;

use crate::error::{DatasetError, Result, excerpt};

pub use build::{AnswerCounts, build_vocabulary};
pub use normalise::{normalise, remove_punctuation, tidy};

/// The answers a classifier chooses from: label `n` stands for the answer at place `n`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerVocabulary {
    path: PathBuf,
    answers: Vec<String>,
    labels: HashMap<String, u32>,
}

impl AnswerVocabulary {
    /// Reads a vocabulary: the list of answers or the answers by label (`label2ans`), or the labels by
    /// answer (`ans2label`), each as JSON or as Python's pickle, which is not executed; both in one list, as
    /// ROSITA's `answer_vocab.json` has them; LXMERT's list of `{"ans"}`; or text with an answer a line.
    ///
    /// # Errors
    /// A missing, damaged or other file; an answer that occurs twice; a label that is missing or
    /// is that of two answers; fewer than two answers.
    pub fn open(path: &Path) -> Result<Self> {
        Self::new(path, read::answers(path)?)
    }

    /// The vocabulary of `answers`, in their order; `path` is for messages.
    ///
    /// # Errors
    /// An answer that occurs twice; fewer than two answers.
    pub fn new(path: &Path, answers: Vec<String>) -> Result<Self> {
        let wrong = |found, fix| Err(DatasetError::malformed(path, found, fix));
        if answers.len() < 2 {
            let found = format!("{} answer(s)", answers.len());
            return wrong(found, "give at least two to choose from");
        }
        let mut labels = HashMap::with_capacity(answers.len());
        for (label, answer) in answers.iter().enumerate() {
            if let Some(first) = labels.insert(answer.clone(), label as u32) {
                let answer = excerpt(answer);
                let found = format!("the answer {answer} has the labels {first} and {label}");
                return wrong(found, "give each answer once");
            }
        }
        Ok(Self {
            path: path.to_path_buf(),
            answers,
            labels,
        })
    }

    /// Number of answers.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether there is no answer; there always are two.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All answers by label.
    pub fn answers(&self) -> &[String] {
        &self.answers
    }

    /// The answer a label stands for.
    pub fn answer(&self, label: usize) -> Option<&str> {
        self.answers.get(label).map(String::as_str)
    }

    /// The label of exactly this answer.
    pub fn label(&self, answer: &str) -> Option<u32> {
        self.labels.get(answer).copied()
    }

    /// How many of `people` gave each answer, by label, the most agreed one first; of equally agreed ones
    /// the first.
    pub fn counts<'a>(&self, people: impl IntoIterator<Item = &'a str>) -> Vec<(u32, usize)> {
        let mut counts: Vec<(u32, usize)> = Vec::new();
        for label in people.into_iter().filter_map(|said| self.label(said)) {
            match counts.iter_mut().find(|(known, _)| *known == label) {
                Some((_, count)) => *count += 1,
                None => counts.push((label, 1)),
            }
        }
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }

    /// Writes the list of answers as JSON, one a line, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut json = serde_json::to_vec_pretty(&self.answers)
            .map_err(|error| DatasetError::io("write", path)(error.into()))?;
        json.push(b'\n');
        Ok(oscar_files::write_file(path, &json)?)
    }
}

/// Answers are normalised as the VQA evaluation compares them, so that "The dog." is "dog" (ROSITA).
impl AnswerLabels for AnswerVocabulary {
    fn len(&self) -> usize {
        self.len()
    }

    fn shares(&self, people: &[String]) -> Vec<(u32, f32)> {
        let normalised: Vec<String> = people.iter().map(|said| normalise(said)).collect();
        let counts = self.counts(normalised.iter().map(String::as_str));
        let share = |count: usize| count as f32 / people.len() as f32;
        let counts = counts.into_iter();
        counts.map(|(label, count)| (label, share(count))).collect()
    }
}

/// The score of an answer that `count` of ten people gave: the soft scores of VQA's classifiers.
pub fn soft_score(count: usize) -> f32 {
    match count {
        0 => 0.0,
        1 => 0.3,
        2 => 0.6,
        3 => 0.9,
        _ => 1.0,
    }
}
