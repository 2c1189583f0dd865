//! Document frequencies as JSON.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::DocumentFrequencies;

#[derive(Deserialize)]
struct Document {
    ref_len: f64,
    document_frequency: Grams,
}

/// Frequencies by n-gram in the order of the file, which decides the order of sums of floats.
struct Grams(Vec<(String, f64)>);

pub(super) fn parse(bytes: &[u8]) -> Result<DocumentFrequencies, String> {
    let document: Document = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let mut found = DocumentFrequencies {
        images: document.ref_len,
        ..DocumentFrequencies::default()
    };
    for (gram, count) in document.document_frequency.0 {
        found.insert(gram.split(' ').filter(|word| !word.is_empty()), count)?;
    }
    Ok(found)
}

impl<'de> Deserialize<'de> for Grams {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(Self(Vec::new()))
    }
}

impl<'de> Visitor<'de> for Grams {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("frequencies by n-gram")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(entry) = map.next_entry()? {
            self.0.push(entry);
        }
        Ok(self)
    }
}
