//! Writing captions: by every method, for a batch of embeddings.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use oscar_core::decode::{Boundaries, Draws, Hypothesis, beam_search, sample};
use oscar_core::input::ExampleSeed;
use oscar_core::ops::OscarBackend;

use crate::decode::{OfficialSearch, Written, official_beam, official_greedy};
use crate::gpt2::Gpt2Tokenizer;
use crate::model::{ClipCap, PADDING};
use crate::task::{Generation, Method};

/// Embeddings `[rows.len(), dim]` on the device.
pub(crate) fn embeddings<B: Backend>(rows: &[Vec<f32>], device: &B::Device) -> Tensor<B, 2> {
    let dim = rows.first().map_or(0, Vec::len);
    let values = TensorData::new(rows.concat(), [rows.len(), dim]);
    Tensor::from_data(values, device)
}

/// The captions of pictures with these embeddings, the best first; `numbers` are the pictures', of
/// which samples are a function.
pub(crate) fn write<B: OscarBackend>(
    model: &ClipCap<B>,
    embeddings: Tensor<B, 2>,
    numbers: &[usize],
    generation: &Generation,
    tokenizer: &Gpt2Tokenizer,
) -> Vec<Vec<Written>> {
    let stop = tokenizer.encode(&generation.stop);
    let stop = stop.first().copied().unwrap_or(PADDING);
    let boundaries = Boundaries {
        start: PADDING,
        end: stop,
        pad: PADDING,
    };
    let mut steps = model.steps(embeddings);
    let most = generation.max_tokens;
    let one = |caption: Written| vec![caption];
    let stopped = |found: Hypothesis| with_stop(found, stop, most);
    match generation.method {
        Method::Greedy | Method::OfficialNucleus => {
            let captions = official_greedy(&mut steps, most, stop);
            captions.into_iter().map(one).collect()
        }
        Method::OfficialBeam => {
            let search = OfficialSearch {
                beams: generation.num_beams,
                max_tokens: most,
                temperature: generation.temperature,
                stop,
            };
            let kept = generation.num_keep_best;
            let found = official_beam(&mut steps, &search).into_iter();
            found
                .map(|beams| beams.into_iter().take(kept).map(Written::from).collect())
                .collect()
        }
        Method::Beam => {
            let found = beam_search(&mut steps, &generation.beam(), boundaries);
            let captions = found.into_iter();
            captions
                .map(|captions| captions.into_iter().map(stopped).collect())
                .collect()
        }
        Method::Sample => {
            let seed = ExampleSeed {
                seed: generation.seed,
                epoch: 0,
            };
            let draws = Draws {
                rows: numbers.iter().map(|number| (seed, *number)).collect(),
            };
            let found = sample(&mut steps, &generation.sample(), boundaries, &draws);
            found
                .texts
                .into_iter()
                .map(|text| one(stopped(text)))
                .collect()
        }
    }
}

/// A hypothesis as it is read: the searches leave the stop token out. One that is as long as allowed may
/// have been cut, and gets none.
fn with_stop(found: Hypothesis, stop: u32, most: usize) -> Written {
    let mut ids = found.ids;
    if ids.len() + 1 < most {
        ids.push(stop);
    }
    Written {
        ids,
        score: found.score as f32,
    }
}
