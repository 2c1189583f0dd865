//! Captions as the model sees them beside their images.

use oscar_core::input::{EncodedCaption, EncodedSequence, ExampleSeed, SourceError};
use oscar_core::model::OscarForCaptioning;
use oscar_core::ops::OscarBackend;
use oscar_task::exhibit::{Choice, Exhibit, look};
use oscar_task::{FinetuneError, TaskCheckpoint};

use crate::data::CaptionData;
use crate::generate::{load, search};
use crate::task::Captioning;
use oscar_core::decode::GenerationConfig;

/// Images of `data` with the captions that the weights of `checkpoint` give them; the best one is
/// looked at.
pub(crate) fn exhibit<B: OscarBackend>(
    checkpoint: &TaskCheckpoint<Captioning>,
    data: &CaptionData,
    choice: &Choice,
    device: &B::Device,
) -> Result<Vec<Exhibit>, FinetuneError> {
    let model = load::<B>(checkpoint, device)?;
    let generation = GenerationConfig {
        num_keep_best: choice.top.clamp(1, 64),
        num_beams: checkpoint.task.generation.num_beams.max(choice.top.min(64)),
        ..checkpoint.task.generation.clone()
    };
    let rows = choice.rows(data.images().len());
    rows.map(|row| describe(&model, data, row, &generation, device))
        .collect::<Result<_, SourceError>>()
        .map_err(FinetuneError::Evaluate)
}

fn describe<B: OscarBackend>(
    model: &OscarForCaptioning<B>,
    data: &CaptionData,
    (index, attention): (usize, bool),
    generation: &GenerationConfig,
    device: &B::Device,
) -> Result<Exhibit, SourceError> {
    let encoder = data.encoder();
    let tokenizer = encoder.sequences().tokenizer();
    let image = &data.images()[index];
    let context = data.context(index)?;
    let input = encoder.batch_contexts(
        std::slice::from_ref(&context),
        generation.max_length,
        device,
    )?;
    let found = search(model, input, generation, encoder);
    let captions = found.into_iter().next().unwrap_or_default();

    let best = captions.first().map_or(&[][..], |caption| &caption.ids);
    let said = unmasked(data, index, best, &context)?;
    let batch = encoder.batch::<B>(std::slice::from_ref(&said), device)?;
    let rows = [said.sequence];
    let (_, sights) = look(model.backbone(), batch.input, (&rows, tokenizer), attention)?;
    let said = captions.iter();
    Ok(Exhibit {
        origin: context.origin,
        sights,
        truth: image.captions.iter().map(|c| c.text.clone()).collect(),
        answers: said
            .map(|caption| (tokenizer.decode(&caption.ids), caption.score.exp() as f32))
            .collect(),
    })
}

/// The caption beside its image, nothing of it masked.
fn unmasked(
    data: &CaptionData,
    index: usize,
    caption: &[u32],
    context: &EncodedSequence,
) -> Result<EncodedCaption, SourceError> {
    let special = data.encoder().sequences().tokenizer().special();
    let words = caption.iter().copied();
    let mut words: Vec<u32> = words.filter(|id| !special.contains(*id)).collect();
    if words.is_empty() {
        words.push(special.mask);
    }
    let image = data.regions(index)?;
    let mut rng = ExampleSeed { seed: 0, epoch: 0 }.rng(index);
    let tags = &data.images()[index].tags;
    let origin = context.origin.clone();
    let mut said = data
        .encoder()
        .encode(origin, &words, tags, &image, &mut rng)?;
    for token in &said.masked {
        said.sequence.input_ids[token.position as usize] = token.label;
    }
    Ok(said)
}
