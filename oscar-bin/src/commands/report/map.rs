//! A map of words and regions (the paper's Figure 4): the last hidden states of the words that name an
//! object class, and of the regions where that class was detected, in two dimensions.
//!
//! Whether the model aligns them is told by cosines of their states, not by the picture.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use oscar_datasets::store::Tag;
use oscar_task::explain::{Exhibit, Inspected, Region, Segment, Token};

use super::gallery::{Gallery, Image};

/// Classes shown, the most frequent.
const CLASSES: usize = 10;
/// Points of a class and kind.
const MOST: usize = 30;
/// With fewer points than this there is no map.
const FEWEST: usize = 30;
const EPOCHS: usize = 750;
const PERPLEXITY: f32 = 20.0;
/// Least intersection over union of a region and the box of its tag.
const SAME_BOX: f32 = 0.7;

/// A point is one word or one region of one example.
pub struct Point {
    /// In the unit square.
    pub at: [f32; 2],
    /// Position in [`Map::classes`].
    pub class: usize,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Of the text.
    Word,
    Tag,
    Region,
}

pub struct Map {
    pub classes: Vec<String>,
    pub points: Vec<Point>,
    /// Mean cosine of words, and of tags, with regions of their own class and of the others.
    pub likeness: Vec<(Kind, f32, f32)>,
}

/// A point without its place.
struct Found<'a> {
    class: String,
    kind: Kind,
    state: &'a [f32],
}

/// The map of some examples; `None` if they hold too few words or regions whose class is known.
pub fn draw(exhibits: &[Exhibit], gallery: &Gallery) -> Result<Option<Map>> {
    let mut found = Vec::new();
    for sequence in exhibits
        .iter()
        .flat_map(|exhibit| &exhibit.explanation.sequences)
    {
        collect(sequence, gallery, &mut found)?;
    }
    let (classes, found) = chosen(found);
    let both = [Kind::Word, Kind::Region];
    let has = |kind| found.iter().any(|found| found.kind == kind);
    if found.len() < FEWEST || !both.into_iter().all(has) {
        return Ok(None);
    }
    let units: Vec<Vec<f32>> = found.iter().map(|found| unit(found.state)).collect();
    let places = place(&units).context("cannot compute the map of words and regions")?;
    let class = |found: &Found| classes.iter().position(|class| *class == found.class);
    let points = found.iter().zip(places).filter_map(|(found, at)| {
        Some(Point {
            at,
            class: class(found)?,
            kind: found.kind,
        })
    });
    Ok(Some(Map {
        points: points.collect(),
        likeness: [Kind::Word, Kind::Tag]
            .into_iter()
            .filter_map(|kind| likeness(&found, &units, kind))
            .collect(),
        classes,
    }))
}

/// Words, tags and regions whose class is in the store.
fn collect<'a>(
    sequence: &'a Inspected,
    gallery: &Gallery,
    found: &mut Vec<Found<'a>>,
) -> Result<()> {
    let mut images: BTreeMap<&str, Option<Image>> = BTreeMap::new();
    for region in &sequence.regions {
        if !images.contains_key(&*region.image) {
            images.insert(&region.image, gallery.find(&region.image)?);
        }
    }
    let known = images.values().flatten();
    let mut names: Vec<&str> = known
        .flat_map(|image| image.tags.iter().map(|t| &*t.class))
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        for (part, kind) in [(Segment::Text, Kind::Word), (Segment::Tags, Kind::Tag)] {
            let positions = named(&sequence.tokens, name, part).into_iter();
            found.extend(positions.map(|position| Found {
                class: name.to_string(),
                kind,
                state: &sequence.states[position],
            }));
        }
    }
    for (at, region) in sequence.regions.iter().enumerate() {
        let image = images.get(&*region.image).and_then(Option::as_ref);
        if let Some(class) = image.and_then(|image| class_of(region, image)) {
            found.push(Found {
                class: class.to_string(),
                kind: Kind::Region,
                state: &sequence.states[sequence.tokens.len() + at],
            });
        }
    }
    Ok(())
}

