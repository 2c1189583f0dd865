//! Scores of a split, and what else they should be compared with.

use oscar_core::input::SourceError;
use oscar_core::ops::OscarBackend;
use oscar_task::{Evaluation, ScoreTable};

use crate::data::CaptionData;
use crate::generate::{Generator, Said};
use crate::model::EXACT;
use crate::neighbours;
use crate::output;
use crate::scores::References;
use crate::task::Captioning;

const NO_JARS: &str = "METEOR and SPICE are not computed here: `oscar-bin score captions` runs the \
                       official jars on the predictions";

/// What was said of every image, and who by.
struct Told {
    who: &'static str,
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
}

/// Describes every image of `data`, and judges what was said if people have described them too.
pub(crate) fn judge<B: OscarBackend>(
    generator: &Generator<'_, B>,
    data: &CaptionData,
    task: &Captioning,
    device: &B::Device,
) -> Result<Evaluation, SourceError> {
    let (said, throughput) = generator.describe(data, device)?;
    let mut evaluation = Evaluation {
        examples: said.len(),
        throughput: Some(throughput),
        predictions: Some(output::official(data, &said)?),
        more_predictions: vec![output::coco(data, &said)?],
        notes: notes(data, &said)?,
        ..Evaluation::default()
    };
    evaluation
        .more_predictions
        .extend(output::nocaps(data, &said)?);
    let Some(references) = data.references() else {
        let note = "not every image has a caption to compare with: nothing is scored, predictions are written";
        evaluation.notes.push(note.into());
        return Ok(evaluation);
    };
    let mut told = vec![told("its own regions", &said)];
    evaluation.scores = scores(references, &told[0]);
    evaluation.notes.push(NO_JARS.into());
    if task.compare {
        if let Some(swapped) = data.swapped()? {
            let (said, _) = generator.describe(&swapped, device)?;
            told.push(self::told("another image's regions", &said));
        }
        if let Some(others) = data.neighbours() {
            told.push(of_neighbours(data, others)?);
        }
        if told.len() > 1 {
            evaluation.tables = compare(references, &told);
        }
    }
    Ok(evaluation)
}

fn told(who: &'static str, said: &[Said]) -> Told {
    let best = |said: &Said| said.captions.first().map(|(text, _)| text.clone());
    Told {
        who,
        texts: said
            .iter()
            .map(|said| best(said).unwrap_or_default())
            .collect(),
        ids: said.iter().map(|said| said.ids.clone()).collect(),
    }
}

fn of_neighbours(data: &CaptionData, others: &CaptionData) -> Result<Told, SourceError> {
    let nearest = neighbours::nearest(data, others)?;
    let captions = nearest
        .iter()
        .map(|image| &others.images()[*image].captions[0]);
    Ok(Told {
        who: "the nearest image's caption",
        texts: captions
            .clone()
            .map(|caption| caption.text.clone())
            .collect(),
        ids: captions.map(|caption| caption.ids.clone()).collect(),
    })
}

fn scores(references: &References, told: &Told) -> Vec<(String, f64)> {
    let mut scores = references.all(&told.texts);
    let exact = told.ids.iter().enumerate();
    let exact = exact
        .filter(|(image, ids)| references.is_exact(*image, ids))
        .count();
    scores.push((EXACT.into(), exact as f64 / told.ids.len().max(1) as f64));
    scores
}

/// The headline scores of everyone.
fn compare(references: &References, told: &[Told]) -> Vec<ScoreTable> {
    let all: Vec<Vec<(String, f64)>> = told.iter().map(|told| scores(references, told)).collect();
    let table = |name: &str| {
        let rows = told.iter().zip(&all).filter_map(|(told, scores)| {
            let (_, score) = scores.iter().find(|(other, _)| other == name)?;
            Some((told.who.to_string(), *score, told.texts.len()))
        });
        ScoreTable {
            title: format!("{name} of what is said from"),
            rows: rows.collect(),
        }
    };
    vec![table("CIDEr"), table(EXACT)]
}

fn notes(data: &CaptionData, said: &[Said]) -> Result<Vec<String>, SourceError> {
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
        let asked = said.iter().filter(|said| said.constraints.0 > 0).count();
        let all = said.iter().filter(|said| {
            let (asked, satisfied) = said.constraints;
            asked > 0 && satisfied >= asked.min(2)
        });
        notes.push(format!(
            "{asked} image(s) have constraints, of which {} captions have two or all of them",
            all.count()
        ));
    }
    Ok(notes)
}
