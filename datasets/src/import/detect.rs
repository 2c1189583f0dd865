//! Detects the format of region features from the files at a path.

use std::path::{Path, PathBuf};

use oscar_files::python::{base64_text, json_text};
use oscar_files::{is_system_file, other_file};

use super::folder::with_extension;
use super::lxmert::{BUTD_COLUMNS, LXMERT_COLUMNS, is_number};
use super::options::Format;
use crate::error::{DatasetError, Result, excerpt_bytes};
use crate::official::{FEATURES_FILE, FeatureRow, OfficialFiles, TagChoice, parse_detections};
use crate::pictures::Pictures;
use crate::store::INDEX_FILE;
use crate::tsv::TsvFile;
use crate::yaml::Tables;

const CHOOSE: &str = "choose one: set `format`, or give the path of one file";
const UNKNOWN: &str = "give official, VinVL or LXMERT tables, a .pt dictionary, or a folder of \
                       .npz, .npy or .safetensors files";
const PICTURES: &str = "name the detector that finds their regions: a directory with its weights, or \
                        `drawing` for drawings of NLVR v1";

const DECOMPRESS: &str = "decompress it first; a zip archive of pictures needs a detector";

/// What archives of features end in.
const COMPRESSED: [&str; 8] = ["gz", "tgz", "bz2", "xz", "zst", "zip", "tar", "7z"];

const REWRITE: &str = "write one .npz file for each image, as numpy.savez does";

/// Longer fields are not names of columns.
const MAX_NAME: usize = 32;

/// No image has as many pixels in a row, or as many regions.
const MAX_NUMBER: f64 = 1e9;

/// Files that features are published in and that are not read, by their endings.
const OTHERS: [(&str, &str); 7] = [
    ("h5", "an HDF5 file"),
    ("hdf5", "an HDF5 file"),
    ("mdb", "an LMDB database"),
    ("lmdb", "an LMDB database"),
    ("pkl", "a pickle"),
    ("pickle", "a pickle"),
    ("parquet", "a Parquet file"),
];

/// Something that can be imported.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) format: Format,
    /// A file, or a folder of files.
    pub(super) path: PathBuf,
    /// The files by which it was detected, for messages.
    seen: String,
}

/// The only thing at `path` that can be imported; of `format`, if one is given.
///
/// # Errors
/// If there is none, or more than one.
pub(super) fn detect(path: &Path, format: Option<Format>, feature_dim: usize) -> Result<Candidate> {
    if path.join(INDEX_FILE).exists() {
        let found = "it is a region store already";
        return Err(DatasetError::malformed(
            path,
            found,
            "train from it as it is",
        ));
    }
    let mut candidates = match path.is_dir() {
        true => in_folder(path, feature_dim)?,
        false => {
            let missing = |_| DatasetError::Missing {
                path: path.to_path_buf(),
                hint: "it holds region features; check the path",
            };
            std::fs::metadata(path).map_err(missing)?;
            let format = match format {
                Some(format) => format,
                None => of_file(path, feature_dim)?,
            };
            vec![candidate(format, path, String::new())]
        }
    };
    if let Some(format) = format {
        candidates.retain(|candidate| candidate.format == format);
    }
    let seen: Vec<_> = candidates
        .iter()
        .map(|c| format!("{} ({})", c.format, c.seen))
        .collect();
    match (candidates.pop(), candidates.len()) {
        (Some(candidate), 0) => Ok(candidate),
        (None, _) => {
            let mut found = match format {
                Some(format) => format!("it has no features of the format {format}"),
                None => "it has no region features of a known format".into(),
            };
            // Archives unpack to a folder of folders.
            if let Some(inner) = inner_folder(path, feature_dim) {
                found += &format!("; its folder {} has some: give its path", name(&inner));
            }
            let pictures = Pictures::open(path).map_or(0, |pictures| pictures.len());
            if let Some((file, what)) = other_features(path) {
                found += &format!(", but {file}, {what}, which is not read");
                return Err(DatasetError::malformed(path, found, REWRITE));
            }
            match pictures {
                0 => Err(DatasetError::malformed(path, found, UNKNOWN)),
                pictures => {
                    let found = format!("{found}, but {pictures} pictures");
                    Err(DatasetError::malformed(path, found, PICTURES))
                }
            }
        }
        _ => {
            let found = format!("it can be read as {}", seen.join(" or as "));
            Err(DatasetError::malformed(path, found, CHOOSE))
        }
    }
}

