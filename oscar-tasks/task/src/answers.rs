//! Tasks that answer questions with an answer of a vocabulary.

use std::path::{Path, PathBuf};

use oscar_core::config::{Classifier, ConfigError, ModelConfig, require};
use oscar_core::input::SourceError;
use oscar_datasets::answers::AnswerVocabulary;
use oscar_datasets::questions::Question;

use crate::{PublishedModel, ScoreTable};

/// The head of such a task, as its section describes it.
pub struct AnswerHead<'a> {
    /// `task.answers`: the answer vocabulary.
    pub answers: Option<&'a Path>,
    /// `task.classifier`.
    pub classifier: Classifier,
    /// `task.hidden_scale`: width of the hidden layer of an `mlp` head, in hidden sizes.
    pub hidden_scale: usize,
}

impl AnswerHead<'_> {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// The first key whose value is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let scale = self.hidden_scale;
        require(scale > 0, "task.hidden_scale", scale, "must be at least 1")
    }

    /// Opens the answer vocabulary.
    ///
    /// # Errors
    ///
    /// If it is not set, or cannot be read.
    pub fn vocabulary(&self) -> Result<AnswerVocabulary, SourceError> {
        let path = self.answers.ok_or(
            "task.answers is not set: it names the answer vocabulary, one answer for each class of \
             the weights (`oscar-bin data build answers` makes one for training)",
        )?;
        Ok(AnswerVocabulary::open(path)?)
    }

    /// Sets the keys of the model that follow: one label for each answer, the loss, the head.
    ///
    /// # Errors
    ///
    /// If the vocabulary cannot be read.
    pub fn configure(&self, model: &mut ModelConfig, loss: &str) -> Result<(), SourceError> {
        model.num_labels = self.vocabulary()?.len();
        model.loss_type = loss.into();
        model.classifier = self.classifier;
        model.cls_hidden_scale = self.hidden_scale;
        Ok(())
    }
}

/// The answer vocabulary in a directory of published weights, under one of the names that it has
/// there: this project's own, or those of the official data.
pub fn find_vocabulary<C>(published: &PublishedModel<C>) -> Option<PathBuf> {
    const NAMES: [&str; 5] = [
        "answers.json",
        "trainval_label2ans.pkl",
        "trainval_ans2label.pkl",
        "trainval_testdev_all_label2ans.pkl",
        "trainval_testdev_all_ans2label.pkl",
    ];
    published.find(&NAMES)
}

/// The answer of class `label`.
///
/// # Errors
///
/// If the vocabulary has fewer answers: it is another than the model's.
pub fn answer(vocabulary: &AnswerVocabulary, label: usize) -> Result<&str, SourceError> {
    vocabulary.answer(label).ok_or_else(|| {
        let (path, count) = (vocabulary.path().display(), vocabulary.len());
        format!("the model answers with class {label}, but {path} has {count} answers").into()
    })
}

/// Mean scores by kind of answer and of question, where the data names them.
pub fn breakdowns(scored: &[(&Question, f64)]) -> Vec<ScoreTable> {
    let by = |title, kind: fn(&Question) -> Option<&str>| {
        let scored = scored.iter();
        let scored = scored.filter_map(|(question, score)| Some((kind(question)?, *score)));
        ScoreTable::by_group(title, scored)
    };
    let answer = by("answer type", |question| question.answer_type.as_deref());
    let question = by("question type", |question| {
        question.question_type.as_deref()
    });
    answer.into_iter().chain(question).collect()
}
