//! Captions of all images of a split, or of those that are asked about.

use std::time::Instant;

use oscar_core::decode::{
    Automaton, ConstrainedSearch, GenerationConfig, Hypothesis, beam_search, constrained_search,
    greedy,
};
use oscar_core::input::{CaptionEncoder, EncodedSequence, OscarInput, SourceError};
use oscar_core::model::{CaptionSteps, OscarForCaptioning};
use oscar_core::ops::OscarBackend;
use oscar_task::batches::{run_sorted, run_split};
use oscar_task::{
    Answer, Ask, EvaluateOptions, Opened, Predict, Seen, TaskCheckpoint, TaskError, Throughput,
};

use crate::data::CaptionData;
use crate::task::Captioning;

/// Images per batch where questions are asked.
const BATCH: usize = 32;

/// Most captions of an image.
const MOST: usize = 64;

/// An opened captioner.
pub struct Captioner<B: OscarBackend> {
    /// The network.
    pub network: OscarForCaptioning<B>,
    /// Encodes captions and images.
    pub encoder: CaptionEncoder,
}

/// The captions of an image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Described {
    /// Text and confidence (the exponential of the score), the best first.
    pub captions: Vec<(String, f64)>,
    /// Tokens of the best.
    pub ids: Vec<u32>,
    /// Number of its constraints, and of those that it satisfies.
    pub constraints: (usize, usize),
}

impl Predict for Captioning {
    type Model<B: OscarBackend> = Captioner<B>;

    fn load<B: OscarBackend>(
        checkpoint: &TaskCheckpoint<Self>,
        device: &B::Device,
    ) -> Result<Captioner<B>, TaskError> {
        let network = checkpoint.load(OscarForCaptioning::new(&checkpoint.model, device))?;
        Ok(Captioner {
            network: network.for_inference(),
            encoder: checkpoint.task.encoder((*checkpoint.encoder).clone())?,
        })
    }

    fn ask<B: OscarBackend>(
        opened: &Opened<Self, B>,
        asks: &[Ask],
    ) -> Result<Vec<Vec<Answer>>, TaskError> {
        let mut answers = Vec::with_capacity(asks.len());
        for same in asks.chunk_by(|a, b| a.top == b.top) {
            let contexts = same.iter().map(|ask| Ok(subject(opened, ask)?.context));
            let contexts = contexts.collect::<Result<Vec<_>, TaskError>>()?;
            let generation = keeping(&opened.checkpoint.task, same[0].top);
            let search = |contexts: &[EncodedSequence]| search(opened, contexts, &generation);
            let found = run_sorted(contexts, BATCH, EncodedSequence::len, search)?;
            answers.extend(
                found
                    .into_iter()
                    .map(|captions| opened.model.answers(captions)),
            );
        }
        Ok(answers)
    }
}

impl<B: OscarBackend> Captioner<B> {
    /// Captions as answers.
    pub(crate) fn answers(&self, captions: Vec<Hypothesis>) -> Vec<Answer> {
        let tokenizer = self.encoder.sequences().tokenizer();
        let captions = captions.into_iter();
        let answer = |caption: Hypothesis| {
            Answer::new(tokenizer.decode(&caption.ids), caption.score.exp() as f32)
        };
        captions.map(answer).collect()
    }
}

/// The task's generation, of the `wanted` best captions.
pub(crate) fn keeping(task: &Captioning, wanted: usize) -> GenerationConfig {
    let wanted = wanted.clamp(1, MOST);
    GenerationConfig {
        num_keep_best: wanted,
        num_beams: task.generation.num_beams.max(wanted),
        ..task.generation.clone()
    }
}

/// An image to describe.
pub(crate) struct Subject {
    pub tags: Vec<u32>,
    pub regions: oscar_core::input::RegionHandle,
    pub context: EncodedSequence,
}

