//! Names of ROSITA's tensors in files, and what they are called here.
//!
//! ROSITA is BERT over words and regions with names of its own. Released files are nested, a dictionary
//! of weights per module: `{"epoch": 40, "net_optim": …, "text_embeddings": {…}, "backbone": {…}, …}`.
//!
//! | ROSITA | here |
//! |---|---|
//! | `text_embeddings` | `bert.embeddings` |
//! | `visual_embeddings.{dense_imgfeat, dense_bboxfeat}` | `bert.img_embedding.{features, boxes}` |
//! | `visual_embeddings.layer_norm` | `bert.LayerNorm` |
//! | `backbone.layers.l` | `bert.encoder.layer.l` |
//! | `text_mlm_head` | `cls.predictions` |
//! | `imgfeat_head` | `cls.regions` |
//! | `mm_itm_head` of pre-training | `cls.seq_relationship`, its two classes swapped: class 0 is matched |
//! | `mm_itm_head` of retrieval | `classifier`: class 1 is matched there, as in Oscar's retrieval |
//! | `mm_qa_head` of pre-training, of VQA | `cls.answers`, `classifier` |
//! | `mm_refs_head` | `referring` |

use std::sync::Arc;

use bytes::Bytes;
use oscar_files::pytorch::{Dict, StateEntry, Storage, TorchTensor, Value};
use serde_json::{Map, Value as Json, json};

use super::kind::Sizes;
use super::official::Change;
use super::weights::Weight;
use crate::input::BOX_VALUES;

/// Modules that checkpoints of ROSITA hold.
const MODULES: [&str; 9] = [
    "text_embeddings",
    "visual_embeddings",
    "backbone",
    "pooler",
    "text_mlm_head",
    "imgfeat_head",
    "mm_itm_head",
    "mm_qa_head",
    "mm_refs_head",
];

/// The tensor by which its files are recognised.
const ANCHOR: &str = "text_embeddings.word_embeddings.weight";

/// Starts of names: ROSITA's and ours, of every model.
const STARTS: [(&str, &str); 14] = [
    ("text_embeddings.layer_norm.", "bert.embeddings.LayerNorm."),
    ("text_embeddings.", "bert.embeddings."),
    (
        "visual_embeddings.dense_imgfeat.",
        "bert.img_embedding.features.",
    ),
    (
        "visual_embeddings.dense_bboxfeat.",
        "bert.img_embedding.boxes.",
    ),
    ("visual_embeddings.layer_norm.", "bert.LayerNorm."),
    ("pooler.", "bert.pooler."),
    ("text_mlm_head.dense.", "cls.predictions.transform.dense."),
    (
        "text_mlm_head.layer_norm.",
        "cls.predictions.transform.LayerNorm.",
    ),
    ("text_mlm_head.decode.", "cls.predictions.decoder."),
    ("text_mlm_head.bias", "cls.predictions.bias"),
    ("imgfeat_head.dense_feat.", "cls.regions.features."),
    ("imgfeat_head.dense_obj.", "cls.regions.objects."),
    ("imgfeat_head.dense_attr.", "cls.regions.attributes."),
    ("imgfeat_head.", "cls.regions."),
];

/// Parts of an encoder layer: ROSITA's and ours.
const LAYER: [(&str, &str); 8] = [
    ("mhatt.dense_q.", "attention.self.query."),
    ("mhatt.dense_k.", "attention.self.key."),
    ("mhatt.dense_v.", "attention.self.value."),
    ("mhatt.dense_merge.", "attention.output.dense."),
    ("layer_norm0.", "attention.output.LayerNorm."),
    ("ffn.dense0.", "intermediate.dense."),
    ("ffn.dense1.", "output.dense."),
    ("layer_norm1.", "output.LayerNorm."),
];

/// Parts of the head of answers.
const ANSWERS: [(&str, &str); 3] = [
    ("dense0.", "dense."),
    ("layer_norm.", "LayerNorm."),
    ("dense1.", "decoder."),
];

/// Parts of the head of referring expressions.
const REFERRING: [(&str, &str); 4] = [
    ("dense_rank.", "rank."),
    ("dense_reg.", "deltas."),
    ("layer_norm.", "LayerNorm."),
    ("dense.", "dense."),
];

