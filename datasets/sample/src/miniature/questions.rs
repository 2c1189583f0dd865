//! Questions on a described box, and what is true of it.

use std::collections::BTreeSet;

use super::scene::{COLORS, Kind, SHAPES, Scene, Side};
use super::world;
use oscar_vision::drawings::{Color, Shape};

/// Small numbers are what a small model counts.
const NUMBERS: [&str; 5] = ["zero", "one", "two", "three", "four"];

/// A question.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    HowMany(Kind),
    IsThere(Kind),
    WhatColor(Shape),
    WhatShape(Color),
    IsRelated(Kind, Side, Kind),
    WhatIsBeside(Side, Kind),
    AreThereBoth(Kind, Kind),
    IsThereEither(Kind, Kind),
    AreThereMore(Kind, Kind),
    WhichColor(Shape, Color, Color),
    SameColor(Shape, Shape),
    ColorBeside(Side, Kind),
    ShapeBeside(Side, Kind),
}

use Question as Q;

/// The tasks that ask, with their forms of question.
pub(super) fn of_tasks() -> [(&'static str, Vec<Vec<Question>>); 2] {
    [("vqa", vqa()), ("gqa", gqa())]
}

/// All answers there are to `forms`, by spelling.
pub(super) fn answers<S, Q: world::Question<S>>(forms: &[Vec<Q>]) -> BTreeSet<String> {
    let questions = forms.iter().flatten();
    questions.flat_map(|question| question.answers()).collect()
}

/// The forms of question of the visual question answering miniature, each with all its questions.
pub(super) fn vqa() -> Vec<Vec<Question>> {
    vec![
        Kind::all().map(Q::HowMany).collect(),
        Kind::all().map(Q::IsThere).collect(),
        SHAPES.into_iter().map(Q::WhatColor).collect(),
        COLORS.into_iter().map(Q::WhatShape).collect(),
        related(&[Side::Above, Side::Left]),
        beside(Q::WhatIsBeside, &[Side::Left, Side::Right]),
    ]
}

/// The forms of the compositional one.
pub(super) fn gqa() -> Vec<Vec<Question>> {
    let shapes = || pairs(&SHAPES);
    vec![
        exact_pairs(Q::AreThereBoth),
        exact_pairs(Q::IsThereEither),
        pairs(&Kind::shapes().collect::<Vec<_>>())
            .chain(pairs(&Kind::colors().collect::<Vec<_>>()))
            .map(|(a, b)| Q::AreThereMore(a, b))
            .collect(),
        SHAPES
            .into_iter()
            .flat_map(|shape| pairs(&COLORS).map(move |(a, b)| Q::WhichColor(shape, a, b)))
            .collect(),
        shapes().map(|(a, b)| Q::SameColor(a, b)).collect(),
        related(&Side::ALL),
        beside(Q::WhatIsBeside, &Side::ALL),
        beside(Q::ColorBeside, &Side::ALL),
        beside(Q::ShapeBeside, &Side::ALL),
    ]
}

/// All pairs of different ones, both ways round.
fn pairs<T: Copy + PartialEq>(all: &[T]) -> impl Iterator<Item = (T, T)> {
    let all = all.to_vec();
    let seconds = all.clone();
    all.into_iter().flat_map(move |a| {
        let others = seconds.clone().into_iter().filter(move |b| *b != a);
        others.map(move |b| (a, b))
    })
}

fn exact_pairs(question: fn(Kind, Kind) -> Question) -> Vec<Question> {
    let kinds: Vec<Kind> = Kind::exact().collect();
    pairs(&kinds).map(|(a, b)| question(a, b)).collect()
}

fn related(sides: &[Side]) -> Vec<Question> {
    let kinds: Vec<Kind> = Kind::exact().collect();
    let of_side = |&side: &Side| pairs(&kinds).map(move |(a, b)| Q::IsRelated(a, side, b));
    sides.iter().flat_map(of_side).collect()
}

fn beside(question: fn(Side, Kind) -> Question, sides: &[Side]) -> Vec<Question> {
    let of_side = |&side: &Side| Kind::exact().map(move |kind| question(side, kind));
    sides.iter().flat_map(of_side).collect()
}

impl world::Question<Scene> for Question {
    fn text(&self) -> String {
        match *self {
            Q::HowMany(kind) => format!("how many {}s are there?", kind.noun()),
            Q::IsThere(kind) => format!("is there a {}?", kind.noun()),
            Q::WhatColor(shape) => format!("what colour is the {}?", shape.word()),
            Q::WhatShape(color) => format!("what shape is the {} object?", color.word()),
            Q::IsRelated(a, side, b) => {
                format!("is a {} {} a {}?", a.noun(), side.words(), b.noun())
            }
            Q::WhatIsBeside(side, kind) => format!("what is {} the {}?", side.words(), kind.noun()),
            Q::AreThereBoth(a, b) => format!("are there both a {} and a {}?", a.noun(), b.noun()),
            Q::IsThereEither(a, b) => format!("is there either a {} or a {}?", a.noun(), b.noun()),
            Q::AreThereMore(a, b) => format!("are there more {}s than {}s?", a.noun(), b.noun()),
            Q::WhichColor(shape, a, b) => {
                format!("is the {} {} or {}?", shape.word(), a.word(), b.word())
            }
            Q::SameColor(a, b) => {
                let (a, b) = (a.word(), b.word());
                format!("are the {a} and the {b} of the same colour?")
            }
            Q::ColorBeside(side, kind) => format!(
                "what colour is the object {} the {}?",
                side.words(),
                kind.noun()
            ),
            Q::ShapeBeside(side, kind) => format!(
                "what shape is the object {} the {}?",
                side.words(),
                kind.noun()
            ),
        }
    }

    fn answers(&self) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect();
        match *self {
            Q::HowMany(_) => words(&NUMBERS),
            Q::IsThere(_)
            | Q::IsRelated(..)
            | Q::AreThereBoth(..)
            | Q::IsThereEither(..)
            | Q::AreThereMore(..)
            | Q::SameColor(..) => words(&["yes", "no"]),
            Q::WhatColor(_) | Q::ColorBeside(..) => words(&COLORS.map(Color::word)),
            Q::WhatShape(_) | Q::ShapeBeside(..) => words(&SHAPES.map(Shape::word)),
            Q::WhichColor(_, a, b) => words(&[a.word(), b.word()]),
            Q::WhatIsBeside(..) => Kind::exact().map(Kind::noun).collect(),
        }
    }

    fn answer(&self, scene: &Scene) -> Option<String> {
        let truth = |yes: bool| Some(if yes { "yes" } else { "no" }.to_string());
        let only = |shape: Shape| {
            let kind = Kind {
                color: None,
                shape: Some(shape),
            };
            scene.only(kind)
        };
        match *self {
            Q::HowMany(kind) => NUMBERS.get(scene.count(kind)).map(|word| word.to_string()),
            Q::IsThere(kind) => truth(scene.shows(kind)),
            Q::WhatColor(shape) => Some(only(shape)?.color.word().into()),
            Q::WhatShape(color) => {
                let kind = Kind {
                    color: Some(color),
                    shape: None,
                };
                Some(scene.only(kind)?.shape.word().into())
            }
            Q::IsRelated(a, side, b) => truth(scene.related(a, side, b)?),
            Q::WhatIsBeside(side, kind) => Some(Kind::of(scene.beside(side, kind)?).noun()),
            Q::AreThereBoth(a, b) => truth(scene.shows(a) && scene.shows(b)),
            // Where both are there, "either" is read in two ways.
            Q::IsThereEither(a, b) => match (scene.shows(a), scene.shows(b)) {
                (true, true) => None,
                (a, b) => truth(a || b),
            },
            Q::AreThereMore(a, b) => truth(scene.count(a) > scene.count(b)),
            Q::WhichColor(shape, a, b) => {
                let color = only(shape)?.color;
                [a, b].contains(&color).then(|| color.word().into())
            }
            Q::SameColor(a, b) => truth(only(a)?.color == only(b)?.color),
            Q::ColorBeside(side, kind) => Some(scene.beside(side, kind)?.color.word().into()),
            Q::ShapeBeside(side, kind) => Some(scene.beside(side, kind)?.shape.word().into()),
        }
    }
}
