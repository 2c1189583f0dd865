//! VQA v2's questions and annotations.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::problem::{Finding, Kind, Problem};
use super::{Context, Counts, Format, Report, Sniff, words};
use crate::annotations::read_document;
use crate::annotations::vqa::{ANNOTATIONS, Annotation, QUESTIONS, Question, Record, parse};

const NAME: &str = "vqa";

/// The format of VQA v2's files, of both kinds.
pub(super) struct Vqa;

impl Format for Vqa {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "a JSON object with `questions` or `annotations`, as VQA v2 has them"
    }

    fn recognizes(&self, path: &Sniff) -> bool {
        // COCO's captions are annotations too, without questions.
        list_of(&path.head).is_some() && contains(&path.head, "\"question_id\"")
    }

    fn check(&self, paths: &[PathBuf], context: &Context, report: &mut Report) {
        let (mut questions, mut annotations) = (Vec::new(), Vec::new());
        for path in paths {
            match Sniff::open(path).map(|seen| list_of(&seen.head)) {
                Ok(Some(ANNOTATIONS)) => annotations.push(path),
                Ok(_) => questions.push(path),
                Err(error) => report.error(path, &error),
            }
        }
        let mut asked: HashMap<u64, Asked> = HashMap::new();
        for (at, path) in questions.iter().enumerate() {
            let mut counts = Counts::default();
            check_records::<Question>(path, &mut counts, context, report, &mut |row, counts| {
                counts.add("questions", 1);
                counts.add("words", words(&row.question));
                let asked_here = Asked {
                    file: at,
                    image_id: row.image_id,
                    answered: None,
                };
                let first = asked.insert(row.question_id, asked_here)?;
                let found = format!("it stands in {} too", questions[first.file].display());
                Some(Finding::new(Kind::DuplicateKey, found))
            });
            report.checked(path, NAME, counts);
        }
        for (at, path) in annotations.iter().enumerate() {
            let mut counts = Counts::default();
            check_records::<Annotation>(path, &mut counts, context, report, &mut |row, counts| {
                counts.add("annotations", 1);
                counts.add("answers", row.answers.len());
                if questions.is_empty() {
                    // Alone, they are only told apart.
                    let first = asked.insert(row.question_id, Asked::answer(at, row.image_id));
                    return first.map(|first| twice(&annotations[first.file].display()));
                }
                match asked.get_mut(&row.question_id) {
                    None => Some(Finding::new(
                        Kind::OrphanAnnotation,
                        "an annotation of a question that is not there",
                    )),
                    Some(question) => match question.answered.replace(at) {
                        Some(first) => Some(twice(&annotations[first].display())),
                        None if question.image_id != row.image_id => {
                            let found = format!(
                                "annotated about image {}, but asked about image {}",
                                row.image_id, question.image_id
                            );
                            Some(Finding::new(Kind::Mismatch, found))
                        }
                        None => None,
                    },
                }
            });
            report.checked(path, NAME, counts);
        }
        if !questions.is_empty() && !annotations.is_empty() {
            let mut missing: Vec<_> = asked.iter().filter(|(_, q)| q.answered.is_none()).collect();
            missing.sort_by_key(|(id, question)| (question.file, **id));
            for (id, question) in missing {
                let finding = Finding::new(Kind::MissingAnnotation, "it has no annotation");
                report.push(Problem::of_key(
                    questions[question.file],
                    id.to_string(),
                    finding,
                ));
            }
        } else if let Some(last) = report.checked.last_mut() {
            let what = match questions.is_empty() {
                true => "annotations were checked without their questions",
                false => "questions were checked without their annotations",
            };
            last.notes.push(what.into());
        }
    }
}

/// What is known of a question.
struct Asked {
    /// Which file it stands in.
    file: usize,
    image_id: u64,
    /// Which file it is annotated in.
    answered: Option<usize>,
}

impl Asked {
    fn answer(file: usize, image_id: u64) -> Self {
        Self {
            file,
            image_id,
            answered: Some(file),
        }
    }
}

fn twice(path: &std::path::Display<'_>) -> Finding {
    Finding::new(Kind::DuplicateKey, format!("it is annotated in {path} too"))
}

/// Reads the records of `path`; `each` compares one with those of other files.
fn check_records<R: Record>(
    path: &Path,
    counts: &mut Counts,
    context: &Context,
    report: &mut Report,
    each: &mut dyn FnMut(&R, &mut Counts) -> Option<Finding>,
) {
    context.progress.start(&path.display().to_string(), 0);
    let read = read_document(path, R::LIST, &mut |item| {
        context.progress.advance(1);
        match parse::<R>(item) {
            Err((place, finding)) => report.push(Problem::of_key(path, place, finding)),
            Ok(record) => {
                let id = record.question_id().to_string();
                for finding in record.findings().into_iter().chain(each(&record, counts)) {
                    report.push(Problem::of_key(path, &id, finding));
                }
            }
        }
        Ok(())
    });
    if let Err(error) = read {
        let problem = Problem::from_error(path, &error);
        // Broken JSON has a place; a damaged file has none.
        let kind = match problem.line {
            Some(_) => Kind::Json,
            None => Kind::Unreadable,
        };
        report.push(Problem { kind, ..problem });
    }
}

/// Which list a file begins with.
fn list_of(head: &[u8]) -> Option<&'static str> {
    let object = head.trim_ascii_start().starts_with(b"{");
    [QUESTIONS, ANNOTATIONS]
        .into_iter()
        .find(|list| object && contains(head, &format!("\"{list}\"")))
}

fn contains(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}
