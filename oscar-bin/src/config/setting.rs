//! Values that are given one by one: `--set KEY=VALUE`.

use anyhow::{Context, Result, bail};
use figment::error::Kind;
use figment::providers::Serialized;
use figment::value::{Dict, Map, Num, Value};
use figment::{Metadata, Profile, Provider};
use serde_json::Value as Json;

use super::keys::check_keys;

/// Most components of a dotted key.
const MAX_DEPTH: usize = 16;

/// `key=value` with a dotted key.
pub struct Setting {
    /// As it was given.
    text: String,
    key: String,
    value: Value,
}

impl Setting {
    /// Reads each of `sets`, whose keys must be among those of `known`.
    ///
    /// # Errors
    /// If one is not `KEY=VALUE`, or its key is unknown.
    pub fn parse_all(sets: &[String], known: &Json) -> Result<Vec<Self>> {
        let parse = |set: &String| {
            let setting = Self::parse(set)?;
            check_keys(known, &nested(&setting.key), &format!("--set {set}"))?;
            Ok(setting)
        };
        sets.iter().map(parse).collect()
    }

    /// `train.steps=100` to the key and a TOML value; what is not a TOML value is a string.
    fn parse(set: &str) -> Result<Self> {
        let (key, value) = split(set)
            .filter(|(key, _)| !key.is_empty())
            .with_context(|| format!("--set {set}: expected KEY=VALUE"))?;
        let depth = key.split('.').count();
        if depth > MAX_DEPTH {
            bail!("--set: a key has at most {MAX_DEPTH} components, this one {depth}");
        }
        let parsed: Result<Dict, _> = toml::from_str(&format!("value = {value}"));
        // A line end would begin further keys, which nobody reads.
        let parsed = parsed.ok().filter(|table| table.len() == 1);
        let parsed = parsed.and_then(|mut table| table.remove("value"));
        Ok(Self {
            text: set.into(),
            key: key.into(),
            value: parsed.map_or_else(|| Value::from(value), whole),
        })
    }

    /// The dotted key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// `KEY=VALUE` as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether `error` wants a string where TOML reads something else: a directory may be called
    /// 2024 or true. Then the value is read as the string that was given.
    pub fn read_as_string(&mut self, error: &figment::Error) -> bool {
        let wants_string =
            matches!(&error.kind, Kind::InvalidType(_, expected) if expected.contains("string"));
        let is_own = error.path.join(".") == self.key;
        if !wants_string || !is_own || self.value.as_str().is_some() {
            return false;
        }
        self.value = Value::from(split(&self.text).map_or("", |(_, value)| value));
        true
    }
}

impl Provider for Setting {
    fn metadata(&self) -> Metadata {
        Metadata::named(format!("--set {}", self.text))
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Serialized::default(&self.key, &self.value).data()
    }
}

/// `1e5` is a float in TOML, and a whole number where one is needed.
fn whole(value: Value) -> Value {
    const EXACT: f64 = 9e15;
    match value.to_num() {
        Some(Num::F64(number)) if number.fract() == 0.0 && number.abs() < EXACT => {
            Value::from(number as i64)
        }
        _ => value,
    }
}

fn split(set: &str) -> Option<(&str, &str)> {
    let (key, value) = set.split_once('=')?;
    Some((key.trim(), value.trim()))
}

/// `{"train": {"steps": null}}` of `train.steps`.
pub fn nested(key: &str) -> Json {
    key.rsplit('.')
        .fold(Json::Null, |inner, part| serde_json::json!({ part: inner }))
}