/// Positions of the last token of each occurrence of `name`, with or without a plural s, in a segment
/// of the text.
fn named(tokens: &[Token], name: &str, segment: Segment) -> Vec<usize> {
    // Word pieces of one word.
    let mut words: Vec<(String, usize)> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match (token.text.strip_prefix("##"), words.last_mut()) {
            (Some(rest), Some((word, end))) if *end + 1 == at => {
                word.push_str(rest);
                *end = at;
            }
            _ if token.segment == segment => words.push((token.text.clone(), at)),
            // A name never spans a gap.
            _ => words.push((String::new(), at)),
        }
    }
    let name = name.to_lowercase();
    let name: Vec<String> = name.split_whitespace().map(String::from).collect();
    let length = name.len().max(1);
    let says = |window: &[(String, usize)]| {
        let last = length - 1;
        window
            .iter()
            .zip(&name)
            .enumerate()
            .all(|(at, ((word, _), name))| {
                word == name || (at == last && word.strip_suffix('s') == Some(name))
            })
    };
    words
        .windows(length)
        .filter(|window| says(window))
        .map(|window| window[length - 1].1)
        .collect()
}

/// The class of the tag whose box matches the region.
pub fn class_of<'a>(region: &Region, image: &'a Image) -> Option<&'a str> {
    let own = region.in_pixels(image.size)?;
    let overlap = |tag: &&Tag| tag.box_px.map_or(0.0, |other| shared(own, other));
    let best = image
        .tags
        .iter()
        .max_by(|a, b| overlap(a).total_cmp(&overlap(b)))?;
    (overlap(&best) >= SAME_BOX).then_some(&*best.class)
}

/// Intersection over union.
fn shared(a: [f32; 4], b: [f32; 4]) -> f32 {
    let side = |low: usize, high: usize| (a[high].min(b[high]) - a[low].max(b[low])).max(0.0);
    let area = |c: [f32; 4]| (c[2] - c[0]).max(0.0) * (c[3] - c[1]).max(0.0);
    let both = side(0, 2) * side(1, 3);
    both / (area(a) + area(b) - both).max(f32::EPSILON)
}

/// The most frequent classes of regions, in order of their names, and some points of each.
fn chosen(found: Vec<Found<'_>>) -> (Vec<String>, Vec<Found<'_>>) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for region in found.iter().filter(|found| found.kind == Kind::Region) {
        *counts.entry(&region.class).or_default() += 1;
    }
    let mut classes: Vec<(&str, usize)> = counts.into_iter().collect();
    classes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    classes.truncate(CLASSES);
    let mut classes: Vec<String> = classes.into_iter().map(|(class, _)| class.into()).collect();
    classes.sort_unstable();
    let mut taken: BTreeMap<(String, Kind), usize> = BTreeMap::new();
    let kept = found.into_iter().filter(|found| {
        let count = taken.entry((found.class.clone(), found.kind)).or_default();
        *count += 1;
        *count <= MOST && classes.contains(&found.class)
    });
    let kept = kept.collect();
    (classes, kept)
}

/// t-SNE of cosine distances from fixed start positions.
fn place(units: &[Vec<f32>]) -> Result<Vec<[f32; 2]>> {
    let perplexity = PERPLEXITY.min((units.len() - 1) as f32 / 3.0 - 1.0);
    // A sunflower pattern: evenly over a small disc.
    let seeds = (0..units.len()).flat_map(|at| {
        let (angle, radius) = (at as f32 * 2.399_963, 1e-4 * (at as f32).sqrt());
        [radius * angle.cos(), radius * angle.sin()]
    });
    let seeds: Vec<f32> = seeds.collect();
    // Several threads sum in varying order, and t-SNE amplifies the difference.
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let flat = alone.install(|| {
        let mut map = bhtsne::tSNE::<f32, Vec<f32>, 2>::new(units);
        map.perplexity(perplexity)
            .epochs(EPOCHS)
            .initial_embedding(seeds)
            .exact(|a, b| (1.0 - dot(a, b)).max(0.0));
        map.embedding()
    });
    let side = |axis: usize| {
        let values = flat.iter().skip(axis).step_by(2).copied();
        let low = values.clone().fold(f32::INFINITY, f32::min);
        let high = values.fold(f32::NEG_INFINITY, f32::max);
        (low, (high - low).max(f32::EPSILON))
    };
    let sides = [side(0), side(1)];
    let within =
        |at: &[f32]| std::array::from_fn(|axis| (at[axis] - sides[axis].0) / sides[axis].1);
    let places: Vec<[f32; 2]> = flat.chunks_exact(2).map(within).collect();
    anyhow::ensure!(
        places.iter().flatten().all(|value| value.is_finite()),
        "the states of the last layer have no finite distances"
    );
    Ok(places)
}

