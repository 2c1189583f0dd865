//! COCO's JSON.

use std::collections::BTreeMap;
use std::io::Read;

use oscar_files::{parse_json, printed_by_python};
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

impl Problem {
    /// Of `text`, which is not the JSON that is expected.
    pub fn of_json(error: &serde_json::Error, text: &str) -> Self {
        if let Some((found, fix)) = printed_by_python(error, text) {
            let place = format!("line {} column {}", error.line(), error.column());
            return Self::new(format!("{found}, at {place}"), fix);
        }
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
    let text = text(reader)?;
    parse_json(&text).map_err(|error| Problem::of_json(&error, &text))
}

/// An annotation file, or references by image id: `{"7": ["a dog", "a dog runs"]}`.
pub(super) fn annotations(reader: impl Read) -> Result<Annotations, Problem> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Said {
        One(String),
        Several(Vec<String>),
    }
    let text = text(reader)?;
    let error = match parse_json(&text) {
        Ok(annotations) => return Ok(annotations),
        Err(error) => error,
    };
    let Ok(by_id) = parse_json::<BTreeMap<String, Said>>(&text) else {
        return Err(Problem::of_json(&error, &text));
    };
    let images = by_id.len();
    let rows = by_id.into_iter().flat_map(|(image_id, said)| {
        let captions = match said {
            Said::One(caption) => vec![caption],
            Said::Several(captions) => captions,
        };
        let row = move |caption| Row {
            image_id: image_id.clone(),
            caption,
        };
        captions.into_iter().map(row)
    });
    let annotations: Vec<Row> = rows.collect();
    match annotations.is_empty() {
        true if images == 0 => Err(Problem::of_json(&error, &text)),
        true => Err("no image has a caption".into()),
        false => Ok(Annotations {
            images: Vec::new(),
            annotations,
        }),
    }
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
        Err(error) => Err(Problem::of_json(&error, line).in_line(number)),
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
    #[serde(alias = "predictions", alias = "results")]
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
