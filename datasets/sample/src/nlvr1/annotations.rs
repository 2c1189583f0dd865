//! Reads NLVR v1 annotations: one JSON object a line, gzip or plain.

use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::path::Path;

use oscar_files::TextFile;
use serde::Deserialize;

use super::images::Images;
use oscar_datasets::{DatasetError, Result, excerpt};
use oscar_vision::drawings::{BOX_SIZE, Color, Object, Shape};

/// A longer line is damage: real ones have about two kilobytes.
const MAX_LINE: u64 = 1 << 20;

const HINT: &str =
    "it holds the annotations, one JSON object a line, gzip or plain; check the path";

/// One line: an image, perhaps with a sentence about it, perhaps with its objects.
#[derive(Clone, Debug)]
pub struct Annotation {
    /// Line in the file, from 1.
    pub line: usize,
    /// Identifier of the image: `1373-0`.
    pub identifier: String,
    /// What somebody wrote about the image, or about the others of its group.
    pub sentence: Option<String>,
    /// Whether the sentence is true of this image.
    pub label: Option<bool>,
    /// The objects in its three boxes, if the file tells.
    pub objects: Option<Vec<Object>>,
    /// The line as it stands in the file.
    pub text: String,
}

impl Annotation {
    /// The group: images about which one sentence was written, and which must not be divided
    /// between splits.
    pub fn group(&self) -> &str {
        self.identifier
            .split_once('-')
            .map_or(self.identifier.as_str(), |(group, _)| group)
    }
}

/// What a line may say; other keys (`directory`, `evals`) are upstream's and not needed.
#[derive(Deserialize)]
struct Line {
    identifier: String,
    sentence: Option<String>,
    label: Option<Truth>,
    label_gold: Option<Truth>,
    label_program: Option<Truth>,
    structured_rep: Option<Vec<Vec<Drawn>>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "expected true or false")]
enum Truth {
    Word(Word),
    Bool(bool),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    True,
    False,
}

impl Truth {
    fn is_true(self) -> bool {
        matches!(self, Self::Word(Word::True) | Self::Bool(true))
    }
}

#[derive(Deserialize)]
struct Drawn {
    x_loc: f32,
    y_loc: f32,
    size: f32,
    #[serde(rename = "type")]
    shape: String,
    color: String,
}

/// Reads the annotations in `path`, in file order.
///
/// An image may occur in several lines with other sentences.
///
/// # Errors
/// A missing or damaged file, a line that is not such an object, a sentence without any letter or
/// digit, an object of unknown kind, or an identifier that occurs twice with the same sentence:
/// the message names the line.
pub fn read(path: &Path) -> Result<Vec<Annotation>> {
    let mut reader = TextFile::open(path).map_err(DatasetError::missing(HINT))?;
    let mut annotations = Vec::new();
    let mut seen: HashMap<(String, Option<String>), usize> = HashMap::new();
    for line in 1.. {
        let wrong = |found: String, fix| DatasetError::Annotation {
            path: path.to_path_buf(),
            line,
            found,
            fix,
        };
        let mut text = String::new();
        // One byte more than allowed, to see that there is more.
        let read = reader
            .by_ref()
            .take(MAX_LINE + 1)
            .read_line(&mut text)
            .map_err(|error| {
                wrong(
                    format!("cannot be read ({error})"),
                    "the file is damaged: copy it again",
                )
            })?;
        if read == 0 {
            break;
        }
        if read as u64 > MAX_LINE {
            return Err(wrong("a line over 1 MiB".into(), "split or drop it"));
        }
        text.truncate(text.trim_end().len());
        let annotation = parse(text, line).map_err(|found| wrong(found, "correct the line"))?;
        let key = (annotation.identifier.clone(), annotation.sentence.clone());
        if let Some(first) = seen.insert(key, line) {
            let found = format!(
                "image `{}` occurs with the same sentence in line {first}",
                annotation.identifier
            );
            return Err(wrong(found, "remove one of the two lines"));
        }
        annotations.push(annotation);
    }
    if annotations.is_empty() {
        return Err(DatasetError::malformed(
            path,
            "no line",
            "give a file with annotations",
        ));
    }
    Ok(annotations)
}

/// Checks that each annotated image is there.
///
/// # Errors
/// The first line whose image is missing, and the file it should have.
pub fn check_images(path: &Path, annotations: &[Annotation], images: &Images) -> Result<()> {
    match annotations.iter().find(|a| !images.contains(&a.identifier)) {
        None => Ok(()),
        Some(a) => Err(DatasetError::Annotation {
            path: path.to_path_buf(),
            line: a.line,
            found: format!(
                "image `{}` is annotated, but {} holds no {}",
                a.identifier,
                images.path().display(),
                images.file_name(&a.identifier)
            ),
            fix: "add the image, or remove the line",
        }),
    }
}

fn parse(text: String, line: usize) -> Result<Annotation, String> {
    if text.is_empty() {
        return Err("a blank line".into());
    }
    let parsed: Line = serde_json::from_str(&text).map_err(|error| {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        format!("column {}: {message}", error.column())
    })?;
    let identifier = parsed.identifier;
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !identifier
        .split_once('-')
        .is_some_and(|(group, letter)| digits(group) && digits(letter))
    {
        return Err(format!(
            "identifier {}, where one such as \"1373-0\" is meant",
            excerpt(&identifier)
        ));
    }
    if let Some(sentence) = &parsed.sentence
        && !sentence.chars().any(char::is_alphanumeric)
    {
        return Err(format!(
            "sentence {} has no letter or digit",
            excerpt(sentence)
        ));
    }
    let label = parsed
        .label
        .or(parsed.label_gold)
        .or(parsed.label_program)
        .map(Truth::is_true);
    let objects = parsed.structured_rep.map(objects).transpose()?;
    Ok(Annotation {
        line,
        identifier,
        sentence: parsed.sentence,
        label,
        objects,
        text,
    })
}

fn objects(boxes: Vec<Vec<Drawn>>) -> Result<Vec<Object>, String> {
    if boxes.len() != 3 {
        return Err(format!("structured_rep has {} boxes, not 3", boxes.len()));
    }
    let mut objects = Vec::new();
    for (grey_box, drawn) in boxes.into_iter().enumerate() {
        for d in drawn {
            let color = Color::of_annotation(&d.color)
                .ok_or_else(|| format!("unknown colour {} in structured_rep", excerpt(&d.color)))?;
            let shape = Shape::of_annotation(&d.shape)
                .ok_or_else(|| format!("unknown type {} in structured_rep", excerpt(&d.shape)))?;
            let inside = |v: f32| (0.0..=BOX_SIZE as f32).contains(&v);
            if ![d.x_loc, d.y_loc, d.size].into_iter().all(inside) {
                return Err(format!(
                    "an object of {} pixels at {}, {} in structured_rep, outside its box",
                    d.size, d.x_loc, d.y_loc
                ));
            }
            let [x, y, size] = [d.x_loc, d.y_loc, d.size].map(|v| v.round() as u32);
            objects.push(Object {
                grey_box,
                color,
                shape,
                size,
                x,
                y,
            });
        }
    }
    Ok(objects)
}
