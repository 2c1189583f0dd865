//! What is known of a text and an image beside words and features: the text's scene graph, and the
//! classes of the regions. Structural knowledge masking (ROSITA) decides by them what is masked.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::example::{BOX_VALUES, Example, RegionHandle, SourceError};

/// The scene graph of a text, and the regions that its objects are.
///
/// Words are those between white space, counted from 0; ROSITA's annotations count in the same way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SceneGraph {
    /// The lemma of each word of the text.
    pub lemmas: Vec<String>,
    /// The head word of each object, in the order of the annotation.
    pub objects: Vec<usize>,
    /// Words that describe an object: the object's word, and theirs.
    pub attributes: Vec<(usize, Vec<usize>)>,
    /// Relations between objects.
    pub relations: Vec<Relation>,
    /// The regions that an object is, where that is known: the object's word, and their numbers.
    pub regions: Vec<(usize, Vec<usize>)>,
}

/// A relation between two objects of a text, by the numbers of their words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relation {
    /// The object that it is said of.
    pub subject: usize,
    /// The words of the relation: `left of`.
    pub predicate: Vec<usize>,
    /// The other object.
    pub object: usize,
}

/// What is wrong with a scene graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SceneGraphError {
    /// There is not one lemma for each word.
    #[error("{lemmas} lemmas for a text of {words} words")]
    Lemmas {
        /// Lemmas.
        lemmas: usize,
        /// Words of the text.
        words: usize,
    },
    /// A word that the text does not have.
    #[error("the scene graph names word {word}, but the text has {words} words")]
    Word {
        /// Its number, from 0.
        word: usize,
        /// Words of the text.
        words: usize,
    },
    /// A region that the image does not have.
    #[error("the scene graph names region {region}, but the image has {regions} regions")]
    Region {
        /// Its number, from 0.
        region: usize,
        /// Regions of the image.
        regions: usize,
    },
}

impl SceneGraph {
    /// Checks the graph of a text of `words` words, beside an image of `regions` regions where
    /// the image is known.
    ///
    /// # Errors
    ///
    /// Another number of lemmas than of words; a word or region that is not there.
    pub fn check(&self, words: usize, regions: Option<usize>) -> Result<(), SceneGraphError> {
        let lemmas = self.lemmas.len();
        if lemmas != words {
            return Err(SceneGraphError::Lemmas { lemmas, words });
        }
        let attributes = self.attributes.iter();
        let attributes = attributes.flat_map(|(object, words)| [object].into_iter().chain(words));
        let relations = self.relations.iter();
        let relations =
            relations.flat_map(|r| [&r.subject, &r.object].into_iter().chain(&r.predicate));
        let aligned = self.regions.iter().map(|(object, _)| object);
        let named = self.objects.iter().chain(attributes).chain(relations);
        if let Some(&word) = named.chain(aligned).find(|word| **word >= words) {
            return Err(SceneGraphError::Word { word, words });
        }
        let named = || self.regions.iter().flat_map(|(_, regions)| regions);
        match regions.and_then(|all| Some((all, named().find(|region| **region >= all)?))) {
            Some((regions, &region)) => Err(SceneGraphError::Region { region, regions }),
            None => Ok(()),
        }
    }

    /// The graph of the text beside an image that it was not written for.
    pub fn without_regions(mut self) -> Self {
        self.regions.clear();
        self
    }

    /// The regions that the object at `word` is; none where that is not known.
    pub fn regions_of(&self, word: usize) -> &[usize] {
        let found = self.regions.iter().find(|(object, _)| *object == word);
        found.map_or(&[], |(_, regions)| regions)
    }

