//! Formats, and which of them a path has.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::{Context, Report};
use crate::error::{DatasetError, Result};
use crate::rows::open;

/// How much of a file is looked at to know its format.
const HEAD: u64 = 1 << 16;

/// A format that can be checked. A new one is a type with this trait and a line in [`FORMATS`].
pub trait Format: Sync {
    /// Its name, for `--format`.
    fn name(&self) -> &'static str;

    /// What it is, in a few words.
    fn about(&self) -> &'static str;

    /// Whether a path seems to have it. Exactly one format should claim a path.
    fn recognizes(&self, path: &Sniff) -> bool;

    /// Reads these paths, which may belong together, and reports what is wrong with them.
    fn check(&self, paths: &[PathBuf], context: &Context, report: &mut Report);
}

/// The formats known.
pub const FORMATS: &[&dyn Format] = &[
    &super::region_store::RegionStores,
    &super::data_set::DataSets,
    &super::corpus::Corpora,
    &super::tsv::Tables,
    &super::folders::Folders,
    &super::vqa::Vqa,
    &super::nlvr2::Nlvr2,
];

/// What can be seen of a path at a glance.
pub struct Sniff {
    /// Names in a directory, sorted; none of a file.
    pub entries: Vec<String>,
    /// The path, if it is a directory.
    pub dir: Option<PathBuf>,
    /// The beginning of a file, decompressed.
    pub head: Vec<u8>,
}

impl Sniff {
    /// Looks at `path`.
    ///
    /// # Errors
    /// If it is missing or cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        if let Err(error) = fs::metadata(path) {
            return Err(match error.kind() {
                ErrorKind::NotFound => DatasetError::Missing {
                    path: path.to_path_buf(),
                    hint: "nothing of this name is there; check the path",
                },
                _ => DatasetError::io("read", path)(error),
            });
        }
        let mut entries = Vec::new();
        let mut head = Vec::new();
        let dir = path.is_dir().then(|| path.to_path_buf());
        if dir.is_some() {
            for entry in fs::read_dir(path).map_err(DatasetError::io("list", path))? {
                let entry = entry.map_err(DatasetError::io("list", path))?;
                entries.push(entry.file_name().to_string_lossy().into_owned());
            }
            entries.sort();
        } else {
            let read = open(path)?.take(HEAD).read_to_end(&mut head);
            // What was read of a damaged archive may still tell what it is.
            if let Err(error) = read
                && head.is_empty()
            {
                return Err(DatasetError::io("read", path)(error));
            }
        }
        Ok(Self { entries, dir, head })
    }

    /// Whether a directory has an entry of this name.
    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry == name)
    }

    /// The lines of the head that are not blank, without what is not UTF-8; the last may be cut.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let lines = self.head.split(|byte| *byte == b'\n');
        lines
            .map(|line| String::from_utf8_lossy(line).trim().to_string())
            .filter(|line| !line.is_empty())
    }

    /// The JSON objects among the first lines: JSON lines have some even if others are damaged.
    pub fn objects(&self) -> impl Iterator<Item = serde_json::Map<String, serde_json::Value>> {
        self.lines()
            .take(100)
            .filter_map(|line| serde_json::from_str(&line).ok())
    }
}

/// The format named `name`.
///
/// # Errors
/// If there is none; the message lists all.
pub fn named(name: &str) -> Result<&'static dyn Format, String> {
    let found = FORMATS.iter().find(|format| format.name() == name);
    found.copied().ok_or_else(|| {
        let names: Vec<&str> = FORMATS.iter().map(|format| format.name()).collect();
        format!("unknown format `{name}`; known: {}", names.join(", "))
    })
}

/// The one format that claims what was seen of `path`.
///
/// # Errors
/// If none does, or several.
pub(super) fn detect(path: &Path, seen: &Sniff) -> Result<&'static dyn Format> {
    let claims: Vec<_> = FORMATS
        .iter()
        .copied()
        .filter(|format| format.recognizes(seen))
        .collect();
    let list = |formats: &[&dyn Format]| {
        let names = formats.iter();
        let names: Vec<_> = names
            .map(|f| format!("`{}` ({})", f.name(), f.about()))
            .collect();
        names.join(", ")
    };
    let found = match claims[..] {
        [format] => return Ok(format),
        [] => format!("not of a known format: {}", list(FORMATS)),
        _ => format!("could be {}", list(&claims)),
    };
    Err(DatasetError::malformed(path, found, "name one by --format"))
}
