//! Scoring weights on a split.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oscar_core::input::SourceError;
use oscar_core::ops::OscarBackend;
use oscar_files::{FileError, write_file, write_json};
use serde::Serialize;

use crate::{Opened, Predict};

/// A task whose weights can be scored on a split.
pub trait Score: Predict {
    /// Scores the opened weights on `data`.
    ///
    /// # Errors
    ///
    /// If an example cannot be read, or a file cannot be written.
    fn score<B: OscarBackend>(
        opened: &Opened<Self, B>,
        data: &Self::Data,
        options: &EvaluateOptions<'_>,
    ) -> Result<Evaluation, SourceError>;
}

/// How to run a model over a split.
pub struct EvaluateOptions<'a> {
    /// Decisions per batch.
    pub batch_size: usize,
    /// Called with the number of finished examples, and of all.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
    /// Directory, made where needed, in which a task whose scoring takes hours may keep scores, so
    /// that an interrupted evaluation resumes.
    pub cache: Option<&'a Path>,
}

/// The scores of a model on a split.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Evaluation {
    /// Scores by the field's names: `accuracy`, `consistency`; the first one is the headline.
    pub scores: Vec<(String, f64)>,
    /// Breakdowns: title, and a score with its count per group.
    pub tables: Vec<ScoreTable>,
    /// What was not computed, and why.
    pub notes: Vec<String>,
    /// Examples scored.
    pub examples: usize,
    /// The official prediction file.
    #[serde(skip)]
    pub predictions: Option<Predictions>,
    /// The same in other formats.
    #[serde(skip)]
    pub more_predictions: Vec<Predictions>,
    /// Speed.
    pub throughput: Option<Throughput>,
}

/// Scores by group: answer types, for instance.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ScoreTable {
    /// What the groups are.
    pub title: String,
    /// Group, score, examples.
    pub rows: Vec<(String, f64, usize)>,
}

impl ScoreTable {
    /// Mean score of each group, in the groups' alphabetical order; none without a group.
    pub fn by_group<'a>(title: &str, scored: impl Iterator<Item = (&'a str, f64)>) -> Option<Self> {
        let mut groups: BTreeMap<&str, (f64, usize)> = BTreeMap::new();
        for (group, score) in scored {
            let (sum, count) = groups.entry(group).or_default();
            *sum += score;
            *count += 1;
        }
        let row = |(group, (sum, count)): (&str, (f64, usize))| {
            (group.to_owned(), sum / count as f64, count)
        };
        (!groups.is_empty()).then(|| Self {
            title: title.to_owned(),
            rows: groups.into_iter().map(row).collect(),
        })
    }
}

/// A prediction file in the form its test server takes.
#[derive(Clone, Debug)]
pub struct Predictions {
    /// Extension of its name: `json`, `csv`, `tsv`.
    pub extension: &'static str,
    /// The file.
    pub content: Vec<u8>,
}

/// How fast a split was scored.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Throughput {
    /// Decisions.
    pub examples: usize,
    /// Text tokens and regions, padding aside.
    pub tokens: usize,
    /// Time from first to last batch, encoding included.
    pub seconds: f64,
}

/// Writes `predictions/NAME.EXTENSION` and the scores beside it, whole or not at all; gives the path of
/// the predictions, if there are any.
///
/// # Errors
///
/// If a file cannot be written.
pub fn write_predictions(
    directory: &Path,
    name: &str,
    evaluation: &Evaluation,
) -> Result<Option<PathBuf>, FileError> {
    let directory = directory.join("predictions");
    std::fs::create_dir_all(&directory).map_err(FileError::io("create", &directory))?;
    write_json(&directory.join(format!("{name}.scores.json")), evaluation)?;
    for predictions in &evaluation.more_predictions {
        let path = directory.join(format!("{name}.{}", predictions.extension));
        write_file(&path, &predictions.content)?;
    }
    let Some(predictions) = &evaluation.predictions else {
        return Ok(None);
    };
    let path = directory.join(format!("{name}.{}", predictions.extension));
    write_file(&path, &predictions.content)?;
    Ok(Some(path))
}
