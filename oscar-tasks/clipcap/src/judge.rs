//! Scores of a split, and the baselines they should be compared with.

use oscar_core::input::SourceError;
use oscar_core::ops::OscarBackend;
use oscar_task::{Answer, EvaluateOptions, Evaluation, Opened, Predictions, Score, ScoreTable};
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::data::CaptionData;
use crate::predict::describe;
use crate::scores::{CIDER, EXACT, References};
use crate::task::Captioning;

const NO_JARS: &str = "METEOR and SPICE are not computed here: `oscar-bin score captions` runs the \
                       official jars on the predictions";

impl Score for Captioning {
    /// Describes every picture of `data`, and scores the captions if people have described them too.
    fn score<B: OscarBackend>(
        opened: &Opened<Self, B>,
        data: &CaptionData,
        options: &EvaluateOptions<'_>,
    ) -> Result<Evaluation, SourceError> {
        let (found, throughput) = describe(opened, data, options)?;
        let mut evaluation = Evaluation {
            examples: found.len(),
            throughput: Some(throughput),
            predictions: Some(coco(data, &found)?),
            ..Evaluation::default()
        };
        let Some(references) = data.references() else {
            let note = "not every image has a caption to compare with: nothing is scored, \
                        predictions are written";
            evaluation.notes.push(note.into());
            return Ok(evaluation);
        };
        let own = best(&found);
        evaluation.scores = references.all(&own);
        evaluation.notes.push(NO_JARS.into());
        if opened.checkpoint.task.compare {
            let mut all = vec![("its own embedding", own)];
            if let Some(swapped) = data.swapped() {
                let (found, _) = describe(opened, &swapped, options)?;
                all.push(("another image's embedding", best(&found)));
            }
            if let Some(others) = data.neighbours() {
                all.push(("the nearest image's caption", of_nearest(data, others)?));
            }
            if all.len() > 1 {
                evaluation.tables = compare(references, &all);
            }
        }
        Ok(evaluation)
    }
}

/// The best caption of each picture.
fn best(found: &[Vec<Answer>]) -> Vec<String> {
    let best = |answers: &Vec<Answer>| answers.first().map(|answer| answer.text.clone());
    found
        .iter()
        .map(|answers| best(answers).unwrap_or_default())
        .collect()
}

/// `[{"image_id", "caption"}, ..]`: COCO's format of results, which the official evaluation takes; ids
/// that are numbers are written as such.
fn coco(data: &CaptionData, found: &[Vec<Answer>]) -> Result<Predictions, SourceError> {
    let id = |key: &str| match key.parse::<i64>() {
        Ok(number) if number.to_string() == key => json!(number),
        _ => json!(key),
    };
    let rows = data.images().iter().zip(best(found));
    let rows: Vec<Value> = rows
        .map(|(image, caption)| json!({"image_id": id(&image.key), "caption": caption}))
        .collect();
    Ok(Predictions {
        extension: "json",
        content: serde_json::to_vec(&rows)?,
    })
}

/// For each picture the first caption of the one among `others` whose embedding has the smallest angle
/// to its own.
fn of_nearest(data: &CaptionData, others: &CaptionData) -> Result<Vec<String>, SourceError> {
    let (own, other) = (data.embedding_dim(), others.embedding_dim());
    if own != other {
        return Err(
            format!("its neighbours' embeddings have {other} values, its own {own}").into(),
        );
    }
    let unit = |data: &CaptionData| -> Result<Vec<Vec<f32>>, SourceError> {
        let images = (0..data.images().len()).into_par_iter();
        images
            .map(|image| {
                let mut row = data.embedding(image)?;
                let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
                row.iter_mut()
                    .for_each(|value| *value /= length.max(f32::MIN_POSITIVE));
                Ok(row)
            })
            .collect()
    };
    let (own, known) = (unit(data)?, unit(others)?);
    let nearest = |row: &Vec<f32>| {
        let angle = |other: &Vec<f32>| -> f32 { row.iter().zip(other).map(|(a, b)| a * b).sum() };
        let angles = known.iter().map(angle).enumerate();
        let best = angles.max_by(|(_, a), (_, b)| a.total_cmp(b));
        let image = &others.images()[best.map_or(0, |(image, _)| image)];
        image
            .captions
            .first()
            .map_or(String::new(), |caption| caption.text.clone())
    };
    Ok(own.par_iter().map(nearest).collect())
}

/// The headline scores of each.
fn compare(references: &References, all: &[(&str, Vec<String>)]) -> Vec<ScoreTable> {
    let scores: Vec<Vec<(String, f64)>> =
        all.iter().map(|(_, texts)| references.all(texts)).collect();
    let table = |name: &str| {
        let rows = all
            .iter()
            .zip(&scores)
            .filter_map(|((source, texts), scores)| {
                let (_, score) = scores.iter().find(|(other, _)| other == name)?;
                Some((source.to_string(), *score, texts.len()))
            });
        ScoreTable {
            title: format!("{name} of captions from"),
            rows: rows.collect(),
        }
    };
    vec![table(CIDER), table(EXACT)]
}
