//! Renaming the tensors of a file to official names.
//!
//! Official names are those of the Oscar code since 2021. Existing files were also written by its
//! first release, by the TensorFlow converter, by HuggingFace's library and by `DataParallel`, each
//! of which spells some names in its own way.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use oscar_files::pytorch::{Storage, TorchTensor};

use super::weights::{Weight, is_float};
use super::{gpt2, rosita};

/// Prefix of the backbone inside a model with heads.
pub(super) const BACKBONE: &str = "bert.";

/// The tied output matrix.
pub(super) const DECODER: &str = "cls.predictions.decoder.weight";

const WORD_EMBEDDINGS: &str = "embeddings.word_embeddings.weight";
const HEADS: [&str; 2] = ["cls.", "classifier."];

/// A change from a file's names to the official ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The weights were under this key.
    Unwrapped(String),
    /// These keys were beside the one that holds the weights.
    Beside(Vec<String>),
    /// The weights were in this many parts, which an index names.
    Joined(usize),
    /// The weights were the attributes of TorchScript's modules.
    TorchScript,
    /// The weights were those of GPT-2 alone; its names got the prefix that they have in ClipCap.
    Gpt2,
    /// The weights were ROSITA's, under its names, and its matching head had its classes the other way
    /// round.
    Rosita,
    /// Names had a `module.`, as `DataParallel` writes them.
    DataParallel,
    /// Names had this wrapper of a module in them (`_orig_mod` of `torch.compile`).
    Wrapper(&'static str),
    /// Names began with this, since the model is a part of another module.
    Inside(String),
    /// The output matrix was left out, as safetensors has tied weights once.
    TiedOutput,
    /// The word embedding was left out in favour of the output matrix to which it is tied.
    TiedEmbedding,
    /// This many names ended in `gamma` or `beta`, as converted from TensorFlow.
    OldNorms(usize),
    /// The head was named as by the captioning code of 2020, and had no bias.
    Captioning2020,
    /// The backbone of a model with heads had no prefix.
    Prefixed,
    /// This tensor repeats another one or is not a weight.
    LeftOut(String),
    /// The output bias had another name.
    DecoderBias,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unwrapped(key) => write!(f, "took the weights under the key \"{key}\""),
            Self::Beside(keys) => {
                let shown: Vec<_> = keys.iter().take(8).map(String::as_str).collect();
                write!(f, "left out what is beside them: {}", shown.join(", "))?;
                match keys.len() - shown.len() {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Self::Joined(parts) => write!(f, "joined the {parts} parts that the index names"),
            Self::TorchScript => write!(f, "took the weights of a TorchScript module"),
            Self::Gpt2 => write!(f, "added the `gpt.transformer.` prefix to GPT-2's names"),
            Self::Rosita => write!(
                f,
                "renamed ROSITA's modules to BERT's names; class 0 of a pre-trained matching head is \
                 \"matched\", as in Oscar"
            ),
            Self::DataParallel => write!(f, "removed the `module.` prefix (DataParallel)"),
            Self::Wrapper(wrapper) => write!(f, "removed `{wrapper}.` from the names"),
            Self::Inside(prefix) => write!(f, "removed the `{prefix}` prefix"),
            Self::TiedOutput => write!(
                f,
                "{DECODER} is not in the file, which omits tied weights: it is the word embedding"
            ),
            Self::TiedEmbedding => write!(
                f,
                "the word embedding is not in the file, which omits tied weights: it is {DECODER}"
            ),
            Self::OldNorms(count) => {
                write!(f, "renamed gamma/beta to weight/bias in {count} names")
            }
            Self::Captioning2020 => write!(
                f,
                "captioning head of 2020: renamed transform and decoder to cls.predictions.*, \
                 set the output bias to 0"
            ),
            Self::Prefixed => write!(f, "added the `bert.` prefix to the backbone's names"),
            Self::LeftOut(name) => write!(f, "left out {name}"),
            Self::DecoderBias => write!(
                f,
                "renamed cls.predictions.decoder.bias to cls.predictions.bias"
            ),
        }
    }
}

