//! Document frequencies as JSON.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};

use super::DocumentFrequencies;

pub(super) fn parse(bytes: &[u8]) -> Result<DocumentFrequencies, String> {
    let mut found = DocumentFrequencies::default();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    Document(&mut found)
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|error| error.to_string())?;
    Ok(found)
}

/// The whole document, and the n-grams in it.
struct Document<'f>(&'f mut DocumentFrequencies);
struct Grams<'f>(&'f mut DocumentFrequencies);

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`ref_len` and `document_frequency`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut length, mut grams) = (false, false);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "ref_len" => {
                    self.0.images = map.next_value()?;
                    length = true;
                }
                "document_frequency" => {
                    map.next_value_seed(Grams(self.0))?;
                    grams = true;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        match (length, grams) {
            (false, _) => Err(A::Error::missing_field("ref_len")),
            (_, false) => Err(A::Error::missing_field("document_frequency")),
            _ => Ok(()),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Grams<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Grams<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("frequencies by n-gram")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((gram, count)) = map.next_entry::<String, f64>()? {
            let words = gram.split(' ').filter(|word| !word.is_empty());
            self.0.insert(words, count).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}
