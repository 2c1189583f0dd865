//! The published `config.yaml` of both detectors.

mod frcnn;
mod vinvl;

use std::path::Path;

use oscar_files::FileError;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::config::{DetectorConfig, Flavour};
use super::error::DetectorError;
use super::files::read_small_text;

/// Reads the configuration at `path`; keys are read in any case, what is missing is as published.
pub(super) fn read(path: &Path) -> Result<DetectorConfig, DetectorError> {
    let text = read_small_text(path)?;
    let value: Value = serde_saphyr::from_str(&text).map_err(|error| {
        FileError::malformed(path, format!("not YAML ({error})"), "copy the file again")
    })?;
    let keys = Keys {
        path,
        value: lower_case(value),
    };
    match (keys.has("resnets"), keys.has("model.resnets")) {
        (true, _) => keys.frcnn(),
        (false, true) => keys.vinvl(),
        (false, false) => Err(FileError::malformed(
            path,
            "neither `resnets` (of frcnn-vg) nor `model.resnets` (of VinVL) is there",
            "it is not the configuration of one of the two detectors; remove it to use the \
             published settings",
        )
        .into()),
    }
}

fn lower_case(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let lower = |(key, value): (String, Value)| (key.to_lowercase(), lower_case(value));
            Value::Object(map.into_iter().map(lower).collect::<Map<_, _>>())
        }
        other => other,
    }
}

/// A parsed configuration.
struct Keys<'a> {
    path: &'a Path,
    value: Value,
}

/// A number, or a list of them.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(f64),
    Many(Vec<f64>),
}

/// Sizes of anchors, in a list for each feature map.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum PerMap {
    One(Vec<f32>),
    Each(Vec<Vec<f32>>),
}

impl Keys<'_> {
    fn find(&self, key: &str) -> Option<&Value> {
        let parts = key.split('.');
        parts
            .into_iter()
            .try_fold(&self.value, |value, part| value.get(part))
    }

    fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// The value of `key`, if it is there.
    fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, DetectorError> {
        let Some(value) = self.find(key) else {
            return Ok(None);
        };
        T::deserialize(value)
            .map(Some)
            .map_err(|error| self.wrong(key, &format!("{value}, which cannot be read ({error})")))
    }

    /// Puts the value of `key` into `place`, if it is there.
    fn set<T: DeserializeOwned>(&self, key: &str, place: &mut T) -> Result<(), DetectorError> {
        if let Some(value) = self.get(key)? {
            *place = value;
        }
        Ok(())
    }

    fn wrong(&self, key: &str, found: &str) -> DetectorError {
        DetectorError::Config {
            path: self.path.to_path_buf(),
            found: format!("`{key}` is {found}"),
        }
    }

    /// Refuses a value that stands for a network that is not implemented.
    fn only<T: DeserializeOwned + PartialEq + std::fmt::Debug>(
        &self,
        key: &str,
        wanted: T,
    ) -> Result<(), DetectorError> {
        match self.get::<T>(key)? {
            Some(found) if found != wanted => {
                let found = format!("{found:?}, but only {wanted:?} is supported");
                Err(self.wrong(key, &found))
            }
            _ => Ok(()),
        }
    }

    fn blocks(&self, key: &str, depth: u64) -> Result<[usize; 3], DetectorError> {
        match depth {
            50 => Ok([3, 4, 6]),
            101 => Ok([3, 4, 23]),
            152 => Ok([3, 8, 36]),
            _ => Err(self.wrong(key, &format!("{depth}, but the depth is 50, 101 or 152"))),
        }
    }

    fn anchor_sizes(&self, key: &str, place: &mut Vec<f32>) -> Result<(), DetectorError> {
        match self.get(key)? {
            None => {}
            Some(PerMap::One(sizes)) => *place = sizes,
            Some(PerMap::Each(mut maps)) if maps.len() == 1 => *place = maps.remove(0),
            Some(PerMap::Each(maps)) => {
                let found = format!("a list of {}, but there is one feature map", maps.len());
                return Err(self.wrong(key, &found));
            }
        }
        Ok(())
    }
}

/// The flavour that a configuration is about, for messages.
pub(super) fn name_of(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Frcnn => "frcnn-vg (bottom-up attention)",
        Flavour::Vinvl => "VinVL",
    }
}
