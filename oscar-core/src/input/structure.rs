//! Structural knowledge masking (ROSITA): the scene graph of a text decides which words and regions are
//! masked, beside those that chance picks.
//!
//! On the text side, an object of the graph is chosen at a rate of its own, and its attributes and
//! relations are masked by how often the corpus says them of it. On the image side, a region is masked
//! by how similar its class is to the objects that the text names, and a masked region may take those
//! that overlap it with it.

use std::collections::HashMap;
use std::io::BufRead;

use serde::Deserialize;

use super::knowledge::MaskingConfig;
use super::scene_graph::{LabelNames, RegionLabels, SceneGraph};

/// Random numbers, or a record of some.
pub trait Draws {
    /// Uniform between 0 and 1, without 1.
    fn unit(&mut self) -> f64;

    /// Uniform among the whole numbers below `count`.
    fn below(&mut self, count: usize) -> usize;
}

impl<R: rand::Rng> Draws for R {
    fn unit(&mut self) -> f64 {
        self.random()
    }

    fn below(&mut self, count: usize) -> usize {
        self.random_range(0..count)
    }
}

/// How often something is said of an object: relative frequencies, by lemma.
///
/// The form is that of ROSITA's `text_piror` file: `attr_count[object][attribute words]`, and
/// `rel_count[object]["predicate other"]` or `["other predicate"]`, whichever side the object is on.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Priors {
    /// Of attributes.
    #[serde(default)]
    pub attr_count: HashMap<String, HashMap<String, f64>>,
    /// Of relations.
    #[serde(default)]
    pub rel_count: HashMap<String, HashMap<String, f64>>,
}

/// An attribute or a relation of an object: the words that say it, and how the priors name it.
struct Said<'a> {
    words: &'a [usize],
    name: String,
}

fn joined(
    graph: &SceneGraph,
    words: &[usize],
    before: Option<usize>,
    after: Option<usize>,
) -> String {
    let words = before.iter().chain(words).chain(&after);
    let lemmas: Vec<&str> = words.map(|word| graph.lemmas[*word].as_str()).collect();
    lemmas.join(" ")
}

/// The attributes of every object with this lemma.
fn attributes<'a>(graph: &'a SceneGraph, lemma: &'a str) -> impl Iterator<Item = Said<'a>> {
    let of = graph
        .attributes
        .iter()
        .filter(move |(object, _)| graph.lemmas[*object] == lemma);
    of.map(|(_, words)| Said {
        words,
        name: joined(graph, words, None, None),
    })
}

/// The relations of every object with this lemma, as subject and as object.
fn relations<'a>(graph: &'a SceneGraph, lemma: &'a str) -> impl Iterator<Item = Said<'a>> {
    graph.relations.iter().flat_map(move |relation| {
        let words = &relation.predicate;
        let is = |word: usize| graph.lemmas[word] == lemma;
        let subject = is(relation.subject).then(|| Said {
            words,
            name: joined(graph, words, None, Some(relation.object)),
        });
        let object = is(relation.object).then(|| Said {
            words,
            name: joined(graph, words, Some(relation.subject), None),
        });
        subject.into_iter().chain(object)
    })
}

impl Priors {
    /// Counts what `graphs` say: each attribute and relation as a share of its object's occurrences.
    ///
    /// # Errors
    ///
    /// The first graph that cannot be had.
    pub fn count<E>(graphs: impl Iterator<Item = Result<SceneGraph, E>>) -> Result<Self, E> {
        let mut objects: HashMap<String, f64> = HashMap::new();
        let mut priors = Self::default();
        let add = |table: &mut HashMap<String, HashMap<String, f64>>, lemma: &str, name: String| {
            *table
                .entry(lemma.into())
                .or_default()
                .entry(name)
                .or_default() += 1.0;
        };
        for graph in graphs {
            let graph = &graph?;
            for &object in &graph.objects {
                *objects.entry(graph.lemmas[object].clone()).or_default() += 1.0;
            }
            for (object, words) in &graph.attributes {
                let name = joined(graph, words, None, None);
                add(&mut priors.attr_count, &graph.lemmas[*object], name);
            }
            for relation in &graph.relations {
                let (subject, object) = (relation.subject, relation.object);
                let after = joined(graph, &relation.predicate, None, Some(object));
                add(&mut priors.rel_count, &graph.lemmas[subject], after);
                let before = joined(graph, &relation.predicate, Some(subject), None);
                add(&mut priors.rel_count, &graph.lemmas[object], before);
            }
        }
        for table in [&mut priors.attr_count, &mut priors.rel_count] {
            for (lemma, counts) in table {
                let all = objects.get(lemma).copied().unwrap_or(1.0).max(1.0);
                counts.values_mut().for_each(|count| *count /= all);
            }
        }
        Ok(priors)
    }

