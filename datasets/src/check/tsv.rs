//! Tables of the official data: features, labels, image sizes, pictures.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use oscar_files::is_system_file;
use rayon::prelude::*;

use super::format::Sniff;
use super::rows::{Row, Sizes, check_row};
use super::table::TableKind;
use super::{Context, Format, Report};
use crate::findings::{Counts, Defect, Kind, Problem};
use crate::mapped::read_file;
use crate::official::parse_key_map;
use crate::tsv::TsvFile;

/// Bytes of rows between two steps of the bar, and rows, since what is wrong with a row may take more
/// memory than the row.
const CHUNK: usize = 1 << 26;
const CHUNK_ROWS: usize = 1 << 15;

/// The file beside `features.tsv` that maps images to rows.
const ROW_MAP: &str = "imageid2idx.json";

/// The format of the tables.
pub(super) const TABLES: Format = Format {
    name: "tsv",
    about: "a table of features, labels, sizes or pictures by key, or a folder of them",
    names_images: false,
    recognizes: Some(recognizes),
    check: check_all,
};

fn recognizes(path: &Sniff) -> bool {
    match &path.dir {
        Some(dir) => !super::data_set::recognizes(path) && !tables(dir).is_empty(),
        None => {
            let mut lines = path.head.split(|byte| *byte == b'\n').take(100);
            lines.any(|line| TableKind::of_line(line).is_some())
        }
    }
}

fn check_all(paths: &[PathBuf], context: &Context, report: &mut Report) {
    let mut tables_by_kind: Vec<(TableKind, TsvFile)> = Vec::new();
    for path in paths {
        let files = match path.is_dir() {
            true => tables(path),
            false => vec![path.clone()],
        };
        for file in files {
            let table = match TsvFile::open_unindexed(&file) {
                Ok(table) => table,
                Err(error) => {
                    report.error(&file, &error);
                    continue;
                }
            };
            match table.kind() {
                Some(kind) => tables_by_kind.push((kind, table)),
                None if path.is_dir() => {
                    let checked = report.checked(&file, "tsv", Counts::default());
                    checked
                        .notes
                        .push("skipped: not a table of images by key".into());
                }
                None => {
                    let found = "no row holds features, labels, a size or a picture";
                    let finding = Defect::of(Kind::Field, found);
                    report.push(Problem::of_file(&file, finding));
                }
            }
        }
    }
    // Sizes first: labels are compared with them.
    tables_by_kind.sort_by_key(|(kind, _)| *kind);
    let mut sizes = Sizes::new();
    let mut keyed = Vec::new();
    for (kind, table) in &tables_by_kind {
        let mut counts = Counts::default();
        table.check_index(&mut counts, report);
        counts.extend(&check_rows(*kind, table, &mut sizes, context, report));
        let keys = table.keys(report);
        if *kind == TableKind::Features {
            check_key_map(table, report);
        }
        report.checked(table.path(), kind.name(), counts);
        keyed.push((*kind, table, keys));
    }
    compare(&keyed, report);
}

/// Tables directly in `dir`, and those in the folders of a set in chunks.
fn tables(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if is_system_file(&entry.file_name().to_string_lossy()) {
            continue;
        }
        if path.is_dir() {
            folders.push(path.join("features.tsv"));
        } else if path.extension().is_some_and(|ending| ending == "tsv") {
            found.push(path);
        }
    }
    folders.retain(|path| path.is_file());
    found.append(&mut folders);
    found.sort();
    found
}

