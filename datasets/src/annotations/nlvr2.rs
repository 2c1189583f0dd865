//! NLVR2: sentences about pairs of photographs, each true or false of its pair. JSON lines.
//!
//! An identifier such as `dev-850-2-0` says split, set, pair and sentence. Its images are
//! `dev-850-2-img0` (left) and `dev-850-2-img1` (right). Consistency asks whether a sentence was
//! judged rightly about each of its pairs: the rows of one [`group`](Identifier::group).

use std::io::Write;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Extra, JsonLines, Line, has_words, without_place};
use crate::check::{Finding, Kind};
use crate::error::{DatasetError, Result, excerpt};

/// A row, as it stands in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nlvr2Row {
    /// Which row this is.
    pub identifier: Identifier,
    /// The sentence.
    pub sentence: String,
    /// Whether the sentence is true of the pair; some files do not tell.
    #[serde(default, with = "truth", skip_serializing_if = "Option::is_none")]
    pub label: Option<bool>,
    /// What the photographs were searched by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synset: Option<String>,
    /// Where the left photograph was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_url: Option<String>,
    /// Where the right photograph was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right_url: Option<String>,
    /// Other members.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Split, set, pair and sentence: `dev-850-2-0`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Identifier {
    text: String,
    /// Where the pair's number stands in `text`.
    pair: std::ops::Range<usize>,
}

impl Identifier {
    /// The whole: `dev-850-2-0`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The split: `dev`.
    pub fn split(&self) -> &str {
        let set = &self.text[..self.pair.start - 1];
        set.rsplit_once('-').map_or(set, |(split, _)| split)
    }

    /// What rows of the same sentence and set share, whatever their pair: `dev-850--0`.
    pub fn group(&self) -> String {
        let Self { text, pair } = self;
        format!("{}{}", &text[..pair.start], &text[pair.end..])
    }

    /// Key of the left image: `dev-850-2-img0`.
    pub fn left_image(&self) -> String {
        format!("{}-img0", &self.text[..self.pair.end])
    }

    /// Key of the right image: `dev-850-2-img1`.
    pub fn right_image(&self) -> String {
        format!("{}-img1", &self.text[..self.pair.end])
    }
}

impl FromStr for Identifier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::try_from(text.to_string())
    }
}

impl TryFrom<String> for Identifier {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let mut parts = text.rsplitn(4, '-');
        let (sentence, pair, set) = (parts.next(), parts.next(), parts.next());
        match (parts.next(), set, pair, sentence) {
            (Some(split), Some(set), Some(pair), Some(sentence))
                if !split.is_empty() && [set, pair, sentence].into_iter().all(digits) =>
            {
                let start = split.len() + set.len() + 2;
                let pair = start..start + pair.len();
                Ok(Self { text, pair })
            }
            _ => Err(format!(
                "identifier {}, where one such as \"dev-850-2-0\" is meant",
                excerpt(&text)
            )),
        }
    }
}

impl From<Identifier> for String {
    fn from(identifier: Identifier) -> Self {
        identifier.text
    }
}

impl Nlvr2Row {
    /// A row from a line of the file.
    pub(crate) fn parse(line: &str) -> Result<Self, Finding> {
        if line.trim().is_empty() {
            return Err(Finding::new(Kind::Json, "a blank line"));
        }
        let row: Self = serde_json::from_str(line).map_err(|error| {
            let found = format!("column {}: {}", error.column(), without_place(&error));
            let kind = match error.is_data() {
                true => Kind::Field,
                false => Kind::Json,
            };
            Finding::new(kind, found)
        })?;
        match has_words(&row.sentence) {
            true => Ok(row),
            false => {
                let found = format!("the sentence is {}", excerpt(&row.sentence));
                Err(Finding::new(Kind::BlankText, found))
            }
        }
    }

    /// Writes the row as it was read, as one line.
    ///
    /// # Errors
    /// The writer's own.
    pub fn write(&self, mut out: impl Write) -> std::io::Result<()> {
        serde_json::to_writer(&mut out, self)?;
        out.write_all(b"\n")
    }
}

/// The rows of a file, in order. A wrong row is an error and does not end them.
pub struct Nlvr2Rows {
    lines: JsonLines,
}

impl Nlvr2Rows {
    /// Opens `path`, plain or gzip.
    ///
    /// # Errors
    /// A missing or unreadable file.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            lines: JsonLines::open(path)?,
        })
    }
}

impl Iterator for Nlvr2Rows {
    type Item = Result<Nlvr2Row>;

    fn next(&mut self) -> Option<Self::Item> {
        let Line { number, text } = match self.lines.next_line() {
            Ok(line) => line?,
            Err(error) => return Some(Err(error)),
        };
        let row = text
            .map_err(|fault| fault.to_string())
            .and_then(|text| Nlvr2Row::parse(&text).map_err(|finding| finding.found));
        Some(row.map_err(|found| DatasetError::Annotation {
            path: self.lines.path().to_path_buf(),
            line: number,
            found,
            fix: "correct the line, or drop it",
        }))
    }
}

/// `"True"` and `"False"`, as upstream writes them.
mod truth {
    use serde::de::{Deserializer, Error, Unexpected};
    use serde::{Deserialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        truth: &Option<bool>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match truth {
            Some(true) => serializer.serialize_str("True"),
            Some(false) => serializer.serialize_str("False"),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<bool>, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "True" => Ok(Some(true)),
            "False" => Ok(Some(false)),
            other => Err(D::Error::invalid_value(
                Unexpected::Str(other),
                &"\"True\" or \"False\" as label",
            )),
        }
    }
}
