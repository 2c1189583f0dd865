//! Captions to find images by, and captions that do and do not match.

use std::collections::{BTreeMap, HashSet};

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::Draws;
use super::scene::Scene;
use super::world::Described;
use crate::nlvr1::caption::{self, describe};
use oscar_vision::drawings::{Color, Shape};

/// An image and captions of it.
#[derive(Clone, Debug)]
pub(super) struct Captioned {
    pub(super) scene: usize,
    pub(super) captions: Vec<String>,
}

/// An image and a caption, of it or not.
#[derive(Clone, Debug)]
pub(super) struct Matched {
    pub(super) scene: usize,
    pub(super) text: String,
    pub(super) label: bool,
}

/// Images with several captions each; of images with the same contents only one, since no caption
/// could tell them apart; at most `limit` images.
pub(super) fn caption(scenes: &[impl Described], limit: usize, draws: Draws) -> Vec<Captioned> {
    let mut order: Vec<usize> = (0..scenes.len()).collect();
    order.shuffle(&mut draws.rng(0));
    let mut known = HashSet::new();
    order.retain(|scene| known.insert(scenes[*scene].contents()));
    order.truncate(limit);
    let captioned = |scene: usize| Captioned {
        scene,
        captions: scenes[scene].captions(&mut draws.rng(scene + 1)),
    };
    order.into_iter().map(captioned).collect()
}

impl Described for Scene {
    type Contents = Vec<(Color, Shape)>;

    fn key(&self) -> &str {
        &self.key
    }

    fn contents(&self) -> Self::Contents {
        let mut contents: Vec<_> = self.objects.iter().map(|o| (o.color, o.shape)).collect();
        contents.sort_unstable();
        contents
    }

    fn describe(&self) -> String {
        describe(&self.objects)
    }

    fn captions(&self, rng: &mut ChaCha8Rng) -> Vec<String> {
        vec![self.describe(), reversed(self), reworded(self, rng)]
    }
}

/// From right to left.
fn reversed(scene: &Scene) -> String {
    let mut parts = caption::parts(&scene.objects);
    parts.reverse();
    parts.join(" and ")
}

/// The same in other words: `there is a black square next to two yellow triangles`.
fn reworded(scene: &Scene, rng: &mut ChaCha8Rng) -> String {
    let parts: Vec<String> = caption::parts(&scene.objects)
        .into_iter()
        .map(|part| match part.strip_prefix("one ") {
            Some(rest) => format!("a {rest}"),
            None => part,
        })
        .collect();
    let there_is = match parts.first().is_some_and(|part| part.starts_with("a ")) {
        true => "there is",
        false => "there are",
    };
    let starts = [there_is, "we see", "the image shows"];
    let joins = [" next to ", " beside ", " with "];
    let start = starts[rng.random_range(0..starts.len())];
    let join = joins[rng.random_range(0..joins.len())];
    format!("{start} {}", parts.join(join))
}

/// Every second caption twice: with its own image, and with another whose contents differ, so that
/// the text says nothing. Where there is an image whose caption differs in one word alone, every
/// second time it is that one.
pub(super) fn match_captions(scenes: &[impl Described], draws: Draws) -> Vec<Matched> {
    let texts: Vec<String> = scenes.iter().map(Described::describe).collect();
    // Captions with one word left out, and the images that have them.
    let mut near: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (scene, text) in texts.iter().enumerate() {
        for gapped in gapped(text) {
            near.entry(gapped).or_default().push(scene);
        }
    }
    let mut order: Vec<usize> = (0..scenes.len()).collect();
    order.shuffle(&mut draws.rng(0));
    order.truncate(scenes.len() / 2);
    let mut matched = Vec::new();
    for scene in order {
        let mut rng = draws.rng(scene + 1);
        let contents = scenes[scene].contents();
        let differs = |other: &usize| scenes[*other].contents() != contents;
        let nearest = || -> Vec<usize> {
            let images = gapped(&texts[scene]).filter_map(|gapped| near.get(&gapped));
            images.flatten().copied().filter(differs).collect()
        };
        let close = match rng.random_bool(0.5) {
            true => nearest().choose(&mut rng).copied(),
            false => None,
        };
        let any = |rng: &mut ChaCha8Rng| {
            let mut tries = (0..100).map(|_| rng.random_range(0..scenes.len()));
            tries.find(differs)
        };
        let Some(other) = close.or_else(|| any(&mut rng)) else {
            continue;
        };
        for (scene_shown, label) in [(scene, true), (other, false)] {
            matched.push(Matched {
                scene: scene_shown,
                text: texts[scene].clone(),
                label,
            });
        }
    }
    matched.shuffle(&mut draws.rng(0));
    matched
}

/// `text` with each of its words left out in turn.
fn gapped(text: &str) -> impl Iterator<Item = String> + '_ {
    let words: Vec<&str> = text.split(' ').collect();
    (0..words.len()).map(move |gap| {
        let mut words = words.clone();
        words[gap] = "_";
        words.join(" ")
    })
}