const LAYERS: &str = "backbone.layers.";
const OUR_LAYERS: &str = "bert.encoder.layer.";
/// Prefix of the matching head in pre-training.
const RELATION: &str = "cls.seq_relationship.";

/// Where the heads of a file go, whose names do not say what model they are of.
#[derive(Clone, Copy)]
struct Heads {
    answers: &'static str,
    matching: &'static str,
}

impl Heads {
    fn of(pretraining: bool) -> Self {
        match pretraining {
            true => Self {
                answers: "cls.answers.",
                matching: RELATION,
            },
            false => Self {
                answers: "classifier.",
                matching: "classifier.",
            },
        }
    }
}

/// Gives the weights of a ROSITA the names that they have here; files of other models stay as they are.
///
/// # Errors
///
/// If the matching head cannot be read.
pub(super) fn rename(weights: &mut [Weight]) -> Result<Option<Change>, String> {
    let any = |test: &dyn Fn(&str) -> bool| weights.iter().any(|weight| test(&weight.name));
    if !any(&|name| name == ANCHOR) {
        return Ok(None);
    }
    let head = |name: &str| name.starts_with("text_mlm_head.") || name.starts_with("imgfeat_head.");
    let heads = Heads::of(any(&head));
    for weight in weights {
        weight.name = ours(&weight.name, heads);
        if weight.name.starts_with(RELATION) {
            let bytes = swapped(&weight.tensor)?;
            let storage = Storage::of_bytes(weight.name.as_str().into(), bytes);
            let (dtype, shape) = (weight.tensor.dtype(), weight.tensor.shape().to_vec());
            weight.tensor = TorchTensor::contiguous(dtype, shape, Arc::new(storage))?;
        }
    }
    Ok(Some(Change::Rosita))
}

/// Our name of ROSITA's tensor `name`; the same if it has none.
fn ours(name: &str, heads: Heads) -> String {
    let replaced = |table: &[(&str, &str)], prefix: &str, rest: &str| {
        let mut table = table.iter();
        let found = table.find_map(|(theirs, ours)| Some((ours, rest.strip_prefix(theirs)?)));
        found.map(|(ours, rest)| format!("{prefix}{ours}{rest}"))
    };
    let in_layer = || {
        let (layer, part) = name.strip_prefix(LAYERS)?.split_once('.')?;
        replaced(&LAYER, &format!("{OUR_LAYERS}{layer}."), part)
    };
    let in_head = || {
        if let Some(part) = name.strip_prefix("mm_itm_head.dense.") {
            return Some(format!("{}{part}", heads.matching));
        }
        match name.split_once('.')? {
            ("mm_qa_head", part) => replaced(&ANSWERS, heads.answers, part),
            ("mm_refs_head", part) => replaced(&REFERRING, "referring.", part),
            ("imgfeat_head", part) => {
                let part = part.strip_prefix("layer_norm.")?;
                Some(format!("cls.regions.LayerNorm.{part}"))
            }
            _ => None,
        }
    };
    let found = in_layer().or_else(in_head);
    found
        .or_else(|| replaced(&STARTS, "", name))
        .unwrap_or_else(|| name.into())
}

/// ROSITA's name of our tensor `name`, if it has one.
fn theirs(name: &str) -> Option<String> {
    let replaced = |table: &[(&str, &str)], prefix: &str, rest: &str| {
        let mut table = table.iter();
        table.find_map(|(theirs, ours)| {
            Some(format!("{prefix}{theirs}{}", rest.strip_prefix(ours)?))
        })
    };
    if let Some(rest) = name.strip_prefix(OUR_LAYERS) {
        let (layer, part) = rest.split_once('.')?;
        return replaced(&LAYER, &format!("{LAYERS}{layer}."), part);
    }
    if let Some(part) = name.strip_prefix(RELATION) {
        return Some(format!("mm_itm_head.dense.{part}"));
    }
    if let Some(part) = name.strip_prefix("cls.regions.LayerNorm.") {
        return Some(format!("imgfeat_head.layer_norm.{part}"));
    }
    if let Some(part) = name.strip_prefix("referring.") {
        return replaced(&REFERRING, "mm_refs_head.", part);
    }
    let of_answers = name
        .strip_prefix("cls.answers.")
        .or_else(|| name.strip_prefix("classifier."));
    if let Some(part) = of_answers {
        let matching = matches!(part, "weight" | "bias");
        return match matching {
            true => Some(format!("mm_itm_head.dense.{part}")),
            false => replaced(&ANSWERS, "mm_qa_head.", part),
        };
    }
    replaced(&STARTS, "", name)
}

