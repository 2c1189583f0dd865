//! COCO's JSON.

use std::collections::BTreeMap;
use std::io::Read;

use oscar_files::parse_json;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

/// A problem of a file's content, and what to do about it; `None` if it is the form that is wrong.
pub(super) struct Problem {
    pub found: String,
    pub fix: Option<&'static str>,
}

impl Problem {
    pub fn new(found: impl Into<String>, fix: &'static str) -> Self {
        Self {
            found: found.into(),
            fix: Some(fix),
        }
    }
}

impl Problem {
    /// The same problem, with the number of its line.
    pub fn in_line(self, number: usize) -> Self {
        Self {
            found: format!("line {number}: {}", self.found),
            ..self
        }
    }
}

impl From<String> for Problem {
    fn from(found: String) -> Self {
        Self { found, fix: None }
    }
}

impl From<&str> for Problem {
    fn from(found: &str) -> Self {
        found.to_string().into()
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        let fix = match error.classify() {
            Category::Data => None,
            Category::Eof => Some("the file is cut off: copy it again"),
            Category::Syntax | Category::Io => Some("correct the JSON there"),
        };
        Self {
            found: error.to_string(),
            fix,
        }
    }
}

/// The whole content of `reader`; the error says what was found.
pub(super) fn text(mut reader: impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    reader
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to() + 1;
        format!("byte {at} is not UTF-8 text")
    })
}

/// Parses the whole content of `reader`; the error says what was found.
pub(super) fn parse<T: DeserializeOwned>(reader: impl Read) -> Result<T, Problem> {
    Ok(parse_json(&text(reader)?)?)
}

/// Captions as an object, also one that has them under `annotations`, or as objects one a line; with the numbers of their lines, or places.
pub(super) fn objects(text: &str) -> Result<Vec<(usize, Row)>, Problem> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "captions by image id, each a text or a list of one"
    )]
    enum Said {
        Text(String),
        List([Box<Said>; 1]),
        Object { caption: String },
    }
    fn caption(said: Said) -> String {
        match said {
            Said::Text(caption) | Said::Object { caption } => caption,
            Said::List([only]) => caption(*only),
        }
    }
    let mut lines = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty());
    let is_row = |line: &str| parse_json::<Row>(line).is_ok();
    if !lines.clone().next().is_some_and(|(_, line)| is_row(line)) {
        // One object, over one line or many.
        if let Ok(by_id) = parse_json::<BTreeMap<String, Said>>(text) {
            let rows = by_id.into_iter().map(|(image_id, said)| Row {
                image_id,
                caption: caption(said),
            });
            return Ok((1..).zip(rows).collect());
        }
        if let Ok(row) = parse_json::<Row>(text) {
            return Ok(vec![(1, row)]);
        }
        if let Ok(Annotations { annotations, .. }) = parse_json(text) {
            return Ok((1..).zip(annotations).collect());
        }
    }
    let row = |(number, line)| match parse_json(line) {
        Ok(row) => Ok((number, row)),
        Err(error) => Err(Problem::from(error).in_line(number)),
    };
    lines.by_ref().map(row).collect()
}

/// A caption of an image.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    #[serde(deserialize_with = "id", alias = "image")]
    pub image_id: String,
    pub caption: String,
}

/// An annotation file; other keys are ignored.
#[derive(Deserialize)]
pub(super) struct Annotations {
    #[serde(default)]
    pub images: Vec<Image>,
    pub annotations: Vec<Row>,
}

#[derive(Deserialize)]
pub(super) struct Image {
    #[serde(deserialize_with = "id")]
    pub id: String,
}

/// An image id: a text, or a whole number, which is the same as its digits.
fn id<'de, D: Deserializer<'de>>(json: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected an image id, a text or a whole number")]
    enum Id {
        Text(String),
        Number(i64),
        Large(u64),
        /// A column of ids with a gap becomes one of floats in pandas.
        Float(f64),
    }

    let unknown = |number: f64| {
        let found = serde::de::Unexpected::Float(number);
        serde::de::Error::invalid_type(found, &"an image id, a text or a whole number")
    };
    Ok(match Id::deserialize(json)? {
        Id::Float(id) if id.fract() != 0.0 || id.abs() > 9e15 => return Err(unknown(id)),
        Id::Float(id) => (id as i64).to_string(),
        Id::Text(id) => id,
        Id::Number(id) => id.to_string(),
        Id::Large(id) => id.to_string(),
    })
}
