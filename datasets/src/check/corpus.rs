//! Corpora as JSON lines.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::{Map, Value};

use super::problem::{Finding, Kind, Problem};
use super::{Context, Counts, Format, Report, Sniff, words};
use crate::annotations::has_words;
use crate::corpus::parse_line;
use crate::images::{SharedImages, open_images};
use crate::mapped::map_file;
use crate::store::RegionStore;
use crate::tsv::line_starts;

pub(super) const NAME: &str = "corpus";

/// Rows between two steps of the bar.
const CHUNK: usize = 1 << 14;

/// Rows by which a corpus is assigned to a store.
const PROBE: usize = 1000;

/// The format of [`JsonlCorpus`](crate::JsonlCorpus).
pub(super) struct Corpora;

impl Format for Corpora {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "JSON lines with `image` and `text` or `question`"
    }

    fn recognizes(&self, path: &Sniff) -> bool {
        path.objects().any(|object| {
            object.contains_key("image")
                && (object.contains_key("text") || object.contains_key("question"))
        })
    }

    fn check(&self, paths: &[PathBuf], context: &Context, report: &mut Report) {
        let images = context.regions.map(|path| (path, open_images(path)));
        let images = match images {
            Some((path, Err(error))) => {
                report.error(path, &error);
                None
            }
            Some((_, Ok(images))) => Some(images),
            None => None,
        };
        for path in paths {
            check_corpus(path, images.clone(), context, report);
        }
    }
}

/// Checks the corpus at `path`; without `images`, its rows alone.
pub(super) fn check_corpus(
    path: &Path,
    images: Option<SharedImages>,
    context: &Context,
    report: &mut Report,
) {
    let map = match map_file(path, "it is a corpus, one JSON object a line") {
        Ok(map) => map,
        Err(error) => return report.error(path, &error),
    };
    let offsets = line_starts(&map);
    let rows = offsets.len() - 1;
    context.progress.start(&path.display().to_string(), rows);
    let mut counts = Counts::default();
    counts.add("rows", rows);
    if rows == 0 {
        let finding = Finding::new(Kind::Field, "it has no row");
        report.push(Problem::of_file(path, finding));
    }
    let mut named = vec![false; images.as_ref().map_or(0, |images| images.len())];
    for start in (0..rows).step_by(CHUNK) {
        let end = (start + CHUNK).min(rows);
        let lines: Vec<Result<Good, Finding>> = (start..end)
            .into_par_iter()
            .map(|at| {
                let line = &map[offsets[at] as usize..offsets[at + 1] as usize];
                check_line(line, images.as_ref())
            })
            .collect();
        for (at, line) in lines.into_iter().enumerate() {
            match line {
                Ok(good) => {
                    counts.add("words", good.words);
                    if let Some(image) = good.image.and_then(|image| named.get_mut(image)) {
                        *image = true;
                    }
                }
                Err(finding) => report.at_line(path, start + at + 1, finding),
            }
        }
        context.progress.advance(end - start);
    }
    let Some(images) = images else {
        let checked = report.checked(path, NAME, counts);
        let note = "images were not looked up; name their store by --regions";
        return checked.notes.push(note.into());
    };
    let unnamed = named.iter().filter(|named| !**named).count();
    counts.add("images named", named.len() - unnamed);
    counts.add("images that no row names", unnamed);
    let note = format!("images looked up in {}", images.path().display());
    report.checked(path, NAME, counts).notes.push(note);
}

/// What is counted of a good line.
struct Good {
    words: usize,
    image: Option<usize>,
}

fn check_line(line: &[u8], images: Option<&SharedImages>) -> Result<Good, Finding> {
    let (image, texts) = parse_line(line).map_err(|found| Finding::new(kind(line), found))?;
    let words = words(&texts);
    let Some(images) = images else {
        return Ok(Good { words, image: None });
    };
    match images.find(&image) {
        Some(row) => Ok(Good {
            words,
            image: Some(row),
        }),
        None => {
            let found = format!("image `{image}` is not in {}", images.path().display());
            Err(Finding::new(Kind::UnknownImage, found))
        }
    }
}

/// What kind of problem a wrong line has.
fn kind(line: &[u8]) -> Kind {
    if std::str::from_utf8(line).is_err() {
        return Kind::NotUtf8;
    }
    let Ok(row) = serde_json::from_slice::<Map<String, Value>>(line) else {
        return Kind::Json;
    };
    let blank = |value: &Value| match value {
        Value::String(text) => !has_words(text),
        Value::Array(texts) => texts.is_empty(),
        _ => false,
    };
    let texts = ["text", "question", "answer"];
    match texts
        .into_iter()
        .filter_map(|name| row.get(name))
        .any(blank)
    {
        true => Kind::BlankText,
        false => Kind::Field,
    }
}

/// How many of the first rows of the corpus at `path` are about an image of `store`.
pub(super) fn knows(path: &Path, store: &RegionStore) -> usize {
    let Ok(map) = map_file(path, "") else {
        return 0;
    };
    let lines = map.split(|byte| *byte == b'\n').take(PROBE);
    lines
        .filter_map(|line| parse_line(line).ok())
        .filter(|(image, _)| store.find(image).is_some())
        .count()
}