    /// The graph of a text that has none, from the image's own classes, attributes and boxes.
    ///
    /// A word is an object where it is the last word of the class of a region; the words before it
    /// are its attributes where regions of this class have them, and then only these regions are
    /// meant; what is said between two objects is their relation, and where it names a side (`left`,
    /// `right`, `above`, `below`), the first object's regions are those on that side of the second's.
    /// Regular plurals count as their singular.
    ///
    /// `boxes` are x1/W, y1/H, x2/W, y2/H of each region.
    pub fn from_regions(
        text: &str,
        labels: &RegionLabels,
        names: &LabelNames,
        boxes: &[[f32; 4]],
    ) -> Self {
        let lemmas: Vec<String> = text.split_whitespace().map(lemma).collect();
        let mut graph = Self {
            lemmas,
            ..Self::default()
        };
        let by_name = regions_by_name(labels, names);
        // Where what is said of an object begins.
        let mut starts = BTreeMap::new();
        for word in 0..graph.lemmas.len() {
            let Some((name, regions)) = longest_name(&graph.lemmas[..=word], &by_name) else {
                continue;
            };
            // The first word of a name of two may be a name itself.
            let inside = word + 1 - name..word;
            graph.objects.retain(|object| !inside.contains(object));
            graph.regions.retain(|(object, _)| !inside.contains(object));
            graph
                .attributes
                .retain(|(object, _)| !inside.contains(object));
            let start = word + 1 - name;
            let (said, regions) = graph.described(start, regions, labels, names);
            starts.insert(word, said.first().copied().unwrap_or(start));
            graph.objects.push(word);
            if !said.is_empty() {
                graph.attributes.push((word, said));
            }
            graph.regions.push((word, regions));
        }
        graph.relate(&starts, boxes);
        graph
    }

    /// The attribute words right before word `start`, and those of `regions` that have them.
    fn described(
        &self,
        start: usize,
        mut regions: Vec<usize>,
        labels: &RegionLabels,
        names: &LabelNames,
    ) -> (Vec<usize>, Vec<usize>) {
        let mut said = Vec::new();
        for word in (0..start).rev() {
            let has = |region: &usize| {
                let known = labels.attribute_scores.get(*region);
                let attribute = labels.attributes.get(*region);
                let attribute = attribute.filter(|_| known.is_some_and(|score| *score > 0.0));
                let name = attribute.and_then(|id| names.attributes.get(usize::from(*id)));
                name.is_some_and(|name| first_synonym(name) == self.lemmas[word])
            };
            let described: Vec<usize> = regions.iter().copied().filter(has).collect();
            if described.is_empty() {
                break;
            }
            said.insert(0, word);
            regions = described;
        }
        (said, regions)
    }

    /// Adds the relations of neighbouring objects; what is said of an object begins at its word of
    /// `starts`.
    fn relate(&mut self, starts: &BTreeMap<usize, usize>, boxes: &[[f32; 4]]) {
        for at in 1..self.objects.len() {
            let (subject, object) = (self.objects[at - 1], self.objects[at]);
            let end = starts.get(&object).copied().unwrap_or(object);
            let predicate: Vec<usize> = (subject + 1..end)
                .filter(|word| !FILLERS.contains(&self.lemmas[*word].as_str()))
                .collect();
            if predicate.is_empty() {
                continue;
            }
            let last = predicate.iter().rev();
            let side = last.map(|word| Side::named(&self.lemmas[*word]));
            if let Some(side) = side.flatten().next() {
                self.keep_on_side(side, subject, object, boxes);
            }
            self.relations.push(Relation {
                subject,
                predicate,
                object,
            });
        }
    }

    /// Leaves out the regions of `subject` that are on `side` of no region of `object`, unless none
    /// is.
    fn keep_on_side(&mut self, side: Side, subject: usize, object: usize, boxes: &[[f32; 4]]) {
        let anchors = self.regions_of(object).to_vec();
        let beside = |region: &usize| {
            let region = boxes.get(*region);
            let mut anchors = anchors.iter().filter_map(|anchor| boxes.get(*anchor));
            region.is_some_and(|a| anchors.any(|b| side.holds(*a, *b)))
        };
        let own = self.regions.iter_mut().find(|(word, _)| *word == subject);
        if let Some((_, regions)) = own {
            let kept: Vec<usize> = regions.iter().copied().filter(beside).collect();
            if !kept.is_empty() {
                *regions = kept;
            }
        }
    }
}

/// Words between two objects that say nothing of their relation.
const FILLERS: [&str; 9] = ["a", "an", "and", "the", "some", ",", "is", "are", "to"];

