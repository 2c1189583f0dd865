//! Asking, explaining and scoring.

use std::time::Instant;

use oscar_core::input::{EncodedSequence, RegionHandle, SourceError};
use oscar_core::model::{OscarForReferring, ReferringOutput};
use oscar_core::ops::OscarBackend;
use oscar_task::batches::{run_sorted, run_split};
use oscar_task::explain::{Exhibit, Explanation, Region, Shown, inspect, probabilities};
use oscar_task::{
    Answer, Ask, EvaluateOptions, Evaluation, Explain, Opened, Predict, Predictions, Score,
    TaskCheckpoint, TaskData, TaskError, Throughput,
};
use serde::Serialize;

use crate::Refer;
use crate::boxes::{RIGHT, Share, iou};
use crate::data::{EncodedExpression, ReferData};

/// Questions per batch.
const BATCH: usize = 32;

/// A region, as the answer to an expression.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// Its probability.
    score: f32,
    /// Where it says that the thing is.
    place: Share,
}

impl Predict for Refer {
    type Model<B: OscarBackend> = OscarForReferring<B>;

    fn load<B: OscarBackend>(
        checkpoint: &TaskCheckpoint<Self>,
        device: &B::Device,
    ) -> Result<OscarForReferring<B>, TaskError> {
        checkpoint.load(OscarForReferring::new(&checkpoint.model, device))
    }

    fn ask<B: OscarBackend>(
        opened: &Opened<Self, B>,
        asks: &[Ask],
    ) -> Result<Vec<Vec<Answer>>, TaskError> {
        let rows = asks.iter().map(|ask| encode(opened, ask));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        let images: Vec<(Image, usize)> = rows
            .iter()
            .map(Image::of)
            .zip(asks)
            .map(|(image, ask)| (image, ask.top))
            .collect();
        let found = run_sorted(
            rows,
            BATCH,
            |row| row.sequence.len(),
            |rows| find(opened, rows),
        );
        let found = found.map_err(TaskError::Score)?;
        let answers = found.into_iter().zip(&images);
        Ok(answers
            .map(|(found, (image, top))| image.answers(&found, *top))
            .collect())
    }
}

impl Explain for Refer {
    fn explain<B: OscarBackend>(
        opened: &Opened<Self, B>,
        ask: &Ask,
    ) -> Result<Explanation, TaskError> {
        let shown = Shown {
            index: 0,
            attention: true,
            top: ask.top,
        };
        view(opened, encode(opened, ask)?, shown).map_err(TaskError::Data)
    }

    fn exhibit<B: OscarBackend>(
        opened: &Opened<Self, B>,
        data: &ReferData,
        shown: Shown,
    ) -> Result<Exhibit, SourceError> {
        let example = data.example(shown.index)?;
        let image = Image::of(&example);
        Ok(Exhibit {
            origin: example.sequence.origin.clone(),
            truth: example
                .truth
                .iter()
                .map(|truth| image.describe(*truth))
                .collect(),
            explanation: view(opened, example, shown)?,
        })
    }
}

impl Score for Refer {
    fn score<B: OscarBackend>(
        opened: &Opened<Self, B>,
        data: &ReferData,
        options: &EvaluateOptions<'_>,
    ) -> Result<Evaluation, SourceError> {
        let started = Instant::now();
        let mut tokens = 0;
        let judged = run_split(
            0..data.len(),
            options.batch_size,
            |index| data.example(index),
            |row| row.sequence.len(),
            |rows| {
                tokens += rows.iter().map(|row| row.sequence.len()).sum::<usize>();
                let found = find(opened, rows)?.into_iter().zip(rows);
                Ok::<_, SourceError>(found.map(|(found, row)| Judged::new(&found, row)).collect())
            },
            options.progress,
        )?;
        let throughput = Throughput {
            examples: judged.len(),
            tokens,
            seconds: started.elapsed().as_secs_f64(),
        };
        Ok(Evaluation {
            throughput: Some(throughput),
            ..evaluation(data, &judged)?
        })
    }
}

