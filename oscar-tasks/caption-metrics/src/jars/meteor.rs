//! METEOR 1.5 (`-l en -norm`): first the statistics of each caption, then the scores of all.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::thread;

use tempfile::TempDir;

use super::JarOptions;
use super::java::Java;
use crate::error::{MetricsError, Result};
use crate::read::excerpt;
use crate::score::Captions;

const METRIC: &str = "METEOR";

/// Longest line of an answer.
const MAX_LINE: u64 = 64 << 10;

/// METEOR of tokenised captions: of the corpus, and by image.
///
/// `jar` is `meteor-1.5.jar`, with its `data` directory next to it.
///
/// # Errors
///
/// No Java, no jar, or no scores from it within the time that `options` give.
pub fn meteor(jar: &Path, captions: &Captions, options: &JarOptions) -> Result<(f64, Vec<f64>)> {
    let missing = |found| MetricsError::Jar {
        metric: METRIC,
        found,
        fix: "give the path of meteor-1.5.jar",
    };
    let jar = jar
        .canonicalize()
        .map_err(|error| missing(format!("{}: {error}", jar.display())))?;
    if !jar.is_file() {
        return Err(missing(format!("{} is not a file", jar.display())));
    }
    // Java's METEOR cannot open its own data in a folder whose name has a blank or an accent.
    let elsewhere = plain_place(&jar).map_err(|error| {
        missing(format!(
            "{}: METEOR cannot read its data in a folder of this name, and it cannot be linked \
             elsewhere ({error})",
            jar.display()
        ))
    })?;
    let jar = match &elsewhere {
        Some(place) => place.path().join("meteor.jar"),
        None => jar,
    };
    let directory = jar.parent().unwrap_or(Path::new("."));
    let arguments = ["-Dfile.encoding=UTF-8", "-Xmx2G", "-jar"].map(OsStr::new);
    let mode = ["-", "-", "-stdio", "-l", "en", "-norm"].map(OsStr::new);
    let arguments = [&arguments[..], &[jar.as_os_str()], &mode].concat();
    let mut java = Java::start(METRIC, &arguments, directory, true, options)?;
    let pipes = (java.child().stdin.take(), java.child().stdout.take());
    let (Some(input), Some(output)) = pipes else {
        return Err(java.failed("its pipes are missing".into()));
    };
    let questions = write_lines(input);
    let answers = read_lines(output);

    let candidates = captions.candidates().iter().zip(captions.references());
    for (candidate, references) in candidates {
        // Ends of the process show in what it answers.
        let _ = questions.send(question(candidate, references));
    }
    let mut evaluation = "EVAL".to_owned();
    for _ in 0..captions.len() {
        match answers.recv_timeout(options.patience) {
            Ok(line) => {
                evaluation.push_str(" ||| ");
                evaluation.push_str(line.trim());
            }
            Err(RecvTimeoutError::Timeout) => return Err(java.silent(options.patience)),
            Err(RecvTimeoutError::Disconnected) => return Err(java.died()),
        }
    }
    let _ = questions.send(evaluation);
    // One score for each caption, then that of the corpus.
    let mut scores = Vec::with_capacity(captions.len() + 1);
    for _ in 0..=captions.len() {
        let line = match answers.recv_timeout(options.patience) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => return Err(java.silent(options.patience)),
            Err(RecvTimeoutError::Disconnected) => return Err(java.died()),
        };
        match line.trim().parse::<f64>() {
            Ok(score) => scores.push(score),
            Err(_) => {
                let line = excerpt(line.trim());
                return Err(java.failed(format!("expected a score, got {line}")));
            }
        }
    }
    let corpus = scores.pop().unwrap_or_default();
    Ok((corpus, scores))
}

/// A temporary folder with links to the jar and its data, if the jar's own folder has a name that
/// the jar cannot read.
fn plain_place(jar: &Path) -> std::io::Result<Option<TempDir>> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/\\:._-".contains(byte);
    if jar.as_os_str().as_encoded_bytes().iter().all(plain) {
        return Ok(None);
    }
    let place = tempfile::tempdir()?;
    link(jar, &place.path().join("meteor.jar"))?;
    let data = jar.with_file_name("data");
    if data.exists() {
        link(&data, &place.path().join("data"))?;
    }
    Ok(Some(place))
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(from, to)
}

#[cfg(windows)]
fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    match from.is_dir() {
        true => std::os::windows::fs::symlink_dir(from, to),
        false => std::fs::copy(from, to).map(drop),
    }
}

/// The request for the statistics of a caption, as in the COCO caption evaluation.
fn question(candidate: &str, references: &[String]) -> String {
    let candidate = candidate.replace("|||", "").replace("  ", " ");
    format!("SCORE ||| {} ||| {candidate}", references.join(" ||| "))
}

/// Writes the lines that are sent until the process ends.
fn write_lines(mut input: ChildStdin) -> Sender<String> {
    let (sender, lines) = channel::<String>();
    thread::spawn(move || {
        for line in lines {
            let written = writeln!(input, "{line}").and_then(|()| input.flush());
            if written.is_err() {
                break;
            }
        }
    });
    sender
}

/// The lines of the process, until it ends or one is too long.
fn read_lines(output: ChildStdout) -> Receiver<String> {
    let (sender, lines) = sync_channel(1024);
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        loop {
            let mut line = Vec::new();
            let read = (&mut output).take(MAX_LINE).read_until(b'\n', &mut line);
            if !matches!(read, Ok(1..)) || line.last() != Some(&b'\n') {
                break;
            }
            if sender
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                break;
            }
        }
    });
    lines
}
