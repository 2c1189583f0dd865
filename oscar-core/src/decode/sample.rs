//! Words sampled by their probability.
//!
//! A sample depends on a seed, the text's number and the word's position alone, not on the batch.
//! The log-probabilities are tensors: with a backend that computes gradients, they have gradients.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData, activation};
use rand::Rng;
use rayon::prelude::*;

use super::{Boundaries, Decoder, Hypothesis, filter::top_k_top_p, greedy::words, penalise};
use crate::input::ExampleSeed;
use crate::ops::OscarBackend;

/// Added to the logits of words that are filtered out.
const NEVER: f32 = -1e9;

/// How words are sampled.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleConfig {
    /// Most tokens, the first and the end included.
    pub max_length: usize,
    /// Divides the logits: below 1 likely words become more likely, above 1 less.
    pub temperature: f64,
    /// Samples from this number of the best words; 0 for all.
    pub top_k: usize,
    /// Samples from the best words that together have this probability.
    pub top_p: f64,
    /// Divides positive logits of words that the text has already, and multiplies negative ones.
    pub repetition_penalty: f64,
}

impl Default for SampleConfig {
    /// From all words, by the model's probabilities.
    fn default() -> Self {
        Self {
            max_length: 20,
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            repetition_penalty: 1.0,
        }
    }
}

impl SampleConfig {
    fn filters(&self) -> bool {
        self.top_k > 0 || self.top_p < 1.0
    }
}

/// Random numbers of texts: a function of the seed, the text and the word's position.
#[derive(Clone, Debug)]
pub struct Draws {
    /// Seed and epoch, and the number of the text, for each row.
    pub rows: Vec<(ExampleSeed, usize)>,
}

