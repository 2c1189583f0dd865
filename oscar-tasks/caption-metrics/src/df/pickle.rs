//! Document frequencies as Python pickles them.

use oscar_files::pytorch::Value;
use oscar_files::pytorch::pickle::{self, Limits};

use super::DocumentFrequencies;

pub(super) fn parse(bytes: Vec<u8>) -> Result<DocumentFrequencies, String> {
    let value = pickle::parse(bytes, &Limits::default()).map_err(|error| error.to_string())?;
    let entry = |name: &str| match value.as_dict() {
        Some(entries) => entries
            .get(name)
            .ok_or_else(|| format!("a pickled dictionary without `{name}`")),
        None => Err(format!(
            "a pickled {} instead of a dictionary",
            value.type_name()
        )),
    };
    let mut found = DocumentFrequencies {
        images: entry("ref_len")?
            .as_f64()
            .ok_or("`ref_len` is not a number")?,
        ..DocumentFrequencies::default()
    };
    let grams = entry("document_frequency")?
        .as_dict()
        .ok_or("`document_frequency` is not a dictionary")?;
    for (gram, count) in grams.iter() {
        let (Value::Tuple(gram), Some(count)) = (gram, count.as_f64()) else {
            return Err("an n-gram is not a tuple of words with a number".into());
        };
        let words: Option<Vec<&str>> = gram.iter().map(Value::as_str).collect();
        let words = words.ok_or("an n-gram does not consist of words")?;
        found.insert(words.into_iter(), count)?;
    }
    Ok(found)
}
