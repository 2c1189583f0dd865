//! SPICE 1.0: a file of captions in, a file of scores out.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use oscar_files::{FileError, write_json};
use serde::{Deserialize, Serialize};

use super::JarOptions;
use super::java::Java;
use crate::error::{MetricsError, Result};
use crate::score::Captions;

const METRIC: &str = "SPICE";

/// Files that must be in the directory; the last two are downloaded separately.
const PARTS: [&str; 3] = [
    "spice-1.0.jar",
    "lib/stanford-corenlp-3.6.0.jar",
    "lib/stanford-corenlp-3.6.0-models.jar",
];

#[derive(Serialize)]
struct Question<'c> {
    image_id: usize,
    test: &'c str,
    refs: &'c [String],
}

#[derive(Deserialize)]
struct Answer {
    image_id: usize,
    scores: Tuples,
}

#[derive(Deserialize)]
struct Tuples {
    #[serde(rename = "All")]
    all: Score,
}

#[derive(Deserialize)]
struct Score {
    f: f64,
}

/// SPICE of tokenised captions, by image.
///
/// `directory` is that of `spice-1.0.jar`, with the jars of the parser in its `lib`.
///
/// # Errors
///
/// No Java, a part is missing, or no scores within the time that `options` give.
pub fn spice(directory: &Path, captions: &Captions, options: &JarOptions) -> Result<Vec<f64>> {
    let wrong = |found: String, fix| MetricsError::Jar {
        metric: METRIC,
        found,
        fix,
    };
    let directory = directory.canonicalize().map_err(|error| {
        let found = format!("{}: {error}", directory.display());
        wrong(found, "give the directory of spice-1.0.jar")
    })?;
    for part in PARTS {
        if !directory.join(part).is_file() {
            let found = format!("{} has no {part}", directory.display());
            return Err(wrong(
                found,
                "it needs the SPICE jar and both Stanford CoreNLP 3.6.0 jars",
            ));
        }
    }
    let place = tempfile::tempdir().map_err(FileError::io("create", &std::env::temp_dir()))?;
    let (questions, answers) = (place.path().join("in.json"), place.path().join("out.json"));
    ask(&questions, captions)?;
    let arguments = [
        OsStr::new("-Dfile.encoding=UTF-8"),
        OsStr::new("-Xmx8G"),
        OsStr::new("-jar"),
        OsStr::new(PARTS[0]),
        questions.as_os_str(),
        OsStr::new("-out"),
        answers.as_os_str(),
        OsStr::new("-subset"),
        OsStr::new("-silent"),
    ];
    Java::start(METRIC, &arguments, &directory, false, options)?.wait(options.patience)?;

    let fix = "check that it is the official jar";
    let file = File::open(&answers).map_err(|_| wrong("the jar wrote no scores".into(), fix))?;
    let read: Vec<Answer> = serde_json::from_reader(BufReader::new(file))
        .map_err(|error| wrong(format!("its scores cannot be read: {error}"), fix))?;
    let by_image: BTreeMap<usize, f64> = read
        .into_iter()
        .map(|answer| (answer.image_id, answer.scores.all.f))
        .collect();
    let scores: Vec<f64> = (0..captions.len())
        .filter_map(|image| by_image.get(&image).copied())
        .collect();
    match scores.len() == captions.len() {
        true => Ok(scores),
        false => {
            let found = format!("scores of {} of {} captions", scores.len(), captions.len());
            Err(wrong(found, fix))
        }
    }
}

fn ask(path: &Path, captions: &Captions) -> Result<()> {
    let candidates = captions.candidates().iter().zip(captions.references());
    let questions: Vec<Question<'_>> = candidates
        .enumerate()
        .map(|(image_id, (test, refs))| Question {
            image_id,
            test,
            refs,
        })
        .collect();
    Ok(write_json(path, &questions)?)
}
