//! Asking how close a text and a picture are, and what each side attends to.

use oscar_core::input::{EncodedSequence, SourceError};
use oscar_core::model::OscarDualEncoder;
use oscar_core::model::dual_encoder::Side;
use oscar_core::ops::OscarBackend;
use oscar_task::explain::{Exhibit, Explanation, Inspected, Shown, inspect};
use oscar_task::{Answer, Ask, Explain, Opened, Predict, Seen, TaskCheckpoint, TaskError};

use crate::Search;
use crate::data::SearchData;
use crate::embed::{Embedder, encode_seen, encode_text};

/// The text of every answer: what its score is.
const SIMILARITY: &str = "similarity";

impl Predict for Search {
    type Model<B: OscarBackend> = OscarDualEncoder<B>;

    fn load<B: OscarBackend>(
        checkpoint: &TaskCheckpoint<Self>,
        device: &B::Device,
    ) -> Result<OscarDualEncoder<B>, TaskError> {
        checkpoint.load(OscarDualEncoder::new(&checkpoint.model, device))
    }

    fn ask<B: OscarBackend>(
        opened: &Opened<Self, B>,
        asks: &[Ask],
    ) -> Result<Vec<Vec<Answer>>, TaskError> {
        let parts = asks.iter().map(text_and_image);
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        let texts: Vec<String> = parts.iter().map(|(text, _)| text.to_string()).collect();
        let images: Vec<Seen> = parts.iter().map(|(_, seen)| (*seen).clone()).collect();
        let texts = opened.embed_texts(&texts)?;
        let images = opened.embed_pictures(&images)?;
        let pairs = texts.rows().zip(images.rows()).zip(asks);
        let answers =
            pairs.map(|((text, image), ask)| Answer::best([answer(text, image)], ask.top));
        Ok(answers.collect())
    }
}

impl Explain for Search {
    fn explain<B: OscarBackend>(
        opened: &Opened<Self, B>,
        ask: &Ask,
    ) -> Result<Explanation, TaskError> {
        let (text, image) = text_and_image(ask)?;
        let encoder = opened.encoder();
        let rows = [encode_text(encoder, text)?, encode_seen(encoder, image)];
        let shown = Shown {
            index: 0,
            attention: true,
            top: ask.top,
        };
        view(opened, rows, shown).map_err(TaskError::Data)
    }

    fn exhibit<B: OscarBackend>(
        opened: &Opened<Self, B>,
        data: &SearchData,
        shown: Shown,
    ) -> Result<Exhibit, SourceError> {
        let caption = data.caption_of(shown.index);
        let image = data.split().captions[caption].image as usize;
        let rows = [data.text(caption)?, data.stored_image(image)?];
        Ok(Exhibit {
            origin: rows[0].origin.clone(),
            truth: Vec::new(),
            explanation: view(opened, rows, shown)?,
        })
    }
}

/// The text of a question and its one image.
fn text_and_image(ask: &Ask) -> Result<(&str, &Seen), TaskError> {
    let wrong = |found: String| Err(TaskError::Question(found));
    let Some(text) = ask.text.as_deref() else {
        return wrong("a text is required: what to compare the picture with".into());
    };
    match &ask.images[..] {
        [image] => Ok((text, image)),
        images => wrong(format!(
            "search compares a text with one image (got {})",
            images.len()
        )),
    }
}

fn answer(text: &[f32], image: &[f32]) -> Answer {
    let product = text.iter().zip(image).map(|(a, b)| a * b).sum();
    Answer::new(SIMILARITY, product)
}

/// How close a text and an image are, and what each attends to within itself.
fn view<B: OscarBackend>(
    opened: &Opened<Search, B>,
    [text, image]: [EncodedSequence; 2],
    shown: Shown,
) -> Result<Explanation, SourceError> {
    let mut sequences = Vec::new();
    let mut side = |side, row: EncodedSequence| -> Result<Vec<f32>, SourceError> {
        let (vector, inspected) = inspect_side(opened, side, row, shown.attention)?;
        sequences.extend(inspected);
        Ok(vector)
    };
    let (text, image) = (side(Side::Text, text)?, side(Side::Image, image)?);
    Ok(Explanation {
        answers: Answer::best([answer(&text, &image)], shown.top),
        sequences,
    })
}

fn inspect_side<B: OscarBackend>(
    opened: &Opened<Search, B>,
    side: Side,
    row: EncodedSequence,
    attention: bool,
) -> Result<(Vec<f32>, Vec<Inspected>), SourceError> {
    let encoder = opened.encoder();
    let rows = [row];
    let input = encoder.batch(&rows, &opened.device)?;
    let seen = (&rows[..], &**encoder.tokenizer());
    let (output, inspected) = inspect(opened.model.backbone(), input, seen, attention)?;
    let vector = opened.model.project(side, output.sequence);
    Ok((vector.into_data().iter::<f32>().collect(), inspected))
}
