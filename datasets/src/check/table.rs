//! What a table of the official data holds, whatever is wrong with some of its rows.

use std::collections::HashMap;

use super::Report;
use crate::error::{excerpt, excerpt_bytes};
use crate::findings::{Counts, Defect, Kind, Problem};
use crate::mapped::read_file;
use crate::official::unquoted;
use crate::tsv::{TsvFile, index_path};

/// How much of a field is read to know what it holds.
const GLANCE: usize = 256;

/// What the rows of a table hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TableKind {
    /// Image sizes: `key, [{"height": h, "width": w}]`.
    Sizes,
    /// Region features: `key, num_boxes, …, base64` or `key, {"num_boxes", "features"}`.
    Features,
    /// Regions and objects, with a column for each array, as LXMERT and bottom-up attention have
    /// them.
    Arrays,
    /// Object tags: `key, objects as JSON`; perhaps with the features of each object.
    Labels,
    /// Pictures: `key, …, base64` of a picture file.
    Pictures,
}

impl TableKind {
    /// What it is called in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sizes => "sizes.tsv",
            Self::Features => "features.tsv",
            Self::Arrays => "arrays.tsv",
            Self::Labels => "labels.tsv",
            Self::Pictures => "pictures.tsv",
        }
    }

    /// What a row with this line holds.
    pub(super) fn of_line(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b'\t').skip(1);
        let second = fields.next()?.trim_ascii();
        let second = &second[..second.len().min(GLANCE)];
        // Python's csv module quotes what has quotes in it.
        let second = match second {
            [b'"', rest @ ..] => rest,
            second => second,
        };
        let has = |name: &str| memchr::memmem::find(second, name.as_bytes()).is_some();
        let has = |name: &str| has(name) || has(&name.replace('"', "'"));
        let number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        match (second.first(), fields.next()) {
            (Some(b'{'), _) if has("\"num_boxes\"") || has("\"features\"") => Some(Self::Features),
            (Some(b'{' | b'['), _) if has("\"height\"") && !has("\"class\"") => Some(Self::Sizes),
            (Some(b'{' | b'['), _) => Some(Self::Labels),
            (Some(_), Some(third)) if number(second) => {
                // Two sides of the image, then six or ten columns in all.
                match number(third) && matches!(fields.count(), 3 | 7) {
                    true => Some(Self::Arrays),
                    false => Some(Self::Features),
                }
            }
            (Some(_), None) if second.split(|b| *b == b' ').all(number) => Some(Self::Sizes),
            // How files of JPEG and of PNG begin.
            _ if second.starts_with(b"/9j/") || second.starts_with(b"iVBOR") => {
                Some(Self::Pictures)
            }
            _ => None,
        }
    }
}

impl TsvFile {
    /// The key of row `row`, if it has one.
    pub(super) fn key(&self, row: usize) -> Option<&str> {
        let key = self.bytes(row).split(|byte| *byte == b'\t').next()?;
        let key = unquoted(std::str::from_utf8(key).ok()?);
        Some(key).filter(|key| !key.is_empty())
    }

    /// What most of the first rows hold.
    pub(super) fn kind(&self) -> Option<TableKind> {
        let rows = (0..self.len().min(100)).map(|row| self.bytes(row));
        let mut kinds: Vec<TableKind> = rows.filter_map(TableKind::of_line).collect();
        kinds.sort();
        let runs = kinds.chunk_by(|a, b| a == b);
        runs.max_by_key(|run| run.len()).map(|run| run[0])
    }

    /// Key and last field of row `row`.
    pub(super) fn key_and_content(&self, row: usize) -> Result<(&str, &str), Defect> {
        let (key, rest) = self.key_and_rest(row)?;
        let last = memchr::memrchr(b'\t', rest).map_or(0, |tab| tab + 1);
        Ok((key, text(&rest[last..])?))
    }

    /// The key of row `row`, and what follows the first tab.
    pub(super) fn key_and_rest(&self, row: usize) -> Result<(&str, &[u8]), Defect> {
        let line = self.bytes(row);
        let Some(tab) = memchr::memchr(b'\t', line) else {
            let found = match line.trim_ascii() {
                [] => "a blank line".into(),
                line => format!("no tab in {}", excerpt_bytes(line)),
            };
            return Err(Defect::of(Kind::MissingTab, found));
        };
        match unquoted(text(&line[..tab])?) {
            "" => Err(Defect::of(Kind::Field, "its key is empty")),
            key => Ok((key, &line[tab + 1..])),
        }
    }

    /// Rows by key; keys that occur twice are reported.
    pub(super) fn keys(&self, report: &mut Report) -> HashMap<&str, usize> {
        let mut rows = HashMap::with_capacity(self.len());
        for row in 0..self.len() {
            let Some(key) = self.key(row) else {
                continue;
            };
            if let Some(first) = rows.get(key) {
                let found = format!("its key is in line {} too", first + 1);
                let finding = Defect::of(Kind::DuplicateKey, found);
                report.push(Problem::at_line(self.path(), row + 1, finding).with_key(key));
            } else {
                rows.insert(key, row);
            }
        }
        rows
    }

    /// Compares the `.lineidx` beside the table, if there is one, with where its lines begin.
    pub(super) fn check_index(&self, counts: &mut Counts, report: &mut Report) {
        let path = index_path(self.path());
        if !path.exists() {
            return;
        }
        let index = match read_file(&path, "") {
            Ok(index) => index,
            Err(error) => return report.error(&path, &error),
        };
        let index = index.strip_suffix(b"\n").unwrap_or(&index);
        let entries: Vec<&[u8]> = match index {
            [] => Vec::new(),
            _ => index.split(|byte| *byte == b'\n').collect(),
        };
        counts.add("offsets in the lineidx", entries.len());
        let mut wrong = entries
            .iter()
            .zip(&self.offsets()[..self.len()])
            .enumerate();
        let wrong = wrong.by_ref().filter_map(|(row, (entry, start))| {
            let text = String::from_utf8_lossy(entry.trim_ascii());
            (text.parse() != Ok(*start)).then(|| (row, text.into_owned(), *start))
        });
        let wrong: Vec<(usize, String, u64)> = wrong.collect();
        if let Some((row, text, start)) = wrong.first() {
            let more = match wrong.len() - 1 {
                0 => String::new(),
                more => format!(" (and {more} more offsets are wrong)"),
            };
            let found = format!(
                "offset {}, where line {} of the table begins at {start}{more}",
                excerpt(text),
                row + 1
            );
            report.at_line(&path, row + 1, Defect::of(Kind::LineIndex, found));
        }
        if entries.len() != self.len() {
            let found = format!(
                "{} offsets, where the table has {} lines",
                entries.len(),
                self.len()
            );
            report.push(Problem::of_file(&path, Defect::of(Kind::LineIndex, found)));
        }
    }
}

fn text(bytes: &[u8]) -> Result<&str, Defect> {
    std::str::from_utf8(bytes).map(str::trim).map_err(|error| {
        let found = format!(
            "byte {} of a field is not UTF-8 text",
            error.valid_up_to() + 1
        );
        Defect::of(Kind::NotUtf8, found)
    })
}
