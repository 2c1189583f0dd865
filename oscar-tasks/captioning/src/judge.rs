//! Scores of a split, and the baselines they should be compared with.

use oscar_core::input::SourceError;
use oscar_core::ops::OscarBackend;
use oscar_task::{EvaluateOptions, Evaluation, Opened, Score, ScoreTable};

use crate::data::CaptionData;
use crate::generate::{Described, describe};
use crate::neighbours;
use crate::output;
use crate::scores::{EXACT, References};
use crate::task::Captioning;

const NO_JARS: &str = "METEOR and SPICE are not computed here: `oscar-bin score captions` runs the \
                       official jars on the predictions";

/// A caption of every image of a split.
struct Captions {
    /// What they are made from.
    source: &'static str,
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
}

impl Score for Captioning {
    /// Describes every image of `data`, and scores the captions if people have described them too.
    fn score<B: OscarBackend>(
        opened: &Opened<Self, B>,
        data: &CaptionData,
        options: &EvaluateOptions<'_>,
    ) -> Result<Evaluation, SourceError> {
        let (described, throughput) = describe(opened, data, options)?;
        let mut evaluation = Evaluation {
            examples: described.len(),
            throughput: Some(throughput),
            predictions: Some(output::official(data, &described)?),
            more_predictions: vec![output::coco(data, &described)?],
            notes: notes(data, &described)?,
            ..Evaluation::default()
        };
        let nocaps = output::nocaps(data, &described)?;
        evaluation.more_predictions.extend(nocaps);
        let Some(references) = data.references() else {
            let note = "not every image has a caption to compare with: nothing is scored, \
                        predictions are written";
            evaluation.notes.push(note.into());
            return Ok(evaluation);
        };
        let mut all = vec![Captions::of("its own regions", &described)];
        evaluation.scores = scores(references, &all[0]);
        evaluation.notes.push(NO_JARS.into());
        if opened.checkpoint.task.compare {
            if let Some(swapped) = data.swapped()? {
                let (described, _) = describe(opened, &swapped, options)?;
                all.push(Captions::of("another image's regions", &described));
            }
            if let Some(others) = data.neighbours() {
                all.push(of_neighbours(data, others)?);
            }
            if all.len() > 1 {
                evaluation.tables = compare(references, &all);
            }
        }
        Ok(evaluation)
    }
}

impl Captions {
    /// The best caption of each image.
    fn of(source: &'static str, described: &[Described]) -> Self {
        let best = |image: &Described| image.captions.first().map(|(text, _)| text.clone());
        Self {
            source,
            texts: described
                .iter()
                .map(|image| best(image).unwrap_or_default())
                .collect(),
            ids: described.iter().map(|image| image.ids.clone()).collect(),
        }
    }
}

fn of_neighbours(data: &CaptionData, others: &CaptionData) -> Result<Captions, SourceError> {
    let nearest = neighbours::nearest(data, others)?;
    let captions = nearest
        .iter()
        .map(|image| &others.images()[*image].captions[0]);
    Ok(Captions {
        source: "the nearest image's caption",
        texts: captions
            .clone()
            .map(|caption| caption.text.clone())
            .collect(),
        ids: captions.map(|caption| caption.ids.clone()).collect(),
    })
}

fn scores(references: &References, captions: &Captions) -> Vec<(String, f64)> {
    let mut scores = references.all(&captions.texts);
    let exact = captions.ids.iter().enumerate();
    let exact = exact
        .filter(|(image, ids)| references.is_exact(*image, ids))
        .count();
    scores.push((
        EXACT.into(),
        exact as f64 / captions.ids.len().max(1) as f64,
    ));
    scores
}

/// The headline scores of each.
fn compare(references: &References, all: &[Captions]) -> Vec<ScoreTable> {
    let scores: Vec<Vec<(String, f64)>> = all
        .iter()
        .map(|captions| scores(references, captions))
        .collect();
    let table = |name: &str| {
        let rows = all.iter().zip(&scores).filter_map(|(captions, scores)| {
            let (_, score) = scores.iter().find(|(other, _)| other == name)?;
            Some((captions.source.to_string(), *score, captions.texts.len()))
        });
        ScoreTable {
            title: format!("{name} of captions from"),
            rows: rows.collect(),
        }
    };
    vec![table("CIDEr"), table(EXACT)]
}

fn notes(data: &CaptionData, described: &[Described]) -> Result<Vec<String>, SourceError> {
    let mut notes = Vec::new();
    let mut bare = 0;
    for image in 0..data.images().len() {
        bare += usize::from(data.regions(image)?.is_empty());
    }
    if bare > 0 {
        notes.push(format!(
            "{bare} image(s) have no region: they are described from their tags alone"
        ));
    }
    if data.constraints().is_some() {
        let constrained = described.iter().filter(|image| image.constraints.0 > 0);
        let satisfied = constrained.clone().filter(|image| {
            let (number, satisfied) = image.constraints;
            satisfied >= number.min(2)
        });
        notes.push(format!(
            "{} image(s) have constraints; {} captions satisfy two or all of them",
            constrained.count(),
            satisfied.count()
        ));
    }
    Ok(notes)
}