impl Draws {
    /// From 0 to 1, for the word at `position` of row `row`.
    fn uniform(&self, row: usize, position: usize) -> f64 {
        let (seed, number) = self.rows[row];
        let seed = ExampleSeed {
            seed: seed.seed ^ (position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            ..seed
        };
        seed.rng(number).random()
    }
}

/// Sampled texts.
#[derive(Debug)]
pub struct Sampled<B: Backend> {
    /// One per row of the decoder.
    pub texts: Vec<Hypothesis>,
    /// Mean log-probability of each text's words, its end included, `[rows]`.
    pub mean_log_probs: Tensor<B, 1>,
}

/// Samples a text for each row of `decoder`.
pub fn sample<B: OscarBackend>(
    decoder: &mut (impl Decoder<B> + ?Sized),
    config: &SampleConfig,
    boundaries: impl Into<Boundaries>,
    draws: &Draws,
) -> Sampled<B> {
    let Boundaries { start, end, pad } = boundaries.into();
    let (rows, device) = (decoder.rows(), decoder.device());
    let mut texts: Vec<Vec<u32>> = vec![vec![start]; rows];
    let mut tokens = vec![start; rows];
    let mut done = vec![false; rows];
    let mut counts = vec![0usize; rows];
    let mut sum = Tensor::<B, 1>::zeros([rows], &device);
    for length in 2..=config.max_length {
        let so_far: Vec<&[u32]> = texts.iter().map(|text| &text[..]).collect();
        let logits = penalise(decoder.next(&tokens), &so_far, config.repetition_penalty);
        let logits = match config.temperature {
            1.0 => logits,
            temperature => logits / temperature,
        };
        let (logits, drawn) = draw(logits, config, |row| draws.uniform(row, length));
        let log_probs = of_words(logits, &drawn, rows);
        let unfinished: Vec<f32> = done.iter().map(|done| f32::from(!*done)).collect();
        let unfinished = Tensor::from_data(TensorData::new(unfinished, [rows]), &device);
        sum = sum + log_probs * unfinished;
        for (row, word) in drawn.into_iter().enumerate() {
            let word = match (done[row], length == config.max_length) {
                (true, _) => pad,
                (false, true) => end,
                (false, false) => word,
            };
            counts[row] += usize::from(!done[row]);
            done[row] |= word == end;
            texts[row].push(word);
            tokens[row] = word;
        }
        if done.iter().all(|done| *done) {
            break;
        }
    }
    let counts: Vec<f32> = counts.into_iter().map(|count| count as f32).collect();
    let mean_log_probs = sum / Tensor::from_data(TensorData::new(counts, [rows]), &device);
    let scores: Vec<f32> = host(mean_log_probs.clone());
    let texts = texts.iter().zip(scores).map(|(ids, score)| Hypothesis {
        ids: words(ids, end),
        score: f64::from(score),
    });
    Sampled {
        texts: texts.collect(),
        mean_log_probs,
    }
}

/// A word of each row, and the logits with those of filtered words lowered.
fn draw<B: Backend>(
    logits: Tensor<B, 2>,
    config: &SampleConfig,
    uniform: impl Fn(usize) -> f64 + Sync,
) -> (Tensor<B, 2>, Vec<u32>) {
    let [rows, vocab] = logits.dims();
    let mut values: Vec<f32> = host(logits.clone());
    let drawn = values
        .par_chunks_mut(vocab)
        .enumerate()
        .map(|(row, logits)| {
            if config.filters() {
                top_k_top_p(logits, config.top_k, config.top_p, 1);
            }
            choose(logits, uniform(row))
        })
        .collect();
    if !config.filters() {
        return (logits, drawn);
    }
    let closed = values.iter().map(|logit| match logit.is_finite() {
        true => 0.0,
        false => NEVER,
    });
    let closed = TensorData::new(closed.collect::<Vec<f32>>(), [rows, vocab]);
    let device = logits.device();
    (logits + Tensor::from_data(closed, &device), drawn)
}

/// The word at which the probabilities, added up, reach `uniform`.
fn choose(logits: &[f32], uniform: f64) -> u32 {
    let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: &f32| f64::from((logit - best).exp());
    let total: f64 = logits.iter().map(weight).sum();
    let mut left = uniform * total;
    let mut last = 0;
    for (word, logit) in logits.iter().enumerate() {
        let weight = weight(logit);
        if weight > 0.0 {
            last = word;
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
    }
    last as u32
}

/// The log-probability of a word of each row, `[rows]`.
fn of_words<B: Backend>(logits: Tensor<B, 2>, words: &[u32], rows: usize) -> Tensor<B, 1> {
    let words: Vec<i32> = words.iter().map(|word| *word as i32).collect();
    let device = logits.device();
    let words = Tensor::<B, 2, Int>::from_data(TensorData::new(words, [rows, 1]), &device);
    activation::log_softmax(logits, 1)
        .gather(1, words)
        .reshape([rows])
}

fn host<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_drawn_by_their_probability() {
        let logits = [0.0, f32::NEG_INFINITY, 0.6f32.ln(), 0.4f32.ln()].map(|x: f32| x);
        // Weights 1, 0, 0.6, 0.4 of 2.
        for (uniform, word) in [(0.0, 0), (0.49, 0), (0.51, 2), (0.79, 2), (0.81, 3)] {
            assert_eq!(choose(&logits, uniform), word, "{uniform}");
        }
        assert_eq!(choose(&logits, 1.0), 3);
    }

    #[test]
    fn draws_depend_on_seed_caption_and_place() {
        let draws = |seed, captions: &[usize]| {
            let seed = ExampleSeed { seed, epoch: 3 };
            let rows = captions.iter().map(|caption| (seed, *caption)).collect();
            Draws { rows }
        };
        let one = draws(1, &[4, 9]);
        assert_eq!(one.uniform(1, 2), draws(1, &[9]).uniform(0, 2));
        assert_ne!(one.uniform(0, 2), one.uniform(1, 2));
        assert_ne!(one.uniform(0, 2), one.uniform(0, 3));
        assert_ne!(one.uniform(0, 2), draws(2, &[4]).uniform(0, 2));
    }
}
