//! COCO's JSON.

use std::io::Read;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

/// Parses the whole content of `reader`; the error says what was found.
pub(super) fn parse<T: DeserializeOwned>(reader: impl Read) -> Result<T, String> {
    serde_json::from_reader(reader).map_err(|error| error.to_string())
}

/// A caption of an image.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    #[serde(deserialize_with = "id")]
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
    }

    Ok(match Id::deserialize(json)? {
        Id::Text(id) => id,
        Id::Number(id) => id.to_string(),
        Id::Large(id) => id.to_string(),
    })
}
