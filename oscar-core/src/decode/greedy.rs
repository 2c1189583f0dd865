//! The best word, each time.

use super::{Active, Boundaries, Decoder, GenerationConfig, Hypothesis, log_probs};
use crate::ops::{self, OscarBackend};

/// Takes the best word each time: one text per image.
///
/// The last position is the end's whatever word is best there, whose log-probability counts all the
/// same.
pub fn greedy<B: OscarBackend>(
    decoder: &mut (impl Decoder<B> + ?Sized),
    config: &GenerationConfig,
    boundaries: impl Into<Boundaries>,
) -> Vec<Hypothesis> {
    let Boundaries { start, end, pad } = boundaries.into();
    let images = decoder.images();
    let mut texts: Vec<Vec<u32>> = vec![vec![start]; images];
    let mut sums = vec![(0.0f64, 0usize); images];
    let mut done = vec![false; images];
    let mut active = Active::all(images);
    for length in 2..=config.max_length {
        let newest = |image: &usize| texts[*image].last().copied().unwrap_or(start);
        let tokens: Vec<u32> = active.images.iter().map(newest).collect();
        let so_far: Vec<&[u32]> = active.images.iter().map(|i| &texts[*i][..]).collect();
        let scores = log_probs(decoder.next(&tokens), &so_far, config.repetition_penalty);
        let best = ops::top_k(scores, 1);
        for (image, best) in active.images.iter().zip(best.rows()) {
            let (word, log_prob) = best[0];
            if done[*image] {
                // Whatever follows the end is ignored.
                texts[*image].push(pad);
                continue;
            }
            sums[*image].0 += f64::from(log_prob);
            sums[*image].1 += 1;
            done[*image] = word == end || length == config.max_length;
            texts[*image].push(if done[*image] { end } else { word });
        }
        if let Some(stay) = active.shrink(|image| done[image]) {
            if stay.is_empty() {
                break;
            }
            decoder.select(Some(&stay), &stay);
            active.keep(&stay);
        }
    }
    texts
        .into_iter()
        .zip(sums)
        .map(|(ids, (sum, count))| Hypothesis {
            ids: words(&ids, end),
            score: sum / count.max(1) as f64,
        })
        .collect()
}

/// The tokens between the first and the end.
pub(super) fn words(ids: &[u32], end: u32) -> Vec<u32> {
    let until = ids.iter().position(|id| *id == end);
    ids[1..until.unwrap_or(ids.len())].to_vec()
}
