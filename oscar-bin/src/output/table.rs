//! Tables in plain text.

use std::io::{self, Write};

use super::plain::cell;

/// Shown for unknown values.
pub const UNKNOWN: &str = "-";

/// Prints rows, of which the first has the titles, in columns as wide as their widest cells, which are
/// cut if they are very long. Columns of numbers are aligned to the right.
///
/// # Errors
/// If they cannot be written.
pub fn print_table(out: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|text| cell(text)).collect())
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let layout: Vec<(usize, bool)> = (0..columns)
        .map(|at| {
            let column = || rows.iter().filter_map(|row| row.get(at));
            let width = column().map(|cell| cell.chars().count()).max();
            (width.unwrap_or(0), column().skip(1).all(is_number))
        })
        .collect();
    for row in &rows {
        let cells = row.iter().zip(&layout);
        let line: String = cells
            .map(|(cell, (width, to_the_right))| {
                let padding = " ".repeat(width - cell.chars().count());
                match to_the_right {
                    true => format!("{padding}{cell}  "),
                    false => format!("{cell}{padding}  "),
                }
            })
            .collect();
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A row of the words of `text`.
pub fn cells(text: &str) -> Vec<String> {
    text.split_whitespace().map(String::from).collect()
}

fn is_number(cell: impl AsRef<str>) -> bool {
    let cell = cell.as_ref();
    let digits = cell.trim_end_matches('%').replace(',', "");
    cell == UNKNOWN || digits.parse::<f64>().is_ok()
}

/// `111,684,668`
pub fn thousands(number: impl ToString) -> String {
    let digits = number.to_string();
    let mut output = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            output.push(',');
        }
        output.push(digit);
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_to_the_right_and_words_to_the_left() {
        let rows = ["name value", "a 1", "long -", "b 1,000"].map(cells);
        let mut text = Vec::new();
        print_table(&mut text, &rows).expect("it is in memory");
        let expected = "name  value\na         1\nlong      -\nb     1,000\n";
        assert_eq!(String::from_utf8_lossy(&text), expected);
        assert_eq!(thousands(1234567), "1,234,567");
    }

    #[test]
    fn a_cell_of_any_length_and_content_is_a_part_of_a_line() {
        let rows = [
            cells("name value"),
            vec!["a\n\u{1b}".into(), "b".repeat(70_000)],
        ];
        let mut text = Vec::new();
        print_table(&mut text, &rows).expect("it is in memory");
        let text = String::from_utf8_lossy(&text);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().all(|line| line.len() < 250), "{text}");
        assert!(text.contains(r"a\n\u001b"), "{text}");
    }
}
