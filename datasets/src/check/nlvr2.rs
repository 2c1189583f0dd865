//! NLVR2's JSON lines.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::problem::{Finding, Kind, Problem};
use super::{Context, Counts, Format, Report, Sniff, words};
use crate::annotations::nlvr2::{Identifier, Nlvr2Row};
use crate::annotations::{JsonLines, LineFault};

const NAME: &str = "nlvr2";

/// The format of [`Nlvr2Row`].
pub(super) struct Nlvr2;

impl Format for Nlvr2 {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "JSON lines with `identifier`, `sentence`, `label`"
    }

    fn recognizes(&self, path: &Sniff) -> bool {
        path.objects().any(|object| {
            // NLVR v1 has two parts in an identifier.
            let identifier = object.get("identifier").and_then(|value| value.as_str());
            object.contains_key("sentence")
                && identifier.is_some_and(|text| text.parse::<Identifier>().is_ok())
        })
    }

    fn check(&self, paths: &[PathBuf], context: &Context, report: &mut Report) {
        for path in paths {
            check_file(path, context, report);
        }
    }
}

fn check_file(path: &Path, context: &Context, report: &mut Report) {
    let mut lines = match JsonLines::open(path) {
        Ok(lines) => lines,
        Err(error) => return report.error(path, &error),
    };
    context.progress.start(&path.display().to_string(), 0);
    let mut counts = Counts::default();
    // Line of each identifier; sentence of each group; images.
    let mut seen: HashMap<Identifier, usize> = HashMap::new();
    let mut groups: HashMap<String, (usize, String)> = HashMap::new();
    let mut images: HashSet<String> = HashSet::new();
    loop {
        let line = match lines.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) => {
                report.error(path, &error);
                break;
            }
        };
        context.progress.advance(1);
        counts.add("rows", 1);
        let row = match line.text.as_deref().map(Nlvr2Row::parse) {
            Ok(Ok(row)) => row,
            Ok(Err(finding)) => {
                report.at_line(path, line.number, finding);
                continue;
            }
            Err(fault) => {
                let kind = match fault {
                    LineFault::NotUtf8(_) => Kind::NotUtf8,
                    LineFault::TooLong => Kind::Json,
                };
                report.at_line(path, line.number, Finding::new(kind, fault.to_string()));
                continue;
            }
        };
        let key = row.identifier.as_str().to_string();
        let mut wrong = |kind, found: String| {
            let problem = Problem::at_line(path, line.number, Finding::new(kind, found));
            report.push(problem.with_key(&key));
        };
        counts.add("words", words(&row.sentence));
        counts.add("true labels", usize::from(row.label == Some(true)));
        counts.add("false labels", usize::from(row.label == Some(false)));
        counts.add("rows without label", usize::from(row.label.is_none()));
        images.insert(row.identifier.left_image());
        images.insert(row.identifier.right_image());
        match groups.get(&row.identifier.group()) {
            Some((first, sentence)) if *sentence != row.sentence => {
                let found =
                    format!("its sentence is another than that of its group in line {first}");
                wrong(Kind::Mismatch, found);
            }
            Some(_) => {}
            None => {
                groups.insert(row.identifier.group(), (line.number, row.sentence));
            }
        }
        match seen.get(&row.identifier) {
            Some(first) => wrong(Kind::DuplicateKey, format!("it stands in line {first} too")),
            None => {
                seen.insert(row.identifier, line.number);
            }
        }
    }
    counts.add("consistency groups", groups.len());
    counts.add("images named", images.len());
    report.checked(path, NAME, counts);
}
