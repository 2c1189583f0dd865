//! An answer vocabulary of what people answered.

use std::collections::HashMap;
use std::path::Path;

use super::AnswerVocabulary;
use crate::error::{DatasetError, Result};

/// To how many questions each answer is the most agreed one.
#[derive(Clone, Debug, Default)]
pub struct AnswerCounts {
    counts: HashMap<String, usize>,
    questions: usize,
}

impl AnswerCounts {
    /// Counts the answer to a question.
    pub fn add(&mut self, answer: String) {
        self.questions += 1;
        *self.counts.entry(answer).or_default() += 1;
    }

    /// Questions counted.
    pub fn questions(&self) -> usize {
        self.questions
    }

    /// Different answers.
    pub fn answers(&self) -> usize {
        self.counts.len()
    }
}

/// The answers to at least `minimum` questions, the most frequent first, equal ones by alphabet;
/// with the number of questions that they answer. `path` is for messages.
///
/// # Errors
/// Fewer than two answers are that frequent.
pub fn build_vocabulary(
    counts: &AnswerCounts,
    minimum: usize,
    path: &Path,
) -> Result<(AnswerVocabulary, usize)> {
    let frequent = counts.counts.iter().filter(|(_, count)| **count >= minimum);
    let mut frequent: Vec<(&String, usize)> = frequent.map(|(a, count)| (a, *count)).collect();
    if frequent.len() < 2 {
        let answers = counts.answers();
        let found = match answers {
            0 | 1 => format!("only {answers} distinct answer(s)"),
            _ => format!(
                "{} of {answers} answers occur {minimum} times or more",
                frequent.len()
            ),
        };
        let fix = match answers {
            0 | 1 => "a vocabulary needs at least two: give more questions",
            _ => "a vocabulary needs at least two: lower the minimum",
        };
        return Err(DatasetError::malformed(path, found, fix));
    }
    frequent.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let answered = frequent.iter().map(|(_, count)| count).sum();
    let answers = frequent.into_iter().map(|(answer, _)| answer.clone());
    Ok((AnswerVocabulary::new(path, answers.collect())?, answered))
}
