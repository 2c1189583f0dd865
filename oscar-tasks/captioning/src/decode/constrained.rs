//! Beam search in which captions have to have certain words (Anderson et al., EMNLP 2017).
//!
//! Each state of an image's [`Automaton`] has beams of its own, so that a caption with an unlikely
//! word in it does not have to compete with those without. States that nothing has reached yet have
//! no beam: what is computed at a step are the hypotheses there are, not all there could be.
//!
//! | | rule |
//! |---|---|
//! | a state's beams | the best `num_beams` of all ways into it, of each hypothesis of each state as many |
//! | an end | keeps a hypothesis in its beam as it is |
//! | the caption | of the best of each state in which enough constraints are satisfied, the one with the highest log-probability over length (`[SEP]` counted) |

use burn::tensor::{Int, Tensor, TensorData};
use oscar_core::input::SpecialIds;
use oscar_core::model::CaptionSteps;
use oscar_core::ops::{self, OscarBackend};
use serde::{Deserialize, Serialize};

use super::{Automaton, Caption, ends, log_probs};

/// How to search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConstrainedSearch {
    /// Most tokens, `[CLS]` and `[SEP]` included.
    pub max_length: usize,
    /// Hypotheses of each state.
    pub num_beams: usize,
    /// So many constraints a caption has to satisfy, if there are as many.
    pub min_satisfied: usize,
    /// The first words of all images of a batch are chosen as if they showed what the first one
    /// does: a mistake of the official code, for comparing with it.
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

/// A caption in the making, or an ended one.
#[derive(Clone, Debug)]
struct Hypothesis {
    state: usize,
    /// Without `[CLS]`, and without `[SEP]`.
    ids: Vec<u32>,
    sum: f32,
    ended: bool,
    /// Its place among the rows of its image that are computed; ended ones have none.
    row: usize,
}

/// A way on.
struct Way<'a> {
    from: &'a Hypothesis,
    /// None if the hypothesis has ended.
    word: Option<u32>,
    sum: f32,
}

