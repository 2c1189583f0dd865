//! Beam search as the official code does it.
//!
//! | | rule |
//! |---|---|
//! | candidates | of all beams of an image, the `2 * num_beams` best next words |
//! | an end | finishes a hypothesis: sum of log-probabilities over length (the first token counted, the end not) to the power of the penalty |
//! | other words | continue as beams, the best first, until there are `num_beams` |
//! | the last position | finishes all candidates without their word, whose log-probability counts all the same |
//! | an image is done | when no candidate, at full length, can be better than the worst finished hypothesis |

use super::{Active, Boundaries, Decoder, GenerationConfig, Hypothesis, log_probs};
use crate::ops::{self, OscarBackend};

/// A hypothesis that has not ended.
#[derive(Clone, Debug)]
struct Beam {
    /// With the first token.
    ids: Vec<u32>,
    /// Sum of the log-probabilities, in the precision of the logits, as officially.
    sum: f32,
}

/// The best finished hypotheses of an image.
#[derive(Clone, Debug)]
struct Finished {
    /// Score and tokens, with the first one.
    kept: Vec<(f64, Vec<u32>)>,
    keep: usize,
    length_penalty: f64,
    /// Most tokens, without the first one.
    longest: usize,
}

impl Finished {
    fn worst(&self) -> f64 {
        self.kept.iter().fold(f64::INFINITY, |a, (b, _)| a.min(*b))
    }

    fn add(&mut self, ids: &[u32], sum: f32) {
        let score = f64::from(sum) / (ids.len() as f64).powf(self.length_penalty);
        if self.kept.len() == self.keep && score <= self.worst() {
            return;
        }
        self.kept.push((score, ids.to_vec()));
        if self.kept.len() > self.keep {
            // Of equal ones the first, as it was found first.
            let worst = (0..self.kept.len()).reduce(|a, b| match self.kept[b].0 < self.kept[a].0 {
                true => b,
                false => a,
            });
            if let Some(worst) = worst {
                self.kept.remove(worst);
            }
        }
    }

    /// Whether no candidate can be kept any more, if the best of them has this sum.
    fn is_done(&self, best: f32) -> bool {
        let reachable = f64::from(best) / (self.longest as f64).powf(self.length_penalty);
        self.kept.len() == self.keep && self.worst() >= reachable
    }

    fn hypotheses(mut self) -> Vec<Hypothesis> {
        self.kept.sort_by(|a, b| b.0.total_cmp(&a.0));
        let kept = self.kept.into_iter();
        kept.map(|(score, ids)| Hypothesis {
            ids: ids[1..].to_vec(),
            score,
        })
        .collect()
    }
}

/// The best texts of each image, at most `num_keep_best`, best first.
pub fn beam_search<B: OscarBackend>(
    decoder: &mut (impl Decoder<B> + ?Sized),
    config: &GenerationConfig,
    boundaries: impl Into<Boundaries>,
) -> Vec<Vec<Hypothesis>> {
    let Boundaries { start, end, pad } = boundaries.into();
    let images = decoder.images();
    let mut finished: Vec<Finished> = vec![
        Finished {
            kept: Vec::new(),
            keep: config.num_keep_best,
            length_penalty: config.length_penalty,
            longest: config.max_length - 1,
        };
        images
    ];
    let mut done = vec![false; images];
    let first = Beam {
        ids: vec![start],
        sum: 0.0,
    };
    // All beams of an image start alike: one is enough until there are different words.
    let mut beams: Vec<Vec<Beam>> = vec![vec![first]; images];
    let mut active = Active::all(images);
    for length in 2..=config.max_length {
        let of_active = active.images.iter().flat_map(|image| &beams[*image]);
        let newest = |beam: &Beam| beam.ids.last().copied().unwrap_or(start);
        let tokens: Vec<u32> = of_active.clone().map(newest).collect();
        let so_far: Vec<&[u32]> = of_active.map(|beam| &beam.ids[..]).collect();
        let scores = log_probs(decoder.next(&tokens), &so_far, config.repetition_penalty);
        let best = ops::top_k(scores, 2 * config.num_beams);
        let best: Vec<&[(u32, f32)]> = best.rows().collect();

        let width = best.len() / active.images.len();
        let last = length == config.max_length;
        let mut parents = Vec::with_capacity(active.images.len());
        for (place, image) in active.images.iter().enumerate() {
            let own = &best[place * width..(place + 1) * width];
            let candidates = candidates(&beams[*image], own, 2 * config.num_beams);
            let highest = candidates.first().map_or(f32::NEG_INFINITY, |best| best.2);
            done[*image] |= finished[*image].is_done(highest);
            let mut next = Vec::with_capacity(config.num_beams);
            if !done[*image] {
                for (beam, word, sum) in candidates {
                    let ids = &beams[*image][beam].ids;
                    if word == end || last {
                        finished[*image].add(ids, sum);
                    } else {
                        let mut ids = ids.clone();
                        ids.push(word);
                        next.push((beam, Beam { ids, sum }));
                    }
                    if next.len() == config.num_beams {
                        break;
                    }
                }
            }
            parents.push(next);
        }
        if last || done.iter().all(|done| *done) {
            break;
        }
        // A vocabulary of few words may leave fewer beams; and rows of images that are done are
        // computed but not read.
        let rows = parents.iter().enumerate().flat_map(|(place, next)| {
            let beams = (0..config.num_beams).map(move |beam| next.get(beam).or(next.first()));
            beams.map(move |beam| place * width + beam.map_or(0, |(parent, _)| *parent))
        });
        let rows: Vec<usize> = rows.collect();
        for (image, next) in active.images.iter().zip(&parents) {
            let fill = || Beam {
                ids: vec![pad; length],
                sum: f32::NEG_INFINITY,
            };
            let mut next: Vec<Beam> = next.iter().map(|(_, beam)| beam.clone()).collect();
            next.resize_with(config.num_beams, fill);
            beams[*image] = next;
        }
        let stay = active.shrink(|image| done[image]);
        let rows = match &stay {
            None => rows,
            Some(stay) => {
                let of_image = |at: &usize| at * config.num_beams..(at + 1) * config.num_beams;
                stay.iter().flat_map(of_image).map(|at| rows[at]).collect()
            }
        };
        decoder.select(stay.as_deref(), &rows);
        if let Some(stay) = stay {
            active.keep(&stay);
        }
    }
    finished.into_iter().map(Finished::hypotheses).collect()
}

/// Beam, next word and sum of the best continuations, the best first.
fn candidates(beams: &[Beam], best: &[&[(u32, f32)]], most: usize) -> Vec<(usize, u32, f32)> {
    let mut candidates: Vec<(usize, u32, f32)> = beams
        .iter()
        .zip(best)
        .enumerate()
        .flat_map(|(beam, (own, words))| {
            let on = |&(word, log_prob): &(u32, f32)| (beam, word, own.sum + log_prob);
            words.iter().map(on).collect::<Vec<_>>()
        })
        .filter(|(_, _, sum)| *sum > f32::NEG_INFINITY)
        .collect();
    candidates.sort_by(|a, b| b.2.total_cmp(&a.2));
    candidates.truncate(most);
    candidates
}
