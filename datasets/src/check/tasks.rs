//! Files of rows about images: corpora of pre-training and the annotations of every task, each read
//! as training reads it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::format::JsonRows;
use super::{Context, Format, Report};
use crate::captions::{self, CaptionedImage, Splits};
use crate::corpus::{check_jsonl, check_rosita, is_rosita};
use crate::error::Result;
use crate::findings::{Counts, Defect, Kind, Problem};
use crate::matching::Pair;
use crate::nlvr2::Statement;
use crate::questions::{Annotations, QuestionSet, is_annotations};
use crate::referring::ExpressionFiles;
use crate::rows::{Row, RowSet};

pub(super) const CORPUS: Format = Format {
    name: "corpus",
    about: "JSON rows with `image` and `text` or `question`",
    names_images: true,
    recognizes: None,
    check: |paths, context, report| each(paths, context, report, check_corpus),
};

pub(super) const VQA: Format = Format {
    name: "vqa",
    about: "questions with `answers`, or VQA v2's `questions` and `annotations`",
    names_images: true,
    recognizes: None,
    check: |paths, context, report| check_questions("vqa", paths, context, report),
};

pub(super) const GQA: Format = Format {
    name: "gqa",
    about: "questions, each with an `answer`",
    names_images: true,
    recognizes: None,
    check: |paths, context, report| check_questions("gqa", paths, context, report),
};

pub(super) const NLVR2: Format = Format {
    name: "nlvr2",
    about: "statements about `left` and `right` or one `image`, or NLVR2's `sentence`",
    names_images: true,
    recognizes: None,
    check: |paths, context, report| each(paths, context, report, check_statements),
};

pub(super) const MATCHING: Format = Format {
    name: "matching",
    about: "rows with `image`, `text` and `label`",
    names_images: true,
    recognizes: None,
    check: |paths, context, report| each(paths, context, report, check_pairs),
};

pub(super) const REFER: Format = Format {
    name: "refer",
    about: "rows with `image`, `expression` and `box`, or REFER's `refs(…).p`",
    names_images: true,
    recognizes: Some(|seen| {
        let pickle = seen.dir.is_none() && seen.head.windows(6).any(|at| at == b"ann_id");
        pickle || seen.rows_of() == Some("refer")
    }),
    check: |paths, context, report| each(paths, context, report, check_expressions),
};

pub(super) const RETRIEVAL: Format = Format {
    name: "retrieval",
    about: "images with `captions`, COCO's captions, or a `.pt` file of them",
    names_images: true,
    recognizes: None,
    check: |paths, context, report| {
        each(paths, context, report, |path, context, report| {
            check_captions("retrieval", path, context, report)
        });
    },
};

pub(super) const CAPTIONING: Format = Format {
    name: "captioning",
    about: "the same, or rows with `caption`",
    names_images: true,
    recognizes: None,
    check: |paths, context, report| {
        each(paths, context, report, |path, context, report| {
            check_captions("captioning", path, context, report)
        });
    },
};

/// The task of a file by its first rows: that of most of them.
pub(super) fn task_of(rows: &JsonRows) -> Option<&'static str> {
    let tasks: Vec<&str> = rows
        .objects
        .iter()
        .filter_map(|(list, object)| task_of_row(*list, object, rows.lines))
        .collect();
    let count = |task: &&&str| tasks.iter().filter(|other| other == task).count();
    // The first of equals.
    tasks.iter().rev().max_by_key(count).copied()
}

fn task_of_row(list: Option<&str>, row: &Map<String, Value>, lines: bool) -> Option<&'static str> {
    const MARKS: [&str; 5] = ["answers", "id", "tags", "question_type", "answer_type"];
    let has = |key: &str| row.contains_key(key);
    if has("expression") || has("gt_boxes") {
        return Some(REFER.name);
    }
    if list.is_some() {
        return Some(match has("question_id") {
            true => VQA.name,
            // COCO's annotations of captions, and its images.
            false => CAPTIONING.name,
        });
    }
    // NLVR v1 has two parts in an identifier.
    let identifier = row.get("identifier").and_then(Value::as_str);
    let identified = identifier.is_some_and(|text| text.split('-').count() >= 4);
    let sides = row.get("img_id").is_some_and(Value::is_object) || has("img0");
    let marked = || MARKS.iter().any(|mark| has(mark));
    let unanswered = || {
        let known = |key: &String| key == "image" || key == "question";
        row.keys().all(known)
    };
    if has("statement") || (has("sentence") && identified) || (has("left") && has("right")) || sides
    {
        Some(NLVR2.name)
    } else if has("imageId") {
        Some(GQA.name)
    } else if has("q")
        || has("sent")
        || (has("question_id") && (has("answers") || has("multiple_choice_answer")))
        || (has("question") && (marked() || unanswered() || !lines))
    {
        Some(VQA.name)
    } else if has("caption") || has("captions") {
        Some(CAPTIONING.name)
    } else if has("image") && has("text") && (has("id") || (has("label") && !lines)) {
        Some(MATCHING.name)
    } else {
        (has("image") && (has("text") || has("question"))).then_some(CORPUS.name)
    }
}

/// Checks each file by itself; what keeps one from being read is reported.
fn each(
    paths: &[PathBuf],
    context: &Context,
    report: &mut Report,
    check: fn(&Path, &Context, &mut Report) -> Result<()>,
) {
    for path in paths {
        context.progress.start(&path.display().to_string(), 1);
        if let Err(error) = check(path, context, report) {
            report.error(path, &error);
        }
    }
}