    fn of(table: &HashMap<String, HashMap<String, f64>>, lemma: &str, name: &str) -> f64 {
        let found = table.get(lemma).and_then(|names| names.get(name));
        found.copied().unwrap_or(0.0)
    }
}

/// What the graph says of a text's words: objects that are masked, and each word's probability to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChosenWords {
    /// Head words of the objects that were chosen; they are targets.
    pub objects: Vec<usize>,
    /// Probability of each word to be a target, in f32 as in the reference.
    pub probability: Vec<f32>,
}

impl ChosenWords {
    /// Chooses objects of `graph`, one draw each.
    pub fn draw(
        graph: &SceneGraph,
        priors: &Priors,
        config: &MaskingConfig,
        draws: &mut impl Draws,
    ) -> Self {
        let mut chosen = Self {
            objects: Vec::new(),
            probability: vec![0.0; graph.lemmas.len()],
        };
        for &object in &graph.objects {
            if draws.unit() < config.object_rate {
                chosen.objects.push(object);
                chosen.ask(graph, &graph.lemmas[object], priors, config);
            }
        }
        chosen
    }

    /// Raises the probability of what is said of objects with this lemma.
    fn ask(&mut self, graph: &SceneGraph, lemma: &str, priors: &Priors, config: &MaskingConfig) {
        let said = attributes(graph, lemma)
            .map(|said| (said, &priors.attr_count, config.attribute_scale))
            .chain(
                relations(graph, lemma)
                    .map(|said| (said, &priors.rel_count, config.relation_scale)),
            );
        for (Said { words, name }, table, scale) in said {
            let prior = Priors::of(table, lemma, &name);
            let asked = ((scale * prior).min(config.cap) + config.base) as f32;
            for &word in words {
                self.probability[word] = self.probability[word].max(asked);
            }
        }
    }
}

/// Word vectors, by word.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WordVectors {
    vectors: HashMap<String, Vec<f32>>,
    dim: usize,
}

/// A line of a file of word vectors that is not one.
#[derive(Debug, thiserror::Error)]
pub enum VectorsError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// A line has another number of values than the first one, or a value is not a number.
    #[error(
        "line {line} has {found}, but {expected} are expected: a word and its values, as in GloVe's files"
    )]
    Line {
        /// Line, from 1.
        line: usize,
        /// What it has.
        found: String,
        /// Values that it should have.
        expected: String,
    },
}

impl WordVectors {
    /// These vectors, all of one length.
    pub fn new(vectors: HashMap<String, Vec<f32>>) -> Self {
        let dim = vectors.values().next().map_or(0, Vec::len);
        Self { vectors, dim }
    }

    /// Reads GloVe's text form: a word and its values per line. Only words for which `wanted` holds are
    /// kept.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or a line is not a word and as many numbers as the first line has.
    pub fn read(lines: impl BufRead, wanted: impl Fn(&str) -> bool) -> Result<Self, VectorsError> {
        let (mut vectors, mut dim) = (HashMap::new(), 0);
        for (index, line) in lines.lines().enumerate() {
            let line = line?;
            let mut parts = line.split_whitespace();
            let Some(word) = parts.next() else { continue };
            let count = parts.clone().count();
            let wrong = |found: String, expected: String| VectorsError::Line {
                line: index + 1,
                found,
                expected,
            };
            if dim == 0 {
                dim = count;
            }
            if count != dim || dim == 0 {
                let expected = format!("{} values", dim.max(1));
                return Err(wrong(format!("{count} values"), expected));
            }
            if !wanted(word) {
                continue;
            }
            let values: Result<Vec<f32>, _> = parts.map(str::parse).collect();
            match values {
                Ok(values) if values.iter().all(|value: &f32| value.is_finite()) => {
                    vectors.insert(word.to_string(), values);
                }
                _ => return Err(wrong("a value that is no number".into(), "numbers".into())),
            }
        }
        Ok(Self { vectors, dim })
    }