/// Checks all rows, in parallel; remembers the sizes of images.
fn check_rows(
    kind: TableKind,
    table: &TsvFile,
    sizes: &mut Sizes,
    context: &Context,
    report: &mut Report,
) -> Counts {
    context
        .progress
        .start(&table.path().display().to_string(), table.len());
    let mut counts = Counts::default();
    counts.add("rows", table.len());
    let mut start = 0;
    while start < table.len() {
        let mut end = start;
        let mut bytes = 0;
        while end < table.len() && bytes < CHUNK && end - start < CHUNK_ROWS {
            bytes += table.bytes(end).len();
            end += 1;
        }
        let known = &*sizes;
        let rows: Vec<Row> = (start..end)
            .into_par_iter()
            .map(|row| check_row(kind, table, row, known, context))
            .collect();
        for (at, row) in rows.into_iter().enumerate() {
            counts.extend(&row.counts);
            let key = table.key(start + at);
            for finding in row.findings {
                let problem = Problem::at_line(table.path(), start + at + 1, finding);
                report.push(match key {
                    Some(key) => problem.with_key(key),
                    None => problem,
                });
            }
            if let (Some(key), Some(size)) = (key, row.size) {
                sizes.insert(key.to_string(), size);
            }
        }
        context.progress.advance(end - start);
        start = end;
    }
    counts
}

/// Compares the file beside a feature table that maps images to rows.
fn check_key_map(table: &TsvFile, report: &mut Report) {
    let name = table
        .path()
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let offsets = name
        .strip_suffix(".tsv")
        .map(|stem| format!("{stem}_offset_map.json"));
    let beside = |name: &str| Some(table.path().with_file_name(name)).filter(|path| path.exists());
    let (path, of_bytes) = match (&*name, offsets.as_deref().and_then(beside)) {
        (_, Some(path)) => (path, true),
        ("features.tsv", None) => match beside(ROW_MAP) {
            Some(path) => (path, false),
            None => return,
        },
        _ => return,
    };
    let map = match read_file(&path, "") {
        Ok(map) => map,
        Err(error) => return report.error(&path, &error),
    };
    let entries = match parse_key_map(&map) {
        Ok(entries) => entries,
        Err(defect) => {
            let finding = Defect::of(Kind::Json, defect.found);
            return report.push(Problem::of_file(&path, finding));
        }
    };
    for entry in 0..entries.len() {
        let (key, number) = entries.get(entry);
        let row = match of_bytes {
            true => table.row_at(number),
            false => usize::try_from(number)
                .ok()
                .filter(|row| *row < table.len()),
        };
        let found = match row {
            None => format!("mapped to {number}, where there is no row"),
            Some(row) if table.key(row) != Some(key) => format!(
                "mapped to {number}, where `{}` is",
                table.key(row).unwrap_or_default()
            ),
            Some(_) => continue,
        };
        report.push(Problem::of_key(
            &path,
            key,
            Defect::of(Kind::Mismatch, found),
        ));
    }
    if entries.len() != table.len() {
        let found = format!(
            "{} keys, where the table has {} rows",
            entries.len(),
            table.len()
        );
        report.push(Problem::of_file(&path, Defect::of(Kind::Mismatch, found)));
    }
}

type Keyed<'a> = (TableKind, &'a TsvFile, HashMap<&'a str, usize>);

/// Compares the keys of features, or else of pictures, with those of labels.
fn compare(tables: &[Keyed<'_>], report: &mut Report) {
    let of = |kind| tables.iter().filter(move |(k, ..)| *k == kind);
    let labels: Vec<_> = of(TableKind::Labels).collect();
    let mut images: Vec<_> = of(TableKind::Features).collect();
    if images.is_empty() {
        images = of(TableKind::Pictures).collect();
    }
    if images.is_empty() || labels.is_empty() {
        return;
    }
    let mut missing = |from: &[&Keyed<'_>], others: &[&Keyed<'_>], kind, found: &str| {
        for (_, table, keys) in from {
            let mut lost: Vec<(usize, &str)> = keys
                .iter()
                .filter(|(key, _)| !others.iter().any(|(.., keys)| keys.contains_key(*key)))
                .map(|(key, row)| (*row, *key))
                .collect();
            lost.sort_unstable();
            for (row, key) in lost {
                let finding = Defect::of(kind, found);
                report.push(Problem::at_line(table.path(), row + 1, finding).with_key(key));
            }
        }
    };
    let orphan = "labels of an image that is in no table of images";
    missing(&labels, &images, Kind::OrphanAnnotation, orphan);
    let unlabelled = "an image that no table of labels names";
    missing(&images, &labels, Kind::MissingAnnotation, unlabelled);
}