/// Gives `weights` official names; returns the changes, or an error if a name would occur twice.
pub(super) fn rename(weights: &mut Vec<Weight>) -> Result<Vec<Change>, String> {
    let mut changes = Vec::new();
    changes.extend(strip_wrappers(weights));
    changes.extend(rosita::rename(weights)?);
    changes.extend(strip_prefix(weights));
    match weights
        .iter_mut()
        .map(rename_norm)
        .filter(|done| *done)
        .count()
    {
        0 => {}
        count => changes.push(Change::OldNorms(count)),
    }
    if captioning_2020(weights)? {
        changes.push(Change::Captioning2020);
    }
    changes.extend(gpt2::rename(weights)?);
    changes.extend(huggingface(weights));
    if prefix_backbone(weights) {
        changes.push(Change::Prefixed);
    }
    let mut names = BTreeSet::new();
    match weights
        .iter()
        .find(|weight| !names.insert(weight.name.as_str()))
    {
        Some(twice) => Err(format!("it has two tensors named {}", twice.name)),
        None => Ok(changes),
    }
}

/// Removes the modules that PyTorch puts around others, wherever they are in a name.
fn strip_wrappers(weights: &mut [Weight]) -> Vec<Change> {
    const WRAPPERS: [&str; 4] = [
        "module",
        "_orig_mod",
        "_fsdp_wrapped_module",
        "_checkpoint_wrapped_module",
    ];
    let mut found = [false; WRAPPERS.len()];
    for weight in weights {
        let kept = weight.name.split('.').filter(|component| {
            let wrapper = WRAPPERS.iter().position(|wrapper| wrapper == component);
            wrapper
                .and_then(|at| found.get_mut(at))
                .map(|found| *found = true)
                .is_none()
        });
        let kept: Vec<_> = kept.collect();
        // A tensor called `module` alone is left as it is.
        if !kept.is_empty() {
            weight.name = kept.join(".");
        }
    }
    let found = WRAPPERS.into_iter().zip(found).filter(|(_, found)| *found);
    found
        .map(|(wrapper, _)| match wrapper {
            "module" => Change::DataParallel,
            wrapper => Change::Wrapper(wrapper),
        })
        .collect()
}

/// Removes the names of modules of which the whole model is a part, as training frameworks have them:
/// what precedes `bert.embeddings`. Where there is one BERT under that name, the modules around it may be
/// called anything; what precedes `embeddings` alone may be the name of another family (`roberta.`).
fn strip_prefix(weights: &mut [Weight]) -> Option<Change> {
    const AROUND: [&str; 9] = [
        "model",
        "net",
        "network",
        "_model",
        "state_dict",
        "backbone",
        "encoder",
        "text_encoder",
        "learner",
    ];
    let bodies = weights.iter().filter_map(|weight| {
        let before = weight.name.strip_suffix(WORD_EMBEDDINGS)?;
        if !before.is_empty() && !before.ends_with('.') {
            return None;
        }
        // A whole component: `visual_bert.` is another model.
        let outside = before.strip_suffix(BACKBONE);
        let outside = outside.filter(|outside| outside.is_empty() || outside.ends_with('.'));
        Some((outside.unwrap_or(before), outside.is_some()))
    });
    let bodies: Vec<(&str, bool)> = bodies.collect();
    let is_around = |prefix: &str| {
        let mut components = prefix.split_terminator('.');
        components.all(|component| AROUND.contains(&component))
    };
    let prefix = match (
        bodies.iter().find(|(prefix, _)| is_around(prefix)),
        &bodies[..],
    ) {
        (Some((known, _)), _) => known.to_string(),
        (None, [(only, true)]) => only.to_string(),
        _ => return None,
    };
    if prefix.is_empty() {
        return None;
    }
    for weight in weights {
        if let Some(inner) = weight.name.strip_prefix(prefix.as_str()) {
            weight.name = inner.into();
        }
    }
    Some(Change::Inside(prefix))
}

/// Adds the name that a file leaves out of a word embedding and output matrix that are one tensor.
pub(super) fn tie(weights: &mut Vec<Weight>) -> Option<Change> {
    const PREDICTS: &str = "cls.predictions.transform.dense.weight";
    let named = |name: &str| weights.iter().find(|weight| weight.name == name);
    let ends = |end: &str| weights.iter().find(|weight| weight.name.ends_with(end));
    named(PREDICTS)?;
    let embeddings = ends(WORD_EMBEDDINGS);
    let (change, weight) = match (embeddings, named(DECODER)) {
        (Some(embeddings), None) => {
            let name = DECODER.into();
            (
                Change::TiedOutput,
                Weight {
                    name,
                    ..embeddings.clone()
                },
            )
        }
        (None, Some(decoder)) => {
            let positions = ends("embeddings.position_embeddings.weight")?;
            let name = positions
                .name
                .replace("position_embeddings", "word_embeddings");
            (
                Change::TiedEmbedding,
                Weight {
                    name,
                    ..decoder.clone()
                },
            )
        }
        _ => return None,
    };
    weights.push(weight);
    Some(change)
}

