//! Answers as lines, or as one JSON document.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use oscar_datasets::import::ExtractedImage;
use oscar_task::Answer;
use serde_json::{Value, json};

use super::Kind;
use crate::output::{self, print_json};

/// The class that says that a text matches.
const MATCH: &str = "match";

/// A picture with the answers about it, or what is wrong with it.
pub struct Answered {
    /// The picture, as the user finds it.
    pub picture: String,
    /// What was found in it, and the answers, the best first.
    pub result: Result<(Arc<ExtractedImage>, Vec<Answer>), String>,
}

/// The answers of a command: lines as they come, or a document at the end.
pub struct Document<'a> {
    pub kind: Kind,
    pub task: &'static str,
    pub checkpoint: &'a Path,
    pub detector: String,
    pub text: Option<&'a str>,
    /// Whether lines name their picture.
    pub several: bool,
    pub json: bool,
    pub pictures: Vec<Value>,
}

impl Document<'_> {
    /// Prints or keeps the answers about a picture.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn push(&mut self, answered: Answered) -> Result<()> {
        if self.json {
            self.pictures.push(self.value(&answered));
            return Ok(());
        }
        let Ok((_, answers)) = &answered.result else {
            return Ok(());
        };
        let mut out = output::stdout();
        for line in self.lines(answers) {
            let line = output::escape_line(&line);
            match self.several {
                true => writeln!(out, "{}\t{line}", output::escape_line(&answered.picture))?,
                false => writeln!(out, "{line}")?,
            }
        }
        Ok(out.flush()?)
    }

    /// Prints the document.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(self) -> Result<()> {
        if !self.json {
            return Ok(());
        }
        let mut document = json!({
            "task": self.task,
            "checkpoint": output::shown(self.checkpoint),
            "detector": self.detector,
            "pictures": self.pictures,
        });
        if let Some(text) = self.text {
            document["text"] = json!(text);
        }
        print_json(&document)
    }

    fn lines(&self, answers: &[Answer]) -> Vec<String> {
        match (self.kind, answers) {
            (Kind::Match, answers) => vec![format!("{:.4}", of_match(answers))],
            (_, [only]) => vec![only.text.clone()],
            (_, several) => several
                .iter()
                .map(|answer| format!("{:.4}  {}", answer.score, answer.text))
                .collect(),
        }
    }

    fn value(&self, answered: &Answered) -> Value {
        let (image, answers) = match &answered.result {
            Err(error) => return json!({"picture": answered.picture, "error": error}),
            Ok(result) => result,
        };
        let (width, height) = image.size();
        let mut value = json!({
            "picture": answered.picture,
            "width": width,
            "height": height,
            "objects": image.tags(),
        });
        let texts = || -> Vec<Value> {
            let answers = answers.iter();
            let value = |answer: &Answer| json!({"text": answer.text, "probability": answer.score});
            answers.map(value).collect()
        };
        match self.kind {
            Kind::Caption => value["captions"] = json!(texts()),
            Kind::Question => value["answers"] = json!(texts()),
            Kind::Match => value["match"] = json!(of_match(answers)),
            Kind::Find => value["boxes"] = json!(boxes(answers, image.size())),
        }
        value
    }
}

/// The boxes that are found, x1, y1, x2, y2 in pixels of an image of this size.
fn boxes(answers: &[Answer], size: (u32, u32)) -> Vec<Value> {
    let value = |answer: &Answer| {
        let region = answer.region.as_ref();
        let place = region.and_then(|region| region.in_pixels(size));
        json!({"box": place, "probability": answer.score})
    };
    answers.iter().map(value).collect()
}

/// The probability of a match; the score itself where the model gives one score.
pub fn of_match(answers: &[Answer]) -> f32 {
    let found = answers.iter().find(|answer| answer.text == MATCH);
    found.map_or(0.0, |answer| answer.score)
}
