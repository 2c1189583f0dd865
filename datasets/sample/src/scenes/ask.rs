//! Questions on scenes and what statements are about, for the tasks of [`crate::miniature`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use oscar_datasets::rows::read_rows;
use oscar_datasets::{DatasetError, Result};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::captions::{NUMBERS, listed};
use super::graph::ReadGraph;
use super::kinds::Kind;
use super::scene::{Group, Scene, Side};
use crate::miniature::{Described, Question, Subject, World};

/// Words of questions, answers and statements other than names, articles and numbers.
pub(super) const WORDS: &str = "what is how many are there any ? category the thing to both \
                                either more than yes no images image show shows neither exactly one \
                                has in left right animal bird vehicle building";

/// Numbers are asked up to this: there are hardly more of a kind.
const MOST: usize = 3;

/// The scenes of the data set in `dir`.
pub(crate) fn read(dir: &Path) -> Result<Vec<Scene>> {
    let path = dir.join("scenes.jsonl");
    let graphs: Vec<ReadGraph> = read_rows(&path)?;
    let scene = |(at, graph): (usize, ReadGraph)| {
        graph.into_scene().ok_or_else(|| {
            let found = format!("scene {} has no object", at + 1);
            DatasetError::malformed(&path, found, "give a directory that `dev scenes` made")
        })
    };
    graphs.into_iter().enumerate().map(scene).collect()
}

/// The world of scenes: the kinds that they show.
pub(crate) struct Things {
    /// By name.
    kinds: Vec<Arc<Kind>>,
}

impl Things {
    pub(crate) fn of<'a>(scenes: impl Iterator<Item = &'a Scene>) -> Self {
        let groups = scenes.flat_map(|scene| &scene.groups);
        let kinds: BTreeMap<&str, &Arc<Kind>> = groups
            .map(|group| (group.kind.name.as_str(), &group.kind))
            .collect();
        Self {
            kinds: kinds.into_values().cloned().collect(),
        }
    }

    fn nouns(&self) -> Vec<Noun> {
        let kinds = self.kinds.iter().cloned().map(Noun::Kind);
        kinds.chain(Class::ALL.map(Noun::Class)).collect()
    }

    fn beside(&self, ask: fn(Side, Arc<Kind>) -> Asked) -> Vec<Asked> {
        let of_side = |side: Side| self.kinds.iter().map(move |kind| ask(side, kind.clone()));
        Side::ALL.into_iter().flat_map(of_side).collect()
    }
}

impl World for Things {
    type Scene = Scene;
    type Question = AskedOf;
    type Subject = Noun;

    fn vqa(&self) -> Vec<Vec<AskedOf>> {
        let nouns = self.nouns();
        let forms = [
            nouns.iter().cloned().map(Asked::HowMany).collect(),
            nouns.iter().cloned().map(Asked::IsThere).collect(),
            self.beside(Asked::WhatIsBeside),
        ];
        self.with_kinds(forms)
    }

    fn gqa(&self) -> Vec<Vec<AskedOf>> {
        let pairs = || {
            let both = Class::ALL
                .into_iter()
                .flat_map(|a| Class::ALL.map(|b| (a, b)));
            both.filter(|(a, b)| a != b && !(a.has_animals() && b.has_animals()))
        };
        let related = |side: Side| pairs().map(move |(a, b)| Asked::IsRelated(a, side, b));
        let forms = [
            self.beside(Asked::CategoryBeside),
            self.beside(Asked::WhatIsBeside),
            Side::ALL.into_iter().flat_map(related).collect(),
            pairs().map(|(a, b)| Asked::AreThereMore(a, b)).collect(),
            pairs().map(|(a, b)| Asked::AreThereBoth(a, b)).collect(),
        ];
        self.with_kinds(forms)
    }

    fn subjects(&self) -> Vec<Noun> {
        self.nouns()
    }
}