/// `gamma` and `beta` to `weight` and `bias`.
fn rename_norm(weight: &mut Weight) -> bool {
    let (module, new) = match weight.name.rsplit_once('.') {
        Some((module, "gamma")) => (module, "weight"),
        Some((module, "beta")) => (module, "bias"),
        _ => return false,
    };
    weight.name = format!("{module}.{new}");
    true
}

/// The captioning code of 2020 had its head at the top level, without an output bias. The code of
/// 2021 does not know those names: it leaves its head random and generates gibberish.
fn captioning_2020(weights: &mut Vec<Weight>) -> Result<bool, String> {
    const PARTS: [&str; 5] = [
        "transform.dense.weight",
        "transform.dense.bias",
        "transform.LayerNorm.weight",
        "transform.LayerNorm.bias",
        "decoder.weight",
    ];
    let has = |name: &str| weights.iter().any(|weight| weight.name == name);
    let newer = weights.iter().any(|weight| weight.name.starts_with("cls."));
    if newer || !PARTS.into_iter().all(has) {
        return Ok(false);
    }
    let mut bias = None;
    for weight in weights.iter_mut() {
        if !PARTS.contains(&weight.name.as_str()) {
            continue;
        }
        weight.name.insert_str(0, "cls.predictions.");
        if weight.name == DECODER {
            let vocabulary = weight.tensor.shape().first().copied().unwrap_or(0);
            bias = Some((zeros(&weight.tensor, vocabulary)?, weight.file.clone()));
        }
    }
    weights.extend(bias.map(|(tensor, file)| Weight {
        name: "cls.predictions.bias".into(),
        tensor,
        file,
    }));
    Ok(true)
}

/// `length` zeros of the type of `like`.
fn zeros(like: &TorchTensor, length: usize) -> Result<TorchTensor, String> {
    let bytes = length.saturating_mul(like.dtype().bitsize() / 8);
    if bytes > like.storage().len() {
        return Err(format!("{DECODER} has {length} rows, but fewer values"));
    }
    let storage = Storage::of_bytes("zeros".into(), Bytes::from(vec![0; bytes]));
    TorchTensor::contiguous(like.dtype(), vec![length], Arc::new(storage))
}

/// HuggingFace writes index buffers, and the output bias a second time.
fn huggingface(weights: &mut Vec<Weight>) -> Vec<Change> {
    const TWICE: &str = "cls.predictions.decoder.bias";
    const ONCE: &str = "cls.predictions.bias";
    let mut changes = Vec::new();
    let has_bias = weights.iter().any(|weight| weight.name == ONCE);
    weights.retain_mut(|weight| {
        let is_index = [".position_ids", ".token_type_ids"]
            .iter()
            .any(|end| weight.name.ends_with(end));
        if (is_index && !is_float(weight.tensor.dtype())) || (weight.name == TWICE && has_bias) {
            changes.push(Change::LeftOut(weight.name.clone()));
            return false;
        }
        if weight.name == TWICE {
            weight.name = ONCE.into();
            changes.push(Change::DecoderBias);
        }
        true
    });
    changes
}

/// A file with heads has its backbone under `bert.`.
fn prefix_backbone(weights: &mut [Weight]) -> bool {
    let is_head = |name: &str| HEADS.iter().any(|head| name.starts_with(head));
    let any = |test: &dyn Fn(&str) -> bool| weights.iter().any(|weight| test(&weight.name));
    let bare = any(&|name| name == WORD_EMBEDDINGS)
        && any(&is_head)
        && !any(&|name| name.starts_with(BACKBONE));
    if !bare {
        return false;
    }
    for weight in weights {
        if !is_head(&weight.name) {
            weight.name.insert_str(0, BACKBONE);
        }
    }
    true
}
