//! From defaults, recipe, environment and `--set` to one resolved configuration.
//!
//! Later layers win. Every key of every layer is checked against the keys there are, so that a
//! misspelt one is an error that names the nearest, never a setting without effect.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Value};
use oscar_core::config::ModelConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::configuration::Configuration;
use super::keys::{check_keys, known_keys};
use super::sample;
use super::source::Source;

/// Prefix of environment variables that set keys: `OSCAR__TRAIN__BATCH_SIZE=16`.
const ENV_PREFIX: &str = "OSCAR__";

/// Most parts of a dotted key.
const MAX_DEPTH: usize = 16;

/// Resolves the layers; `sets` are `key=value` with dotted keys.
///
/// Sizes of the model come from `model.preset`, else from the `config.json` beside the start
/// weights, else they are those of Oscar base.
pub fn resolve<C: Configuration>(source: &Source, sets: &[String]) -> Result<C> {
    let recipe: toml::Table = source
        .toml
        .parse()
        .map_err(|error| anyhow!("{} is not valid TOML: {error}", source.origin))?;
    let known = known_keys::<C>();
    check_keys(&known, &serde_json::to_value(&recipe)?, &source.origin)?;

    let mut layers = Figment::from(Toml::string(&source.toml));
    layers = layers.merge(environment(&known)?);
    for set in sets {
        let (key, value) = parse_set(set)?;
        check_keys(&known, &nested(&key, Json::Null), &format!("--set {set}"))?;
        layers = layers.merge(Serialized::default(&key, value));
    }

    let preset = match layers.find_value("model.preset") {
        Err(_) => model_of_start(&layers)?.unwrap_or_default(),
        Ok(value) => {
            let name = value.as_str().unwrap_or_default();
            ModelConfig::preset(name)
                .with_context(|| format!("model.preset = {name:?}: must be tiny, base or large"))?
        }
    };
    let mut config: C = Figment::from(Serialized::defaults(C::defaults(preset)))
        .merge(layers)
        .extract()
        .map_err(|error| {
            anyhow!(
                "in {}: {}",
                place(&error, sets, &source.origin),
                describe(&error)
            )
        })?;
    config.model().extra.remove("preset");
    config.settle();
    Ok(config)
}

/// The recipe by itself: what was published, whatever this run sets.
pub fn resolve_alone<C: Configuration>(source: &Source) -> Result<C> {
    let mut config: C = Figment::from(Serialized::defaults(C::defaults(ModelConfig::default())))
        .merge(Toml::string(&source.toml))
        .extract()
        .map_err(|error| anyhow!("in {}: {}", source.origin, describe(&error)))?;
    config.model().extra.remove("preset");
    Ok(config)
}

/// `base` with the values of `sets`, `key=value` with dotted keys, in the place of its own.
pub fn overridden<C: Serialize + DeserializeOwned>(base: C, sets: &[String]) -> Result<C> {
    let known = serde_json::to_value(&base)?;
    let mut layers = Figment::from(Serialized::defaults(base));
    for set in sets {
        let (key, value) = parse_set(set)?;
        check_keys(&known, &nested(&key, Json::Null), &format!("--set {set}"))?;
        layers = layers.merge(Serialized::default(&key, value));
    }
    layers
        .extract()
        .map_err(|error| anyhow!("in --set: {}", describe(&error)))
}

/// The `config.json` beside `init.checkpoint`.
fn model_of_start(layers: &Figment) -> Result<Option<ModelConfig>> {
    let Ok(Value::String(_, checkpoint)) = layers.find_value("init.checkpoint") else {
        return Ok(None);
    };
    // Its sizes are known without expanding the sample.
    let shipped = sample::shipped(&checkpoint);
    let checkpoint = shipped.as_deref().unwrap_or(Path::new(&checkpoint));
    let directory = match checkpoint.is_dir() {
        true => checkpoint,
        false => checkpoint.parent().unwrap_or(Path::new("")),
    };
    let path = directory.join("config.json");
    match path.is_file() {
        true => Ok(Some(ModelConfig::from_file(path)?)),
        false => Ok(None),
    }
}

/// Where the value that is wrong was given: by one of `sets`, else in `origin`.
fn place(error: &figment::Error, sets: &[String], origin: &str) -> String {
    let path = error.path.join(".");
    let gives = |set: &&String| {
        let key = set.split_once('=').map_or("", |(key, _)| key.trim());
        path.strip_prefix(key)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let set = sets.iter().rev().find(gives);
    set.map_or(origin.into(), |set| format!("--set {set}"))
}

/// `key: what is wrong` of the first error.
fn describe(error: &figment::Error) -> String {
    match error.path.is_empty() {
        true => error.kind.to_string(),
        false => format!("{}: {}", error.path.join("."), error.kind),
    }
}

fn environment(known: &Json) -> Result<Env> {
    let env = Env::prefixed(ENV_PREFIX).split("__");
    for (key, _) in env.iter() {
        let key = key.to_string();
        check_keys(known, &nested(&key, Json::Null), "the environment")?;
    }
    Ok(env)
}

/// `train.steps=100` to the key and a TOML value; what is no TOML value is a string.
fn parse_set(set: &str) -> Result<(String, Value)> {
    let (key, value) = set
        .split_once('=')
        .with_context(|| format!("--set {set}: expected KEY=VALUE"))?;
    let (key, value) = (key.trim(), value.trim());
    if key.is_empty() {
        bail!("--set {set}: expected KEY=VALUE");
    }
    if key.split('.').count() > MAX_DEPTH {
        bail!(
            "--set: a key of {} parts; no key is that deep",
            key.split('.').count()
        );
    }
    let parsed: Result<Dict, _> = toml::from_str(&format!("value = {value}"));
    let value = match parsed {
        Ok(mut table) => table.remove("value").unwrap_or_else(|| Value::from(value)),
        Err(_) => Value::from(value),
    };
    Ok((key.into(), value))
}

/// `{"train": {"steps": value}}` of `train.steps`.
fn nested(key: &str, value: Json) -> Json {
    key.rsplit('.')
        .fold(value, |inner, part| serde_json::json!({ part: inner }))
}

/// The resolved configuration as TOML.
pub fn to_toml(config: &impl Serialize) -> Result<String> {
    toml::to_string(config).context("cannot write the configuration as TOML")
}

/// Reads what [`to_toml`] wrote.
pub fn from_toml<C: DeserializeOwned>(text: &str) -> Result<C> {
    toml::from_str(text).context("cannot read the configuration as TOML")
}
