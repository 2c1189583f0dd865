//! Which model a file holds, by the names and shapes of its weights.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::official::{BACKBONE, DECODER};
use crate::config::{Classifier, RegionProjection};
use crate::input::BOX_VALUES;

/// Shapes by official name, each tied matrix under its parameter's name only.
pub(super) type Shapes<'a> = BTreeMap<&'a str, &'a [usize]>;

/// The model that a weight file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "name")]
pub enum ModelKind {
    /// Masked tokens and contrastive relation.
    Pretraining {
        /// Classes of the contrastive head.
        contrast_classes: usize,
    },
    /// Masked tokens alone.
    Captioning,
    /// A classifier on one pooled vector.
    Classifier {
        /// Its classes.
        labels: usize,
    },
    /// A classifier on the pooled vectors of several images (NLVR2).
    PairClassifier {
        /// Images per statement.
        choices: usize,
    },
    /// Scores and box deltas of regions, for referring expressions.
    Referring,
    /// Vectors of texts and images, for search.
    DualEncoder {
        /// Values of a vector.
        width: usize,
    },
    /// No head.
    Backbone,
    /// A model of another family.
    Other {
        /// Which.
        family: &'static str,
    },
    /// Not one of these.
    Unknown,
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pretraining { contrast_classes } => {
                write!(f, "pre-training, {contrast_classes} contrastive classes")
            }
            Self::Captioning => write!(f, "captioning"),
            Self::Classifier { labels } => write!(f, "classifier of {labels} labels"),
            Self::PairClassifier { choices } => {
                write!(f, "classifier of {choices} images together")
            }
            Self::Referring => write!(f, "referring expressions"),
            Self::DualEncoder { width } => write!(f, "dual encoder, vectors of {width} values"),
            Self::Backbone => write!(f, "backbone without a head"),
            Self::Other { family } => f.write_str(family),
            Self::Unknown => write!(f, "not a recognised Oscar model"),
        }
    }
}

/// Sizes of a model, taken from the shapes of its weights; none where the weight is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// Rows of the word embedding.
    pub vocab_size: Option<usize>,
    /// Width of the hidden states.
    pub hidden_size: Option<usize>,
    /// Transformer layers.
    pub num_hidden_layers: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: Option<usize>,
    /// Rows of the position embedding.
    pub max_position_embeddings: Option<usize>,
    /// Rows of the segment embedding.
    pub type_vocab_size: Option<usize>,
    /// Values per region; none if the model sees no image.
    pub img_feature_dim: Option<usize>,
    /// Whether the projected regions are normalised.
    pub use_img_layernorm: bool,
    /// How regions are projected.
    #[serde(skip_serializing_if = "is_joined")]
    pub region_projection: RegionProjection,
    /// Whether there is a head for masked regions.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub region_head: bool,
    /// Object classes that it predicts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_object_classes: Option<usize>,
    /// Attribute classes that it predicts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_attribute_classes: Option<usize>,
    /// Answers that a pre-training model predicts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_answers: Option<usize>,
}

fn is_joined(projection: &RegionProjection) -> bool {
    *projection == RegionProjection::Joined
}

/// A named group of parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// Its parameters.
    pub parameters: usize,
}

/// One size of the tensor called `name`.
fn axis(shapes: &Shapes<'_>, name: &str, axis: usize) -> Option<usize> {
    shapes.get(name)?.get(axis).copied()
}

/// The prefix of the backbone's names.
pub(super) fn prefix(shapes: &Shapes<'_>) -> &'static str {
    match shapes.keys().any(|name| name.starts_with(BACKBONE)) {
        true => BACKBONE,
        false => "",
    }
}

impl Sizes {
    /// Of the weights with these shapes.
    pub(super) fn of(shapes: &Shapes<'_>) -> Self {
        let bert = prefix(shapes);
        let body = |name: &str, at: usize| axis(shapes, &format!("{bert}{name}"), at);
        let layers = shapes.keys().filter_map(|name| {
            let rest = name.strip_prefix(bert)?.strip_prefix("encoder.layer.")?;
            rest.split_once('.')?.0.parse::<usize>().ok()
        });
        // The features alone: a split projection has a layer of its own for the box.
        let split = body("img_embedding.features.weight", 1);
        Self {
            vocab_size: body("embeddings.word_embeddings.weight", 0),
            hidden_size: body("embeddings.word_embeddings.weight", 1),
            num_hidden_layers: layers.max().map_or(0, |last| last.saturating_add(1)),
            intermediate_size: body("encoder.layer.0.intermediate.dense.weight", 0),
            max_position_embeddings: body("embeddings.position_embeddings.weight", 0),
            type_vocab_size: body("embeddings.token_type_embeddings.weight", 0),
            img_feature_dim: body("img_embedding.weight", 1)
                .or_else(|| Some(split?.saturating_add(BOX_VALUES))),
            use_img_layernorm: body("LayerNorm.weight", 0).is_some(),
            region_projection: match split {
                Some(_) => RegionProjection::Split,
                None => RegionProjection::Joined,
            },
            region_head: shapes.contains_key("cls.regions.dense.weight"),
            num_object_classes: axis(shapes, "cls.regions.objects.weight", 0),
            num_attribute_classes: axis(shapes, "cls.regions.attributes.weight", 0),
            num_answers: axis(shapes, "cls.answers.decoder.weight", 0),
        }
    }
}

/// A classification head by its shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClassifierShape {
    pub inputs: usize,
    /// Width between the two layers of an MLP.
    pub inner: Option<usize>,
    pub labels: usize,
    pub kind: Classifier,
}

