//! Region stores.

use std::fs;
use std::path::{Path, PathBuf};

use super::format::Sniff;
use super::{Context, Format, Report};
use crate::findings::{Counts, Defect, Kind, Problem};
use crate::mapped::{MappedTensors, map_file};
use crate::store::{INDEX_FILE, RegionStore, TAGS_FILE, Tag};
use crate::tsv::line_starts;

/// Images between two steps of the bar.
const CHUNK: usize = 256;

const NAME: &str = "region-store";

/// The format of [`RegionStore`].
pub(super) const REGION_STORE: Format = Format {
    name: NAME,
    about: "a directory with index.safetensors",
    names_images: false,
    recognizes: Some(recognizes),
    check: check_all,
};

fn recognizes(path: &Sniff) -> bool {
    // Also one that lost its index.
    path.has(INDEX_FILE) || path.has(TAGS_FILE) || path.entries.iter().any(|e| is_shard(e))
}

fn check_all(paths: &[PathBuf], context: &Context, report: &mut Report) {
    for path in paths {
        check_store(path, context, report);
    }
}

/// Checks the store in `dir`.
pub(super) fn check_store(dir: &Path, context: &Context, report: &mut Report) {
    let store = match RegionStore::open(dir) {
        Ok(store) => store,
        Err(error) => {
            report.error(dir, &error);
            let first = report.problems.last().cloned();
            check_parts(dir, first.as_ref(), report);
            report.checked(dir, NAME, Counts::default());
            return;
        }
    };
    context
        .progress
        .start(&dir.display().to_string(), store.len());
    let mut counts = Counts::default();
    for start in (0..store.len()).step_by(CHUNK) {
        let end = (start + CHUNK).min(store.len());
        let (its_counts, problems) = store.check_rows(start..end);
        counts.extend(&its_counts);
        problems
            .into_iter()
            .for_each(|problem| report.push(problem));
        context.progress.advance(end - start);
    }
    for problem in store.check_keys() {
        report.push(problem);
    }
    report.checked(dir, NAME, counts);
}

/// Looks at each file of a store that cannot be opened, so that all that is damaged is named;
/// `known` is what kept it from opening.
fn check_parts(dir: &Path, known: Option<&Problem>, report: &mut Report) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut shards: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|n| is_shard(&n.to_string_lossy()))
        })
        .collect();
    shards.sort();
    let mut add = |problem: Problem| {
        if Some(&problem) != known {
            report.push(problem);
        }
    };
    for shard in shards {
        if let Err(error) = MappedTensors::open(&shard, "it is a part of a region store") {
            add(Problem::from_error(&shard, &error));
        }
    }
    let path = dir.join(TAGS_FILE);
    let Ok(tags) = map_file(&path, "") else {
        return;
    };
    for (line, range) in line_starts(&tags).windows(2).enumerate() {
        let bytes = &tags[range[0] as usize..range[1] as usize];
        if let Err(error) = serde_json::from_slice::<Vec<Tag>>(bytes) {
            let found = format!("not a list of tags ({error})");
            add(Problem::at_line(
                &path,
                line + 1,
                Defect::of(Kind::Json, found),
            ));
        }
    }
}

fn is_shard(name: &str) -> bool {
    name.starts_with("regions-") && name.ends_with(".safetensors")
}