/// The image that is asked about.
pub(crate) fn subject<B: OscarBackend>(
    opened: &Opened<Captioning, B>,
    ask: &Ask,
) -> Result<Subject, TaskError> {
    let wrong = |found: &str| Err(TaskError::Question(found.into()));
    if ask.text.is_some() {
        return wrong("captioning takes no text: it writes one");
    }
    let [image] = &ask.images[..] else {
        let found = ask.images.len();
        return wrong(&format!("captioning takes exactly one image (got {found})"));
    };
    let Seen::Regions { tags, regions } = image else {
        return wrong("captioning takes an image with its regions (got tags alone)");
    };
    let encoder = &opened.model.encoder;
    let tags = encoder.sequences().tokenizer().encode(tags);
    Ok(Subject {
        context: encoder.encode_context("the image".into(), &tags, regions),
        tags,
        regions: regions.clone(),
    })
}

/// The best captions of images that have no constraints.
pub(crate) fn search<B: OscarBackend>(
    opened: &Opened<Captioning, B>,
    contexts: &[EncodedSequence],
    generation: &GenerationConfig,
) -> Result<Vec<Vec<Hypothesis>>, TaskError> {
    let Captioner { network, encoder } = &opened.model;
    let input = encoder.batch_contexts(contexts, generation.max_length, &opened.device)?;
    Ok(captions(network, input, generation, encoder))
}

fn captions<B: OscarBackend>(
    network: &OscarForCaptioning<B>,
    input: OscarInput<B>,
    generation: &GenerationConfig,
    encoder: &CaptionEncoder,
) -> Vec<Vec<Hypothesis>> {
    let special = encoder.sequences().tokenizer().special();
    let mut steps = CaptionSteps::new(network, input, special.mask);
    match generation.num_beams {
        1 => greedy(&mut steps, generation, special)
            .into_iter()
            .map(|caption| vec![caption])
            .collect(),
        _ => beam_search(&mut steps, generation, special),
    }
}

/// Captions of every image of `data`, in order.
///
/// # Errors
///
/// If an image cannot be read, or the model's vocabulary lacks a word of a constraint.
pub(crate) fn describe<B: OscarBackend>(
    opened: &Opened<Captioning, B>,
    data: &CaptionData,
    options: &EvaluateOptions<'_>,
) -> Result<(Vec<Described>, Throughput), SourceError> {
    let started = Instant::now();
    let mut tokens = 0;
    let described = run_split(
        0..data.images().len(),
        options.batch_size,
        |image| Ok((image, data.context(image)?)),
        |(_, context)| context.len(),
        |batch| {
            let (images, contexts): (Vec<usize>, Vec<EncodedSequence>) =
                batch.iter().cloned().unzip();
            tokens += contexts.iter().map(EncodedSequence::len).sum::<usize>();
            let longest = opened.checkpoint.task.generation.max_length;
            let input = data
                .encoder()
                .batch_contexts(&contexts, longest, &opened.device)?;
            describe_batch(opened, data, &images, input)
        },
        options.progress,
    )?;
    let throughput = Throughput {
        examples: described.len(),
        tokens,
        seconds: started.elapsed().as_secs_f64(),
    };
    Ok((described, throughput))
}

fn describe_batch<B: OscarBackend>(
    opened: &Opened<Captioning, B>,
    data: &CaptionData,
    images: &[usize],
    input: OscarInput<B>,
) -> Result<Vec<Described>, SourceError> {
    let task = &opened.checkpoint.task;
    let network = &opened.model.network;
    let tokenizer = data.encoder().sequences().tokenizer();
    let described = |captions: Vec<Hypothesis>| Described {
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
        let found = captions(network, input, &task.generation, data.encoder());
        return Ok(found.into_iter().map(described).collect());
    };
    let automata = images.iter().map(|image| {
        let key = &data.images()[*image].regions_key;
        constraints.automaton(key, tokenizer)
    });
    let automata: Vec<Automaton> = automata.collect::<Result<_, _>>()?;
    let special = tokenizer.special();
    let mut steps = CaptionSteps::new(network, input, special.mask);
    let config = ConstrainedSearch {
        max_length: task.generation.max_length,
        num_beams: task.generation.num_beams,
        min_satisfied: task.constraints.min_satisfied,
        first_of_batch: task.constraints.official,
    };
    let found = constrained_search(&mut steps, &automata, &config, special);
    let found = found.into_iter().zip(&automata);
    Ok(found
        .map(|((caption, satisfied), automaton)| Described {
            constraints: (automaton.constraints(), satisfied),
            ..described(vec![caption])
        })
        .collect())
}
