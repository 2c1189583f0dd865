//! Fields of tables as Python writes them: quoted by its `csv` module, or printed by `repr`.

use std::borrow::Cow;

/// A field without the quotes that `csv` puts around texts with quotes in them, in which each quote
/// is doubled.
pub fn unquoted(field: &str) -> Cow<'_, str> {
    let inner = field
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    match inner {
        Some(inner) if inner.contains("\"\"") => Cow::Owned(inner.replace("\"\"", "\"")),
        Some(inner) if !inner.contains('"') => Cow::Borrowed(inner),
        _ => Cow::Borrowed(field),
    }
}

/// Text in base64 without the `b'…'` that Python prints around bytes.
pub fn base64_text(field: &[u8]) -> &[u8] {
    let field = field.trim_ascii();
    let field = field
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(field);
    let inner = |open: &[u8], close: &[u8]| field.strip_prefix(open)?.strip_suffix(close);
    inner(b"b'", b"'")
        .or_else(|| inner(b"b\"", b"\""))
        .unwrap_or(field)
}

/// The JSON in a field: as it is, in the quotes of `csv`, or what `print` makes of a list or
/// dictionary, with single quotes, tuples, `True` and `None`. What is none of these stays as it is.
pub fn json_text(field: &str) -> Cow<'_, str> {
    let field = match field.starts_with('"') {
        true => unquoted(field),
        false => Cow::Borrowed(field),
    };
    match is_printed(&field)
        .then(|| printed_to_json(&field))
        .flatten()
    {
        Some(json) => Cow::Owned(json),
        None => field,
    }
}

/// Whether a text begins as a list or dictionary that Python has printed, and not as JSON.
fn is_printed(text: &str) -> bool {
    let start = text.trim_start_matches(|c: char| "[{( \t".contains(c));
    let opened = text.len() > start.len();
    opened
        && ["'", "b'", "u'", "True", "False", "None"]
            .iter()
            .any(|begin| start.starts_with(begin))
        || text.starts_with("[(")
}

fn printed_to_json(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let word = |name: &str| rest.starts_with(name);
        let (json, taken) = match next {
            '\'' | '"' => string(rest)?,
            'b' | 'u' if rest[1..].starts_with(['\'', '"']) => {
                let (json, taken) = string(&rest[1..])?;
                (json, taken + 1)
            }
            '(' => ("[".into(), 1),
            ')' => ("]".into(), 1),
            'T' if word("True") => ("true".into(), 4),
            'F' if word("False") => ("false".into(), 5),
            'N' if word("None") => ("null".into(), 4),
            'n' if word("nan") => ("null".into(), 3),
            other => (other.to_string(), other.len_utf8()),
        };
        // A tuple of one has a comma at its end.
        if matches!(next, ')' | ']' | '}') && out.trim_end().ends_with(',') {
            out.truncate(out.trim_end().len() - 1);
        }
        out.push_str(&json);
        rest = &rest[taken..];
    }
    Some(out)
}

/// A text that Python has printed as JSON, and its length; none if it does not end.
fn string(text: &str) -> Option<(String, usize)> {
    let quote = text.chars().next()?;
    let (mut content, mut at) = (String::new(), 1);
    loop {
        let next = text[at..].chars().next()?;
        at += next.len_utf8();
        if next == quote {
            break;
        }
        if next != '\\' {
            content.push(next);
            continue;
        }
        let escaped = text[at..].chars().next()?;
        at += escaped.len_utf8();
        let digits = match escaped {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        content.push(match escaped {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            _ if digits > 0 => {
                let code = u32::from_str_radix(text.get(at..at + digits)?, 16).ok()?;
                at += digits;
                char::from_u32(code)?
            }
            other => other,
        });
    }
    Some((serde_json::Value::from(content).to_string(), at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_csv_and_of_print() {
        let json = r#"[{"class": "the dog's", "conf": 0.5, "rect": [1, 2.5], "x": null}]"#;
        let wanted: serde_json::Value = serde_json::from_str(json).unwrap();
        let quoted = format!("\"{}\"", json.replace('"', "\"\""));
        let printed = r#"[{'class': "the dog's", u'conf': 0.5, 'rect': (1, 2.5,), b'x': None}]"#;
        let escaped = r"[{'class': 'the dog\'s', 'conf': 0.5, 'rect': [1, 2.5], '\x78': nan}]";
        for text in [json, &quoted, printed, escaped] {
            let found = json_text(text);
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(&found).unwrap(),
                wanted,
                "{text}"
            );
        }
        for text in [
            "",
            "\"",
            "[",
            "{'",
            "{'a",
            "abc",
            "\"a\"b\"",
            "[{'a': '\\x'}]",
            "480 640",
        ] {
            assert_eq!(json_text(text), text);
        }
        assert_eq!(unquoted("\"a\""), "a");
        for text in [&b"b'AA=='"[..], b"AA==", b" b\"AA==\" ", b"\"AA==\""] {
            assert_eq!(base64_text(text), b"AA==");
        }
    }
}