fn candidate(format: Format, path: &Path, seen: impl Into<String>) -> Candidate {
    Candidate {
        format,
        path: path.to_path_buf(),
        seen: seen.into(),
    }
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn in_folder(dir: &Path, feature_dim: usize) -> Result<Vec<Candidate>> {
    let mut found = Vec::new();
    let predictions = dir.join("predictions.tsv");
    if dir.join(FEATURES_FILE).exists() {
        found.push(candidate(Format::Official, dir, FEATURES_FILE));
    } else if predictions.exists() {
        found.push(candidate(Format::Vinvl, &predictions, "predictions.tsv"));
    } else if let Some(files) = OfficialFiles::find(dir)? {
        let seen = format!("{} folders with {FEATURES_FILE}", files.parts.len());
        found.push(candidate(Format::Official, dir, seen));
    }
    let mut yaml = with_extension(dir, "yaml")?;
    yaml.extend(with_extension(dir, "yml")?);
    for path in &yaml {
        found.push(candidate(of_yaml(path)?, path, name(path)));
    }
    if yaml.is_empty() {
        for path in with_extension(dir, "tsv")? {
            let name = name(&path);
            if name.ends_with(".feature.tsv") || name.ends_with(".features.tsv") {
                found.push(candidate(Format::Official, &path, name));
            }
        }
    }
    if found.is_empty() {
        // Tables by any name, as LXMERT's: what their first rows are.
        for path in with_extension(dir, "tsv")? {
            if let Ok(format) = of_table(&path, feature_dim) {
                found.push(candidate(format, &path, name(&path)));
            }
        }
    }
    for format in [Format::Npz, Format::Npy, Format::Safetensors] {
        let files = with_extension(dir, format.name())?.len();
        if files > 0 {
            found.push(candidate(format, dir, format!("{files} .{format} files")));
        }
    }
    for extension in ["pt", "pth"] {
        for path in with_extension(dir, extension)? {
            found.push(candidate(Format::Pt, &path, name(&path)));
        }
    }
    Ok(found)
}

/// A file at `path`, or in that folder, that may have features in another format, and its format.
fn other_features(path: &Path) -> Option<(String, &'static str)> {
    let files = match std::fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => vec![path.to_path_buf()],
    };
    let format = |file: &PathBuf| {
        let ending = file.extension()?.to_str()?.to_ascii_lowercase();
        let (_, what) = OTHERS.iter().find(|(other, _)| *other == ending)?;
        Some((name(file), *what))
    };
    files.iter().filter_map(format).min()
}

/// The first folder in `dir` that has features.
fn inner_folder(dir: &Path, feature_dim: usize) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir).ok()?.flatten();
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && !is_system_file(&name(path)))
        .collect();
    folders.sort();
    let has_features =
        |folder: &PathBuf| in_folder(folder, feature_dim).is_ok_and(|found| !found.is_empty());
    folders.into_iter().find(has_features)
}

fn of_yaml(path: &Path) -> Result<Format> {
    Ok(match Tables::read(path)?.feature {
        Some(_) => Format::Official,
        None => Format::Vinvl,
    })
}

fn of_file(path: &Path, feature_dim: usize) -> Result<Format> {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let extension = extension.to_ascii_lowercase();
    match &*extension {
        "tsv" => of_table(path, feature_dim),
        "yaml" | "yml" => of_yaml(path),
        "npz" => Ok(Format::Npz),
        "npy" => Ok(Format::Npy),
        "safetensors" => Ok(Format::Safetensors),
        "pt" | "pth" => Ok(Format::Pt),
        packed if COMPRESSED.contains(&packed) => {
            let found = "it is compressed or an archive of files";
            Err(DatasetError::malformed(path, found, DECOMPRESS))
        }
        _ => Err(match other_features(path) {
            Some((_, what)) => {
                DatasetError::malformed(path, format!("it is {what}, which is not read"), REWRITE)
            }
            None => DatasetError::malformed(path, "it has no known extension", UNKNOWN),
        }),
    }
}

/// The format of a table, by its first row.
fn of_table(path: &Path, feature_dim: usize) -> Result<Format> {
    let file = TsvFile::open(path)?;
    if file.is_empty() {
        return Err(DatasetError::malformed(path, "it has no row", UNKNOWN));
    }
    let first = file.line(0)?;
    if let Some(other) = other_file(first) {
        let found = format!("it is {}", other.found);
        return Err(DatasetError::malformed(path, found, other.fix));
    }
    if std::str::from_utf8(first).is_err() || memchr::memchr(0, first).is_some() {
        let fix = "convert the file to UTF-8";
        return Err(file.wrong(0, "it is no text in UTF-8", fix));
    }
    let formats = of_row(first, feature_dim);
    match formats[..] {
        [format] => Ok(format),
        [] if is_header(first)
            && file
                .line(1)
                .is_ok_and(|row| !of_row(row, feature_dim).is_empty()) =>
        {
            let found = format!(
                "a line of names, {}, where each line is an image",
                excerpt_bytes(first)
            );
            Err(file.wrong(0, found, "remove it, and the .lineidx beside the table"))
        }
        [] => Err(file.wrong(0, "a row of no known table", UNKNOWN)),
        _ => {
            let names: Vec<_> = formats.iter().map(|format| format.name()).collect();
            let found = format!("a row that can be read as {}", names.join(" or as "));
            Err(file.wrong(0, found, CHOOSE))
        }
    }
}

