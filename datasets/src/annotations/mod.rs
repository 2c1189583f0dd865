//! Annotations of the published tasks, as they are published: who wrote what about which image.
//!
//! Plain readers without any model in mind: rows are typed and checked, what this program has no
//! word for is kept, and writing a file back gives JSON equal to what was read. Files may be
//! compressed by gzip; one record is in memory at a time until the caller keeps it.
//!
//! - [`captions`]: images and what people said of them, as COCO and NoCaps publish it.
//! - [`vqa`]: questions and ten human answers of VQA v2.
//! - [`nlvr2`]: sentences about pairs of photographs, true or false.

pub mod captions;
mod document;
mod lines;
pub mod nlvr2;
mod source;
pub mod vqa;

use serde_json::{Map, Value};

pub(crate) use document::{Item, read_document};
pub(crate) use lines::{JsonLines, Line, LineFault};

/// Members of a JSON object that have no field of their own, kept for writing it back.
pub type Extra = Map<String, Value>;

/// Whether a text says anything: it has a letter or a digit.
pub(crate) fn has_words(text: &str) -> bool {
    text.chars().any(char::is_alphanumeric)
}

/// serde's message without the place, which it counts from the record instead of the file.
pub(crate) fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().into()
}
