//! Statements on two scenes, and whether they are true of them.

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::Draws;
use super::world::Subject;

/// Pairs of images on which a statement is judged: two of which it is true, two of which not.
const PAIRS: usize = 4;

/// Draws for a pair of either truth before a statement is given up.
const TRIES: usize = 400;

/// What is stated of a left and a right image.
#[derive(Clone, Copy, Debug)]
enum Form {
    Both,
    Neither,
    ExactlyOne,
    Left,
    Right,
    MoreLeft,
    MoreRight,
}

/// The forms of statement, by turns.
const FORMS: [Form; 11] = {
    use Form::{Both, ExactlyOne, Left, MoreLeft, MoreRight, Neither, Right};
    // Where one image alone never tells, a model has nothing to start from: what it learned of
    // single images first, it joins afterwards. So the simple forms come twice.
    [
        Left, Right, MoreLeft, MoreRight, Left, Right, MoreLeft, MoreRight, Both, Neither,
        ExactlyOne,
    ]
};

/// A statement on two scenes, with its truth.
#[derive(Clone, Debug)]
pub(super) struct Stated {
    pub(super) left: usize,
    pub(super) right: usize,
    pub(super) statement: String,
    pub(super) label: bool,
    /// Number of the statement's group, and of the pair in it.
    pub(super) group: usize,
    pub(super) pair: usize,
}

impl Form {
    fn text<S>(self, subject: &impl Subject<S>) -> String {
        match self {
            Self::Both => format!("both images show {}", subject.one()),
            Self::Neither => format!("neither image shows {}", subject.one()),
            Self::ExactlyOne => format!("exactly one image has {}", subject.one()),
            Self::Left => format!("the left image shows {}", subject.one()),
            Self::Right => format!("the right image shows {}", subject.one()),
            Self::MoreLeft => format!(
                "there are more {} in the left image than in the right one",
                subject.many()
            ),
            Self::MoreRight => format!(
                "there are more {} in the right image than in the left one",
                subject.many()
            ),
        }
    }

    fn is_true<S>(self, subject: &impl Subject<S>, left: &S, right: &S) -> bool {
        let (left, right) = (subject.count(left), subject.count(right));
        match self {
            Self::Both => left > 0 && right > 0,
            Self::Neither => left == 0 && right == 0,
            Self::ExactlyOne => (left > 0) != (right > 0),
            Self::Left => left > 0,
            Self::Right => right > 0,
            Self::MoreLeft => left > right,
            Self::MoreRight => left < right,
        }
    }
}

/// About as many judged pairs as there are scenes, of statements of every form, the simple ones twice as often.
///
/// Each image of a pair shows what the statement is about in every second pair, whatever the
/// label: neither image alone gives most statements away.
pub(super) fn state<S, K: Subject<S>>(subjects: &[K], scenes: &[S], draws: Draws) -> Vec<Stated> {
    // Scenes with and without each subject, once.
    let split = |subject: &K| -> [Vec<usize>; 2] {
        let (with, without) = (0..scenes.len()).partition(|scene| subject.is_in(&scenes[*scene]));
        [with, without]
    };
    let pools: Vec<[Vec<usize>; 2]> = subjects.iter().map(split).collect();
    let places: Vec<usize> = (0..subjects.len()).collect();
    let mut stated = Vec::new();
    for group in 0..scenes.len() / PAIRS {
        let mut rng = draws.rng(group);
        let form = FORMS[group % FORMS.len()];
        let Some(&at) = places.choose(&mut rng) else {
            continue;
        };
        let (subject, [with, without]) = (&subjects[at], &pools[at]);
        let mut side = || {
            let pool = if rng.random_bool(0.5) { with } else { without };
            pool.choose(&mut rng).copied()
        };
        let mut found: [Vec<(usize, usize)>; 2] = Default::default();
        for _ in 0..TRIES {
            let (Some(left), Some(right)) = (side(), side()) else {
                continue;
            };
            let label = form.is_true(subject, &scenes[left], &scenes[right]);
            let pairs = &mut found[usize::from(label)];
            if left != right && pairs.len() < PAIRS / 2 && !pairs.contains(&(left, right)) {
                pairs.push((left, right));
            }
        }
        let [no, yes] = found;
        if no.len() + yes.len() < PAIRS {
            continue;
        }
        let labelled =
            |pairs: Vec<(usize, usize)>, label| pairs.into_iter().map(move |p| (p, label));
        let mut pairs: Vec<_> = labelled(yes, true).chain(labelled(no, false)).collect();
        pairs.shuffle(&mut rng);
        let text = form.text(subject);
        let judged = pairs.into_iter().enumerate();
        stated.extend(judged.map(|(pair, ((left, right), label))| Stated {
            left,
            right,
            statement: text.clone(),
            label,
            group,
            pair,
        }));
    }
    stated
}
