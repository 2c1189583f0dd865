//! Ranks and recalls of the scores, and the file of predictions.

use std::collections::BTreeMap;

use oscar_core::input::SourceError;
use oscar_task::ranks::{CUTS, caption_ranks, image_ranks, named, recall};
use oscar_task::{Evaluation, Predictions};
use serde::Serialize;

use crate::data::RetrievalData;

/// The prediction file: the official summary, then each image and each caption with its rank and
/// with what was ranked first.
#[derive(Serialize)]
struct Report<'a> {
    i2t_retrieval: BTreeMap<String, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    t2i_retrieval: Option<BTreeMap<String, f64>>,
    images: Vec<ImageRow<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    captions: Vec<CaptionRow<'a>>,
}

#[derive(Serialize)]
struct ImageRow<'a> {
    image: &'a str,
    /// Of its first own caption, from 0.
    rank: usize,
    best: Best<'a>,
}

#[derive(Serialize)]
struct CaptionRow<'a> {
    image: &'a str,
    caption: &'a str,
    /// Of its image, from 0.
    rank: usize,
    best: Best<'a>,
}

#[derive(Serialize)]
struct Best<'a> {
    image: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    caption: Option<&'a str>,
    /// Probability of a match; the value itself of a regression.
    score: f32,
}

/// Judges `scores`, `[images, width]` of `data`, of a model with `labels` labels.
pub(crate) fn report(
    data: &RetrievalData,
    scores: &[f32],
    labels: usize,
) -> Result<Evaluation, SourceError> {
    let width = data.width();
    let probability = |score: f32| match labels {
        1 => score,
        _ => 1.0 / (1.0 + (-score).exp()),
    };
    let image_of = |caption: u32| data.split.captions[caption as usize].image as usize;
    let i2t = image_ranks(scores, width, |image, column| {
        image_of(data.candidates_of(image)[column]) == image
    });
    let images = i2t
        .iter()
        .zip(scores.chunks_exact(width.max(1)))
        .enumerate();
    let images = images.map(|(image, (rank, row))| {
        let column = argmax(row.iter().copied());
        let caption = &data.split.captions[data.candidates_of(image)[column] as usize];
        ImageRow {
            image: &data.split.images[image].key,
            rank: *rank,
            best: Best {
                image: &data.split.images[caption.image as usize].key,
                caption: Some(&caption.text),
                score: probability(row[column]),
            },
        }
    });
    let mut report = Report {
        i2t_retrieval: recalls(&i2t),
        t2i_retrieval: None,
        images: images.collect(),
        captions: Vec::new(),
    };
    let mut scores_by_name = named("i2t", &i2t);
    // Only where every image met every caption does a caption have a rank.
    if let Some(columns) = data.columns() {
        let owners: Vec<usize> = columns.iter().map(|caption| image_of(*caption)).collect();
        let t2i = caption_ranks(scores, &owners);
        scores_by_name.extend(named("t2i", &t2i));
        report.t2i_retrieval = Some(recalls(&t2i));
        let captions = columns.iter().zip(&t2i).enumerate();
        let captions = captions.map(|(column, (caption, rank))| {
            let of_column = scores.iter().skip(column).step_by(width);
            let best = argmax(of_column.copied());
            let caption = &data.split.captions[*caption as usize];
            CaptionRow {
                image: &data.split.images[caption.image as usize].key,
                caption: &caption.text,
                rank: *rank,
                best: Best {
                    image: &data.split.images[best].key,
                    caption: None,
                    score: probability(scores[best * width + column]),
                },
            }
        });
        report.captions = captions.collect();
    }
    scores_by_name.extend(data.extended_scores(scores)?);
    Ok(Evaluation {
        scores: scores_by_name,
        examples: scores.len(),
        predictions: Some(Predictions {
            extension: "json",
            content: serde_json::to_vec_pretty(&report)?,
        }),
        ..Evaluation::default()
    })
}

/// The index of the largest value; of equal ones the first.
fn argmax(values: impl Iterator<Item = f32>) -> usize {
    let best = values
        .enumerate()
        .reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map_or(0, |(index, _)| index)
}

fn recalls(ranks: &[usize]) -> BTreeMap<String, f64> {
    CUTS.map(|cut| (format!("R@{cut}"), recall(ranks, cut)))
        .into()
}
