//! What a described box shows, read back from the tags of its store.

use std::path::Path;

use super::questions::{self, Question};
use super::world::{Subject, World};
use oscar_datasets::store::{RegionStore, Tag};
use oscar_datasets::{DatasetError, Result};
use oscar_vision::drawings::{Color, Object, Shape};

pub(super) const COLORS: [Color; 3] = [Color::Black, Color::Blue, Color::Yellow];
pub(super) const SHAPES: [Shape; 3] = [Shape::Square, Shape::Circle, Shape::Triangle];

/// A described box: its key and its objects.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) key: String,
    pub(super) objects: Vec<Object>,
}

/// The boxes of the store in `dir`, in its order.
pub(super) fn read(dir: &Path) -> Result<Vec<Scene>> {
    let store = RegionStore::open(dir)?;
    (0..store.len())
        .map(|row| {
            let key = store.key(row).to_string();
            let object = |tag: &Tag| Object::of_region(&tag.class, tag.box_px?);
            let objects = store.tags(row)?.iter().map(object).collect();
            let objects: Option<Vec<Object>> = objects;
            match objects {
                Some(objects) if !objects.is_empty() => Ok(Scene { key, objects }),
                _ => Err(DatasetError::malformed(
                    dir,
                    format!("image `{key}` has tags that are no objects of NLVR v1 with a box"),
                    "give a data set that `data build nlvr1` made",
                )),
            }
        })
        .collect()
}

/// Some of the nine kinds of objects: `black square`, `circle`, `blue object`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) color: Option<Color>,
    pub(super) shape: Option<Shape>,
}

impl Kind {
    pub(super) fn of(object: &Object) -> Self {
        Self {
            color: Some(object.color),
            shape: Some(object.shape),
        }
    }

    /// The nine kinds with colour and shape.
    pub(super) fn exact() -> impl Iterator<Item = Self> {
        let kind = |color, shape| Self {
            color: Some(color),
            shape: Some(shape),
        };
        COLORS
            .into_iter()
            .flat_map(move |color| SHAPES.into_iter().map(move |shape| kind(color, shape)))
    }

    /// The three shapes of any colour.
    pub(super) fn shapes() -> impl Iterator<Item = Self> {
        SHAPES.into_iter().map(|shape| Self {
            color: None,
            shape: Some(shape),
        })
    }

    /// The three colours of any shape.
    pub(super) fn colors() -> impl Iterator<Item = Self> {
        COLORS.into_iter().map(|color| Self {
            color: Some(color),
            shape: None,
        })
    }

    pub(super) fn all() -> impl Iterator<Item = Self> {
        Self::exact().chain(Self::shapes()).chain(Self::colors())
    }

    /// `black square`, `circle`, `blue object`.
    pub(super) fn noun(self) -> String {
        let shape = self.shape.map_or("object", Shape::word);
        match self.color {
            None => shape.into(),
            Some(color) => format!("{} {shape}", color.word()),
        }
    }

    fn holds(self, object: &Object) -> bool {
        self.color.is_none_or(|color| color == object.color)
            && self.shape.is_none_or(|shape| shape == object.shape)
    }
}

impl Subject<Scene> for Kind {
    fn one(&self) -> String {
        format!("a {}", self.noun())
    }

    fn many(&self) -> String {
        format!("{}s", self.noun())
    }

    fn count(&self, scene: &Scene) -> usize {
        scene.count(*self)
    }
}

/// The grey boxes of NLVR v1.
pub(super) struct GreyBoxes;

impl World for GreyBoxes {
    type Scene = Scene;
    type Question = Question;
    type Subject = Kind;

    fn vqa(&self) -> Vec<Vec<Question>> {
        questions::vqa()
    }

    fn gqa(&self) -> Vec<Vec<Question>> {
        questions::gqa()
    }

    fn subjects(&self) -> Vec<Kind> {
        Kind::all().collect()
    }
}

/// A side of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
    Above,
    Below,
}

impl Side {
    pub(super) const ALL: [Self; 4] = [Self::Left, Self::Right, Self::Above, Self::Below];

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Left => "left of",
            Self::Right => "right of",
            Self::Above => "above",
            Self::Below => "below",
        }
    }

    /// Whether `a` is wholly on this side of `b`: true in everyone's opinion.
    fn surely(self, a: &Object, b: &Object) -> bool {
        match self {
            Self::Left => a.x + a.size <= b.x,
            Self::Above => a.y + a.size <= b.y,
            Self::Right => Self::Left.surely(b, a),
            Self::Below => Self::Above.surely(b, a),
        }
    }

    /// Whether the middle of `a` is on this side of the middle of `b`: true in some opinions.
    fn perhaps(self, a: &Object, b: &Object) -> bool {
        match self {
            Self::Left => 2 * a.x + a.size < 2 * b.x + b.size,
            Self::Above => 2 * a.y + a.size < 2 * b.y + b.size,
            Self::Right => Self::Left.perhaps(b, a),
            Self::Below => Self::Above.perhaps(b, a),
        }
    }
}

impl Scene {
    pub(super) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        self.objects.iter().filter(move |object| kind.holds(object))
    }

    pub(super) fn count(&self, kind: Kind) -> usize {
        self.of_kind(kind).count()
    }

    pub(super) fn shows(&self, kind: Kind) -> bool {
        self.of_kind(kind).next().is_some()
    }

    /// The object of this kind, if it is the only one.
    pub(super) fn only(&self, kind: Kind) -> Option<&Object> {
        let mut found = self.of_kind(kind);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// Whether an `a` is on `side` of a `b`; `None` if there is not one of each, or if opinions
    /// could differ.
    pub(super) fn related(&self, a: Kind, side: Side, b: Kind) -> Option<bool> {
        let pairs = || {
            let bs = move || self.of_kind(b);
            self.of_kind(a).flat_map(move |a| bs().map(move |b| (a, b)))
        };
        pairs().next()?;
        if pairs().any(|(a, b)| side.surely(a, b)) {
            return Some(true);
        }
        (!pairs().any(|(a, b)| side.perhaps(a, b))).then_some(false)
    }

    /// The one object on `side` of the only object of this kind; `None` if there is no such
    /// object, more than one, or one of which opinions could differ.
    pub(super) fn beside(&self, side: Side, kind: Kind) -> Option<&Object> {
        let middle = self.only(kind)?;
        let mut found = self
            .objects
            .iter()
            .filter(|object| *object != middle && side.perhaps(object, middle));
        let first = found.next()?;
        (found.next().is_none() && side.surely(first, middle)).then_some(first)
    }
}