fn check_corpus(path: &Path, context: &Context, report: &mut Report) -> Result<()> {
    let images = context.images.as_deref();
    let counts = match is_rosita(path) {
        true => check_rosita(path, images, report)?,
        false => check_jsonl(path, images, report)?,
    };
    checked(CORPUS.name, path, counts, context, report);
    Ok(())
}

/// Adds what was read of rows about images.
fn checked(
    name: &'static str,
    path: &Path,
    counts: Counts,
    context: &Context,
    report: &mut Report,
) {
    let note = match &context.images {
        Some(images) => format!("images looked up in {}", images.path().display()),
        None if context.has_regions => {
            "images were not looked up: the regions that were given cannot be read".into()
        }
        None => "images were not looked up: no regions were given".into(),
    };
    report.checked(path, name, counts).notes.push(note);
}

/// Adds what was read of the rows of a task; rows without label are wrong where others have one.
fn checked_rows<R: Row>(
    name: &'static str,
    rows: &RowSet<R>,
    context: &Context,
    report: &mut Report,
) {
    let mut counts = Counts::default();
    rows.count(&mut counts);
    checked(name, rows.path(), counts, context, report);
    if !rows.is_empty()
        && !rows.iter().any(Row::is_labelled)
        && let Some(last) = report.checked.last_mut()
    {
        let label = R::LABEL;
        let note = format!("no row has `{label}`: it cannot be trained or scored on");
        last.notes.push(note);
    }
}

fn check_pairs(path: &Path, context: &Context, report: &mut Report) -> Result<()> {
    let rows: RowSet<Pair> = RowSet::read(path, context.images.clone(), report)?;
    rows.check_labels(false, report);
    checked_rows(MATCHING.name, &rows, context, report);
    Ok(())
}

fn check_expressions(path: &Path, context: &Context, report: &mut Report) -> Result<()> {
    let (file, splits) = Splits::named(path);
    let files = ExpressionFiles {
        path: &file,
        instances: None,
        split: match &splits {
            Splits::One(split) => Some(split),
            _ => None,
        },
    };
    let (rows, splits) = files.read(context.images.clone(), report)?;
    rows.check_labels(false, report);
    checked_rows(REFER.name, &rows, context, report);
    if let Some(last) = report.checked.last_mut() {
        last.counts.add("splits", splits.len());
    }
    Ok(())
}

fn check_statements(path: &Path, context: &Context, report: &mut Report) -> Result<()> {
    let rows: RowSet<Statement> = RowSet::read(path, context.images.clone(), report)?;
    rows.check_labels(false, report);
    // The rows of a group ask the same of several pairs: consistency is computed from them.
    let mut groups: HashMap<String, usize> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        let Some(identifier) = &row.identifier else {
            continue;
        };
        let first = *groups.entry(identifier.group()).or_insert(index);
        if rows[first].text != row.text {
            let found = format!(
                "not the statement of its group, which is at {}",
                rows.origin(first)
            );
            report.push(rows.problem(index, Defect::of(Kind::Mismatch, found)));
        }
    }
    checked_rows(NLVR2.name, &rows, context, report);
    if let Some(last) = report.checked.last_mut() {
        last.counts.add("consistency groups", groups.len());
    }
    Ok(())
}

fn check_captions(
    name: &'static str,
    path: &Path,
    context: &Context,
    report: &mut Report,
) -> Result<()> {
    let (file, splits) = match Splits::named(path) {
        (file, Splits::Only) => (file, Splits::All),
        of_one => of_one,
    };
    let rows: RowSet<CaptionedImage> =
        captions::read_with(&file, &splits, context.images.clone(), report)?;
    let retrieval = name == RETRIEVAL.name;
    // Published files have images without captions, which retrieval leaves out.
    rows.check_labels(retrieval && !rows.is_published(), report);
    let described = rows.iter().filter(|image| image.is_labelled()).count();
    if retrieval && described < 2 {
        let defect = Defect::new("fewer than two images with captions", "retrieval needs two");
        report.push(Problem::of_file(path, defect));
    }
    checked_rows(name, &rows, context, report);
    Ok(())
}

/// Checks questions with their annotations.
fn check_questions(name: &'static str, paths: &[PathBuf], context: &Context, report: &mut Report) {
    let mut annotations = Annotations::default();
    let (mut questions, mut annotated) = (Vec::new(), false);
    for path in paths {
        // Questions may be an object, too.
        match is_annotations(path) {
            Ok(true) => {
                annotated = true;
                let before = annotations.count;
                if let Err(error) = annotations.read(path, report) {
                    report.error(path, &error);
                }
                let mut counts = Counts::default();
                counts.add("annotations", annotations.count - before);
                report.checked(path, name, counts);
            }
            Ok(false) => questions.push(path),
            Err(error) => report.error(path, &error),
        }
    }
    let mut published = false;
    for path in &questions {
        let joined = annotated.then_some(&mut annotations);
        match QuestionSet::read(path, joined, context.images.clone(), report) {
            Err(error) => report.error(path, &error),
            Ok(set) => {
                if name == GQA.name {
                    set.rows().check_labels(false, report);
                }
                published |= set.rows().is_published();
                checked_rows(name, set.rows(), context, report);
            }
        }
    }
    if published && annotated {
        annotations.orphans(report);
    } else if questions.is_empty()
        && let Some(last) = report.checked.last_mut()
    {
        last.notes
            .push("annotations were checked without their questions".into());
    }
}
