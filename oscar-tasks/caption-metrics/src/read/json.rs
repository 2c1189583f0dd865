//! COCO's JSON: rows are handed on as they are read.

use std::fmt;
use std::io::Read;
use std::marker::PhantomData;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde::{Deserialize, Deserializer};

/// A caption of an image.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    #[serde(deserialize_with = "id")]
    pub image_id: String,
    pub caption: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(deserialize_with = "id")]
    id: String,
}

/// What an annotation file is made of.
pub(super) enum Entry {
    /// An image's id.
    Image(String),
    /// An annotation, and which it is, from 1.
    Caption(usize, Row),
}

/// Reads a list of captions; `row` is told which it is, from 1.
pub(super) fn rows(
    reader: impl Read,
    mut row: impl FnMut(usize, Row) -> Result<(), String>,
) -> Result<(), String> {
    let mut json = serde_json::Deserializer::from_reader(reader);
    let mut number = 0;
    List::of("captions", |read: Row| {
        number += 1;
        row(number, read)
    })
    .deserialize(&mut json)
    .and_then(|()| json.end())
    .map_err(|error| error.to_string())
}

/// Reads an annotation file.
pub(super) fn annotations(
    reader: impl Read,
    entry: impl FnMut(Entry) -> Result<(), String>,
) -> Result<(), String> {
    let mut json = serde_json::Deserializer::from_reader(reader);
    json.deserialize_map(Document(entry))
        .and_then(|()| json.end())
        .map_err(|error| error.to_string())
}

struct Document<F>(F);

impl<'de, F: FnMut(Entry) -> Result<(), String>> Visitor<'de> for Document<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`images` and `annotations`")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut annotated = false;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "images" => {
                    let image = |image: Image| self.0(Entry::Image(image.id));
                    map.next_value_seed(List::of("images", image))?;
                }
                "annotations" => {
                    let mut number = 0;
                    let caption = |row: Row| {
                        number += 1;
                        self.0(Entry::Caption(number, row))
                    };
                    map.next_value_seed(List::of("annotations", caption))?;
                    annotated = true;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        match annotated {
            true => Ok(()),
            false => Err(A::Error::missing_field("annotations")),
        }
    }
}

/// A list whose items are handed on.
struct List<T, F> {
    what: &'static str,
    item: F,
    of: PhantomData<T>,
}

impl<T, F> List<T, F> {
    fn of(what: &'static str, item: F) -> Self {
        let of = PhantomData;
        Self { what, item, of }
    }
}

impl<'de, T: DeserializeOwned, F: FnMut(T) -> Result<(), String>> DeserializeSeed<'de>
    for List<T, F>
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de, T: DeserializeOwned, F: FnMut(T) -> Result<(), String>> Visitor<'de> for List<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {}", self.what)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<T>()? {
            (self.item)(item).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

/// An image id: a text, or a whole number, which is the same as its digits.
fn id<'de, D: Deserializer<'de>>(json: D) -> Result<String, D::Error> {
    struct Id;

    impl Visitor<'_> for Id {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an image id, a text or a whole number")
        }

        fn visit_str<E: Error>(self, id: &str) -> Result<String, E> {
            Ok(id.to_owned())
        }

        fn visit_u64<E: Error>(self, id: u64) -> Result<String, E> {
            Ok(id.to_string())
        }

        fn visit_i64<E: Error>(self, id: i64) -> Result<String, E> {
            Ok(id.to_string())
        }
    }

    json.deserialize_any(Id)
}