impl Things {
    /// Questions that know all answers to a "what".
    fn with_kinds<const N: usize>(&self, forms: [Vec<Asked>; N]) -> Vec<Vec<AskedOf>> {
        let mut categories: Vec<&str> = self
            .kinds
            .iter()
            .map(|kind| kind.category.as_str())
            .collect();
        categories.sort_unstable();
        categories.dedup();
        let owned =
            |words: Vec<&str>| -> Arc<[String]> { words.into_iter().map(String::from).collect() };
        let names = owned(self.kinds.iter().map(|kind| kind.name.as_str()).collect());
        let categories = owned(categories);
        let question = |asked: Asked| AskedOf {
            what: match asked {
                Asked::CategoryBeside(..) => categories.clone(),
                _ => names.clone(),
            },
            asked,
        };
        forms
            .into_iter()
            .map(|form| form.into_iter().map(question).collect())
            .collect()
    }
}

/// A class of kinds of which everyone agrees what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Animal,
    Bird,
    Vehicle,
    Building,
}

impl Class {
    const ALL: [Self; 4] = [Self::Animal, Self::Bird, Self::Vehicle, Self::Building];

    fn name(self) -> &'static str {
        match self {
            Self::Animal => "animal",
            Self::Bird => "bird",
            Self::Vehicle => "vehicle",
            Self::Building => "building",
        }
    }

    /// A bird is an animal: the two are not told apart in a question.
    fn has_animals(self) -> bool {
        matches!(self, Self::Animal | Self::Bird)
    }

    fn holds(self, kind: &Kind) -> bool {
        match self {
            // A shark is an animal, and so is a bee, whatever shelf they are on.
            Self::Animal => {
                ["animal", "bird", "sea animal", "insect"].contains(&kind.category.as_str())
            }
            _ => kind.category == self.name(),
        }
    }
}

/// What is counted: things of a kind, or of a class.
#[derive(Clone, Debug)]
pub(crate) enum Noun {
    Kind(Arc<Kind>),
    Class(Class),
}

impl Subject<Scene> for Noun {
    fn one(&self) -> String {
        match self {
            Self::Kind(kind) => kind.one(),
            Self::Class(Class::Animal) => "an animal".into(),
            Self::Class(class) => format!("a {}", class.name()),
        }
    }

    fn many(&self) -> String {
        match self {
            Self::Kind(kind) => kind.plural.clone(),
            Self::Class(class) => format!("{}s", class.name()),
        }
    }

    fn count(&self, scene: &Scene) -> usize {
        let groups = scene.groups.iter().filter(|group| match self {
            Self::Kind(kind) => group.kind.name == kind.name,
            Self::Class(class) => class.holds(&group.kind),
        });
        groups.map(|group| group.count).sum()
    }
}

/// A question.
#[derive(Clone, Debug)]
enum Asked {
    HowMany(Noun),
    IsThere(Noun),
    WhatIsBeside(Side, Arc<Kind>),
    CategoryBeside(Side, Arc<Kind>),
    IsRelated(Class, Side, Class),
    AreThereMore(Class, Class),
    AreThereBoth(Class, Class),
}

/// A question with all answers to a "what".
#[derive(Clone, Debug)]
pub(crate) struct AskedOf {
    asked: Asked,
    what: Arc<[String]>,
}

impl Question<Scene> for AskedOf {
    fn text(&self) -> String {
        match &self.asked {
            Asked::HowMany(noun) => format!("how many {} are there ?", noun.many()),
            Asked::IsThere(Noun::Kind(kind)) if kind.is_plural() => {
                format!("are there any {} ?", kind.name)
            }
            Asked::IsThere(Noun::Kind(kind)) if kind.article == "some" => {
                format!("is there any {} ?", kind.name)
            }
            Asked::IsThere(noun) => format!("is there {} ?", noun.one()),
            Asked::WhatIsBeside(side, kind) => {
                format!("what is {} the {} ?", side.words(), kind.name)
            }
            Asked::CategoryBeside(side, kind) => {
                format!(
                    "what category is the thing {} the {} ?",
                    side.words(),
                    kind.name
                )
            }
            Asked::IsRelated(a, side, b) => {
                let (a, b) = (Noun::Class(*a).one(), Noun::Class(*b).one());
                format!("is {a} {} {b} ?", side.words())
            }
            Asked::AreThereMore(a, b) => {
                format!("are there more {}s than {}s ?", a.name(), b.name())
            }
            Asked::AreThereBoth(a, b) => {
                let (a, b) = (Noun::Class(*a).one(), Noun::Class(*b).one());
                format!("are there both {a} and {b} ?")
            }
        }
    }

