//! JSON as Python writes it.

use serde::de::{DeserializeOwned, Error};

/// What Python writes for numbers that JSON does not have.
const NOT_NUMBERS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Parses a JSON document. Python's `json` writes `NaN` and `Infinity`, which no JSON reader knows:
/// where the value is not used or may be missing it is passed over, as `null` is.
///
/// # Errors
///
/// If it is no JSON or of another type; a number that is not one is named where it is used.
pub fn parse_json<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    let error = match serde_json::from_str(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let Some((replaced, word)) = without_not_numbers(text) else {
        return Err(error);
    };
    serde_json::from_str(&replaced).map_err(|error| {
        let message = error.to_string();
        match error.is_data() && message.contains("null") {
            // Its line and column are read from the end of the message.
            true => serde_json::Error::custom(message.replacen("null", word, 1)),
            false => error,
        }
    })
}

/// What Python's `print` of a value has in the place of JSON, where that is why `text` is not JSON, as `error`
/// says: what was found, and what to do.
pub fn printed_by_python(
    error: &serde_json::Error,
    text: &str,
) -> Option<(&'static str, &'static str)> {
    // The reader of a field makes an error of data of it.
    if error.is_io() || error.is_eof() {
        return None;
    }
    let line = text.split('\n').nth(error.line().checked_sub(1)?)?;
    // Columns count bytes, from 1.
    let rest = line.as_bytes().get(error.column().checked_sub(1)?..)?;
    let found = match rest {
        [b'\'', ..] => "single quotes around a text: this is what Python prints, not JSON",
        [b'T', b'r', b'u', b'e', ..]
        | [b'F', b'a', b'l', b's', b'e', ..]
        | [b'N', b'o', b'n', b'e', ..] => {
            "True, False or None, as Python prints them, where JSON has true, false and null"
        }
        _ => return None,
    };
    Some((found, "write it with json.dumps"))
}

/// The document with `null` for every number that is not one, and the first of these; none if there
/// is none outside of texts.
fn without_not_numbers(text: &str) -> Option<(String, &'static str)> {
    if !text.contains("NaN") && !text.contains("Infinity") {
        return None;
    }
    let (mut out, mut first) = (String::with_capacity(text.len() + 16), None);
    let (mut rest, mut in_string) = (text, false);
    while let Some(next) = rest.chars().next() {
        let word = NOT_NUMBERS
            .into_iter()
            .find(|word| !in_string && rest.starts_with(word));
        let taken = match (word, next) {
            (Some(word), _) => {
                first.get_or_insert(word);
                out.push_str("null");
                rest = &rest[word.len()..];
                continue;
            }
            // An escaped character ends no text.
            (None, '\\') if in_string => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            (None, '"') => {
                in_string = !in_string;
                1
            }
            (None, other) => other.len_utf8(),
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    Some((out, first?))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Row {
        caption: String,
        score: Option<f32>,
    }

    #[test]
    fn numbers_that_are_none_are_passed_over_where_they_are_not_used() {
        for score in ["NaN", "Infinity", "-Infinity", "null"] {
            let text =
                format!(r#"{{"caption": "NaN \" Infinity", "score": {score}, "rest": [{score}]}}"#);
            let row: Row = parse_json(&text).unwrap();
            assert_eq!(row.caption, "NaN \" Infinity");
            assert_eq!(row.score, None);
        }
        let error = parse_json::<Row>("\n{\"caption\": NaN}").unwrap_err();
        assert!(error.is_data() && error.line() == 2, "{error:?}");
        assert!(error.to_string().contains("NaN"), "{error}");
        // What is no JSON for another reason is told as it is.
        for text in [
            "{\"caption\": \"NaN\"",
            "{\"caption\": NaN",
            "[NaN",
            "{'caption': NaN}",
        ] {
            let error = parse_json::<Row>(text).unwrap_err();
            assert!(
                error.is_syntax() || error.is_eof() || error.is_data(),
                "{error}"
            );
        }
    }

    #[test]
    fn what_python_printed_is_told() {
        for (text, part) in [
            ("{'a': 1}", Some("single quotes")),
            ("[{'a': 1}]", Some("single quotes")),
            ("['a']", Some("single quotes")),
            ("{\"a\":\n True}", Some("True")),
            ("[1, None]", Some("None")),
            ("{\"a\": tru}", None),
            ("{\"a\": }", None),
            ("{\"a\"", None),
            ("", None),
        ] {
            let error = parse_json::<serde_json::Value>(text).unwrap_err();
            let found = printed_by_python(&error, text).map(|(found, _)| found);
            match part {
                Some(part) => assert!(found.is_some_and(|found| found.contains(part)), "{text}"),
                None => assert_eq!(found, None, "{text}"),
            }
        }
    }
}
