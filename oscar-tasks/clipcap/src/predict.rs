//! Captions of the pictures of a split, or of those that are asked about; and what was attended to.

use std::time::Instant;

use oscar_core::input::{RegionHandle, SourceError};
use oscar_core::ops::OscarBackend;
use oscar_task::batches::run_split;
use oscar_task::explain::{Exhibit, Explanation, Shown};
use oscar_task::{
    Answer, Ask, EvaluateOptions, Explain, Opened, Predict, Seen, TaskCheckpoint, TaskError,
    Throughput,
};

use crate::data::CaptionData;
use crate::decode::Written;
use crate::inspect::inspect;
use crate::model::ClipCap;
use crate::task::{Captioning, Generation};
use crate::write::{embeddings, write};

/// Pictures per batch where questions are asked.
const BATCH: usize = 32;

/// Most captions of a picture.
const MOST: usize = 64;

impl Predict for Captioning {
    type Model<B: OscarBackend> = ClipCap<B>;

    fn load<B: OscarBackend>(
        checkpoint: &TaskCheckpoint<Self>,
        device: &B::Device,
    ) -> Result<ClipCap<B>, TaskError> {
        let model = checkpoint.load(ClipCap::new(&checkpoint.model, device))?;
        Ok(model.for_inference())
    }

    fn ask<B: OscarBackend>(
        opened: &Opened<Self, B>,
        asks: &[Ask],
    ) -> Result<Vec<Vec<Answer>>, TaskError> {
        let mut answers = Vec::with_capacity(asks.len());
        for same in asks.chunk_by(|a, b| a.top == b.top) {
            let generation = keeping(&opened.checkpoint.task, same[0].top);
            for asks in same.chunks(BATCH) {
                let rows = asks.iter().map(|ask| embedding(regions(ask)?));
                let rows = rows.collect::<Result<Vec<_>, _>>()?;
                let numbers: Vec<usize> = (answers.len()..answers.len() + asks.len()).collect();
                let captions = captions(opened, &rows, &numbers, &generation);
                answers.extend(captions.into_iter().map(|found| to_answers(opened, found)));
            }
        }
        Ok(answers)
    }
}

impl Explain for Captioning {
    fn explain<B: OscarBackend>(
        opened: &Opened<Self, B>,
        ask: &Ask,
    ) -> Result<Explanation, TaskError> {
        let regions = regions(ask)?;
        let row = embedding(regions)?;
        Ok(explain(opened, row, regions.image_key(), ask.top, true))
    }

    fn exhibit<B: OscarBackend>(
        opened: &Opened<Self, B>,
        data: &CaptionData,
        shown: Shown,
    ) -> Result<Exhibit, SourceError> {
        let image = &data.images()[shown.index];
        let row = data.embedding(shown.index)?;
        let captions = image.captions.iter();
        Ok(Exhibit {
            truth: captions.map(|caption| caption.text.clone()).collect(),
            explanation: explain(opened, row, image.key.clone(), shown.top, shown.attention),
            origin: data.name(shown.index),
        })
    }
}

/// The `top` best captions of an embedding; the best one is inspected beside its picture.
fn explain<B: OscarBackend>(
    opened: &Opened<Captioning, B>,
    row: Vec<f32>,
    key: String,
    top: usize,
    attention: bool,
) -> Explanation {
    let generation = keeping(&opened.checkpoint.task, top);
    let rows = [row];
    let found = captions(opened, &rows, &[0], &generation).remove(0);
    let best = found.first().map_or(&[][..], |caption| &caption.ids);
    let sequence = inspect(
        &opened.model,
        embeddings(&rows, &opened.device),
        (best, opened.encoder()),
        key,
        attention,
    );
    Explanation {
        answers: to_answers(opened, found),
        sequences: vec![sequence],
    }
}

/// The task's generation, of the `wanted` best captions.
fn keeping(task: &Captioning, wanted: usize) -> Generation {
    let wanted = wanted.clamp(1, MOST);
    Generation {
        num_keep_best: wanted,
        num_beams: task.generation.num_beams.max(wanted),
        ..task.generation.clone()
    }
}

/// The one region of the picture that is asked about.
fn regions(ask: &Ask) -> Result<&RegionHandle, TaskError> {
    let wrong = |found: String| Err(TaskError::Question(found));
    if ask.text.is_some() {
        return wrong("clipcap takes no text: it writes one".into());
    }
    match &ask.images[..] {
        [Seen::Regions { regions, .. }] if regions.len() == 1 => Ok(regions),
        [Seen::Regions { regions, .. }] => wrong(format!(
            "clipcap takes one embedding of the picture (got {} regions): compute it with the extractor \
             `clip`",
            regions.len()
        )),
        [_] => wrong("clipcap takes an image with its embedding (got tags alone)".into()),
        images => wrong(format!(
            "clipcap takes exactly one image (got {})",
            images.len()
        )),
    }
}

fn embedding(regions: &RegionHandle) -> Result<Vec<f32>, TaskError> {
    let mut region = vec![0.0; regions.dim()];
    regions.copy_into(&mut region).map_err(TaskError::Data)?;
    region.truncate(regions.dim() - oscar_core::input::BOX_VALUES);
    Ok(region)
}

fn captions<B: OscarBackend>(
    opened: &Opened<Captioning, B>,
    rows: &[Vec<f32>],
    numbers: &[usize],
    generation: &Generation,
) -> Vec<Vec<Written>> {
    let embeddings = embeddings(rows, &opened.device);
    write(
        &opened.model,
        embeddings,
        numbers,
        generation,
        opened.encoder(),
    )
}

/// Captions as answers; a score is the exponential of the mean log-probability.
fn to_answers<B: OscarBackend>(
    opened: &Opened<Captioning, B>,
    captions: Vec<Written>,
) -> Vec<Answer> {
    let captions = captions.into_iter();
    let answer =
        |caption: Written| Answer::new(opened.encoder().decode(&caption.ids), caption.score.exp());
    captions.map(answer).collect()
}

/// The best captions of every picture of `data`, in order.
///
/// # Errors
///
/// If an embedding cannot be read.
pub(crate) fn describe<B: OscarBackend>(
    opened: &Opened<Captioning, B>,
    data: &CaptionData,
    options: &EvaluateOptions<'_>,
) -> Result<(Vec<Vec<Answer>>, Throughput), SourceError> {
    let started = Instant::now();
    let generation = &opened.checkpoint.task.generation;
    let mut tokens = 0;
    let found = run_split(
        0..data.images().len(),
        options.batch_size,
        |image| Ok::<_, SourceError>((image, data.embedding(image)?)),
        |(image, _)| *image,
        |batch| {
            let (numbers, rows): (Vec<usize>, Vec<Vec<f32>>) = batch.iter().cloned().unzip();
            let found = captions(opened, &rows, &numbers, generation);
            tokens += found
                .iter()
                .flatten()
                .map(|one| one.ids.len())
                .sum::<usize>();
            Ok(found
                .into_iter()
                .map(|one| to_answers(opened, one))
                .collect())
        },
        options.progress,
    )?;
    let throughput = Throughput {
        examples: found.len(),
        tokens,
        seconds: started.elapsed().as_secs_f64(),
    };
    Ok((found, throughput))
}
