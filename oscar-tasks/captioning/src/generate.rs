//! Captions of all images of a split, or of one.

use std::time::Instant;

use oscar_core::input::{CaptionEncoder, EncodedSequence, OscarInput, SourceError};
use oscar_core::model::{CaptionSteps, OscarForCaptioning};
use oscar_core::ops::OscarBackend;
use oscar_task::{FinetuneError, Question, TaskCheckpoint, Throughput};

use crate::data::CaptionData;
use crate::task::{Captioning, ConstraintSection};
use oscar_core::decode::{
    Automaton, ConstrainedSearch, GenerationConfig, Hypothesis, beam_search, constrained_search,
    greedy,
};

/// Batches whose images are sorted by length together.
const BATCHES_SORTED: usize = 32;

/// What was said of an image.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Text and confidence (the exponential of the score), the best first.
    pub captions: Vec<(String, f64)>,
    /// Tokens of the best.
    pub ids: Vec<u32>,
    /// Constraints that it was asked to satisfy, and that it does.
    pub constraints: (usize, usize),
}

/// Describes images.
pub struct Generator<'a, B: OscarBackend> {
    /// The captioner.
    pub model: &'a OscarForCaptioning<B>,
    /// How captions are searched for.
    pub generation: &'a GenerationConfig,
    /// What constrains them, in splits that have constraints.
    pub constraints: &'a ConstraintSection,
    /// Images per batch.
    pub batch_size: usize,
    /// Told how many of how many images are done.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
}

impl<B: OscarBackend> Generator<'_, B> {
    /// Captions of every image of `data`, in order.
    ///
    /// # Errors
    ///
    /// If an image cannot be read, or a constraint cannot be said in the model's vocabulary.
    pub fn describe(
        &self,
        data: &CaptionData,
        device: &B::Device,
    ) -> Result<(Vec<Said>, Throughput), SourceError> {
        let started = Instant::now();
        let total = data.images().len();
        let mut said = vec![Said::default(); total];
        let mut done = Throughput {
            examples: total,
            ..Throughput::default()
        };
        let mut finished = 0;
        for start in (0..total).step_by(self.batch_size * BATCHES_SORTED) {
            let end = (start + self.batch_size * BATCHES_SORTED).min(total);
            let contexts = (start..end).map(|image| Ok((image, data.context(image)?)));
            let mut contexts = contexts.collect::<Result<Vec<_>, SourceError>>()?;
            contexts.sort_by_key(|(_, context)| context.len());
            for batch in contexts.chunks(self.batch_size) {
                let (images, rows): (Vec<usize>, Vec<EncodedSequence>) =
                    batch.iter().cloned().unzip();
                done.tokens += rows.iter().map(EncodedSequence::len).sum::<usize>();
                let input =
                    data.encoder()
                        .batch_contexts(&rows, self.generation.max_length, device)?;
                for (image, found) in images.iter().zip(self.batch(data, &images, input)?) {
                    said[*image] = found;
                }
                finished += images.len();
                (self.progress)(finished, total);
            }
        }
        done.seconds = started.elapsed().as_secs_f64();
        Ok((said, done))
    }

    fn batch(
        &self,
        data: &CaptionData,
        images: &[usize],
        input: OscarInput<B>,
    ) -> Result<Vec<Said>, SourceError> {
        let tokenizer = data.encoder().sequences().tokenizer();
        let say = |captions: Vec<Hypothesis>| Said {
            ids: captions
                .first()
                .map(|best| best.ids.clone())
                .unwrap_or_default(),
            captions: captions
                .iter()
                .map(|caption| (tokenizer.decode(&caption.ids), caption.score.exp()))
                .collect(),
            constraints: (0, 0),
        };
        let Some(constraints) = data.constraints() else {
            let found = search(self.model, input, self.generation, data.encoder());
            return Ok(found.into_iter().map(say).collect());
        };
        let automata = images.iter().map(|image| {
            let key = &data.images()[*image].regions_key;
            constraints.automaton(key, tokenizer)
        });
        let automata: Vec<Automaton> = automata.collect::<Result<_, _>>()?;
        let special = tokenizer.special();
        let mut steps = CaptionSteps::new(self.model, input, special.mask);
        let config = ConstrainedSearch {
            max_length: self.generation.max_length,
            num_beams: self.generation.num_beams,
            min_satisfied: self.constraints.min_satisfied,
            first_of_batch: self.constraints.official,
        };
        let found = constrained_search(&mut steps, &automata, &config, special);
        let found = found.into_iter().zip(&automata);
        Ok(found
            .map(|((caption, satisfied), automaton)| Said {
                constraints: (automaton.constraints(), satisfied),
                ..say(vec![caption])
            })
            .collect())
    }
}

pub(crate) fn search<B: OscarBackend>(
    model: &OscarForCaptioning<B>,
    input: OscarInput<B>,
    generation: &GenerationConfig,
    encoder: &CaptionEncoder,
) -> Vec<Vec<Hypothesis>> {
    let special = encoder.sequences().tokenizer().special();
    let mut steps = CaptionSteps::new(model, input, special.mask);
    match generation.num_beams {
        1 => greedy(&mut steps, generation, special)
            .into_iter()
            .map(|caption| vec![caption])
            .collect(),
        _ => beam_search(&mut steps, generation, special),
    }
}

/// The captioner of a checkpoint.
pub(crate) fn load<B: OscarBackend>(
    checkpoint: &TaskCheckpoint<Captioning>,
    device: &B::Device,
) -> Result<OscarForCaptioning<B>, FinetuneError> {
    let model = checkpoint.load(OscarForCaptioning::new(&checkpoint.model, device))?;
    Ok(model.for_inference())
}

/// The best captions of one image.
pub(crate) fn answer<B: OscarBackend>(
    checkpoint: &TaskCheckpoint<Captioning>,
    question: &Question,
    device: &B::Device,
) -> Result<Vec<(String, f32)>, FinetuneError> {
    let wrong = |found: String| FinetuneError::Question { found };
    if question.text.is_some() {
        let found = "captioning reads no --text: it writes one; leave it out";
        return Err(wrong(found.into()));
    }
    let [(tags, regions)] = &question.images[..] else {
        let found = format!(
            "{} --image given; a caption is of one",
            question.images.len()
        );
        return Err(wrong(found));
    };
    let task = &checkpoint.task;
    let sequences = (*checkpoint.encoder).clone();
    let encoder = CaptionEncoder::new(sequences, task.max_caption_length, task.masking())?;
    let tokenizer = encoder.sequences().tokenizer().clone();
    let context = encoder.encode_context("--image".into(), &tokenizer.encode(tags), regions);
    let wanted = question.top.clamp(1, 64);
    let generation = GenerationConfig {
        num_keep_best: wanted,
        num_beams: task.generation.num_beams.max(wanted),
        ..task.generation.clone()
    };
    let input = encoder.batch_contexts(&[context], generation.max_length, device)?;
    let model = load::<B>(checkpoint, device)?;
    let found = search(&model, input, &generation, &encoder);
    let found = found.into_iter().flatten();
    Ok(found
        .map(|caption| (tokenizer.decode(&caption.ids), caption.score.exp() as f32))
        .collect())
}
