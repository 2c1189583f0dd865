//! The best word, each time.

use oscar_core::input::SpecialIds;
use oscar_core::model::CaptionSteps;
use oscar_core::ops::{self, OscarBackend};

use super::{Active, Caption, GenerationConfig, ends, log_probs};

/// Takes the best word each time; one caption per row of `steps`, which has one row per image.
///
/// The last place is `[SEP]`'s whatever word is best there, whose log-probability counts all the
/// same.
pub fn greedy<B: OscarBackend>(
    mut steps: CaptionSteps<'_, B>,
    config: &GenerationConfig,
    special: SpecialIds,
) -> Vec<Caption> {
    let (start, end) = ends(special);
    let images = steps.images();
    let mut captions: Vec<Vec<u32>> = vec![vec![start]; images];
    let mut sums = vec![(0.0f64, 0usize); images];
    let mut done = vec![false; images];
    let mut active = Active::all(images);
    for length in 2..=config.max_length {
        let newest = |image: &usize| captions[*image].last().copied().unwrap_or(start);
        let tokens: Vec<u32> = active.images.iter().map(newest).collect();
        let so_far: Vec<&[u32]> = active.images.iter().map(|i| &captions[*i][..]).collect();
        let scores = log_probs(steps.next(&tokens), &so_far, config.repetition_penalty);
        let best = ops::top_k(scores, 1);
        for (image, best) in active.images.iter().zip(best.rows()) {
            let (word, log_prob) = best[0];
            if done[*image] {
                // What follows its end is not read.
                captions[*image].push(special.pad);
                continue;
            }
            sums[*image].0 += f64::from(log_prob);
            sums[*image].1 += 1;
            done[*image] = word == end || length == config.max_length;
            captions[*image].push(if done[*image] { end } else { word });
        }
        if let Some(stay) = active.shrink(|image| done[image]) {
            if stay.is_empty() {
                break;
            }
            steps.select(Some(&stay), &stay);
            active.keep(&stay);
        }
    }
    captions
        .into_iter()
        .zip(sums)
        .map(|(ids, (sum, count))| Caption {
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
