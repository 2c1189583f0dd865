//! What a scene shows, and where: drawn from a seed.

use std::sync::Arc;

use image::{RgbImage, imageops};
use oscar_vision::scenes::are_close;
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::kinds::Kind;
use super::sheets::{MAX_TURN, Pose, Sheets, Style};

/// Width of a scene in pixels.
pub const WIDTH: u32 = 256;
/// Height of a scene in pixels.
pub const HEIGHT: u32 = 192;

/// Light colours, none of them white: milk glasses, clouds and paper are.
pub(super) const CANVASES: [[u8; 3]; 6] = [
    [250, 247, 240],
    [240, 246, 250],
    [244, 249, 241],
    [250, 243, 246],
    [246, 244, 250],
    [238, 240, 242],
];

/// Out of 100 scenes, how many have one group, two, three and four.
const GROUPS: [u32; 4] = [5, 35, 40, 20];
/// Out of 100 groups, how many are of one thing, two and three.
const COUNTS: [u32; 3] = [74, 20, 6];
/// How many things a scene has.
const THINGS: std::ops::RangeInclusive<usize> = 2..=6;
/// Longest side of a thing in pixels.
pub(super) const SIZES: std::ops::RangeInclusive<u32> = 40..=72;
/// Places tried for a thing before the scene is drawn again.
const TRIES: usize = 60;
/// Share of the kinds drawn most in a long tail: the kind of rank n is drawn 1/n times as often.
const FIRST_OF_TAIL: u32 = 1_000_000;

/// Which kinds scenes show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// Those that captions of training name.
    #[default]
    Known,
    /// All, and in every scene at least one that captions of training never name.
    Novel,
    /// All.
    All,
}

/// From what scenes are drawn.
pub(super) struct Chances {
    styles: Vec<Style>,
    /// Kinds to choose from, with their weights.
    kinds: Vec<(Arc<Kind>, u32)>,
    /// Kinds of which each scene shows one.
    needed: Vec<Arc<Kind>>,
}

impl Chances {
    /// Chances of these styles and kinds; with `tail`, kinds are drawn with a frequency of one by
    /// their rank, and ranks by `rng`.
    pub(super) fn new(
        sheets: &Sheets,
        styles: &[Style],
        shown: Shown,
        tail: bool,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let mut ranked = sheets.kinds.clone();
        ranked.shuffle(rng);
        ranked.retain(|kind| shown != Shown::Known || !kind.novel);
        let weight = |rank: usize| match tail {
            true => FIRST_OF_TAIL / (rank as u32 + 1),
            false => 1,
        };
        let needed = ranked
            .iter()
            .filter(|kind| shown == Shown::Novel && kind.novel);
        Self {
            styles: styles.to_vec(),
            needed: needed.cloned().collect(),
            kinds: ranked
                .into_iter()
                .enumerate()
                .map(|(rank, kind)| (kind, weight(rank)))
                .collect(),
        }
    }

    fn kind(&self, rng: &mut ChaCha8Rng) -> Arc<Kind> {
        let weights: Vec<u32> = self.kinds.iter().map(|(_, weight)| *weight).collect();
        self.kinds[among(&weights, rng)].0.clone()
    }
}

/// Index into `weights`, drawn with that frequency.
fn among(weights: &[u32], rng: &mut ChaCha8Rng) -> usize {
    let mut dice = rng.random_range(0..weights.iter().sum());
    let found = weights
        .iter()
        .position(|weight| match dice.checked_sub(*weight) {
            Some(left) => {
                dice = left;
                false
            }
            None => true,
        });
    found.unwrap_or(0)
}

/// A thing in a scene.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Thing {
    /// Index into the scene's groups.
    pub(crate) group: usize,
    /// `x1, y1, x2, y2` in pixels: where it visibly differs from the canvas.
    pub(crate) place: [u32; 4],
    pub(crate) pose: Pose,
}

/// Things of one kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    pub(crate) kind: Arc<Kind>,
    pub(crate) count: usize,
    /// The box around all of them.
    pub(crate) hull: [u32; 4],
}

impl Group {
    /// A group that nothing has been added to.
    pub(super) fn new(kind: Arc<Kind>) -> Self {
        Self {
            kind,
            count: 0,
            hull: [u32::MAX, u32::MAX, 0, 0],
        }
    }

    pub(super) fn add(&mut self, place: [u32; 4]) {
        self.count += 1;
        self.hull = [
            self.hull[0].min(place[0]),
            self.hull[1].min(place[1]),
            self.hull[2].max(place[2]),
            self.hull[3].max(place[3]),
        ];
    }
}

/// A scene.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scene {
    pub(crate) key: String,
    pub(crate) style: Style,
    pub(crate) canvas: [u8; 3],
    /// In the order in which they were drawn, each of another kind.
    pub(crate) groups: Vec<Group>,
    /// In reading order: by y, then x.
    pub(crate) things: Vec<Thing>,
}