    /// The vector of a word, or the mean of the words of a name (unknown ones count as zeros); `None` if
    /// it has no length.
    fn of(&self, name: &str) -> Option<Vec<f64>> {
        let words: Vec<&str> = name.split_whitespace().collect();
        let mut sum = vec![0.0; self.dim];
        for vector in words.iter().filter_map(|word| self.vectors.get(*word)) {
            sum.iter_mut()
                .zip(vector)
                .for_each(|(sum, value)| *sum += f64::from(*value));
        }
        let count = words.len().max(1) as f64;
        sum.iter_mut().for_each(|sum| *sum /= count);
        sum.iter().any(|value| *value != 0.0).then_some(sum)
    }

    /// Similarity of a word and a name, between 0 and 1; `None` if one of them has no vector.
    fn similarity(&self, word: &[f64], name: &str) -> Option<f32> {
        let name = self.of(name)?;
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let cosine = dot(word, &name) / (dot(word, word) * dot(&name, &name)).sqrt();
        Some(similarity_of(cosine) as f32)
    }
}

/// The reference's similarity for a cosine: 1 at 1, 0.58 at 0.5, and 0 from 0.231 down.
fn similarity_of(cosine: f64) -> f64 {
    let distance = (1.3 * (1.0 - cosine)).min(1.0);
    let least = (-1.1f64).exp();
    1.0 - ((2.0 * distance - 1.1).exp() - least) / (0.9f64.exp() - least)
}

/// How similar the objects of a text are to the classes of an image's regions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Similarities {
    /// Head word of an object, and its similarity to each region, 0 where it is below the threshold.
    pub of_words: Vec<(usize, Vec<f32>)>,
}

impl Similarities {
    /// Of the objects of `graph` and the regions that have `labels`.
    ///
    /// Where the graph says which regions an object is, these have 1 and the others 0. Else word vectors
    /// decide, where there are some; without them, a region has 1 if the name of its class is the
    /// object's lemma.
    pub fn new(
        graph: &SceneGraph,
        labels: Option<(&RegionLabels, &LabelNames)>,
        regions: usize,
        vectors: Option<&WordVectors>,
        threshold: f64,
    ) -> Self {
        let mut of_words: Vec<(usize, Vec<f32>)> = Vec::new();
        for &object in &graph.objects {
            if of_words.iter().any(|(word, _)| *word == object) {
                continue;
            }
            let known = graph.regions_of(object);
            let row: Vec<f32> = if !known.is_empty() {
                (0..regions)
                    .map(|region| f32::from(known.contains(&region)))
                    .collect()
            } else if let Some((labels, names)) = labels {
                let classes = labels.objects.iter().take(regions);
                let names = classes.map(|class| class_name(names, *class));
                match row(&graph.lemmas[object], names, vectors) {
                    Some(row) => row,
                    None => continue,
                }
            } else {
                continue;
            };
            let kept = |similarity: f32| match f64::from(similarity) < threshold {
                true => 0.0,
                false => similarity,
            };
            of_words.push((object, row.into_iter().map(kept).collect()));
        }
        Self { of_words }
    }

    /// The mean of the positive similarities of each of `regions` to WordPieces: `pieces` says how many
    /// of a word's are in the text. 0 for a region that nothing is similar to.
    pub fn of_regions(&self, regions: usize, pieces: impl Fn(usize) -> usize) -> Vec<f32> {
        let mean = |region: usize| {
            let (mut sum, mut count) = (0.0f32, 0);
            for (word, row) in &self.of_words {
                let similarity = row.get(region).copied().unwrap_or(0.0);
                let pieces = pieces(*word);
                if similarity > 0.0 && pieces > 0 {
                    sum += similarity * pieces as f32;
                    count += pieces;
                }
            }
            match count {
                0 => 0.0,
                count => sum / count as f32,
            }
        };
        (0..regions).map(mean).collect()
    }

