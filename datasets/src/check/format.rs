//! Formats, and which of them a path has.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use oscar_files::is_system_file;
use serde_json::{Map, Value};

use super::{Context, Report, tasks};
use crate::error::{DatasetError, Result, excerpt};
use crate::records::{Records, has_texts};
use crate::text::open_text;
use crate::yaml::Tables;

/// How much of a file is read to know its format.
const HEAD: u64 = 1 << 16;

/// How many rows of a file are read to know its format.
const ROWS: usize = 100;

/// Lists of rows that a file of one object may have.
const LISTS: &[&str] = &["questions", "annotations", "images", "data"];

/// A format that can be checked. A new one is a constant of this type and a line in `FORMATS`.
pub struct Format {
    /// Its name; that of a task for the rows of the task.
    pub name: &'static str,
    /// What it is, in a few words.
    pub(super) about: &'static str,
    /// Whether its files name images.
    pub(super) names_images: bool,
    /// Whether a path seems to have it; by default, whether its rows are those of the task.
    pub(super) recognizes: Option<fn(&Sniff) -> bool>,
    /// Reads these paths, which may belong together, and reports what is wrong with them.
    pub(super) check: fn(&[PathBuf], &Context, &mut Report),
}

/// The formats known.
const FORMATS: [&Format; 12] = [
    &super::region_store::REGION_STORE,
    &super::data_set::DATA_SET,
    &super::tsv::TABLES,
    &super::folders::FOLDERS,
    &tasks::CORPUS,
    &tasks::VQA,
    &tasks::GQA,
    &tasks::NLVR2,
    &tasks::MATCHING,
    &tasks::REFER,
    &tasks::RETRIEVAL,
    &tasks::CAPTIONING,
];

/// What the beginning of a path shows.
pub struct Sniff {
    /// Names in a directory, sorted; none of a file.
    pub(super) entries: Vec<String>,
    /// The path, if it is a directory.
    pub(super) dir: Option<PathBuf>,
    /// The beginning of a file, decompressed.
    pub(super) head: Vec<u8>,
    rows: Option<JsonRows>,
    /// The format of a file that is known without its rows.
    by_name: Option<&'static str>,
}

/// The first JSON rows of a file.
pub(super) struct JsonRows {
    /// The objects among them, each with the list it is in.
    pub(super) objects: Vec<(Option<&'static str>, Map<String, Value>)>,
    /// Whether they are one per line.
    pub(super) lines: bool,
}

impl Sniff {
    /// Reads the beginning of `path`.
    ///
    /// # Errors
    /// If it is missing or cannot be read.
    pub(super) fn open(path: &Path) -> Result<Self> {
        if let Err(error) = fs::metadata(path) {
            return Err(match error.kind() {
                ErrorKind::NotFound => DatasetError::Missing {
                    path: path.to_path_buf(),
                    hint: "there is no such file; check the path",
                },
                _ => DatasetError::io("read", path)(error),
            });
        }
        let mut sniff = Self {
            entries: Vec::new(),
            dir: path.is_dir().then(|| path.to_path_buf()),
            head: Vec::new(),
            rows: None,
            by_name: None,
        };
        if sniff.dir.is_some() {
            for entry in fs::read_dir(path).map_err(DatasetError::io("list", path))? {
                let entry = entry.map_err(DatasetError::io("list", path))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if !is_system_file(&name) {
                    sniff.entries.push(name);
                }
            }
            sniff.entries.sort();
            return Ok(sniff);
        }
        let read = open_text(path)?.take(HEAD).read_to_end(&mut sniff.head);
        // What was read of a damaged archive may still show what it is.
        if let Err(error) = read
            && sniff.head.is_empty()
        {
            return Err(DatasetError::io("read", path)(error));
        }
        let torch = sniff.head.starts_with(b"PK") || sniff.head.first() == Some(&0x80);
        sniff.by_name = match path.extension().and_then(|extension| extension.to_str()) {
            Some("pt") if torch => Some(tasks::RETRIEVAL.name),
            _ if Tables::is_one(path) => Some(tasks::CAPTIONING.name),
            // An object of lists of texts has no rows to look at.
            _ if has_texts(&sniff.head) => Some(tasks::CAPTIONING.name),
            _ => None,
        };
        sniff.rows = JsonRows::open(path);
        Ok(sniff)
    }

    /// Whether a directory has an entry of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry == name)
    }

    /// Whether a file begins as JSON does, or as Python prints what JSON would say.
    fn is_json(&self) -> bool {
        matches!(self.head.trim_ascii_start().first(), Some(b'{' | b'['))
    }

    /// What a file that is not JSON looks like; none of a directory.
    ///
    /// # Errors
    /// If there is nothing in it.
    fn looks_like(&self, path: &Path) -> Result<Option<String>> {
        const FORMATS: [(&[u8], &str); 5] = [
            (b"PK", "a zip archive"),
            (b"PAR1", "a Parquet file"),
            (b"\x93NUMPY", "an array of NumPy"),
            (b"\x89HDF", "an HDF5 file"),
            (b"SQLite format", "an SQLite database"),
        ];
        if self.dir.is_some() {
            return Ok(None);
        }
        let start = self.head.trim_ascii_start();
        if start.is_empty() {
            let found = match self.head.is_empty() {
                true => "the file is empty",
                false => "the file has nothing but white space",
            };
            return Err(DatasetError::malformed(
                path,
                found,
                "copy or make it again",
            ));
        }
        let known = FORMATS.iter().find(|(magic, _)| start.starts_with(magic));
        if let Some((_, name)) = known {
            return Ok(Some(format!("it is {name}")));
        }
        let line = start
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        Ok(match std::str::from_utf8(line.trim_ascii_end()) {
            Ok(line) => Some(format!("its first line is {}, no JSON", excerpt(line))),
            Err(_) => Some("it is no text in UTF-8".into()),
        })
    }

