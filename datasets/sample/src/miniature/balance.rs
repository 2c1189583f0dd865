//! Examples whose text alone does not decide, and what the text alone is worth.

use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::world::Question;
use super::{Draws, Part};

/// A question on an image, with its answer.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) scene: usize,
    pub(super) question: String,
    pub(super) answer: String,
}

/// About as many questions as there are scenes, as many of each form. Every answer that a question
/// has here, it has equally often.
pub(super) fn ask<S: Sync, Q: Question<S>>(
    forms: &[Vec<Q>],
    scenes: &[S],
    draws: Draws,
) -> Vec<Asked> {
    let budget = scenes.len().div_ceil(forms.len());
    let mut asked = Vec::new();
    for (number, form) in forms.iter().enumerate() {
        let draws = draws.part(Part::Form(number));
        let mut form = form.clone();
        form.shuffle(&mut draws.rng(0));
        let answers: usize = form.iter().map(|question| question.answers().len()).sum();
        let each = budget.div_ceil(answers).max(2);
        let found: Vec<Vec<Asked>> = form
            .par_iter()
            .enumerate()
            .map(|(number, question)| balanced(question, scenes, each, draws.rng(number + 1)))
            .collect();
        // A form with more questions than its share has room for is cut at a whole question.
        let mut room = budget;
        for of_question in found {
            if of_question.len() > room {
                break;
            }
            room -= of_question.len();
            asked.extend(of_question);
        }
    }
    asked.shuffle(&mut draws.rng(0));
    asked
}

/// `question` on at most `each` scenes per answer, all answers equally often; nothing if there
/// are fewer than two answers.
fn balanced<S, Q: Question<S>>(
    question: &Q,
    scenes: &[S],
    each: usize,
    mut rng: ChaCha8Rng,
) -> Vec<Asked> {
    let answers = question.answers();
    let mut order: Vec<usize> = (0..scenes.len()).collect();
    order.shuffle(&mut rng);
    let mut by_answer: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut full = 0;
    for scene in order {
        let Some(answer) = question.answer(&scenes[scene]) else {
            continue;
        };
        let found = by_answer.entry(answer).or_default();
        if found.len() < each {
            found.push(scene);
            full += usize::from(found.len() == each);
        }
        if full == answers.len() {
            break;
        }
    }
    // A rare answer is left out rather than the common ones made as rare as it, while two are left.
    let mut counts: Vec<usize> = by_answer.values().map(Vec::len).collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let common = (2..=counts.len()).max_by_key(|n| n * counts[n - 1]);
    let Some(level) = common.map(|n| counts[n - 1]) else {
        return Vec::new();
    };
    let text = question.text();
    let kept = by_answer
        .into_iter()
        .filter(|(_, found)| found.len() >= level);
    kept.flat_map(|(answer, found)| {
        let asked = |scene| Asked {
            scene,
            question: text.clone(),
            answer: answer.clone(),
        };
        found.into_iter().take(level).map(asked).collect::<Vec<_>>()
    })
    .collect()
}

/// The share of `held_out` that is answered right by the most common answer to the same text in
/// `train`, or to all texts if it was never seen: what can be known without looking.
pub(super) fn text_only(train: &[(String, String)], held_out: &[(String, String)]) -> f64 {
    type Counts<'a> = BTreeMap<&'a str, usize>;
    let mut by_text: BTreeMap<&str, Counts> = BTreeMap::new();
    let mut all = Counts::new();
    for (text, answer) in train {
        *by_text.entry(text).or_default().entry(answer).or_default() += 1;
        *all.entry(answer).or_default() += 1;
    }
    let most_common = |counts: &Counts| -> Option<String> {
        let best = counts
            .iter()
            .max_by_key(|(answer, count)| (**count, std::cmp::Reverse(**answer)));
        best.map(|(answer, _)| answer.to_string())
    };
    let guess: BTreeMap<&str, Option<String>> = by_text
        .iter()
        .map(|(text, counts)| (*text, most_common(counts)))
        .collect();
    let otherwise = most_common(&all);
    let right = held_out.iter().filter(|(text, answer)| {
        let guess = guess.get(text.as_str()).unwrap_or(&otherwise);
        guess.as_ref() == Some(answer)
    });
    right.count() as f64 / held_out.len().max(1) as f64
}
