//! One row of an official feature file.

use std::borrow::Cow;

use oscar_files::python::{base64_text, json_text};
use serde::Deserialize;

use super::BlobLayout;
use crate::error::excerpt_bytes;
use crate::findings::Defect;

const LAYOUTS: &str = "a row is `key, num_boxes, …, base64` or `key, {\"num_boxes\", \"features\"}`, \
                       separated by tabs; is a tab missing, or is this another file?";

/// A row of an official feature file, its features still encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureRow<'a> {
    /// The image's key.
    pub key: &'a str,
    /// Number of regions, as the row says.
    pub num_boxes: usize,
    /// Base64 text of the features.
    pub blob: Cow<'a, [u8]>,
}

#[derive(Deserialize)]
struct Content<'a> {
    num_boxes: usize,
    #[serde(borrow)]
    features: Cow<'a, str>,
}

impl<'a> FeatureRow<'a> {
    /// Splits a line, which must have no newline, into its parts.
    ///
    /// # Errors
    /// A line in neither layout, or whose key is not UTF-8.
    pub fn parse(line: &'a [u8]) -> Result<Self, Defect> {
        let mut fields = line.splitn(3, |byte| *byte == b'\t');
        let key = key_text(fields.next().unwrap_or_default())?;
        let Some(second) = fields.next().map(<[u8]>::trim_ascii) else {
            let found = format!("no tab in {}", excerpt_bytes(line));
            return Err(Defect::new(found, LAYOUTS));
        };
        let unreadable = |error: serde_json::Error| {
            let found = format!("the JSON of its features cannot be read ({error})");
            Defect::new(found, LAYOUTS)
        };
        let (num_boxes, blob) = match fields.next() {
            Some(rest) => {
                let blob = match memchr::memrchr(b'\t', rest) {
                    Some(tab) => &rest[tab + 1..],
                    None => rest,
                };
                (count(second)?, Cow::Borrowed(base64_text(blob)))
            }
            None if second.starts_with(b"{'") || second.starts_with(b"\"{") => {
                // As Python prints it, or its csv module quotes it.
                let json = json_text(std::str::from_utf8(second).unwrap_or_default());
                let content: Content<'_> = serde_json::from_str(&json).map_err(unreadable)?;
                let blob = content.features.into_owned().into_bytes();
                (content.num_boxes, Cow::Owned(blob))
            }
            None if second.first() == Some(&b'{') => {
                let content: Content<'a> = serde_json::from_slice(second).map_err(unreadable)?;
                let blob = match content.features {
                    Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                    Cow::Owned(text) => Cow::Owned(text.into_bytes()),
                };
                (content.num_boxes, blob)
            }
            None => {
                let found = format!("two fields, the second {}", excerpt_bytes(second));
                return Err(Defect::new(found, LAYOUTS));
            }
        };
        Ok(Self {
            key,
            num_boxes,
            blob,
        })
    }

    /// How its features are encoded; see [`BlobLayout::of`].
    ///
    /// # Errors
    /// If their length fits no layout.
    pub fn layout(&self, feature_dim: usize) -> Result<BlobLayout, Defect> {
        BlobLayout::of(&self.blob, self.num_boxes, feature_dim)
    }
}

/// The key in the first field of a row.
fn key_text(field: &[u8]) -> Result<&str, Defect> {
    let key = std::str::from_utf8(field).map_err(|error| {
        let found = format!(
            "field 1: byte {} is not UTF-8 text",
            error.valid_up_to() + 1
        );
        Defect::new(found, "the file is damaged, or not in UTF-8")
    })?;
    match unquoted(key) {
        "" => Err(empty_key()),
        key => Ok(key),
    }
}

/// A key without blanks around it and the quotes of Python's csv module.
pub(crate) fn unquoted(key: &str) -> &str {
    let key = key.trim();
    let inner = key
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.filter(|inner| !inner.contains('"')).unwrap_or(key)
}

pub(super) fn empty_key() -> Defect {
    Defect::new("its key is empty", "give the image a key")
}

fn count(field: &[u8]) -> Result<usize, Defect> {
    let field = base64_text(field);
    let number = std::str::from_utf8(field).ok().and_then(|t| t.parse().ok());
    number.ok_or_else(|| {
        let found = format!(
            "field 2 is {}, not the number of boxes",
            excerpt_bytes(field)
        );
        Defect::new(found, LAYOUTS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts() {
        let wanted = FeatureRow {
            key: "k 1",
            num_boxes: 2,
            blob: Cow::Borrowed(&b"ab/="[..]),
        };
        for line in [
            "k 1\t2\tab/=",
            " k 1\t 2 \tother\t \tab/=\r",
            "\"k 1\"\t2\tb'ab/='",
            "k 1\t{'num_boxes': 2, 'features': 'ab/='}",
            "k 1\t{'num_boxes': 2, 'features': b'ab/='}",
            "\"k 1\"\t\"{\"\"num_boxes\"\": 2, \"\"features\"\": \"\"ab/=\"\"}\"",
            "k 1\t{\"num_boxes\": 2, \"features\": \"ab/=\"}",
            "k 1\t {\"features\": \"ab\\/=\", \"x\": [1], \"num_boxes\": 2} ",
        ] {
            assert_eq!(
                FeatureRow::parse(line.as_bytes()).unwrap(),
                wanted,
                "{line}"
            );
        }
    }

    #[test]
    fn neither_layout() {
        for (line, wanted) in [
            (&b"key 2 abcd"[..], "no tab in \"key 2 abcd\""),
            (b"", "its key is empty"),
            (b"\t2\tabcd", "its key is empty"),
            (b"k\xff\t2\tabcd", "field 1: byte 2 is not UTF-8"),
            (b"k\t-2\tabcd", "field 2 is \"-2\", not the number of boxes"),
            (b"k\tabcd", "two fields, the second \"abcd\""),
            (b"k\t{\"num_boxes\": 2}", "missing field `features`"),
            (
                b"k\t{\"num_boxes\": 2.5, \"features\": \"\"}",
                "invalid type: floating point",
            ),
            (
                b"k\t{\"num_boxes\": 2, \"features\": \"\xff\"}",
                "cannot be read",
            ),
        ] {
            let found = FeatureRow::parse(line).unwrap_err().found;
            assert!(found.contains(wanted), "{found}");
        }
    }
}