    /// Whether its rows are captions line by line, which may be meant as texts of a corpus.
    fn is_unclear(&self) -> bool {
        let rows = self.rows.iter().filter(|rows| rows.lines);
        let mut rows = rows.flat_map(|rows| &rows.objects).peekable();
        let plain = |(_, row): &(_, Map<String, Value>)| {
            let known = |key: &String| ["image", "caption", "tags"].contains(&key.as_str());
            row.contains_key("image") && row.contains_key("caption") && row.keys().all(known)
        };
        rows.peek().is_some() && rows.all(plain)
    }

    /// The task whose rows these are, if they are any.
    pub(super) fn rows_of(&self) -> Option<&'static str> {
        let by_rows = || tasks::task_of(self.rows.as_ref()?);
        self.by_name.or_else(by_rows)
    }
}

impl JsonRows {
    /// The first rows of `path`, if it is JSON.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let mut records = Records::open(path, LISTS).ok()?;
        let (mut objects, mut bytes) = (Vec::new(), 0);
        // Values take many times the memory of their text.
        while objects.len() < ROWS && bytes < HEAD as usize * 4 {
            let Ok(Some(record)) = records.next() else {
                break;
            };
            bytes += record.len().max(1024);
            objects.extend(record.parse().ok().map(|object| (record.list, object)));
        }
        let lines = records.is_lines();
        Some(Self { objects, lines })
    }
}

/// The keys of the first row of a file that looks like JSON.
///
/// # Errors
/// What is wrong with the first row.
fn first_row(path: &Path) -> Result<String> {
    let mut records = Records::open(path, LISTS)?;
    let Some(first) = records.next()? else {
        return Err(DatasetError::malformed(path, "no row", "give at least one"));
    };
    let number = first.number;
    let row: Map<String, Value> = first
        .parse()
        .map_err(|defect| defect.in_line(path, number))?;
    let keys: Vec<String> = row.keys().take(20).map(|key| format!("`{key}`")).collect();
    Ok(match keys.is_empty() {
        true => "no key".into(),
        false => format!("the keys {}", keys.join(", ")),
    })
}

/// The format named `name`.
///
/// # Errors
/// If there is none; the message lists all.
pub fn named(name: &str) -> Result<&'static Format, String> {
    let found = FORMATS.iter().find(|format| format.name == name);
    found.copied().ok_or_else(|| {
        let names: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
        format!("unknown format `{name}`; known: {}", names.join(", "))
    })
}

/// The format of the rows of a task.
///
/// # Errors
/// If there is no such task; the message lists all.
pub fn of_task(task: &str) -> Result<&'static Format, String> {
    const TASKS: [(&str, &Format); 9] = [
        ("pretraining", &tasks::CORPUS),
        ("vqa", &tasks::VQA),
        ("gqa", &tasks::GQA),
        ("nlvr2", &tasks::NLVR2),
        ("retrieval", &tasks::RETRIEVAL),
        ("search", &tasks::RETRIEVAL),
        ("captioning", &tasks::CAPTIONING),
        ("matching", &tasks::MATCHING),
        ("refer", &tasks::REFER),
    ];
    let found = TASKS.iter().find(|(name, _)| *name == task);
    found.map(|(_, format)| *format).ok_or_else(|| {
        let names = TASKS.map(|(name, _)| name).join(", ");
        format!("unknown task `{task}`; known: {names}")
    })
}

/// The one format that claims what was seen of `path`.
///
/// # Errors
/// If none does, or several.
pub(super) fn detect(path: &Path, seen: &Sniff) -> Result<&'static Format> {
    let claims: Vec<_> = FORMATS
        .into_iter()
        .filter(|format| match format.recognizes {
            Some(recognizes) => recognizes(seen),
            None => seen.rows_of() == Some(format.name),
        })
        .collect();
    let list = |formats: &[&Format]| {
        let names = formats.iter();
        let names: Vec<_> = names
            .map(|f| format!("`{}` ({})", f.name, f.about))
            .collect();
        names.join(", ")
    };
    let found = match claims[..] {
        [format] => match seen.is_unclear() {
            false => return Ok(format),
            true => {
                let found = "rows with `image` and `caption`: captioning reads them, but a corpus for \
                             pre-training has `text` instead of `caption`";
                return Err(DatasetError::malformed(
                    path,
                    found,
                    "give its format or task",
                ));
            }
        },
        [] => match seen.is_json().then(|| first_row(path)).transpose()? {
            None => match seen.looks_like(path)? {
                Some(what) => format!("{what}, not of a known format: {}", list(&FORMATS)),
                None => format!("not of a known format: {}", list(&FORMATS)),
            },
            Some(keys) => format!(
                "its first row has {keys}, as no known rows: {}",
                list(&FORMATS)
            ),
        },
        _ => format!("could be {}", list(&claims)),
    };
    Err(DatasetError::malformed(path, found, "give its format"))
}