/// A side of a box.
#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
    Above,
    Below,
}

impl Side {
    fn named(lemma: &str) -> Option<Self> {
        match lemma {
            "left" => Some(Self::Left),
            "right" => Some(Self::Right),
            "above" | "over" | "on" => Some(Self::Above),
            "below" | "under" | "beneath" => Some(Self::Below),
            _ => None,
        }
    }

    /// Whether the middle of `a` is on this side of the middle of `b`.
    fn holds(self, a: [f32; 4], b: [f32; 4]) -> bool {
        let (x, y) = (a[0] + a[2] - b[0] - b[2], a[1] + a[3] - b[1] - b[3]);
        match self {
            Self::Left => x < 0.0,
            Self::Right => x > 0.0,
            Self::Above => y < 0.0,
            Self::Below => y > 0.0,
        }
    }
}

/// A word without punctuation, in lower case.
fn lemma(word: &str) -> String {
    let plain = word.chars().filter(|c| c.is_alphanumeric());
    let plain = plain.flat_map(char::to_lowercase).collect::<String>();
    match plain.is_empty() {
        true => word.to_lowercase(),
        false => plain,
    }
}

/// Names of classes may be lists of synonyms, of which the first counts.
fn first_synonym(name: &str) -> &str {
    name.split(',').next().unwrap_or(name).trim()
}

/// The regions of each class, by the words of its name.
fn regions_by_name(labels: &RegionLabels, names: &LabelNames) -> BTreeMap<Vec<String>, Vec<usize>> {
    let mut found: BTreeMap<Vec<String>, Vec<usize>> = BTreeMap::new();
    for (region, id) in labels.objects.iter().enumerate() {
        if let Some(name) = names.objects.get(usize::from(*id)) {
            let words = first_synonym(name).split_whitespace().map(lemma).collect();
            found.entry(words).or_default().push(region);
        }
    }
    found
}

/// The longest name that `lemmas` end in, as its number of words, and its regions.
fn longest_name(
    lemmas: &[String],
    names: &BTreeMap<Vec<String>, Vec<usize>>,
) -> Option<(usize, Vec<usize>)> {
    let is_at_end = |name: &[String]| {
        let tail = lemmas
            .len()
            .checked_sub(name.len())
            .map(|start| &lemmas[start..]);
        tail.is_some_and(|tail| {
            let (Some((last, first)), Some((head, before))) =
                (tail.split_last(), name.split_last())
            else {
                return false;
            };
            first == before && is_one_of(last, head)
        })
    };
    let fitting = names.iter().filter(|(name, _)| is_at_end(name));
    let longest = fitting.max_by_key(|(name, _)| name.len())?;
    Some((longest.0.len(), longest.1.clone()))
}

/// Whether `word` is `name`, or its regular plural.
fn is_one_of(word: &str, name: &str) -> bool {
    let ending = word.strip_prefix(name);
    ending.is_some_and(|ending| matches!(ending, "" | "s" | "es"))
}

/// What a detector says of the regions of an image: one of each for every region.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegionLabels {
    /// Object classes.
    pub objects: Vec<u16>,
    /// The detector's confidence in them, 0 to 1.
    pub object_scores: Vec<f32>,
    /// Attribute classes; empty if the detector has none.
    pub attributes: Vec<u16>,
    /// The detector's confidence in them; 0 for a region whose attribute is not known.
    pub attribute_scores: Vec<f32>,
}

impl RegionLabels {
    /// Number of regions.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is no region.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

/// The names of the classes of [`RegionLabels`], by number; synonyms are separated by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LabelNames {
    /// Of objects.
    pub objects: Vec<String>,
    /// Of attributes; empty if the detector has none.
    pub attributes: Vec<String>,
}

impl Example {
    /// The scene graph of its text: its own, else the one that [follows](SceneGraph::from_regions)
    /// from the classes of the image's regions; none where these are not known.
    ///
    /// # Errors
    ///
    /// If the regions cannot be read.
    pub fn scene_graph(&self) -> Result<Option<SceneGraph>, SourceError> {
        if self.graph.is_some() {
            return Ok(self.graph.clone());
        }
        let (Some(labels), Some(names)) = (self.regions.labels()?, self.regions.label_names())
        else {
            return Ok(None);
        };
        let boxes = self.regions.boxes()?;
        Ok(Some(SceneGraph::from_regions(
            &self.text_a,
            &labels,
            &names,
            &boxes,
        )))
    }
}