/// The best caption of each image that has words enough of those its automaton asks for; where
/// none has, of those with most. The second value is how many constraints it satisfies.
///
/// # Panics
///
/// If there are not as many automata as images.
pub fn constrained_search<B: OscarBackend>(
    mut steps: CaptionSteps<'_, B>,
    automata: &[Automaton],
    config: &ConstrainedSearch,
    special: SpecialIds,
) -> Vec<(Caption, usize)> {
    let (start, end) = ends(special);
    let images = steps.images();
    assert_eq!(automata.len(), images, "an automaton for each image");
    let first = Hypothesis {
        state: 0,
        ids: Vec::new(),
        sum: 0.0,
        ended: false,
        row: 0,
    };
    let mut hypotheses: Vec<Vec<Hypothesis>> = vec![vec![first]; images];
    let mut active: Vec<usize> = (0..images).collect();
    let held_back = automata.iter().map(Automaton::most_held_back).max();
    let most = config.num_beams + held_back.unwrap_or(0);
    // [CLS] takes one of the places, and another word is added with each step.
    for length in 1..config.max_length {
        let width = steps.rows() / active.len();
        let rows = rows_of(&active, &hypotheses, width);
        let newest = |row: &Option<&Hypothesis>| {
            let ids = row.map(|hypothesis| hypothesis.ids.as_slice());
            ids.and_then(|ids| ids.last()).copied().unwrap_or(start)
        };
        let tokens: Vec<u32> = rows.iter().map(newest).collect();
        let mut logits = steps.next(&tokens);
        if length == 1 && config.first_of_batch {
            logits = logits.narrow(0, 0, 1).repeat_dim(0, images);
        }
        let scores = log_probs(logits, &[], 1.0);
        let asked = asked_words::<B>(&scores, &rows, &active, automata, width);
        let best = ops::top_k(scores, most);
        let best: Vec<&[(u32, f32)]> = best.rows().collect();

        for (place, image) in active.iter().enumerate() {
            let own = place * width..(place + 1) * width;
            let known = Known {
                best: &best[own.clone()],
                asked: &asked[own],
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
        steps.select(fewer, &rows);
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
    hypotheses: &'a [Vec<Hypothesis>],
    width: usize,
) -> Vec<Option<&'a Hypothesis>> {
    let mut rows = vec![None; active.len() * width];
    for (place, image) in active.iter().enumerate() {
        for hypothesis in hypotheses[*image].iter().filter(|h| !h.ended) {
            rows[place * width + hypothesis.row] = Some(hypothesis);
        }
    }
    rows
}

/// Log-probabilities of the words that have ways of their own, in the order of the ways, per row.
fn asked_words<B: OscarBackend>(
    scores: &Tensor<B, 2>,
    rows: &[Option<&Hypothesis>],
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
                let ways = automata[active[row / width]].ways(hypothesis.state);
                ways.iter().map(|(word, _)| *word).collect()
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

/// What is known of the next words of an image's rows.
struct Known<'a> {
    best: &'a [&'a [(u32, f32)]],
    asked: &'a [Vec<f32>],
}

/// The beams of every state after one more word.
fn advance(
    hypotheses: &[Hypothesis],
    automaton: &Automaton,
    known: &Known<'_>,
    config: &ConstrainedSearch,
    end: u32,
) -> Vec<Hypothesis> {
    let mut ways: Vec<Vec<Way<'_>>> = Vec::new();
    ways.resize_with(automaton.len(), Vec::new);
    for hypothesis in hypotheses {
        let mut go = |to: usize, word, sum| {
            ways[to].push(Way {
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
        let own = automaton.ways(hypothesis.state).iter();
        for ((word, to), log_prob) in own.zip(&known.asked[hypothesis.row]) {
            go(*to, Some(*word), hypothesis.sum + log_prob);
        }
        let free = known.best[hypothesis.row].iter();
        free.filter(|(word, _)| !automaton.held_back(hypothesis.state, *word))
            .take(config.num_beams)
            .for_each(|(word, log_prob)| {
                let to = automaton.free(hypothesis.state);
                go(to, Some(*word), hypothesis.sum + log_prob);
            });
    }
    let mut next = Vec::new();
    for (state, mut ways) in ways.into_iter().enumerate() {
        ways.sort_by(|a, b| b.sum.total_cmp(&a.sum));
        ways.truncate(config.num_beams);
        next.extend(ways.into_iter().map(|way| {
            let mut ids = way.from.ids.clone();
            let ended = way.word.is_none_or(|word| word == end);
            ids.extend(way.word.filter(|word| *word != end));
            Hypothesis {
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

/// The caption to give.
fn choose(
    hypotheses: &[Hypothesis],
    automaton: &Automaton,
    config: &ConstrainedSearch,
) -> (Caption, usize) {
    let wanted = config.min_satisfied.min(automaton.constraints());
    // The best of each state comes first among its own.
    let mut best_of_state: Vec<Option<&Hypothesis>> = vec![None; automaton.len()];
    for hypothesis in hypotheses {
        best_of_state[hypothesis.state].get_or_insert(hypothesis);
    }
    let found = best_of_state
        .into_iter()
        .flatten()
        .filter_map(|hypothesis| {
            let satisfied = automaton.satisfied(hypothesis.state)?;
            let score = f64::from(hypothesis.sum) / (hypothesis.ids.len() + 1) as f64;
            Some((satisfied, score, hypothesis))
        });
    // More than enough is not better than enough.
    let best = found.reduce(|a, b| {
        let better = (b.0.min(wanted), b.1) > (a.0.min(wanted), a.1);
        if better { b } else { a }
    });
    match best {
        None => (Caption::default(), 0),
        Some((satisfied, score, hypothesis)) => {
            let ids = hypothesis.ids.clone();
            (Caption { ids, score }, satisfied)
        }
    }
}