impl Scene {
    /// Draws scene `key` and its picture.
    pub(super) fn draw(
        key: String,
        sheets: &Sheets,
        chances: &Chances,
        rng: &mut ChaCha8Rng,
    ) -> (Self, RgbImage) {
        loop {
            let groups = groups(chances, rng);
            let style = *chances.styles.choose(rng).unwrap_or(&Style::Noto);
            let canvas = *CANVASES.choose(rng).unwrap_or(&CANVASES[0]);
            if let Some((mut things, picture)) = place(sheets, &groups, style, canvas, rng) {
                things.sort_by_key(|thing| (thing.place[1], thing.place[0]));
                let mut groups: Vec<Group> = groups
                    .into_iter()
                    .map(|(kind, _)| Group::new(kind))
                    .collect();
                for thing in &things {
                    groups[thing.group].add(thing.place);
                }
                let scene = Self {
                    key,
                    style,
                    canvas,
                    groups,
                    things,
                };
                return (scene, picture);
            }
        }
    }

    /// The kind of a thing.
    pub(crate) fn kind_of(&self, thing: &Thing) -> &Arc<Kind> {
        &self.groups[thing.group].kind
    }
}

/// Different kinds, and how many of each.
fn groups(chances: &Chances, rng: &mut ChaCha8Rng) -> Vec<(Arc<Kind>, usize)> {
    loop {
        let mut groups: Vec<(Arc<Kind>, usize)> = Vec::new();
        for at in 0..=among(&GROUPS, rng) {
            let kind = match chances.needed.choose(rng) {
                Some(kind) if at == 0 => kind.clone(),
                _ => chances.kind(rng),
            };
            groups.push((kind, 1 + among(&COUNTS, rng)));
        }
        let repeated = |(at, (kind, _)): (usize, &(Arc<Kind>, usize))| {
            groups[..at].iter().any(|(other, _)| other == kind)
        };
        let things = groups.iter().map(|(_, count)| count).sum();
        if THINGS.contains(&things) && !groups.iter().enumerate().any(repeated) {
            return groups;
        }
    }
}

/// Puts things where they keep their distance; `None` if there is no room.
fn place(
    sheets: &Sheets,
    groups: &[(Arc<Kind>, usize)],
    style: Style,
    canvas: [u8; 3],
    rng: &mut ChaCha8Rng,
) -> Option<(Vec<Thing>, RgbImage)> {
    let mut picture = RgbImage::from_pixel(WIDTH, HEIGHT, image::Rgb(canvas));
    let mut things: Vec<Thing> = Vec::new();
    for (group, (kind, count)) in groups.iter().enumerate() {
        for _ in 0..*count {
            let pose = Pose {
                turned: rng.random_range(-MAX_TURN..=MAX_TURN),
                mirrored: rng.random_range(0..2_u32) == 1 && !kind.one_way,
                size: rng.random_range(SIZES),
            };
            let drawn = sheets.draw(style, kind.index, pose, canvas);
            let (width, height) = drawn.dimensions();
            if width == 0 {
                return None;
            }
            let mut places = (0..TRIES).map(|_| {
                let x = rng.random_range(0..=WIDTH - width);
                let y = rng.random_range(0..=HEIGHT - height);
                [x, y, x + width, y + height]
            });
            let apart =
                |place: &[u32; 4]| !things.iter().any(|thing| are_close(thing.place, *place));
            let place = places.find(apart)?;
            imageops::replace(&mut picture, &drawn, place[0].into(), place[1].into());
            things.push(Thing { group, place, pose });
        }
    }
    Some((things, picture))
}

/// A side of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    Left,
    Right,
    Above,
    Below,
}

impl Side {
    pub(crate) const ALL: [Self; 4] = [Self::Left, Self::Right, Self::Above, Self::Below];

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Left => "to the left of",
            Self::Right => "to the right of",
            Self::Above => "above",
            Self::Below => "below",
        }
    }

    /// Whether `a` is wholly on this side of `b`: true in everyone's opinion.
    pub(crate) fn surely(self, a: [u32; 4], b: [u32; 4]) -> bool {
        match self {
            Self::Left => a[2] <= b[0],
            Self::Above => a[3] <= b[1],
            Self::Right => Self::Left.surely(b, a),
            Self::Below => Self::Above.surely(b, a),
        }
    }

    /// Whether the middle of `a` is on this side of the middle of `b`: true in some opinions.
    pub(crate) fn perhaps(self, a: [u32; 4], b: [u32; 4]) -> bool {
        match self {
            Self::Left => a[0] + a[2] < b[0] + b[2],
            Self::Above => a[1] + a[3] < b[1] + b[3],
            Self::Right => Self::Left.perhaps(b, a),
            Self::Below => Self::Above.perhaps(b, a),
        }
    }

    /// On which side of `b` a box `a` clearly is: where they are further apart.
    pub(crate) fn clearest(a: [u32; 4], b: [u32; 4]) -> Option<Self> {
        let gap = |side: Self| match side {
            Self::Left => b[0].checked_sub(a[2]),
            Self::Right => a[0].checked_sub(b[2]),
            Self::Above => b[1].checked_sub(a[3]),
            Self::Below => a[1].checked_sub(b[3]),
        };
        let sides = Self::ALL
            .into_iter()
            .filter_map(|side| Some((gap(side)?, side)));
        // Of equal gaps the first counts.
        let clearest = sides.reduce(|best, next| if next.0 > best.0 { next } else { best });
        clearest.map(|(_, side)| side)
    }
}