impl RegionHandle {
    /// x1/W, y1/H, x2/W, y2/H of each region.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    pub fn boxes(&self) -> Result<Vec<[f32; 4]>, SourceError> {
        let dim = self.dim();
        let mut values = vec![0.0; self.len() * dim];
        self.copy_into(&mut values)?;
        let regions = values.chunks_exact(dim.max(1));
        let corners = |region: &[f32]| std::array::from_fn(|at| region[dim - BOX_VALUES + at]);
        Ok(regions.map(corners).collect())
    }

    /// The classes of the regions, where their source has them.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    pub fn labels(&self) -> Result<Option<RegionLabels>, SourceError> {
        self.source.labels(self.row)
    }

    /// The names of these classes, where their source has them.
    pub fn label_names(&self) -> Option<Arc<LabelNames>> {
        self.source.label_names()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> (RegionLabels, LabelNames) {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        let names = LabelNames {
            objects: words(&["dog,puppy", "tree", "fire truck", "fire"]),
            attributes: words(&["brown", "red", "old"]),
        };
        let labels = RegionLabels {
            objects: vec![0, 0, 1, 2],
            object_scores: vec![1.0; 4],
            attributes: vec![0, 1, 0, 1],
            attribute_scores: vec![1.0; 4],
        };
        (labels, names)
    }

    /// Two dogs on either side of a tree, and a fire truck far right.
    const BOXES: [[f32; 4]; 4] = [
        [0.0, 0.5, 0.2, 0.6],
        [0.6, 0.5, 0.7, 0.6],
        [0.3, 0.1, 0.5, 0.9],
        [0.8, 0.5, 1.0, 0.9],
    ];

    #[test]
    fn a_graph_follows_from_classes_attributes_and_boxes() {
        let (labels, names) = known();
        let graph = |text| SceneGraph::from_regions(text, &labels, &names, &BOXES);
        let found = graph("The dogs , left of a tree");
        assert_eq!(found.objects, [1, 6]);
        let relation = Relation {
            subject: 1,
            predicate: vec![3, 4],
            object: 6,
        };
        assert_eq!(found.relations, [relation]);
        assert_eq!(found.regions, [(1, vec![0]), (6, vec![2])]);
        assert_eq!(found.check(7, Some(4)), Ok(()));

        // The attribute decides which dog; a name of two words is one object.
        let found = graph("a red dog near the fire truck");
        assert_eq!(found.objects, [2, 6]);
        assert_eq!(found.attributes, [(2, vec![1])]);
        assert_eq!(found.regions, [(2, vec![1]), (6, vec![3])]);
        let relation = Relation {
            subject: 2,
            predicate: vec![3],
            object: 6,
        };
        assert_eq!(found.relations, [relation]);
        assert!(graph("nothing of this").objects.is_empty());
    }

    #[test]
    fn graphs_that_do_not_fit_their_text_or_image() {
        let graph = SceneGraph {
            lemmas: vec!["a".into(), "dog".into()],
            objects: vec![1],
            attributes: vec![(1, vec![0])],
            relations: Vec::new(),
            regions: vec![(1, vec![4])],
        };
        assert_eq!(graph.check(2, None), Ok(()));
        assert_eq!(graph.check(2, Some(5)), Ok(()));
        let missing = SceneGraphError::Region {
            region: 4,
            regions: 4,
        };
        assert_eq!(graph.check(2, Some(4)), Err(missing));
        let lemmas = SceneGraphError::Lemmas {
            lemmas: 2,
            words: 3,
        };
        assert_eq!(graph.check(3, None), Err(lemmas));
        let far = SceneGraph {
            attributes: vec![(1, vec![2])],
            ..graph
        };
        let word = SceneGraphError::Word { word: 2, words: 2 };
        assert_eq!(far.check(2, None), Err(word));
    }
}
