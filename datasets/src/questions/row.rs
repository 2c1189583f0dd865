//! Rows of question files, as they are written.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use super::Question;
use crate::annotations::Extra;

/// A row of either form: that of the official code (`q`, `o`, `an`, `s`, `img_id`, `q_id`) or the
/// plain one (`question`, `image`, `answers` or `answer`, …).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Row {
    q: Option<String>,
    o: Option<String>,
    an: Vec<u32>,
    s: Vec<f32>,
    img_id: Option<Name>,
    q_id: Option<Name>,

    id: Option<Name>,
    image: Option<Name>,
    question: Option<String>,
    tags: Option<String>,
    answers: Option<Answers>,
    answer: Option<String>,
    question_type: Option<String>,
    answer_type: Option<String>,

    #[serde(flatten)]
    extra: Extra,
}

/// An identifier: a text, or a whole number as its digits.
#[derive(Debug)]
struct Name(String);

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "`answers` is neither a list of texts nor scores by text"
)]
enum Answers {
    Given(Vec<String>),
    Scored(BTreeMap<String, f32>),
}

impl Row {
    /// The question, or what is wrong and what to do.
    pub(super) fn question(self) -> Result<Question, (String, &'static str)> {
        match (&self.q, &self.question) {
            (Some(_), None) => self.official(),
            (None, Some(_)) => self.plain(),
            (None, None) => Err((
                "neither `question` nor `q`".into(),
                "give each row its question",
            )),
            (Some(_), Some(_)) => Err(("both `question` and `q`".into(), "give one of the two")),
        }
    }

    fn official(self) -> Result<Question, (String, &'static str)> {
        let scores = match self.s.is_empty() {
            // GQA has labels alone.
            true => vec![1.0; self.an.len()],
            false => self.s,
        };
        if scores.len() != self.an.len() {
            let found = format!(
                "{} labels in `an`, {} scores in `s`",
                self.an.len(),
                scores.len()
            );
            return Err((found, "give each label its score"));
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

    fn plain(self) -> Result<Question, (String, &'static str)> {
        if let Some(key) = self.extra.keys().next() {
            let fix = "a row has question, image, answers or answer, tags, id, question_type, \
                       answer_type";
            return Err((format!("an unknown field `{key}`"), fix));
        }
        let (people, scored) = match (self.answers, self.answer) {
            (None, None) => (Vec::new(), Vec::new()),
            (None, Some(answer)) => (Vec::new(), vec![(answer, 1.0)]),
            (Some(Answers::Given(people)), None) => (people, Vec::new()),
            (Some(Answers::Scored(scored)), None) => (Vec::new(), scored.into_iter().collect()),
            (Some(_), Some(_)) => {
                return Err(("both `answers` and `answer`".into(), "give one of the two"));
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

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a whole number")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Name, E> {
                Ok(Name(text.to_owned()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Name, E> {
                Ok(Name(number.to_string()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Name, E> {
                Ok(Name(number.to_string()))
            }
        }

        deserializer.deserialize_any(Either)
    }
}
