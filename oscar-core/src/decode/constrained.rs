//! Beam search for texts with given words (Anderson et al., EMNLP 2017).
//!
//! Each state of an image's [`Automaton`] has beams of its own, so that a text with an unlikely
//! word does not have to compete with those without. States that have not been reached yet have
//! no beam: a step computes only the hypotheses that exist.
//!
//! | | rule |
//! |---|---|
//! | a state's beams | the best `num_beams` of all transitions into it, up to `num_beams` from each hypothesis of each state |
//! | an end | keeps a hypothesis in its beam as it is |
//! | the result | of the best hypothesis of each state in which enough constraints are satisfied, the one with the highest log-probability over length (the end counted) |

use burn::tensor::{Int, Tensor, TensorData};

use super::{Automaton, Boundaries, Decoder, Hypothesis, log_probs};
use crate::ops::{self, OscarBackend};

/// How to search under constraints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConstrainedSearch {
    /// Most tokens, the first and the end included.
    pub max_length: usize,
    /// Hypotheses of each state.
    pub num_beams: usize,
    /// Number of constraints that a text has to satisfy, or all of them if there are fewer.
    pub min_satisfied: usize,
    /// Chooses the first words of all images of a batch by the logits of its first image: a mistake
    /// of the official code, to compare with it.
    pub first_of_batch: bool,
}

impl Default for ConstrainedSearch {
    /// NoCaps as published.
    fn default() -> Self {
        Self {
            max_length: 20,
            num_beams: 5,
            min_satisfied: 2,
            first_of_batch: false,
        }
    }
}

/// A hypothesis that may have ended.
#[derive(Clone, Debug)]
struct Partial {
    state: usize,
    /// Without the first token and the end.
    ids: Vec<u32>,
    sum: f32,
    ended: bool,
    /// Its index among the rows of its image that are computed; unused once it has ended.
    row: usize,
}

/// A transition of a hypothesis to another state.
struct Transition<'a> {
    from: &'a Partial,
    /// None if the hypothesis has ended.
    word: Option<u32>,
    sum: f32,
}

/// The best text of each image that satisfies enough constraints of its automaton; where none does,
/// of those that satisfy most. The second value is how many constraints it satisfies.
///
/// # Panics
///
/// If the numbers of automata and images differ.
pub fn constrained_search<B: OscarBackend>(
    decoder: &mut (impl Decoder<B> + ?Sized),
    automata: &[Automaton],
    config: &ConstrainedSearch,
    boundaries: impl Into<Boundaries>,
) -> Vec<(Hypothesis, usize)> {
    let Boundaries { start, end, .. } = boundaries.into();
    let images = decoder.images();
    assert_eq!(automata.len(), images, "an automaton for each image");
    let first = Partial {
        state: 0,
        ids: Vec::new(),
        sum: 0.0,
        ended: false,
        row: 0,
    };
    let mut hypotheses: Vec<Vec<Partial>> = vec![vec![first]; images];
    let mut active: Vec<usize> = (0..images).collect();
    let held_back = automata.iter().map(Automaton::most_held_back).max();
    let most = config.num_beams + held_back.unwrap_or(0);
    // The first token is one of them, and each step adds another.
    for length in 1..config.max_length {
        let width = decoder.rows() / active.len();
        let rows = rows_of(&active, &hypotheses, width);
        let newest = |row: &Option<&Partial>| {
            let ids = row.map(|hypothesis| hypothesis.ids.as_slice());
            ids.and_then(|ids| ids.last()).copied().unwrap_or(start)
        };
        let tokens: Vec<u32> = rows.iter().map(newest).collect();
        let mut logits = decoder.next(&tokens);
        if length == 1 && config.first_of_batch {
            logits = logits.narrow(0, 0, 1).repeat_dim(0, images);
        }
        let scores = log_probs(logits, &[], 1.0);
        let constrained = constrained_words::<B>(&scores, &rows, &active, automata, width);
        let best = ops::top_k(scores, most);
        let best: Vec<&[(u32, f32)]> = best.rows().collect();

        for (place, image) in active.iter().enumerate() {
            let own = place * width..(place + 1) * width;
            let known = Known {
                best: &best[own.clone()],
                constrained: &constrained[own],
            };
            let next = advance(&hypotheses[*image], &automata[*image], &known, config, end);
            hypotheses[*image] = next;
        }
        let stay: Vec<usize> = (0..active.len())
            .filter(|place| hypotheses[active[*place]].iter().any(|h| !h.ended))
            .collect();
        if stay.is_empty() {
            break;
        }
        // As many rows for each image as the one with most hypotheses has; the others repeat one.
        let parents = stay.iter().map(|place| {
            let live = hypotheses[active[*place]].iter().filter(|h| !h.ended);
            live.map(|h| place * width + h.row).collect::<Vec<_>>()
        });
        let parents: Vec<Vec<usize>> = parents.collect();
        let widest = parents.iter().map(Vec::len).max().unwrap_or(1);
        let rows: Vec<usize> = parents
            .iter()
            .flat_map(|own| (0..widest).map(|row| own[row.min(own.len() - 1)]))
            .collect();
        for place in &stay {
            let live = hypotheses[active[*place]].iter_mut().filter(|h| !h.ended);
            for (row, hypothesis) in live.enumerate() {
                hypothesis.row = row;
            }
        }
        let fewer = (stay.len() < active.len()).then_some(&stay[..]);
        decoder.select(fewer, &rows);
        active = stay.iter().map(|place| active[*place]).collect();
    }
    let results = hypotheses.iter().zip(automata);
    results
        .map(|(found, automaton)| choose(found, automaton, config))
        .collect()
}

