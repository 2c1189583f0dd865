//! What must stay the same when a run is resumed.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::Value as Json;

use super::CONFIG_FILE;
use crate::output::quoted;

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

/// Settings that may change when a run is resumed: they decide how it runs, not what it computes.
const FREE: &[&str] = &[
    "train.workers",
    "train.log_every",
    "train.validate_every",
    "train.save_every",
    "train.keep_checkpoints",
    "train.peer_timeout_seconds",
    "train.all_reduce",
    "train.gradient_checkpointing",
];

/// Refuses to resume a run that has the configuration `own` with the configuration `wanted` if that
/// would be another run; warns of other settings that change what it computes.
///
/// # Errors
/// If fixed keys differ: all of them, with both values.
pub fn require_same<C: Serialize>(run: &Path, own: &C, wanted: &C) -> Result<()> {
    let (own, wanted) = (without_mixed_paths(own)?, without_mixed_paths(wanted)?);
    let within = |key: &str, keys: &[&str]| {
        let mut keys = keys.iter();
        keys.any(|known| key == *known || key.starts_with(&format!("{known}.")))
    };
    let mut changed = Vec::new();
    differences("", Some(&own), Some(&wanted), &mut changed);
    let fixed = changed.iter().filter(|(key, ..)| within(key, FIXED));
    let fixed: Vec<String> = fixed
        .map(|(key, found, set)| format!("{key} = {found}, but {key} = {set} is set now"))
        .collect();
    if !fixed.is_empty() {
        bail!(
            "{} was started with {}; resume it without that change, or start another run, which may \
             start from its weights with --init {}",
            run.display(),
            fixed.join("; and with "),
            quoted(run.join("last"))
        );
    }
    for (key, found, set) in changed.iter().filter(|(key, ..)| !within(key, FREE)) {
        tracing::warn!(
            "{} was started with {key} = {found}; it resumes with {set}, so that it is not the run that \
             {CONFIG_FILE} repeats",
            run.display()
        );
    }
    Ok(())
}

/// The configuration of the run in `run` as its newest part was trained: that of the last resume which
/// changed it, else the one it was started with.
pub fn newest_config(run: &Path) -> PathBuf {
    let entries = std::fs::read_dir(run).into_iter().flatten().flatten();
    let resumed = entries.filter_map(|entry| {
        let name = entry.file_name();
        let step = name.to_str()?.strip_prefix(RESUMED)?.strip_suffix(TOML)?;
        Some((step.parse::<usize>().ok()?, entry.path()))
    });
    let newest = resumed.max();
    newest.map_or_else(|| run.join(CONFIG_FILE), |(_, path)| path)
}

/// Where the configuration of the steps after `step` is written, if it is not the one before.
pub fn config_after(run: &Path, step: usize) -> PathBuf {
    run.join(format!("{RESUMED}{step:08}{TOML}"))
}

const RESUMED: &str = "config-after-step-";
const TOML: &str = ".toml";

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

/// Collects the keys in and below `key` whose values differ, with both values.
fn differences(
    key: &str,
    own: Option<&Json>,
    wanted: Option<&Json>,
    found: &mut Vec<(String, String, String)>,
) {
    if let (Some(Json::Object(own)), Some(Json::Object(wanted))) = (own, wanted) {
        let added = wanted.keys().filter(|name| !own.contains_key(*name));
        for name in own.keys().chain(added) {
            let below = match key {
                "" => name.clone(),
                key => format!("{key}.{name}"),
            };
            differences(&below, own.get(name), wanted.get(name), found);
        }
    } else if own != wanted {
        let text = |value: Option<&Json>| match value {
            None | Some(Json::Null) => "nothing".to_string(),
            Some(value) => value.to_string(),
        };
        found.push((key.into(), text(own), text(wanted)));
    }
}
