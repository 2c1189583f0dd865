//! What a captioner attends to while it describes an image.

use oscar_core::input::{
    CaptionEncoder, EncodedCaption, EncodedSequence, ExampleSeed, SourceError,
};
use oscar_core::ops::OscarBackend;
use oscar_task::explain::{Exhibit, Explanation, Shown, inspect};
use oscar_task::{Ask, Explain, Opened, TaskError};

use crate::data::CaptionData;
use crate::generate::{Subject, keeping, search, subject};
use crate::task::Captioning;

impl Explain for Captioning {
    fn explain<B: OscarBackend>(
        opened: &Opened<Self, B>,
        ask: &Ask,
    ) -> Result<Explanation, TaskError> {
        explain(opened, &subject(opened, ask)?, ask.top, true).map_err(TaskError::Data)
    }

    fn exhibit<B: OscarBackend>(
        opened: &Opened<Self, B>,
        data: &CaptionData,
        shown: Shown,
    ) -> Result<Exhibit, SourceError> {
        let image = &data.images()[shown.index];
        let subject = Subject {
            tags: image.tags.clone(),
            regions: data.regions(shown.index)?,
            context: data.context(shown.index)?,
        };
        let captions = image.captions.iter();
        Ok(Exhibit {
            truth: captions.map(|caption| caption.text.clone()).collect(),
            explanation: explain(opened, &subject, shown.top, shown.attention)?,
            origin: subject.context.origin,
        })
    }
}

/// The `top` best captions of an image; the best one is inspected beside it.
fn explain<B: OscarBackend>(
    opened: &Opened<Captioning, B>,
    subject: &Subject,
    top: usize,
    attention: bool,
) -> Result<Explanation, SourceError> {
    let generation = keeping(&opened.checkpoint.task, top);
    let context: &[EncodedSequence] = std::slice::from_ref(&subject.context);
    let found = search(opened, context, &generation)?;
    let captions = found.into_iter().next().unwrap_or_default();

    let encoder = &opened.model.encoder;
    let best = captions.first().map_or(&[][..], |caption| &caption.ids);
    let best = unmasked(encoder, subject, best)?;
    let batch = encoder.batch::<B>(std::slice::from_ref(&best), &opened.device)?;
    let rows = [best.sequence];
    let rows = (&rows[..], &**encoder.sequences().tokenizer());
    let backbone = opened.model.network.backbone();
    let (_, sequences) = inspect(backbone, batch.input, rows, attention)?;
    Ok(Explanation {
        answers: opened.model.answers(captions),
        sequences,
    })
}

/// The caption beside its image, none of its tokens masked.
fn unmasked(
    encoder: &CaptionEncoder,
    subject: &Subject,
    caption: &[u32],
) -> Result<EncodedCaption, SourceError> {
    let special = encoder.sequences().tokenizer().special();
    let words = caption.iter().copied();
    let mut words: Vec<u32> = words.filter(|id| !special.contains(*id)).collect();
    if words.is_empty() {
        words.push(special.mask);
    }
    let mut rng = ExampleSeed { seed: 0, epoch: 0 }.rng(0);
    let origin = subject.context.origin.clone();
    let mut caption = encoder.encode(origin, &words, &subject.tags, &subject.regions, &mut rng)?;
    for token in &caption.masked {
        caption.sequence.input_ids[token.position as usize] = token.label;
    }
    Ok(caption)
}
