//! Where the weights are in a PyTorch file that holds other things too.

use std::path::Path;
use std::sync::Arc;

use oscar_files::pytorch::pickle::printable;
use oscar_files::pytorch::{Dict, TORCH_SCRIPT, TorchTensor, Value};

use super::Weight;
use super::official::Change;
use super::rosita::Nested;

/// Names under which training scripts put the weights among other things, in order of preference.
pub(super) const WRAPPERS: [&str; 9] = [
    "model",
    "state_dict",
    "model_state_dict",
    "module",
    "net",
    "network",
    "weights",
    "params",
    "model_state",
];

/// Most wrappers around the weights.
const MAX_WRAPPERS: usize = 4;

/// The dictionary of weights in `value`: a value under one of the [`WRAPPERS`] that holds named
/// tensors, else the only one that does. Generators' states and counters, which are tensors as well,
/// are saved beside it; they are listed in `changes`.
pub(super) fn unwrap<'a>(value: &'a Value, changes: &mut Vec<Change>) -> &'a Value {
    let mut value = value;
    for left in (0..MAX_WRAPPERS).rev() {
        let Some(dict) = value.as_dict() else { break };
        let Some((key, inner)) = wrapped(dict, left) else {
            break;
        };
        changes.push(Change::Unwrapped(printable(key)));
        let beside = dict
            .iter()
            .map(|(key, _)| key.as_str().map_or("?".into(), printable));
        let beside: Vec<String> = beside.filter(|name| *name != printable(key)).collect();
        if !beside.is_empty() {
            changes.push(Change::Beside(beside));
        }
        value = inner;
    }
    value
}

/// The entry of `dict` that wraps the weights, if they are not its own entries.
fn wrapped(dict: &Dict, depth: usize) -> Option<(&str, &Value)> {
    let wrapper = |name: &'static str| {
        let inner = dict.get(name)?;
        holds_weights(inner, depth).then_some((name, inner))
    };
    if let Some(found) = WRAPPERS.into_iter().find_map(wrapper) {
        return Some(found);
    }
    if dict.iter().any(|(key, value)| is_weight(key, value)) {
        return None;
    }
    let mut others = dict
        .iter()
        .filter_map(|(key, value)| Some((key.as_str()?, value)))
        .filter(|(_, value)| holds_weights(value, depth));
    others.next().filter(|_| others.next().is_none())
}

/// Whether `value` is a dictionary of named tensors, or wraps one at most `depth` levels below.
fn holds_weights(value: &Value, depth: usize) -> bool {
    let Some(dict) = value.as_dict() else {
        return false;
    };
    dict.iter().any(|(key, value)| is_weight(key, value))
        || depth > 0 && wrapped(dict, depth - 1).is_some()
}

fn is_weight(key: &Value, value: &Value) -> bool {
    key.as_str().is_some() && tensor(value).is_some()
}

/// Tensors of PyTorch, and arrays of NumPy, as which Detectron2 keeps published weights.
fn tensor(value: &Value) -> Option<&TorchTensor> {
    value.as_tensor().or_else(|| value.as_array())
}

/// The named tensors of the modules of a nested checkpoint, under the modules' names.
pub(super) fn tensors_of_modules(
    nested: &Nested<'_>,
    file: &Arc<Path>,
    changes: &mut Vec<Change>,
) -> Vec<Weight> {
    if !nested.beside.is_empty() {
        changes.push(Change::Beside(
            nested.beside.iter().map(|name| printable(name)).collect(),
        ));
    }
    let named = nested.modules.iter().flat_map(|(module, dict)| {
        tensors(dict, file).into_iter().map(move |weight| Weight {
            name: format!("{module}.{}", weight.name),
            ..weight
        })
    });
    named.collect()
}

/// The named tensors of `dict`, which is in `file`.
pub(super) fn tensors(dict: &Dict, file: &Arc<Path>) -> Vec<Weight> {
    let weights = dict.iter().filter_map(|(name, value)| {
        Some(Weight {
            name: name.as_str()?.to_string(),
            tensor: tensor(value)?.clone(),
            file: file.clone(),
        })
    });
    weights.collect()
}

/// The tensors of a TorchScript module in `file` and of the modules in it, under their paths.
pub(super) fn tensors_of_module(module: &Dict, file: &Arc<Path>) -> Vec<Weight> {
    let mut weights = Vec::new();
    // Modules nest no deeper than any value of a pickle.
    collect(module, "", file, &mut weights);
    weights
}

fn collect(module: &Dict, prefix: &str, file: &Arc<Path>, weights: &mut Vec<Weight>) {
    for (name, value) in module.iter() {
        let Some(name) = name.as_str() else { continue };
        let name = format!("{prefix}{name}");
        match value {
            Value::Tensor(tensor) => weights.push(Weight {
                name,
                tensor: TorchTensor::clone(tensor),
                file: file.clone(),
            }),
            Value::Object(inner) if inner.class == TORCH_SCRIPT => {
                collect(&inner.fields, &format!("{name}."), file, weights);
            }
            _ => {}
        }
    }
}

/// Whether `value`, which holds no weights, is what an optimiser saves: of PyTorch alone, or as training
/// scripts and DeepSpeed wrap it.
pub(super) fn is_optimiser(value: &Value) -> bool {
    let Some(dict) = value.as_dict() else {
        return false;
    };
    let named =
        |(key, _): (&Value, &Value)| key.as_str().is_some_and(|key| key.starts_with("optimizer"));
    dict.get("param_groups").is_some() || dict.iter().any(named)
}

/// A value for a message: its type, and the first keys of a dictionary.
pub(super) fn described(value: &Value) -> String {
    let Some(dict) = value.as_dict() else {
        return format!("a {}", value.type_name());
    };
    let keys: Vec<_> = dict
        .iter()
        .filter_map(|(key, _)| key.as_str())
        .take(5)
        .map(|key| format!("\"{}\"", printable(key)))
        .collect();
    match keys.is_empty() {
        true => "a dictionary".into(),
        false => format!("a dictionary of {}", keys.join(", ")),
    }
}