impl ClassifierShape {
    pub fn of(shapes: &Shapes<'_>) -> Option<Self> {
        let size = |name: &str, at: usize| axis(shapes, name, at);
        if let Some(labels) = size("classifier.weight", 0) {
            return Some(Self {
                inputs: size("classifier.weight", 1)?,
                inner: None,
                labels,
                kind: Classifier::Linear,
            });
        }
        if let Some(labels) = size("classifier.decoder.weight", 0) {
            return Some(Self {
                inputs: size("classifier.dense.weight", 1)?,
                inner: size("classifier.dense.weight", 0),
                labels,
                kind: Classifier::Answer,
            });
        }
        let inner = size("classifier.0.weight", 0)?;
        // With a LayerNorm at index 2, the last layer is at 3.
        let last = size("classifier.3.weight", 0);
        Some(Self {
            inputs: size("classifier.0.weight", 1)?,
            inner: Some(inner),
            labels: last.or_else(|| size("classifier.2.weight", 0))?,
            kind: Classifier::Mlp,
        })
    }

    /// Pooled vectors that it takes.
    pub fn choices(&self, hidden_size: usize) -> usize {
        match hidden_size {
            0 => 1,
            hidden => self.inputs / hidden,
        }
    }
}

impl ModelKind {
    /// Of the weights with these shapes.
    pub(super) fn of(shapes: &Shapes<'_>) -> Self {
        let Some(hidden) = Sizes::of(shapes).hidden_size else {
            return Self::Unknown;
        };
        if let Some(head) = ClassifierShape::of(shapes) {
            return match head.choices(hidden) {
                0 | 1 => Self::Classifier {
                    labels: head.labels,
                },
                choices => Self::PairClassifier { choices },
            };
        }
        let predicts = shapes.contains_key("cls.predictions.transform.dense.weight");
        if let Some(width) = axis(shapes, "dual.text_projection.weight", 0) {
            return Self::DualEncoder { width };
        }
        match axis(shapes, "cls.seq_relationship.weight", 0) {
            Some(contrast_classes) if predicts => Self::Pretraining { contrast_classes },
            _ if predicts => Self::Captioning,
            _ if shapes.contains_key("referring.dense.weight") => Self::Referring,
            _ if shapes.keys().any(|name| name.starts_with("cls.")) => Self::Unknown,
            _ => Self::Backbone,
        }
    }
}

/// The place of the parts of no model.
const OTHER: usize = 11;

/// The place among the parts of a model of the tensor `name`, whose backbone has the prefix `bert`.
fn part_of(name: &str, bert: &str) -> usize {
    let body = name.strip_prefix(bert).unwrap_or(name);
    let begins = |starts: &[&str]| starts.iter().any(|start| body.starts_with(start));
    match name {
        _ if begins(&["embeddings.", "encoder.", "pooler."]) => 0,
        _ if begins(&["img_embedding."]) => 1,
        _ if begins(&["LayerNorm."]) => 2,
        DECODER => 4,
        _ if name.starts_with("cls.predictions.") => 3,
        _ if name.starts_with("cls.seq_relationship.") => 5,
        _ if name.starts_with("classifier.") => 6,
        _ if name.starts_with("cls.regions.") => 7,
        _ if name.starts_with("cls.answers.") => 8,
        _ if name.starts_with("referring.") => 9,
        _ if name.starts_with("dual.") => 10,
        _ => OTHER,
    }
}

/// The tensors that are of no part of a model, such as averaged copies of all weights.
pub(super) fn others<'a>(shapes: &Shapes<'a>) -> Vec<&'a str> {
    let bert = prefix(shapes);
    let names = shapes.keys().copied();
    names
        .filter(|name| part_of(name, bert) == OTHER && !name.starts_with("cls."))
        .collect()
}

/// Parameters by part, in the order of the model; parts that are not there are left out.
pub(super) fn parts(shapes: &Shapes<'_>) -> Vec<Part> {
    const NAMES: [&str; 12] = [
        "BERT body",
        "image projection",
        "image LayerNorm",
        "masked-token head",
        "output matrix",
        "contrastive head",
        "classifier",
        "masked-region head",
        "answer head",
        "referring head",
        "dual-encoder head",
        "other",
    ];
    let bert = prefix(shapes);
    let mut counts = [0usize; NAMES.len()];
    for (name, shape) in shapes {
        if let Some(count) = counts.get_mut(part_of(name, bert)) {
            *count = count.saturating_add(shape.iter().product());
        }
    }
    NAMES
        .into_iter()
        .zip(counts)
        .filter(|(_, count)| *count > 0)
        .map(|(name, parameters)| Part { name, parameters })
        .collect()
}
