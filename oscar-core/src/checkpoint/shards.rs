//! Weights in several files, with an index of which tensor is in which.

use std::collections::BTreeMap;
use std::path::Path;

use oscar_files::{SMALL_FILE, inside, named_by, read_text};
use serde::Deserialize;

use super::CheckpointError;
use super::content::{Content, format};
use super::official::Change;

/// What HuggingFace's `save_pretrained(max_shard_size=…)` writes beside the parts.
#[derive(Deserialize)]
struct Index {
    /// File by tensor name.
    weight_map: BTreeMap<String, String>,
}

/// Reads all parts that the index at `path` names. They must be in its directory.
pub(super) fn read(path: &Path) -> Result<Content, CheckpointError> {
    let text = read_text(path, SMALL_FILE)?;
    let index: Index = serde_json::from_str(&text)
        .map_err(|error| format(path, format_args!("it is not an index of weights: {error}")))?;
    // `./part` is the same file as `part`.
    let mut parts = BTreeMap::new();
    for part in index.weight_map.values() {
        parts.insert(named_by(path, part)?, part.as_str());
    }
    let mut whole: Option<Content> = None;
    for part in parts.values() {
        let content = read_part(path, part)?;
        match &mut whole {
            None => whole = Some(content),
            Some(whole) if whole.format != content.format => {
                let reason = format!("its parts have different formats, as {part:?} shows");
                return Err(format(path, reason));
            }
            Some(whole) => {
                whole.weights.extend(content.weights);
                for change in content.changes {
                    if !whole.changes.contains(&change) {
                        whole.changes.push(change);
                    }
                }
            }
        }
    }
    let mut whole = whole.ok_or_else(|| format(path, "its weight_map is empty"))?;
    let mut files = BTreeMap::new();
    for weight in &whole.weights {
        if let Some(first) = files.insert(weight.name.as_str(), &weight.file) {
            let (name, second) = (&weight.name, weight.file.display());
            let reason = format!("{name} is both in {} and in {second}", first.display());
            return Err(format(path, reason));
        }
    }
    let lost = index.weight_map.iter().find(|(name, part)| {
        let file = files.get(name.as_str());
        file.is_none_or(|file| named_by(path, part).ok().as_deref() != Some(&***file))
    });
    if let Some((name, part)) = lost {
        let reason = format!("it names {name:?} as a tensor of {part:?}, which does not hold it");
        return Err(format(path, reason));
    }
    whole.changes.push(Change::Joined(parts.len()));
    Ok(whole)
}

fn read_part(index: &Path, part: &str) -> Result<Content, CheckpointError> {
    let file = named_by(index, part)?;
    let directory = index.parent().unwrap_or(Path::new(""));
    match inside(directory, part)? {
        Some(_) => Content::read(&file),
        None => Err(format(
            index,
            format_args!("its part {part:?} is missing; download it into the same directory"),
        )),
    }
}
