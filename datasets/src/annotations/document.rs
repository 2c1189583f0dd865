//! One JSON object whose long list is read element by element: `{"info": …, "questions": [ … ]}`.

use std::cell::RefCell;
use std::fmt;
use std::io::BufReader;
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::source::Budget;
use super::{Extra, without_place};
use crate::error::{DatasetError, Result};
use crate::rows::open;

/// An element of the list.
pub(crate) struct Item {
    /// Its index.
    pub(crate) index: usize,
    /// What stands there.
    pub(crate) value: Value,
}

/// Hands the elements of the member `list` of the JSON object in `path` to `each`, in order, and
/// returns all other members.
///
/// # Errors
/// A missing or damaged file, broken JSON (with line and column), no such list, an element over
/// 1 MiB, or the first error of `each`.
pub(crate) fn read_document(
    path: &Path,
    list: &'static str,
    each: &mut dyn FnMut(Item) -> Result<()>,
) -> Result<Extra> {
    let budget = Budget::new();
    // Limited below the buffer, so that the limit costs nothing per byte.
    let reader = BufReader::new(budget.limit(open(path)?));
    let stopped = RefCell::new(None);
    let document = Document {
        list,
        budget,
        each,
        stopped: &stopped,
    };
    let mut parser = serde_json::Deserializer::from_reader(reader);
    let result = document
        .deserialize(&mut parser)
        .and_then(|header| parser.end().map(|()| header));
    match (result, stopped.into_inner()) {
        (_, Some(error)) => Err(error),
        (Ok(Some(header)), None) => Ok(header),
        (Ok(None), None) => Err(DatasetError::malformed(
            path,
            format!("an object without the list `{list}`"),
            "give the file as it was published",
        )),
        (Err(error), None) if error.is_io() => Err(DatasetError::io("read", path)(error.into())),
        (Err(error), None) => Err(DatasetError::Annotation {
            path: path.to_path_buf(),
            line: error.line(),
            found: format!("column {}: {}", error.column(), without_place(&error)),
            fix: "correct the JSON, or copy the file again",
        }),
    }
}

struct Document<'a> {
    list: &'static str,
    budget: Budget,
    each: &'a mut dyn FnMut(Item) -> Result<()>,
    /// The error of `each`, which serde's own errors cannot carry.
    stopped: &'a RefCell<Option<DatasetError>>,
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = Option<Extra>;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Option<Extra>, D::Error> {
        parser.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = Option<Extra>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the list `{}`", self.list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Extra>, A::Error> {
        let mut header = Extra::new();
        let mut seen = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == self.list {
                if std::mem::replace(&mut seen, true) {
                    return Err(A::Error::duplicate_field(self.list));
                }
                map.next_value_seed(Elements {
                    budget: &self.budget,
                    each: &mut *self.each,
                    stopped: self.stopped,
                })?;
            } else {
                header.insert(name, map.next_value()?);
            }
            self.budget.renew();
        }
        Ok(seen.then_some(header))
    }
}

struct Elements<'a> {
    budget: &'a Budget,
    each: &'a mut dyn FnMut(Item) -> Result<()>,
    stopped: &'a RefCell<Option<DatasetError>>,
}

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        parser.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        self.budget.renew();
        let mut index = 0;
        while let Some(value) = elements.next_element::<Value>()? {
            if let Err(error) = (self.each)(Item { index, value }) {
                self.stopped.replace(Some(error));
                return Err(A::Error::custom("stopped"));
            }
            index += 1;
            self.budget.renew();
        }
        Ok(())
    }
}
