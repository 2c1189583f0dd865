//! Rows of question files, as they are written.

use std::collections::BTreeMap;

use oscar_files::parse_json;
use oscar_files::python::json_text;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::Question;
use crate::rows::Key;

/// A row of any form: that of the official code (`q`, `o`, `an`, `s`, `img_id`, `q_id`), LXMERT's
/// (`sent`, `img_id`, `label`, `question_id`), those of published data sets (`question` beside
/// `imageId`, `question_id` or `answerable`; A-OKVQA's with `direct_answers`), or the plain one (`question`, `image`, `answers` or
/// `answer`, …).
#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    expecting = "an object such as {\"image\": …, \"question\": …, \"answer\": …}"
)]
pub(super) struct Fields {
    q: Option<String>,
    o: Option<String>,
    an: Vec<u32>,
    s: Vec<f32>,
    img_id: Option<Key>,
    q_id: Option<Key>,

    sent: Option<String>,
    label: Option<Value>,

    question_id: Option<Key>,
    image_id: Option<Key>,
    #[serde(rename = "imageId")]
    gqa_image: Option<Key>,
    types: Option<GqaTypes>,
    answerable: Option<IgnoredAny>,

    id: Option<Key>,
    image: Option<Key>,
    question: Option<String>,
    tags: Option<String>,
    #[serde(alias = "direct_answers")]
    answers: Option<Answers>,
    answer: Option<Answers>,
    question_type: Option<String>,
    answer_type: Option<String>,

    #[serde(flatten)]
    others: BTreeMap<String, IgnoredAny>,
}

/// What GQA says of the kind of a question.
#[derive(Debug, Deserialize)]
struct GqaTypes {
    structural: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "`answer` or `answers` is neither a text, nor a list of texts, nor scores by text"
)]
enum Answers {
    Given(Vec<Said>),
    Scored(BTreeMap<String, f32>),
    One(Key),
}

/// An answer: its text, or VizWiz's and VQA's object with the text and what is known of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "an answer is a text, or an object with the text as `answer`"
)]
pub(super) enum Said {
    Text(Key),
    Object { answer: Key },
}

impl Said {
    /// The text.
    pub(super) fn text(self) -> String {
        match self {
            Self::Text(Key(text)) | Self::Object { answer: Key(text) } => text,
        }
    }
}

/// The answers in a text: a list as Python prints it, which is how the columns of tables hold one, or
/// the only answer.
fn answers_in(text: String) -> Vec<String> {
    let list = match text.starts_with('[') {
        true => parse_json::<Vec<Said>>(&json_text(&text)).ok(),
        false => None,
    };
    match list {
        Some(list) if !list.is_empty() => list.into_iter().map(Said::text).collect(),
        _ => vec![text],
    }
}

impl TryFrom<Fields> for Question {
    type Error = String;

    fn try_from(row: Fields) -> Result<Self, String> {
        let question = match (&row.q, &row.question, &row.sent) {
            (Some(_), None, None) => row.official(),
            (None, Some(_), None) => row.plain(),
            (None, None, Some(_)) => row.lxmert(),
            (None, None, None) => Err("neither `question` nor `q`".into()),
            (Some(_), Some(_), _) => Err("both `question` and `q`; give one of the two".into()),
            (.., Some(_)) => Err("`sent` beside another question; give one of the two".into()),
        };
        question.map(without_blanks)
    }
}

/// The question without answers that are blank, which is what a table has where nobody answered. One of
/// several people who said nothing still is one of those who were asked.
fn without_blanks(mut question: Question) -> Question {
    question.scored.retain(|(answer, _)| !is_blank(answer));
    if question.people.iter().all(|said| is_blank(said)) {
        question.people.clear();
    }
    question
}

/// Whether an answer has no text.
pub(super) fn is_blank(answer: &str) -> bool {
    answer.trim().is_empty()
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

    fn lxmert(self) -> Result<Question, String> {
        let scored = match self.label {
            None => Vec::new(),
            Some(Value::Object(scores)) => {
                let scores = scores.into_iter().map(|(answer, score)| {
                    let score = score.as_f64().map(|score| score as f32);
                    let score = score.ok_or_else(|| {
                        format!("`label`: the score of {answer:?} is not a number")
                    })?;
                    Ok((answer, score))
                });
                scores.collect::<Result<_, String>>()?
            }
            Some(other) => {
                return Err(format!(
                    "`label` is {other}; LXMERT's questions have scores by answer, {{\"yes\": 1}}"
                ));
            }
        };
        Ok(Question {
            id: self.question_id.map(|id| id.0),
            image: self.img_id.map(|image| image.0),
            text: self.sent.unwrap_or_default(),
            scored,
            question_type: self.question_type,
            answer_type: self.answer_type,
            ..Question::default()
        })
    }

    fn plain(self) -> Result<Question, String> {
        // Published rows say more than is used.
        let published =
            self.gqa_image.is_some() || self.question_id.is_some() || self.answerable.is_some();
        if let Some(key) = self.others.keys().next().filter(|_| !published) {
            return Err(format!(
                "unknown key `{key}`; a row has `question`, `image`, `answers` or `answer`, \
                 `tags`, `id`, `question_type` and `answer_type`"
            ));
        }
        let (people, scored) = match (self.answers, self.answer) {
            (None, None) => (Vec::new(), Vec::new()),
            (None, Some(Answers::One(Key(answer)))) => (Vec::new(), vec![(answer, 1.0)]),
            (Some(Answers::One(Key(text))), None) => (answers_in(text), Vec::new()),
            (Some(Answers::Given(people)), None) | (None, Some(Answers::Given(people))) => {
                (people.into_iter().map(Said::text).collect(), Vec::new())
            }
            (Some(Answers::Scored(scored)), None) | (None, Some(Answers::Scored(scored))) => {
                (Vec::new(), scored.into_iter().collect())
            }
            (Some(_), Some(_)) => {
                return Err("both `answers` and `answer`; give one of the two".into());
            }
        };
        let structural = self.types.and_then(|types| types.structural);
        let image = self.image.or(self.image_id).or(self.gqa_image);
        Ok(Question {
            id: self.id.or(self.question_id).map(|id| id.0),
            image: image.map(|image| image.0),
            text: self.question.unwrap_or_default(),
            tags: self.tags,
            people,
            scored,
            question_type: self.question_type.or(structural),
            answer_type: self.answer_type,
            ..Question::default()
        })
    }
}
