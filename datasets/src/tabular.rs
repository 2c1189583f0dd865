//! Tables in the place of JSON rows: what spreadsheets write, and how some captions are published.

use crate::error::excerpt;

/// What to do with a table.
pub(crate) const AS_JSON: &str = "write each row as a JSON object, one a line, as json.dumps does of the rows of \
                                  csv.DictReader";

/// What stands between the fields of a table.
const SEPARATORS: [(char, &str); 4] = [
    ('\t', "tabs"),
    ('|', "bars"),
    (';', "semicolons"),
    (',', "commas"),
];

/// What a line is that begins no object, list or text of JSON, and has more than one field; none if it is
/// something else.
pub(crate) fn row_of_table(line: &str) -> Option<String> {
    let line = line.trim();
    if line.starts_with(['{', '[', '"']) {
        return None;
    }
    let (_, name) = SEPARATORS
        .iter()
        .find(|(separator, _)| line.contains(*separator))?;
    let start = excerpt(line);
    Some(format!(
        "starts with {start}: fields of a table separated by {name}, not JSON"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_told_from_json() {
        for (line, separator) in [
            ("image,caption\r", "commas"),
            ("1.jpg#0\tA dog, a cat.", "tabs"),
            ("1.jpg| 0| A dog, a cat.", "bars"),
            ("58350;a dog", "semicolons"),
        ] {
            let found = row_of_table(line).expect("it is a table");
            assert!(found.contains(separator), "{found}");
        }
        for line in [
            "",
            "{\"a\": 1, \"b\": 2}",
            " [1, 2]",
            "\"a\", \"b\"",
            "a dog",
            "truth",
        ] {
            assert_eq!(row_of_table(line), None, "{line}");
        }
    }
}
