//! The official code's prediction file: lines of an image key, a tab, and JSON
//! `[{"caption": …, "conf": …}]`.

use std::io::{BufRead, Read};

use oscar_files::parse_json;
use oscar_files::python::{json_text, unquoted};
use serde::Deserialize;

use super::captions::ONE_EACH;
use super::captions::excerpt;
use super::json::{Problem, Row};

/// Longer lines are no captions.
const MAX_LINE: u64 = 64 << 10;

#[derive(Deserialize)]
struct Prediction {
    caption: String,
}

/// Reads the rows of all lines, with the numbers of their lines from 1.
pub(super) fn rows(mut reader: impl BufRead) -> Result<Vec<(usize, Row)>, Problem> {
    let mut rows = Vec::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let mut rest = (&mut reader).take(MAX_LINE + 1);
        rest.read_until(b'\n', &mut line)
            .map_err(|error| error.to_string())?;
        if line.is_empty() {
            break;
        }
        if line.len() as u64 > MAX_LINE {
            return Err(format!("line {number} has more than {MAX_LINE} bytes").into());
        }
        let text = std::str::from_utf8(&line).map_err(|_| format!("line {number} is not UTF-8"))?;
        let text = text.trim_end_matches(['\n', '\r']);
        if !text.is_empty() {
            let row = parse(text).map_err(|problem| problem.in_line(number))?;
            rows.push((number, row));
        }
    }
    Ok(rows)
}

fn parse(line: &str) -> Result<Row, Problem> {
    let (key, predictions) = line
        .split_once('\t')
        .ok_or_else(|| format!("{} without a tab", excerpt(line)))?;
    let (key, predictions) = (unquoted(key), json_text(predictions));
    let key: &str = &key;
    let predictions: Vec<Prediction> =
        parse_json(&predictions).map_err(|error| Problem::of_json(&error, &predictions))?;
    // An image for which nothing was generated has an empty caption to the official code too.
    let caption = match predictions.len() {
        0 | 1 => predictions.into_iter().next(),
        n => {
            let found = format!(
                "{n} captions for image {}, of which one can be scored",
                excerpt(key)
            );
            return Err(Problem::new(found, ONE_EACH));
        }
    };
    Ok(Row {
        image_id: key.to_owned(),
        caption: caption
            .map(|prediction| prediction.caption)
            .unwrap_or_default(),
    })
}