/// The best answer to an example, and how good it is.
struct Judged {
    best: Option<Found>,
    /// Its overlap with the right box, and the best one that a region has; none if the box is unknown.
    overlaps: Option<(f64, f64)>,
}

impl Judged {
    fn new(found: &[Found], row: &EncodedExpression) -> Self {
        let best = best(found).first().copied();
        let pixel = row.candidates.pixel;
        let overlaps = row.truth.map(|truth| {
            let own = best.map_or(0.0, |best| iou(best.place, truth, pixel));
            let all = row.candidates.boxes.iter().map(|b| iou(*b, truth, pixel));
            (own, all.fold(0.0, f64::max))
        });
        Self { best, overlaps }
    }
}

/// Scores and predictions of a split.
fn evaluation(data: &ReferData, judged: &[Judged]) -> Result<Evaluation, SourceError> {
    #[derive(Serialize)]
    struct Prediction<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        image: &'a str,
        expression: &'a str,
        #[serde(rename = "box")]
        box_px: Option<[f32; 4]>,
        score: f32,
        #[serde(skip_serializing_if = "Option::is_none")]
        iou: Option<f64>,
    }
    let mut content = Vec::new();
    for (index, (row, judged)) in data.rows().iter().zip(judged).enumerate() {
        let (width, height) = data.image_size(index).unwrap_or((1, 1));
        let size = [width, height, width, height];
        let pixels = |found: Found| {
            std::array::from_fn(|side| (found.place[side] * f64::from(size[side])) as f32)
        };
        let prediction = Prediction {
            id: row.id.as_deref(),
            image: &row.image,
            expression: &row.expression,
            box_px: judged.best.map(pixels),
            score: judged.best.map_or(0.0, |found| found.score),
            iou: judged.overlaps.map(|(own, _)| own),
        };
        serde_json::to_writer(&mut content, &prediction)?;
        content.push(b'\n');
    }
    let known: Vec<(f64, f64)> = judged.iter().filter_map(|judged| judged.overlaps).collect();
    let share = |right: &dyn Fn(&(f64, f64)) -> bool| {
        known.iter().filter(|overlaps| right(overlaps)).count() as f64 / known.len() as f64
    };
    let mean = known.iter().map(|(own, _)| own).sum::<f64>() / known.len() as f64;
    let scores = match known.is_empty() {
        true => Vec::new(),
        false => vec![
            ("accuracy".to_string(), share(&|(own, _)| *own >= RIGHT)),
            ("mean_iou".to_string(), mean),
            (
                "region_recall".to_string(),
                share(&|(_, best)| *best >= RIGHT),
            ),
        ],
    };
    Ok(Evaluation {
        scores,
        examples: known.len(),
        predictions: Some(Predictions {
            extension: "jsonl",
            content,
        }),
        ..Evaluation::default()
    })
}

/// The expression of a question beside the one image that it is about.
fn encode<B: OscarBackend>(
    opened: &Opened<Refer, B>,
    ask: &Ask,
) -> Result<EncodedExpression, TaskError> {
    let wrong = |found: &str| TaskError::Question(found.into());
    let text = ask.text.as_deref();
    let text = text.ok_or_else(|| wrong("a text is required: the expression"))?;
    if !text.chars().any(char::is_alphanumeric) {
        let found = format!("the expression {text:?} has no word; write what to find");
        return Err(TaskError::Question(found));
    }
    let [seen] = &ask.images[..] else {
        let found = format!("refer takes one image (got {})", ask.images.len());
        return Err(TaskError::Question(found));
    };
    let regions = seen.regions();
    let regions = regions.ok_or_else(|| wrong("the regions of the image are required"))?;
    if regions.is_empty() {
        return Err(wrong("the image has no region to choose from"));
    }
    let texts = ("the expression".to_string(), text, seen.tags());
    let (regions, size) = (regions.clone(), regions.image_size());
    EncodedExpression::new(opened.encoder(), texts, regions, size).map_err(TaskError::Data)
}

