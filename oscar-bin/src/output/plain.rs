//! Text that a terminal shows and never obeys.
//!
//! Keys, tags, answers, tensor names and paths come from files. Whatever this program prints passes
//! through [`escape`], so that none of them can clear a screen, set a title or forge a line.

use std::borrow::Cow;
use std::io::{self, StderrLock, StdoutLock, Write};

/// Longest cell of a table, in characters.
const LONGEST_CELL: usize = 200;

/// The text with its control characters as `\u001b`, which JSON and TOML read back; line ends and tabs
/// stay.
pub fn escape(text: &str) -> Cow<'_, str> {
    escape_if(text, |c| is_obeyed(c) && !matches!(c, '\n' | '\t'))
}

/// The same on one line.
pub fn escape_line(text: &str) -> Cow<'_, str> {
    escape_if(text, is_obeyed)
}

/// A message: if one of its lines after the first begins as a message does, they are indented, so that a
/// name with a line end in it cannot forge a message of its own.
pub fn escape_message(text: &str) -> String {
    let shown = escape(text);
    let forged = |line: &str| !line.is_empty() && !line.starts_with([' ', '\t']);
    match shown.lines().skip(1).any(forged) {
        false => shown.into_owned(),
        // All of them: what points into a line above it stays below what it points at.
        true => {
            let (message, end) = match shown.strip_suffix('\n') {
                Some(message) => (message, "\n"),
                None => (&*shown, ""),
            };
            format!("{}{end}", message.replace('\n', "\n  "))
        }
    }
}

/// A text for a cell of a table: on one line, and cut if it is very long.
pub fn cell(text: &str) -> String {
    let mut characters = text.chars();
    let shown: String = characters.by_ref().take(LONGEST_CELL).collect();
    let cut = if characters.next().is_some() {
        "…"
    } else {
        ""
    };
    format!("{}{cut}", escape_line(&shown))
}

/// Whether a terminal does something other than to show the character: controls, line ends of Unicode,
/// and the marks that set the direction of what follows them.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

fn escape_if(text: &str, escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&escaped) {
        return Cow::Borrowed(text);
    }
    let mut output = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !escaped(c) => output.push(c),
            '\t' => output.push_str("\\t"),
            '\n' => output.push_str("\\n"),
            '\r' => output.push_str("\\r"),
            c => output.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
    }
    Cow::Owned(output)
}

/// Escapes what is written.
pub struct Plain<W> {
    out: W,
    /// For messages.
    name: &'static str,
}

/// Standard output.
pub fn stdout() -> Plain<StdoutLock<'static>> {
    Plain {
        out: io::stdout().lock(),
        name: "standard output",
    }
}

/// Standard error.
pub fn stderr() -> Plain<StderrLock<'static>> {
    Plain {
        out: io::stderr().lock(),
        name: "standard error",
    }
}

impl<W: Write> Plain<W> {
    /// Escapes what is written to `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            name: "the log",
        }
    }

    /// Adds to the system's reason what it is about; the kind stays, by which a closed pipe is known.
    fn named<T>(&self, result: io::Result<T>) -> io::Result<T> {
        let name = self.name;
        result.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot write to {name}: {error}"))
        })
    }
}

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let written = self.out.write_all(escape(&text).as_bytes());
        self.named(written)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.named(flushed)
    }
}

/// A word of a command that a shell reads as it is.
pub fn quoted(word: impl AsRef<std::ffi::OsStr>) -> String {
    let word = word.as_ref().to_string_lossy();
    let safe = |c: char| c.is_alphanumeric() || "_-./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        return word.into_owned();
    }
    if !word.chars().any(is_obeyed) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    // What bash, zsh and fish's successors call ANSI-C quoting: the control characters by their codes.
    let escaped: String = word
        .chars()
        .map(|c| match c {
            '\\' | '\'' => format!("\\{c}"),
            c if is_obeyed(c) => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        })
        .collect();
    format!("$'{escaped}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_all_else_stays() {
        assert_eq!(escape("naïve 日本 \u{200d}🎉\n"), "naïve 日本 \u{200d}🎉\n");
        assert_eq!(
            escape("\u{1b}[31m\u{7}\r\t\0\u{7f}\u{9b}\u{202e}"),
            "\\u001b[31m\\u0007\\r\t\\u0000\\u007f\\u009b\\u202e"
        );
        assert_eq!(
            escape("\u{61c}\u{200f}\u{2028}\u{2029}\u{2066}"),
            "\\u061c\\u200f\\u2028\\u2029\\u2066"
        );
        assert_eq!(escape_line("a\n\tb"), r"a\n\tb");
        assert_eq!(
            escape_message("a\nerror: \u{1b}b\n ^\n"),
            "a\n  error: \\u001bb\n   ^\n"
        );
        assert_eq!(
            escape_message("a:\n  one\n\n  two\n"),
            "a:\n  one\n\n  two\n"
        );
        // An escaped document is still the same document.
        let odd = "\u{7f}\u{9b}\u{202e}";
        let json = serde_json::to_string(odd).expect("JSON");
        assert_eq!(
            serde_json::from_str::<String>(&escape(&json)).expect("JSON"),
            odd
        );
    }

    #[test]
    fn cells_are_cut_and_words_are_quoted() {
        assert_eq!(cell(&"é".repeat(70_000)).chars().count(), LONGEST_CELL + 1);
        for (word, expected) in [
            ("runs/a-b_1.0", "runs/a-b_1.0"),
            ("runs/a b", "'runs/a b'"),
            ("it's", r"'it'\''s'"),
            ("$(rm -rf ~)", "'$(rm -rf ~)'"),
            ("", "''"),
            ("a\u{1b}'b", r"$'a\u001b\'b'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
