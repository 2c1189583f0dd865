//! Answer vocabularies from JSON, from pickles, and from text with an answer a line.

use std::fmt;
use std::io::Read;
use std::path::Path;

use oscar_files::parse_json;
use oscar_files::pytorch::{TorchFile, Value};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::{DatasetError, Result, excerpt};
use crate::rows::Key;
use crate::text::open_text;

/// A larger file is not an answer vocabulary: that of VQA has 64 kB.
const MAX_BYTES: u64 = 64 << 20;

const FIX: &str = "give the list of answers one a line, or the list of answers or the labels by \
                   answer as JSON or as a pickle";

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
        None => return Err(DatasetError::malformed(path, "an empty file", FIX)),
        Some(0x80) => read_pickle(path)?,
        Some(first) => {
            let bytes = read_bytes(path, reader)?;
            match std::str::from_utf8(&bytes) {
                Ok(text) if matches!(first, b'[' | b'{') => parse_json(text)
                    .map_err(|error| DatasetError::malformed(path, error.to_string(), FIX))?,
                // Protocol 0 is text, too.
                _ if is_old_pickle(&bytes) => read_pickle(path)?,
                Ok(text) => read_lines(path, text)?,
                Err(error) => {
                    let line = 1 + bytes[..error.valid_up_to()]
                        .iter()
                        .filter(|b| **b == b'\n')
                        .count();
                    let found = format!("line {line} is not UTF-8 text");
                    return Err(DatasetError::malformed(
                        path,
                        found,
                        "convert the file to UTF-8",
                    ));
                }
            }
        }
    };
    match form {
        Form::List(answers) => Ok(answers),
        Form::Labels(labels) => by_label(path, labels),
    }
}

/// Whether this is a pickle of protocol 0 or 1: a list or dictionary that Python 2 wrote.
fn is_old_pickle(bytes: &[u8]) -> bool {
    ["(lp", "(dp", "(l", "(d", "]", "}"]
        .iter()
        .any(|start| bytes.starts_with(start.as_bytes()))
        && bytes.trim_ascii_end().ends_with(b".")
}

/// An answer a line: line 1 is label 0.
fn read_lines(path: &Path, text: &str) -> Result<Form> {
    let is_quoted = |line: &str| line.len() > 1 && line.starts_with('"') && line.ends_with('"');
    if is_table(text) {
        let found = "line 1 has columns, as all lines do: an answer and something else";
        return Err(DatasetError::malformed(path, found, FIX));
    }
    let in_quotes = text.trim_end().lines().all(|line| is_quoted(line.trim()));
    let answers = text.trim_end().lines().enumerate().map(|(at, line)| {
        let answer = line.trim();
        let wrong = |found: &str, fix| {
            let path = path.to_path_buf();
            let (line, found) = (at + 1, found.to_owned());
            Err(DatasetError::Annotation {
                path,
                line,
                found,
                fix,
            })
        };
        match answer {
            "" => wrong("a blank line in a text file of answers", "remove it"),
            _ if answer.chars().any(|c| c.is_control() && c != '\t') => {
                wrong("a control character in a text file of answers", FIX)
            }
            // Texts as JSON, one a line.
            _ if in_quotes => Ok(parse_json(answer).unwrap_or_else(|_| answer.to_owned())),
            _ => Ok(answer.to_owned()),
        }
    });
    Ok(Form::List(answers.collect::<Result<_>>()?))
}

/// Whether every line has another column after the answer: any after a tab, or a number after a comma.
fn is_table(text: &str) -> bool {
    let has_number = |line: &str| {
        let last = line.rsplit_once(',').map_or("", |(_, last)| last.trim());
        !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit())
    };
    let lines = || text.trim_end().lines().map(str::trim);
    lines().all(|line| line.contains('\t')) || lines().count() > 1 && lines().all(has_number)
}

fn read_bytes(path: &Path, reader: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(DatasetError::io("read", path))?;
    if bytes.len() as u64 > MAX_BYTES {
        let found = format!("more than {} MiB", MAX_BYTES >> 20);
        return Err(DatasetError::malformed(path, found, FIX));
    }
    Ok(bytes)
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
                match (key.as_str(), value.as_i64(), key.as_i64(), value.as_str()) {
                    (Some(answer), Some(label), ..) | (.., Some(label), Some(answer)) => {
                        labels.push((answer.to_owned(), label));
                    }
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

/// An element of a list of answers: the answer, or LXMERT's object with it; or one of ROSITA's two tables,
/// the labels by answer and the answers by label.
#[derive(Deserialize)]
#[serde(untagged, expecting = "an answer is a text")]
enum Item {
    Text(Key),
    Counted { ans: Key },
    Labels(Labels),
}

/// Answers with their labels, whichever is the key.
#[derive(Clone)]
struct Labels(Vec<(String, i64)>);

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;

        impl<'de> Visitor<'de> for Table {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels by answer, or answers by label")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut labels = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, Entry>()? {
                    labels.push(match value {
                        Entry::Label(label) => (key, label),
                        Entry::Answer(answer) => {
                            let label = key.parse().map_err(|_| {
                                A::Error::invalid_type(Unexpected::Str(&answer), &"a label")
                            })?;
                            (answer, label)
                        }
                    });
                }
                Ok(Labels(labels))
            }
        }

        deserializer.deserialize_map(Table)
    }
}

fn sorted(labels: &[(String, i64)]) -> Vec<&(String, i64)> {
    let mut labels: Vec<_> = labels.iter().collect();
    labels.sort();
    labels
}

/// A value of an object: the label of the answer that is its key, or the answer to the label.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a label is a whole number")]
enum Entry {
    Label(i64),
    Answer(String),
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
                let mut labels = None;
                while let Some(item) = seq.next_element()? {
                    match item {
                        Item::Text(Key(answer)) | Item::Counted { ans: Key(answer) } => {
                            answers.push(answer);
                        }
                        Item::Labels(Labels(found)) => {
                            let first = labels.get_or_insert_with(|| found.clone());
                            if sorted(first) != sorted(&found) {
                                let wrong = "two tables of answers and labels that differ";
                                return Err(A::Error::custom(wrong));
                            }
                        }
                    }
                }
                match labels {
                    None => Ok(Form::List(answers)),
                    Some(labels) if answers.is_empty() => Ok(Form::Labels(labels)),
                    Some(_) => Err(A::Error::custom("answers beside a table of labels")),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Form, A::Error> {
                let labels = Labels::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Form::Labels(labels.0))
            }
        }

        deserializer.deserialize_any(Either)
    }
}