    /// The mean of the positive similarities of each object word to the regions that are `masked`.
    pub fn of_objects(&self, masked: &[bool]) -> Vec<(usize, f32)> {
        let mean = |row: &[f32]| {
            let similar = row
                .iter()
                .zip(masked)
                .filter(|(value, masked)| **masked && **value > 0.0);
            let (sum, count) = similar.fold((0.0, 0), |(sum, count), (value, _)| {
                (sum + value, count + 1)
            });
            if count == 0 { 0.0 } else { sum / count as f32 }
        };
        self.of_words
            .iter()
            .map(|(word, row)| (*word, mean(row)))
            .collect()
    }
}

/// The first synonym of a class's name.
fn class_name(names: &LabelNames, class: u16) -> &str {
    let name = names
        .objects
        .get(usize::from(class))
        .map_or("", String::as_str);
    name.split(',').next().unwrap_or("").trim()
}

/// Similarities of a lemma to names of classes; `None` if the lemma has no vector.
fn row<'a>(
    lemma: &str,
    names: impl Iterator<Item = &'a str>,
    vectors: Option<&WordVectors>,
) -> Option<Vec<f32>> {
    let Some(vectors) = vectors else {
        return Some(names.map(|name| f32::from(name == lemma)).collect());
    };
    let word = vectors.of(lemma)?;
    // A class without a vector never is similar to anything.
    Some(
        names
            .map(|name| vectors.similarity(&word, name).unwrap_or(0.0))
            .collect(),
    )
}

/// Intersection over union of two boxes x1, y1, x2, y2, which are `pixel` wider and higher than the
/// difference of their corners: boxes of pixels include the last one.
pub fn overlap(a: [f32; 4], b: [f32; 4], pixel: [f32; 2]) -> f32 {
    let side = |from: f32, to: f32, axis: usize| (to - from + pixel[axis]).max(0.0);
    let area = |r: [f32; 4]| side(r[0], r[2], 0) * side(r[1], r[3], 1);
    let both = side(a[0].max(b[0]), a[2].min(b[2]), 0) * side(a[1].max(b[1]), a[3].min(b[3]), 1);
    let union = area(a) + area(b) - both;
    if union > 0.0 { both / union } else { 0.0 }
}

/// Which regions of an image are masked.
///
/// In order, each region is picked by chance, and then again by its `similarity`; a region that is picked
/// may take those that overlap it with it.
pub fn draw_regions(
    boxes: &[[f32; 4]],
    similarity: &[f32],
    pixel: [f32; 2],
    config: &MaskingConfig,
    draws: &mut impl Draws,
) -> Vec<bool> {
    let mut targets = vec![false; similarity.len()];
    for (region, similarity) in similarity.iter().enumerate() {
        if draws.unit() < config.region_probability {
            take(region, &mut targets, boxes, pixel, config, draws);
        }
        let similar = (config.similarity_ratio * f64::from(*similarity)) as f32;
        if config.regions.is_structural() && (draws.unit() as f32) < similar {
            take(region, &mut targets, boxes, pixel, config, draws);
        }
    }
    targets
}

/// Makes a region a target, and by chance those that overlap it.
fn take(
    region: usize,
    targets: &mut [bool],
    boxes: &[[f32; 4]],
    pixel: [f32; 2],
    config: &MaskingConfig,
    draws: &mut impl Draws,
) {
    targets[region] = true;
    if !config.regions.is_structural() || draws.unit() >= config.spread_probability {
        return;
    }
    let Some(own) = boxes.get(region) else { return };
    for (other, target) in targets.iter_mut().enumerate() {
        let near = boxes
            .get(other)
            .map_or(0.0, |other| overlap(*own, *other, pixel));
        if other != region && f64::from(near) > config.spread_iou {
            // The reference draws here as well, against a probability of 1.
            draws.unit();
            *target = true;
        }
    }
}