    fn answers(&self) -> Vec<String> {
        match self.asked {
            Asked::HowMany(_) => NUMBERS[..=MOST].iter().map(ToString::to_string).collect(),
            Asked::WhatIsBeside(..) | Asked::CategoryBeside(..) => self.what.to_vec(),
            _ => vec!["yes".into(), "no".into()],
        }
    }

    fn answer(&self, scene: &Scene) -> Option<String> {
        let truth = |yes: bool| Some(if yes { "yes" } else { "no" }.to_string());
        let count = |class: &Class| Noun::Class(*class).count(scene);
        match &self.asked {
            Asked::HowMany(noun) => {
                let count = noun.count(scene);
                (count <= MOST).then(|| NUMBERS[count].to_string())
            }
            Asked::IsThere(noun) => truth(noun.is_in(scene)),
            Asked::WhatIsBeside(side, kind) => Some(beside(scene, *side, kind)?.kind.name.clone()),
            Asked::CategoryBeside(side, kind) => {
                Some(beside(scene, *side, kind)?.kind.category.clone())
            }
            Asked::IsRelated(a, side, b) => truth(are_related(scene, *a, *side, *b)?),
            Asked::AreThereMore(a, b) => truth(count(a) > count(b)),
            Asked::AreThereBoth(a, b) => truth(count(a) > 0 && count(b) > 0),
        }
    }
}

/// The one group on `side` of the only thing of `kind`; `None` if there is no such group, more than
/// one, or one of which opinions could differ.
fn beside<'a>(scene: &'a Scene, side: Side, kind: &Kind) -> Option<&'a Group> {
    let middle = scene
        .groups
        .iter()
        .find(|group| group.kind.name == kind.name && group.count == 1)?;
    let at = |group: usize| scene.groups[group].kind.name != kind.name;
    let mut found = scene
        .things
        .iter()
        .filter(|thing| at(thing.group) && side.perhaps(thing.place, middle.hull))
        .map(|thing| thing.group);
    let first = found.next()?;
    let group = &scene.groups[first];
    (found.all(|other| other == first) && side.surely(group.hull, middle.hull)).then_some(group)
}

/// Whether a thing of class `a` is on `side` of another of class `b`; `None` if there is not one of
/// each, or if opinions could differ.
fn are_related(scene: &Scene, a: Class, side: Side, b: Class) -> Option<bool> {
    let of_class = |class: Class| {
        let things = scene.things.iter().enumerate();
        things.filter(move |(_, thing)| class.holds(scene.kind_of(thing)))
    };
    let pairs = || {
        of_class(a).flat_map(move |(at_a, a)| {
            of_class(b)
                .filter(move |(at_b, _)| at_a != *at_b)
                .map(move |(_, b)| (a, b))
        })
    };
    pairs().next()?;
    if pairs().any(|(a, b)| side.surely(a.place, b.place)) {
        return Some(true);
    }
    (!pairs().any(|(a, b)| side.perhaps(a.place, b.place))).then_some(false)
}

impl Described for Scene {
    type Contents = Vec<(String, usize)>;

    fn key(&self) -> &str {
        &self.key
    }

    fn contents(&self) -> Self::Contents {
        let counts = self
            .groups
            .iter()
            .map(|group| (group.kind.name.clone(), group.count));
        let mut contents: Vec<_> = counts.collect();
        contents.sort_unstable();
        contents
    }

    fn describe(&self) -> String {
        // In the order of the regions.
        let mut groups: Vec<&Group> = self.groups.iter().collect();
        groups.sort_by_key(|group| (group.hull[1], group.hull[0]));
        listed(&groups)
    }

    fn captions(&self, rng: &mut ChaCha8Rng) -> Vec<String> {
        let mut captions = vec![self.describe()];
        for start in ["there is", "a picture of"] {
            let mut groups: Vec<&Group> = self.groups.iter().collect();
            groups.shuffle(rng);
            let start = match groups[0].count > 1 || groups[0].kind.is_plural() {
                true if start == "there is" => "there are",
                _ => start,
            };
            captions.push(format!("{start} {}", listed(&groups)));
        }
        captions
    }
}
