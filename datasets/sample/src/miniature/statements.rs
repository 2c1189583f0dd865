//! Statements on two boxes, and whether they are true of them.

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::Draws;
use super::scene::{Kind, Scene};

/// Pairs of images on which a statement is judged: two of which it is true, two of which not.
const PAIRS: usize = 4;

/// Draws for a pair of either truth before a statement is given up.
const TRIES: usize = 400;

/// A statement on a left and a right image.
#[derive(Clone, Copy, Debug)]
enum Statement {
    Both(Kind),
    Neither(Kind),
    ExactlyOne(Kind),
    Left(Kind),
    Right(Kind),
    MoreLeft(Kind),
    MoreRight(Kind),
}

use Statement as S;

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

fn all() -> Vec<Vec<Statement>> {
    let each = |statement: fn(Kind) -> Statement| Kind::all().map(statement).collect();
    // Where one image alone never tells, a model has nothing to start from: what it learned of
    // single images first, it joins afterwards. So the simple forms come twice.
    let simple = [S::Left, S::Right, S::MoreLeft, S::MoreRight];
    let joint = [S::Both, S::Neither, S::ExactlyOne];
    simple
        .into_iter()
        .chain(simple)
        .chain(joint)
        .map(each)
        .collect()
}

impl Statement {
    fn text(self) -> String {
        match self {
            S::Both(kind) => format!("both images show a {}", kind.noun()),
            S::Neither(kind) => format!("neither image shows a {}", kind.noun()),
            S::ExactlyOne(kind) => format!("exactly one image has a {}", kind.noun()),
            S::Left(kind) => format!("the left image shows a {}", kind.noun()),
            S::Right(kind) => format!("the right image shows a {}", kind.noun()),
            S::MoreLeft(kind) => format!(
                "there are more {}s in the left image than in the right one",
                kind.noun()
            ),
            S::MoreRight(kind) => format!(
                "there are more {}s in the right image than in the left one",
                kind.noun()
            ),
        }
    }

    fn is_true(self, left: &Scene, right: &Scene) -> bool {
        let shown = |kind| (left.shows(kind), right.shows(kind));
        match self {
            S::Both(kind) => shown(kind) == (true, true),
            S::Neither(kind) => shown(kind) == (false, false),
            S::ExactlyOne(kind) => left.shows(kind) != right.shows(kind),
            S::Left(kind) => left.shows(kind),
            S::Right(kind) => right.shows(kind),
            S::MoreLeft(kind) => left.count(kind) > right.count(kind),
            S::MoreRight(kind) => left.count(kind) < right.count(kind),
        }
    }

    fn kind(self) -> Kind {
        match self {
            S::Both(kind)
            | S::Neither(kind)
            | S::ExactlyOne(kind)
            | S::Left(kind)
            | S::Right(kind)
            | S::MoreLeft(kind)
            | S::MoreRight(kind) => kind,
        }
    }
}

/// About as many judged pairs as there are scenes, of statements of every form, the simple ones twice as often.
///
/// Each image of a pair shows what the statement is about in every second pair, whatever the
/// label: neither image alone gives most statements away.
pub(super) fn state(scenes: &[Scene], draws: Draws) -> Vec<Stated> {
    let forms = all();
    // Scenes with and without each kind, once.
    let kinds: Vec<Kind> = Kind::all().collect();
    let split = |kind: &Kind| -> [Vec<usize>; 2] {
        let (with, without) = (0..scenes.len()).partition(|scene| scenes[*scene].shows(*kind));
        [with, without]
    };
    let pools: Vec<[Vec<usize>; 2]> = kinds.iter().map(split).collect();
    let mut stated = Vec::new();
    for group in 0..scenes.len() / PAIRS {
        let mut rng = draws.rng(group);
        let form = &forms[group % forms.len()];
        let Some(&statement) = form.choose(&mut rng) else {
            continue;
        };
        let pool = kinds.iter().position(|kind| *kind == statement.kind());
        let Some([with, without]) = pool.map(|at| &pools[at]) else {
            continue;
        };
        let mut side = || {
            let pool = if rng.random_bool(0.5) { with } else { without };
            pool.choose(&mut rng).copied()
        };
        let mut found: [Vec<(usize, usize)>; 2] = Default::default();
        for _ in 0..TRIES {
            let (Some(left), Some(right)) = (side(), side()) else {
                continue;
            };
            let label = statement.is_true(&scenes[left], &scenes[right]);
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
        let text = statement.text();
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