/// Mean cosine of `kind` with regions of the same class, and of other classes.
fn likeness(found: &[Found<'_>], units: &[Vec<f32>], kind: Kind) -> Option<(Kind, f32, f32)> {
    let of = |kind| (0..found.len()).filter(move |at| found[*at].kind == kind);
    let (mut own, mut other) = ((0.0, 0), (0.0, 0));
    for a in of(kind) {
        for b in of(Kind::Region) {
            let sum = match found[a].class == found[b].class {
                true => &mut own,
                false => &mut other,
            };
            sum.0 += dot(&units[a], &units[b]);
            sum.1 += 1;
        }
    }
    let mean = |(sum, count): (f32, usize)| (count > 0).then(|| sum / count as f32);
    Some((kind, mean(own)?, mean(other)?))
}

fn unit(values: &[f32]) -> Vec<f32> {
    let norm = dot(values, values).sqrt().max(f32::EPSILON);
    values.iter().map(|value| value / norm).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token> {
        let segment = |text: &str| match text.starts_with('[') {
            true => Segment::Special,
            false => Segment::Text,
        };
        text.split(' ')
            .map(|text| Token {
                text: text.into(),
                segment: segment(text),
                masked: None,
            })
            .collect()
    }

    #[test]
    fn classes_are_found_in_words_and_word_pieces_and_not_across_gaps() {
        let find = |text: &str, name: &str| -> Vec<usize> {
            let tokens = tokens(text);
            named(&tokens, name, Segment::Text)
        };
        assert_eq!(find("[CLS] a dog and two dogs [SEP]", "dog"), [2, 5]);
        assert_eq!(find("two blue triangles", "blue triangle"), [2]);
        assert_eq!(find("a sky ##scraper", "skyscraper"), [2]);
        assert_eq!(find("a sky ##scraper", "sky"), Vec::<usize>::new());
        assert_eq!(
            find("blue [SEP] triangle", "blue triangle"),
            Vec::<usize>::new()
        );
        assert_eq!(find("a hot dog", "hot dog"), [2]);
        assert_eq!(find("dog", "a very long name"), Vec::<usize>::new());
    }

    #[test]
    fn boxes_share_what_they_share() {
        assert_eq!(shared([0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.0]), 1.0);
        assert_eq!(
            shared([0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0]),
            2.0 / 6.0
        );
        assert_eq!(shared([0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 2.0, 2.0]), 0.0);
        assert_eq!(shared([0.0; 4], [0.0; 4]), 0.0);
    }

    #[test]
    fn two_clusters_stay_apart_and_the_map_is_the_same_again() {
        let states: Vec<Vec<f32>> = (0..40)
            .map(|at| {
                let (side, off) = (at % 2, (at / 2) as f32 * 0.01);
                vec![1.0 - side as f32, side as f32, off]
            })
            .collect();
        let units: Vec<Vec<f32>> = states.iter().map(|state| unit(state)).collect();
        let places = place(&units).expect("a map");
        assert_eq!(places, place(&units).expect("a map"));
        let mean = |side: usize| {
            let own = places.iter().skip(side).step_by(2);
            let sum = own.fold([0.0, 0.0], |sum, at| [sum[0] + at[0], sum[1] + at[1]]);
            sum.map(|sum| sum / 20.0)
        };
        let (a, b) = (mean(0), mean(1));
        let apart = |at: &[f32; 2], from: [f32; 2]| (at[0] - from[0]).hypot(at[1] - from[1]);
        let nearer = places.iter().enumerate().filter(|(index, at)| {
            let (own, other) = if index % 2 == 0 { (a, b) } else { (b, a) };
            apart(at, own) < apart(at, other)
        });
        assert_eq!(nearer.count(), 40);
    }
}