/// Gives tensors that are to be written ROSITA's names, and its matching head its order of classes.
///
/// # Errors
///
/// The first tensor that ROSITA does not have.
pub(super) fn restore(names: &mut [StateEntry], storages: &mut [Bytes]) -> Result<(), String> {
    for entry in names {
        let name = &entry.name;
        // A backbone alone has no prefix.
        let full = theirs(name).or_else(|| theirs(&format!("bert.{name}")));
        // Its matching head has two classes.
        let fits =
            |full: &String| !full.starts_with("mm_itm_head.") || entry.shape.first() == Some(&2);
        let Some(full) = full.filter(fits) else {
            return Err(format!(
                "ROSITA has no tensor for {name}; its models project features and boxes apart \
                 (region_projection = \"split\") and have the heads of its own tasks"
            ));
        };
        if name.starts_with(RELATION) {
            let bytes = storages
                .get_mut(entry.storage)
                .ok_or("a storage is missing")?;
            *bytes = halves_swapped(bytes);
        }
        entry.name = full;
    }
    Ok(())
}

/// The values of a tensor of two rows with the rows swapped.
fn swapped(tensor: &TorchTensor) -> Result<Bytes, String> {
    if tensor.shape().first() != Some(&2) {
        return Err(format!(
            "mm_itm_head has shape {:?}; it has two classes in ROSITA",
            tensor.shape()
        ));
    }
    let bytes = tensor.to_bytes().map_err(|error| error.to_string())?;
    Ok(halves_swapped(&bytes))
}

fn halves_swapped(bytes: &[u8]) -> Bytes {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    [second, first].concat().into()
}

/// A nested checkpoint.
pub(super) struct Nested<'a> {
    /// The names of its modules, and their tensors.
    pub modules: Vec<(&'static str, &'a Dict)>,
    /// Names of what else is in it.
    pub beside: Vec<String>,
}

/// The parts of a nested checkpoint; none of any other file.
pub(super) fn nested(value: &Value) -> Option<Nested<'_>> {
    let dict = value.as_dict()?;
    dict.get("text_embeddings")?.as_dict()?;
    let inner = MODULES.into_iter().filter_map(|name| {
        let module = dict.get(name)?.as_dict()?;
        Some((name, module))
    });
    let beside = dict.iter().filter_map(|(key, _)| key.as_str());
    let beside = beside.filter(|name| !MODULES.contains(name));
    Some(Nested {
        modules: inner.collect(),
        beside: beside.map(String::from).collect(),
    })
}

/// Fills in what a configuration of ROSITA says in other words, or not at all: released files come
/// without one.
pub(super) fn complete(keys: &mut Map<String, Json>, sizes: &Sizes, notes: &mut Vec<String>) {
    // ROSITA counts five box values where a stored region has six.
    let counted = sizes.img_feature_dim.map(|dim| (dim, dim + 5 - BOX_VALUES));
    if let Some((dim, theirs)) = counted
        && keys.get("img_feature_dim") == Some(&json!(theirs))
    {
        keys.insert("img_feature_dim".into(), json!(dim));
    }
    if let Some(hidden) = sizes.hidden_size
        && !keys.contains_key("num_attention_heads")
    {
        let heads = (hidden / 64).max(1);
        notes.push(format!(
            "the number of attention heads is not in the weights: {heads}, heads of 64 as in ROSITA base"
        ));
        keys.insert("num_attention_heads".into(), json!(heads));
    }
    for (key, value) in [
        ("model_type", json!("rosita")),
        ("padding_gets_gradient", json!(true)),
        ("layer_norm_eps", json!(1e-12)),
        ("img_layer_norm_eps", json!(1e-12)),
    ] {
        keys.entry(key).or_insert(value);
    }
}
