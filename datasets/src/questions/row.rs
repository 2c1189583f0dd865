//! Rows of question files, as they are written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Question;
use crate::rows::Key;

/// A row of either form: that of the official code (`q`, `o`, `an`, `s`, `img_id`, `q_id`) or the
/// plain one (`question`, `image`, `answers` or `answer`, …).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    q: Option<String>,
    o: Option<String>,
    an: Vec<u32>,
    s: Vec<f32>,
    img_id: Option<Key>,
    q_id: Option<Key>,

    id: Option<Key>,
    image: Option<Key>,
    question: Option<String>,
    tags: Option<String>,
    answers: Option<Answers>,
    answer: Option<String>,
    question_type: Option<String>,
    answer_type: Option<String>,

    #[serde(flatten)]
    others: BTreeMap<String, IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "`answers` is neither a list of texts nor scores by text"
)]
enum Answers {
    Given(Vec<String>),
    Scored(BTreeMap<String, f32>),
}

impl TryFrom<Fields> for Question {
    type Error = String;

    fn try_from(row: Fields) -> Result<Self, String> {
        match (&row.q, &row.question) {
            (Some(_), None) => row.official(),
            (None, Some(_)) => row.plain(),
            (None, None) => Err("neither `question` nor `q`".into()),
            (Some(_), Some(_)) => Err("both `question` and `q`; give one of the two".into()),
        }
    }
}

impl Fields {
    fn official(self) -> Result<Question, String> {
        let scores = match self.s.is_empty() {
            // GQA has labels alone.
            true => vec![1.0; self.an.len()],
            false => self.s,
        };
        if scores.len() != self.an.len() {
            let (labels, scores) = (self.an.len(), scores.len());
            return Err(format!(
                "{labels} labels in `an`, {scores} scores in `s`; give each label its score"
            ));
        }
        Ok(Question {
            id: self.q_id.map(|id| id.0),
            image: self.img_id.map(|image| image.0),
            text: self.q.unwrap_or_default(),
            tags: Some(self.o.unwrap_or_default().replace(';', " ")),
            labels: self.an.into_iter().zip(scores).collect(),
            question_type: self.question_type,
            answer_type: self.answer_type,
            ..Question::default()
        })
    }

    fn plain(self) -> Result<Question, String> {
        if let Some(key) = self.others.keys().next() {
            return Err(format!(
                "unknown key `{key}`; a row has `question`, `image`, `answers` or `answer`, \
                 `tags`, `id`, `question_type` and `answer_type`"
            ));
        }
        let (people, scored) = match (self.answers, self.answer) {
            (None, None) => (Vec::new(), Vec::new()),
            (None, Some(answer)) => (Vec::new(), vec![(answer, 1.0)]),
            (Some(Answers::Given(people)), None) => (people, Vec::new()),
            (Some(Answers::Scored(scored)), None) => (Vec::new(), scored.into_iter().collect()),
            (Some(_), Some(_)) => {
                return Err("both `answers` and `answer`; give one of the two".into());
            }
        };
        Ok(Question {
            id: self.id.map(|id| id.0),
            image: self.image.map(|image| image.0),
            text: self.question.unwrap_or_default(),
            tags: self.tags,
            people,
            scored,
            question_type: self.question_type,
            answer_type: self.answer_type,
            ..Question::default()
        })
    }
}