/// Whether a row has nothing but names, as those of columns.
fn is_header(line: &[u8]) -> bool {
    let is_name = |field: &[u8]| {
        let field = field.trim_ascii();
        field.first().is_some_and(u8::is_ascii_alphabetic)
            && field.len() <= MAX_NAME
            && field
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"_ -.".contains(b))
    };
    line.split(|b| *b == b'\t').all(is_name)
}

/// The formats that a row can be of.
fn of_row(line: &[u8], feature_dim: usize) -> Vec<Format> {
    let columns: Vec<&[u8]> = line
        .split(|b| *b == b'\t')
        .map(<[u8]>::trim_ascii)
        // One more than any table has: a line of tabs is none.
        .take(LXMERT_COLUMNS + 1)
        .collect();
    // Columns of numbers with a gap become floats in pandas.
    let number = |column: usize| -> Option<usize> {
        let digits = base64_text(columns.get(column)?);
        let number: f64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let whole = number.fract() == 0.0 && (0.0..MAX_NUMBER).contains(&number);
        whole.then_some(number as usize)
    };
    let mut formats = Vec::new();
    let official = FeatureRow::parse(line);
    if official.is_ok_and(|row| columns.len() <= 3 || row.layout(feature_dim).is_ok()) {
        formats.push(Format::Official);
    }
    let rosita = columns.len() == LXMERT_COLUMNS
        && is_number(columns[4])
        && !is_number(columns[1])
        && number(2).is_some()
        && number(3).is_some();
    let arrays_at = match columns.len() {
        _ if rosita => None,
        LXMERT_COLUMNS => Some(7),
        BUTD_COLUMNS => Some(3),
        _ => None,
    };
    if let Some(at) = arrays_at
        && let (Some(_), Some(_), Some(boxes)) = (number(1), number(2), number(at))
        && boxes.checked_mul(16).map(|bytes| 4 * bytes.div_ceil(3))
            == Some(base64_text(columns[at + 1]).len())
    {
        formats.push(Format::Lxmert);
    }
    if rosita
        && let Some(boxes) = number(4)
        && boxes.checked_mul(16).map(|bytes| 4 * bytes.div_ceil(3))
            == Some(base64_text(columns[5]).len())
    {
        formats.push(Format::Lxmert);
    }
    if let [_, json] = columns[..]
        && let Ok(json) = std::str::from_utf8(json)
        && parse_detections(&json_text(json), TagChoice::Objects).is_ok()
    {
        formats.push(Format::Vinvl);
    }
    formats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let blob = |bytes: usize| "A".repeat(4 * bytes.div_ceil(3));
        // 3 regions of 3 + 6 values.
        let official = blob(3 * 9 * 4);
        let boxes = blob(3 * 4 * 4);
        let features = blob(3 * 3 * 4);
        for (row, wanted) in [
            (format!("k\t3\t{official}"), &[Format::Official][..]),
            (format!("k\t3\tx\ty\t{official}"), &[Format::Official]),
            (
                format!("k\t{{\"num_boxes\": 3, \"features\": \"{official}\"}}"),
                &[Format::Official],
            ),
            (
                format!("k\t640\t480\t3\t{boxes}\t{features}"),
                &[Format::Lxmert],
            ),
            (
                format!("k\t480\t640\tA\tB\tC\tD\t3\t{boxes}\t{features}"),
                &[Format::Lxmert],
            ),
            (
                format!("k\t{features}\t480\t640\t3\t{boxes}\tA\tB\tC\tD"),
                &[Format::Lxmert],
            ),
            ("k\t[{\"class\": \"a\"}]".into(), &[Format::Vinvl]),
            ("k\t{\"objects\": []}".into(), &[Format::Vinvl]),
            (
                format!("k\t640\t480\t3\tb'{boxes}'\tb'{features}'"),
                &[Format::Lxmert],
            ),
            (
                format!("k\t640.0\t480.0\t3.0\t{boxes}\t{features}"),
                &[Format::Lxmert],
            ),
            (format!("k\t640\t480\t3.5\t{boxes}\t{features}"), &[]),
            ("k\t[{'class': 'a'}]".into(), &[Format::Vinvl]),
            (
                "k\t\"[{\"\"class\"\": \"\"a\"\"}]\"".into(),
                &[Format::Vinvl],
            ),
            ("k\tabc".into(), &[]),
            ("".into(), &[]),
        ] {
            assert_eq!(of_row(row.as_bytes(), 3), wanted, "{row}");
        }
    }
}