/// The hypothesis in each row; rows without one are not read.
fn rows_of<'a>(
    active: &[usize],
    hypotheses: &'a [Vec<Partial>],
    width: usize,
) -> Vec<Option<&'a Partial>> {
    let mut rows = vec![None; active.len() * width];
    for (place, image) in active.iter().enumerate() {
        for hypothesis in hypotheses[*image].iter().filter(|h| !h.ended) {
            rows[place * width + hypothesis.row] = Some(hypothesis);
        }
    }
    rows
}

/// Log-probabilities of the words with transitions of their own, in the order of the transitions, per
/// row.
fn constrained_words<B: OscarBackend>(
    scores: &Tensor<B, 2>,
    rows: &[Option<&Partial>],
    active: &[usize],
    automata: &[Automaton],
    width: usize,
) -> Vec<Vec<f32>> {
    let words: Vec<Vec<u32>> = rows
        .iter()
        .enumerate()
        .map(|(row, hypothesis)| match hypothesis {
            None => Vec::new(),
            Some(hypothesis) => {
                let state = automata[active[row / width]].state(hypothesis.state);
                state.ways.iter().map(|(word, _)| *word).collect()
            }
        })
        .collect();
    let longest = words.iter().map(Vec::len).max().unwrap_or(0);
    if longest == 0 {
        return vec![Vec::new(); rows.len()];
    }
    let ids = words.iter().flat_map(|words| {
        let filled = (0..longest).map(|at| words.get(at).copied().unwrap_or(0));
        filled.map(|word| word as i32)
    });
    let ids = TensorData::new(ids.collect::<Vec<i32>>(), [rows.len(), longest]);
    let ids = Tensor::<B, 2, Int>::from_data(ids, &scores.device());
    let found = scores.clone().gather(1, ids).into_data();
    let found: Vec<f32> = found.iter::<f32>().collect();
    let rows = found.chunks_exact(longest).zip(&words);
    rows.map(|(found, words)| found[..words.len()].to_vec())
        .collect()
}

/// The scores of the next words of an image's rows.
struct Known<'a> {
    best: &'a [&'a [(u32, f32)]],
    constrained: &'a [Vec<f32>],
}

/// The beams of every state after one more word.
fn advance(
    hypotheses: &[Partial],
    automaton: &Automaton,
    known: &Known<'_>,
    config: &ConstrainedSearch,
    end: u32,
) -> Vec<Partial> {
    let mut ways: Vec<Vec<Transition<'_>>> = Vec::new();
    ways.resize_with(automaton.len(), Vec::new);
    for hypothesis in hypotheses {
        let mut go = |to: usize, word, sum| {
            ways[to].push(Transition {
                from: hypothesis,
                word,
                sum,
            });
        };
        if hypothesis.ended {
            for to in automaton.next(hypothesis.state, end) {
                go(to, None, hypothesis.sum);
            }
            continue;
        }
        let state = automaton.state(hypothesis.state);
        for ((word, to), log_prob) in state.ways.iter().zip(&known.constrained[hypothesis.row]) {
            go(*to, Some(*word), hypothesis.sum + log_prob);
        }
        let free = known.best[hypothesis.row].iter();
        free.filter(|(word, _)| !state.held_back.contains(word))
            .take(config.num_beams)
            .for_each(|(word, log_prob)| go(state.free, Some(*word), hypothesis.sum + log_prob));
    }
    let mut next = Vec::new();
    for (state, mut ways) in ways.into_iter().enumerate() {
        ways.sort_by(|a, b| b.sum.total_cmp(&a.sum));
        ways.truncate(config.num_beams);
        next.extend(ways.into_iter().map(|way| {
            let mut ids = way.from.ids.clone();
            let ended = way.word.is_none_or(|word| word == end);
            ids.extend(way.word.filter(|word| *word != end));
            Partial {
                state,
                ids,
                sum: way.sum,
                ended,
                row: way.from.row,
            }
        }));
    }
    next
}

/// The result.
fn choose(
    hypotheses: &[Partial],
    automaton: &Automaton,
    config: &ConstrainedSearch,
) -> (Hypothesis, usize) {
    let wanted = config.min_satisfied.min(automaton.constraints());
    // The best of each state comes first among its own.
    let mut best_of_state: Vec<Option<&Partial>> = vec![None; automaton.len()];
    for hypothesis in hypotheses {
        best_of_state[hypothesis.state].get_or_insert(hypothesis);
    }
    let found = best_of_state
        .into_iter()
        .flatten()
        .filter_map(|hypothesis| {
            let satisfied = automaton.state(hypothesis.state).satisfied?;
            let score = f64::from(hypothesis.sum) / (hypothesis.ids.len() + 1) as f64;
            Some((satisfied, score, hypothesis))
        });
    // More than enough is not better than enough.
    let best = found.reduce(|a, b| {
        let better = (b.0.min(wanted), b.1) > (a.0.min(wanted), a.1);
        if better { b } else { a }
    });
    match best {
        None => (Hypothesis::default(), 0),
        Some((satisfied, score, hypothesis)) => {
            let ids = hypothesis.ids.clone();
            (Hypothesis { ids, score }, satisfied)
        }
    }
}
