//! Comparing a model's configuration with its weights.
//!
//! Official configurations omit keys for which the code has defaults, and files get mixed up. Most
//! sizes follow from the shapes of the weights, so a missing key is filled in from them, and one
//! that contradicts them is an error.

use serde_json::{Map, Value, json};

use super::kind::{ClassifierShape, ModelKind, Shapes, Sizes};
use crate::config::RegionProjection;

/// A key that the configuration lacked and that follows from the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct FilledKey {
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub value: Value,
}

/// Fills in the keys that `config` lacks and that follow from the weights; an error names a key that
/// contradicts them.
pub(super) fn fit(
    config: &mut Map<String, Value>,
    shapes: &Shapes<'_>,
    tied_output: bool,
) -> Result<Vec<FilledKey>, String> {
    let mut filled = Vec::new();
    for (key, value) in implied(shapes, config.contains_key("tie_weights"), tied_output) {
        match config.get(key) {
            Some(found) if same(found, &value) => {}
            Some(found) => {
                return Err(format!(
                    "{key} is {found}, but the weights are of a model with {key} = {value}; use the \
                     configuration of this model, or correct the key"
                ));
            }
            None => {
                config.insert(key.into(), value.clone());
                filled.push(FilledKey { key, value });
            }
        }
    }
    Ok(filled)
}

/// The keys that follow from the shapes.
fn implied(
    shapes: &Shapes<'_>,
    has_tie_weights: bool,
    tied_output: bool,
) -> impl Iterator<Item = (&'static str, Value)> {
    let sizes = Sizes::of(shapes);
    let kind = ModelKind::of(shapes);
    let has_images = sizes.img_feature_dim.is_some();
    let head = ClassifierShape::of(shapes);
    let scale = head
        .and_then(|head| head.inner)
        .zip(sizes.hidden_size)
        .filter(|(inner, hidden)| *hidden > 0 && inner.is_multiple_of(*hidden))
        .map(|(inner, hidden)| inner / hidden);
    let split = sizes.region_projection == RegionProjection::Split;
    let number = |size: Option<usize>| size.map(|size| json!(size));
    let keys = [
        ("vocab_size", number(sizes.vocab_size)),
        ("hidden_size", number(sizes.hidden_size)),
        ("num_hidden_layers", Some(json!(sizes.num_hidden_layers))),
        ("intermediate_size", number(sizes.intermediate_size)),
        (
            "max_position_embeddings",
            number(sizes.max_position_embeddings),
        ),
        ("type_vocab_size", number(sizes.type_vocab_size)),
        ("img_feature_dim", number(sizes.img_feature_dim)),
        (
            "use_img_layernorm",
            has_images.then(|| json!(u8::from(sizes.use_img_layernorm))),
        ),
        (
            "num_contrast_classes",
            match kind {
                ModelKind::Pretraining { contrast_classes } => Some(json!(contrast_classes)),
                _ => None,
            },
        ),
        (
            "num_labels",
            match kind {
                ModelKind::Classifier { labels } => Some(json!(labels)),
                _ => None,
            },
        ),
        (
            "num_choice",
            match kind {
                ModelKind::PairClassifier { choices } => Some(json!(choices)),
                _ => None,
            },
        ),
        (
            "projection_dim",
            match kind {
                ModelKind::DualEncoder { width } => Some(json!(width)),
                _ => None,
            },
        ),
        ("classifier", head.map(|head| json!(head.kind))),
        (
            "region_projection",
            split.then(|| json!(sizes.region_projection)),
        ),
        ("region_head", sizes.region_head.then_some(json!(true))),
        ("num_object_classes", number(sizes.num_object_classes)),
        ("num_attribute_classes", number(sizes.num_attribute_classes)),
        ("num_answers", number(sizes.num_answers)),
        ("cls_hidden_scale", number(scale)),
        // A tied model may be saved with another output matrix, which the official code ignores: a
        // configuration that has the key is not contradicted.
        (
            "tie_weights",
            (kind == ModelKind::Captioning && !has_tie_weights).then(|| json!(tied_output)),
        ),
    ];
    keys.into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
}

/// Whether both are equal, where a boolean equals 0 or 1.
fn same(found: &Value, implied: &Value) -> bool {
    let flag = |value: &Value| match value {
        Value::Bool(value) => Some(u64::from(*value)),
        value => value.as_u64(),
    };
    found == implied || (flag(found).is_some() && flag(found) == flag(implied))
}
