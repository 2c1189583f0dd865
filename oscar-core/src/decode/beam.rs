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
    /// The beam of the step before that it continues.
    parent: usize,
}

/// The search for the texts of an image.
#[derive(Clone, Debug)]
struct Search {
    beams: Vec<Beam>,
    finished: Finished,
    done: bool,
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

impl Search {
    /// Continues the beams by their best next `words`; at the `last` position they all end.
    fn advance(
        &mut self,
        words: &[&[(u32, f32)]],
        num_beams: usize,
        last: bool,
        Boundaries { end, pad, .. }: Boundaries,
    ) {
        let candidates = candidates(&self.beams, words, 2 * num_beams);
        let highest = candidates.first().map_or(f32::NEG_INFINITY, |best| best.2);
        self.done |= self.finished.is_done(highest);
        let mut next: Vec<Beam> = Vec::with_capacity(num_beams);
        if !self.done {
            for (parent, word, sum) in candidates {
                let mut ids = self.beams[parent].ids.clone();
                if word == end || last {
                    self.finished.add(&ids, sum);
                } else {
                    ids.push(word);
                    next.push(Beam { ids, sum, parent });
                }
                if next.len() == num_beams {
                    break;
                }
            }
        }
        // A vocabulary of few words may leave fewer beams; and those of an image that is done are
        // computed but not read.
        let fill = Beam {
            ids: vec![pad; self.beams[0].ids.len() + 1],
            sum: f32::NEG_INFINITY,
            parent: next.first().map_or(0, |beam| beam.parent),
        };
        next.resize(num_beams, fill);
        self.beams = next;
    }
}

/// The best texts of each image, at most `num_keep_best`, best first.
pub fn beam_search<B: OscarBackend>(
    decoder: &mut (impl Decoder<B> + ?Sized),
    config: &GenerationConfig,
    boundaries: impl Into<Boundaries>,
) -> Vec<Vec<Hypothesis>> {
    let boundaries = boundaries.into();
    let search = Search {
        // All beams of an image start alike: one is enough until there are different words.
        beams: vec![Beam {
            ids: vec![boundaries.start],
            sum: 0.0,
            parent: 0,
        }],
        finished: Finished {
            kept: Vec::new(),
            keep: config.num_keep_best,
            length_penalty: config.length_penalty,
            longest: config.max_length - 1,
        },
        done: false,
    };
    let mut searches = vec![search; decoder.images()];
    let mut active = Active::all(searches.len());
    for length in 2..=config.max_length {
        let beams = active
            .images
            .iter()
            .flat_map(|image| &searches[*image].beams);
        let so_far: Vec<&[u32]> = beams.map(|beam| &beam.ids[..]).collect();
        let tokens: Vec<u32> = so_far.iter().map(|ids| ids[ids.len() - 1]).collect();
        let scores = log_probs(decoder.next(&tokens), &so_far, config.repetition_penalty);
        let best = ops::top_k(scores, 2 * config.num_beams);
        let best: Vec<&[(u32, f32)]> = best.rows().collect();

        let (width, last) = (
            best.len() / active.images.len(),
            length == config.max_length,
        );
        for (words, image) in best.chunks(width).zip(&active.images) {
            searches[*image].advance(words, config.num_beams, last, boundaries);
        }
        if last || searches.iter().all(|search| search.done) {
            break;
        }
        let stay = active.shrink(|image| searches[image].done);
        let kept = stay
            .clone()
            .unwrap_or_else(|| (0..active.images.len()).collect());
        let rows = kept.iter().flat_map(|place| {
            let beams = searches[active.images[*place]].beams.iter();
            beams.map(move |beam| place * width + beam.parent)
        });
        decoder.select(stay.as_deref(), &rows.collect::<Vec<_>>());
        if let Some(stay) = stay {
            active.keep(&stay);
        }
    }
    let finished = searches.into_iter().map(|search| search.finished);
    finished.map(Finished::hypotheses).collect()
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
