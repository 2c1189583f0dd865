//! Answer vocabularies from JSON and from pickles.

use std::fmt;
use std::io::Read;
use std::path::Path;

use oscar_files::pytorch::{TorchFile, Value};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::{DatasetError, Result, excerpt};
use crate::text::open_text;

/// A larger file is not an answer vocabulary: that of VQA has 64 kB.
const MAX_BYTES: u64 = 64 << 20;

const FIX: &str = "give the list of answers, or the labels by answer, as JSON or as a pickle";

/// The two forms a vocabulary is published in.
enum Form {
    /// The answers by label.
    List(Vec<String>),
    /// Answers with their labels.
    Labels(Vec<(String, i64)>),
}

/// The answers of the vocabulary in `path`, by label.
pub(super) fn answers(path: &Path) -> Result<Vec<String>> {
    let mut reader = open_text(path)?;
    let first = reader
        .first_byte()
        .map_err(DatasetError::io("read", path))?;
    let form = match first {
        Some(b'[' | b'{') => read_json(path, reader)?,
        Some(_) => read_pickle(path)?,
        None => return Err(DatasetError::malformed(path, "an empty file", FIX)),
    };
    match form {
        Form::List(answers) => Ok(answers),
        Form::Labels(labels) => by_label(path, labels),
    }
}

fn read_json(path: &Path, reader: impl Read) -> Result<Form> {
    let mut bytes = Vec::new();
    reader
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(DatasetError::io("read", path))?;
    if bytes.len() as u64 > MAX_BYTES {
        let found = format!("more than {} MiB", MAX_BYTES >> 20);
        return Err(DatasetError::malformed(path, found, FIX));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| DatasetError::malformed(path, error.to_string(), FIX))
}

fn read_pickle(path: &Path) -> Result<Form> {
    let file = TorchFile::open(path)
        .map_err(|error| DatasetError::malformed(path, error.to_string(), FIX))?;
    let wrong = |found: String| Err(DatasetError::malformed(path, found, FIX));
    match file.value() {
        Value::List(items) | Value::Tuple(items) => {
            let mut answers = Vec::with_capacity(items.len());
            for (label, item) in items.iter().enumerate() {
                match item.as_str() {
                    Some(answer) => answers.push(answer.to_owned()),
                    None => return wrong(format!("answer {label} is a {}", item.type_name())),
                }
            }
            Ok(Form::List(answers))
        }
        Value::Dict(dict) => {
            let mut labels = Vec::with_capacity(dict.len());
            for (key, value) in dict.iter() {
                match (key.as_str(), value.as_i64()) {
                    (Some(answer), Some(label)) => labels.push((answer.to_owned(), label)),
                    _ => {
                        let (key, value) = (key.type_name(), value.type_name());
                        return wrong(format!("a {value} under a {key}"));
                    }
                }
            }
            Ok(Form::Labels(labels))
        }
        other => wrong(format!("a pickled {}", other.type_name())),
    }
}

/// Labels are 0, 1, 2, …, each for one answer.
fn by_label(path: &Path, labels: Vec<(String, i64)>) -> Result<Vec<String>> {
    let count = labels.len();
    let wrong = |found, fix| Err(DatasetError::malformed(path, found, fix));
    let mut answers: Vec<Option<String>> = vec![None; count];
    for (answer, label) in labels {
        let place = usize::try_from(label)
            .ok()
            .and_then(|at| answers.get_mut(at));
        match place {
            None => {
                let answer = excerpt(&answer);
                let found = format!("{answer} has the label {label}, but {count} are given");
                return wrong(found, "number the answers from 0 without a hole");
            }
            Some(Some(other)) => {
                let (answer, other) = (excerpt(&answer), excerpt(other));
                let found = format!("the label {label} stands for {other} and for {answer}");
                return wrong(found, "give each answer a label of its own");
            }
            Some(place) => *place = Some(answer),
        }
    }
    // As many labels as places, and no place taken twice: none is left.
    Ok(answers.into_iter().flatten().collect())
}

impl<'de> Deserialize<'de> for Form {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Form;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of answers, or labels by answer")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Form, A::Error> {
                let mut answers = Vec::new();
                while let Some(answer) = seq.next_element()? {
                    answers.push(answer);
                }
                Ok(Form::List(answers))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Form, A::Error> {
                let mut labels = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    labels.push(entry);
                }
                Ok(Form::Labels(labels))
            }
        }

        deserializer.deserialize_any(Either)
    }
}
