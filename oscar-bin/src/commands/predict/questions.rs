//! A file of questions, and their answers.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use oscar_datasets::rows::{Key, read_rows};
use oscar_datasets::{SharedImages, look_up, open_images};
use oscar_task::{Ask, Predictor, Seen};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::value;
use crate::output;

/// How many questions are answered before their answers are written: what a run that is stopped has
/// written is whole, and memory does not grow with the file.
const AT_A_TIME: usize = 256;

/// The image of a row, or its images.
#[derive(Deserialize)]
#[serde(untagged)]
enum Images {
    One(Key),
    Several(Vec<Key>),
}

impl Images {
    fn keys(&self) -> &[Key] {
        match self {
            Self::One(key) => std::slice::from_ref(key),
            Self::Several(keys) => keys,
        }
    }
}

/// A question, with the row that it was.
pub struct Question {
    row: Map<String, Json>,
    ask: Ask,
}

/// Reads the questions in `file`, whose images are in the store `regions`.
///
/// # Errors
/// A file or store that cannot be read; a row without a text or image, or whose image is not there, by
/// its number.
pub fn read(file: &Path, regions: Option<&Path>, top: usize) -> Result<Vec<Question>> {
    let images = regions.map(open_images).transpose()?;
    let rows: Vec<Map<String, Json>> = read_rows(file)?;
    let rows = rows.into_iter().enumerate();
    rows.map(|(at, row)| {
        let ask = ask(&row, images.as_ref(), top);
        let place = || format!("{}, row {}", file.display(), at + 1);
        Ok(Question {
            ask: ask.with_context(place)?,
            row,
        })
    })
    .collect()
}

/// What a row asks.
fn ask(row: &Map<String, Json>, images: Option<&SharedImages>, top: usize) -> Result<Ask> {
    let text = |name: &str| match row.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(anyhow!("{name:?} is {other}; give a text")),
    };
    let names = ["text", "question", "sentence", "expression"];
    let given = names.into_iter().find(|name| row.contains_key(*name));
    let tags = text("tags")?;
    let named: Option<Images> = row
        .get("image")
        .map(|image| {
            Images::deserialize(image).map_err(|_| {
                anyhow!("\"image\" is {image}; give a key, or a list of keys for a pair")
            })
        })
        .transpose()?;
    let seen = match (&named, images) {
        (None, _) => tags.map(Seen::Tags).into_iter().collect(),
        (Some(_), None) => return Err(anyhow!("it names an image, and no region store is given")),
        (Some(named), Some(images)) => {
            let seen = |Key(key): &Key| {
                let (stored, regions) = look_up(images, key).map_err(|error| anyhow!(error))?;
                let tags = tags.clone().unwrap_or(stored);
                Ok(Seen::Regions { tags, regions })
            };
            named.keys().iter().map(seen).collect::<Result<Vec<_>>>()?
        }
    };
    if given.is_none() && named.is_none() {
        return Err(anyhow!("it has neither \"text\" nor \"image\""));
    }
    let text = given.map(text).transpose()?.flatten();
    Ok(Ask {
        text,
        images: seen,
        top,
    })
}

/// Writes each row with its answers, under the key `kind`, as a line of JSON.
///
/// # Errors
/// If a question does not suit the task, or the answers cannot be written.
pub fn answer(questions: &[Question], model: &dyn Predictor, kind: &str) -> Result<()> {
    let mut out = output::stdout();
    for questions in questions.chunks(AT_A_TIME) {
        let asks: Vec<Ask> = questions
            .iter()
            .map(|question| question.ask.clone())
            .collect();
        for (question, answers) in questions.iter().zip(model.ask(&asks)?) {
            let mut row = question.row.clone();
            row.insert(
                kind.into(),
                json!(answers.iter().map(value).collect::<Vec<_>>()),
            );
            writeln!(out, "{}", Json::Object(row))?;
        }
        out.flush()?;
    }
    Ok(())
}