/// What each region of each row says, in their order.
fn find<B: OscarBackend>(
    opened: &Opened<Refer, B>,
    rows: &[EncodedExpression],
) -> Result<Vec<Vec<Found>>, SourceError> {
    if rows.iter().all(|row| row.candidates.boxes.is_empty()) {
        return Ok(vec![Vec::new(); rows.len()]);
    }
    let sequences = sequences(rows);
    let input = opened.encoder().batch_regions(&sequences, &opened.device)?;
    Ok(read(opened.model.forward(input), rows))
}

fn sequences(rows: &[EncodedExpression]) -> Vec<EncodedSequence> {
    rows.iter().map(|row| row.sequence.clone()).collect()
}

/// The regions of each row, by what the model says of them.
fn read<B: OscarBackend>(
    output: ReferringOutput<B>,
    rows: &[EncodedExpression],
) -> Vec<Vec<Found>> {
    let [_, regions] = output.scores.dims();
    // Of a single region the score is not a probability of classes, but its share is 1.
    let scores = match regions {
        1 => vec![vec![1.0]; rows.len()],
        _ => probabilities(output.scores),
    };
    let deltas: Vec<f32> = output.deltas.into_data().iter::<f32>().collect();
    let deltas = deltas.as_chunks::<4>().0.chunks_exact(regions);
    let found = rows.iter().zip(scores).zip(deltas);
    found
        .map(|((row, scores), deltas)| {
            let regions = 0..row.candidates.boxes.len();
            let found = regions.map(|region| Found {
                score: scores[region],
                place: row.candidates.decode(region, deltas[region]),
            });
            found.collect()
        })
        .collect()
}

/// The regions by their score, the best first; of equal ones the first.
fn best(found: &[Found]) -> Vec<Found> {
    let mut sorted = found.to_vec();
    sorted.sort_by(|a, b| b.score.total_cmp(&a.score));
    sorted
}

/// The image that an answer is about.
struct Image {
    key: String,
    /// Width and height in pixels.
    size: Option<[f64; 2]>,
}

impl Image {
    fn of(row: &EncodedExpression) -> Self {
        let handle = row.sequence.regions.first().map(|(handle, _)| handle);
        let pixel = row.candidates.pixel;
        Self {
            key: handle.map_or_else(String::new, RegionHandle::image_key),
            size: (pixel[0] > 0.0).then(|| pixel.map(|side| 1.0 / side)),
        }
    }

    /// A box in pixels, in shares of the image where its size is not known: `[12, 30, 88, 90]`.
    fn describe(&self, place: Share) -> String {
        let sides: Vec<String> = (0..4)
            .map(|side| match self.size {
                Some(size) => format!("{:.0}", place[side] * size[side % 2]),
                None => format!("{:.3}", place[side]),
            })
            .collect();
        format!("[{}]", sides.join(", "))
    }

    fn answers(&self, found: &[Found], top: usize) -> Vec<Answer> {
        let answers = best(found).into_iter().take(top);
        let answer = |found: Found| Answer {
            text: self.describe(found.place),
            score: found.score,
            region: Some(Region {
                image: self.key.clone(),
                relative: Some(found.place.map(|side| side as f32)),
            }),
        };
        answers.map(answer).collect()
    }
}

/// The answers to an expression, and what it attends to.
fn view<B: OscarBackend>(
    opened: &Opened<Refer, B>,
    row: EncodedExpression,
    shown: Shown,
) -> Result<Explanation, SourceError> {
    let (rows, encoder) = (std::slice::from_ref(&row), opened.encoder());
    let sequences = sequences(rows);
    let batch = encoder.batch_regions(&sequences, &opened.device)?;
    let [_, text] = batch.input.input_ids.dims();
    let seen = (&sequences[..], &**encoder.tokenizer());
    let backbone = opened.model.backbone();
    let (output, inspected) = inspect(backbone, batch.input, seen, shown.attention)?;
    let output = opened.model.score(output.sequence, text, batch.region_mask);
    let found = read(output, rows).into_iter().next().unwrap_or_default();
    Ok(Explanation {
        answers: Image::of(&row).answers(&found, shown.top),
        sequences: inspected,
    })
}
