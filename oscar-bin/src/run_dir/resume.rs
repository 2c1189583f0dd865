//! What must stay the same when a run is resumed.

use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::Value as Json;

/// Settings that stay the same from the first step of a run to its last, by dotted key.
const FIXED: &[&str] = &[
    "model",
    "task",
    "epochs",
    "data.vocab",
    "encoder",
    "init.checkpoint",
    "train.seed",
    "train.steps",
    "train.batch_size",
    "train.accumulation",
    "train.shuffle_window",
    "data.mix",
];

/// Refuses to resume a run that has the configuration `own` with the configuration `wanted` if that
/// would be another run.
///
/// # Errors
/// The first key that differs.
pub fn require_same<C: Serialize>(run: &Path, own: &C, wanted: &C) -> Result<()> {
    let (own, wanted) = (without_mixed_paths(own)?, without_mixed_paths(wanted)?);
    for key in FIXED {
        let pointer = format!("/{}", key.replace('.', "/"));
        let (found, expected) = (own.pointer(&pointer), wanted.pointer(&pointer));
        if let Some((key, found, expected)) = difference(key, found, expected) {
            bail!(
                "{} was started with {key} = {found}, but {key} = {expected} is set now; resume it \
                 without that change, or start another run",
                run.display()
            );
        }
    }
    Ok(())
}

/// The configuration without the paths of the corpora of a mix: data may be moved.
fn without_mixed_paths(config: &impl Serialize) -> Result<Json> {
    let mut config = serde_json::to_value(config)?;
    if let Some(mix) = config.pointer_mut("/data/mix").and_then(Json::as_array_mut) {
        for corpus in mix.iter_mut().filter_map(Json::as_object_mut) {
            corpus.retain(|key, _| key != "corpus" && key != "regions");
        }
    }
    Ok(config)
}

/// The first key, in or below `key`, whose values differ.
fn difference(
    key: &str,
    own: Option<&Json>,
    wanted: Option<&Json>,
) -> Option<(String, String, String)> {
    if let (Some(Json::Object(own)), Some(Json::Object(wanted))) = (own, wanted) {
        let keys = own.keys().chain(wanted.keys());
        return keys.into_iter().find_map(|name| {
            difference(&format!("{key}.{name}"), own.get(name), wanted.get(name))
        });
    }
    let text = |value: Option<&Json>| match value {
        None | Some(Json::Null) => "nothing".to_string(),
        Some(value) => value.to_string(),
    };
    (own != wanted).then(|| (key.into(), text(own), text(wanted)))
}
