//! From defaults, recipe, environment and `--set` to one resolved configuration.
//!
//! Later layers win. Every key of every layer is checked against the keys there are, so that a
//! misspelt one is an error that names the nearest, never a setting without effect.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use figment::Figment;
use figment::error::{Actual, Kind};
use figment::providers::{Env, Serialized};
use figment::value::Value;
use oscar_task::Family;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::configuration::Configuration;
use super::inert;
use super::keys::{check_keys, known_keys};
use super::length::{self, Layer};
use super::sample;
use super::setting::{Setting, nested};
use super::source::Source;

/// Prefix of environment variables that set keys: `OSCAR__TRAIN__BATCH_SIZE=16`.
const ENV_PREFIX: &str = "OSCAR__";

/// Resolves the layers; `sets` are `key=value` with dotted keys. What a user should know of them is
/// logged by [`resolve_with_notes`].
///
/// # Errors
/// As [`resolve_with_notes`].
pub fn resolve<C: Configuration>(source: &Source, sets: &[String]) -> Result<C> {
    Ok(resolve_with_notes(source, sets)?.0)
}

/// Resolves the layers; `sets` are `key=value` with dotted keys. Also returns what is set without
/// effect, and what was changed so that the settings go together.
///
/// Sizes of the model come from `model.preset`, else from the `config.json` beside the start
/// weights, else they are those of Oscar base.
///
/// # Errors
/// If a key is unknown, a value of another type, or two settings of this run contradict each other;
/// all name where they were given.
pub fn resolve_with_notes<C: Configuration>(
    source: &Source,
    sets: &[String],
) -> Result<(C, Vec<String>)> {
    let known = known_keys::<C>();
    let mut layers = Figment::new();
    for layer in &source.layers {
        check_keys(&known, &serde_json::to_value(&layer.table)?, &layer.origin)?;
        layers = layers.merge(layer);
    }
    let environment = environment(&known)?;
    layers = layers.merge(&environment);
    let mut settings = Setting::parse_all(sets, &known)?;
    let given = settings
        .iter()
        .fold(Figment::new(), |all, setting| all.merge(setting));
    let mut notes = Vec::new();
    let mut config: C = extract(&mut settings, source.origin(), |settings| {
        let layers = settings.iter().fold(layers.clone(), Figment::merge);
        let model = match layers.find_value("model.preset") {
            Err(_) => model_of_start::<C::Family>(&layers)?.unwrap_or_default(),
            Ok(value) => {
                let name = value.as_str().unwrap_or_default();
                C::Family::preset(name).with_context(|| {
                    let known = one_of(C::Family::PRESETS);
                    format!("model.preset = {name:?}: must be {known}")
                })?
            }
        };
        Ok(Figment::from(Serialized::defaults(C::defaults(model))).merge(layers))
    })?;
    C::Family::forget_preset(config.model());
    let of_recipe = source
        .layers
        .iter()
        .map(|layer| (Figment::from(layer), false));
    let of_run = [(Figment::from(&environment), true), (given.clone(), true)];
    let ranked: Vec<Layer> = of_recipe
        .chain(of_run)
        .map(|(values, of_this_run)| Layer {
            values,
            of_this_run,
        })
        .collect();
    notes.extend(length::settle(&mut config, &ranked)?);
    config.settle();
    let all = serde_json::to_value(&config)?;
    let of_settings = settings.iter().map(|setting| setting.key().to_string());
    let mut keys: Vec<String> = of_settings.collect();
    keys.extend(environment.iter().map(|(key, _)| key.as_str().to_string()));
    let without_effect = keys.iter().filter_map(|key| {
        let why = inert::reason(key, &all)?;
        Some(format!("{key} is set, but has no effect: {why}"))
    });
    notes.extend(without_effect);
    // Later values win on every command line: who reads the log may want to know.
    for note in repeated(&settings) {
        tracing::info!("{note}");
    }
    Ok((config, notes))
}

/// Keys that are given more than once, with different values.
fn repeated(settings: &[Setting]) -> Vec<String> {
    let later = |at: usize| {
        let setting = &settings[at];
        let mut rest = settings[at + 1..].iter();
        rest.rfind(|other| other.key() == setting.key() && other.text() != setting.text())
    };
    (0..settings.len())
        .filter_map(|at| {
            let (first, last) = (settings[at].text(), later(at)?.text());
            Some(format!("{first} has no effect: {last} is given after it"))
        })
        .collect()
}

/// The recipe by itself: what was published, whatever this run sets.
///
/// # Errors
/// If a value is of another type.
pub fn resolve_alone<C: Configuration>(source: &Source) -> Result<C> {
    let defaults = Serialized::defaults(C::defaults(Default::default()));
    let layers = source
        .layers
        .iter()
        .fold(Figment::from(defaults), Figment::merge);
    let mut config: C = extract(&mut [], source.origin(), |_| Ok(layers.clone()))?;
    C::Family::forget_preset(config.model());
    Ok(config)
}

/// `base` with the values of `sets`, `key=value` with dotted keys, in the place of its own.
///
/// # Errors
/// If a key is unknown or a value of another type.
pub fn overridden<C: Serialize + DeserializeOwned>(base: C, sets: &[String]) -> Result<C> {
    // Without any it is as it was, and its paths need not be UTF-8.
    if sets.is_empty() {
        return Ok(base);
    }
    let known = serde_json::to_value(&base).context("cannot apply --set")?;
    let mut settings = Setting::parse_all(sets, &known)?;
    let base = Figment::from(Serialized::defaults(base));
    extract(&mut settings, "--set", |settings| {
        Ok(settings.iter().fold(base.clone(), Figment::merge))
    })
}

/// Extracts from the layers that `layers` makes of the settings; an error names `origin` if no
/// layer is known to have the value.
fn extract<C: DeserializeOwned>(
    settings: &mut [Setting],
    origin: &str,
    layers: impl Fn(&[Setting]) -> Result<Figment>,
) -> Result<C> {
    loop {
        let error = match layers(settings)?.extract() {
            Ok(config) => return Ok(config),
            Err(error) => error,
        };
        let again = |setting: &mut Setting| setting.read_as_string(&error);
        if !settings.iter_mut().rev().any(again) {
            let given = error.metadata.as_ref().filter(|data| data.source.is_none());
            let place = given.map_or(origin, |data| &data.name);
            bail!("in {place}: {}", describe(&error));
        }
    }
}

/// The `config.json` beside `init.checkpoint`.
fn model_of_start<F: Family>(layers: &Figment) -> Result<Option<F::Config>> {
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
        true => Ok(Some(F::read_config(&path)?)),
        false => Ok(None),
    }
}

/// `a, b or c`.
fn one_of(names: &[&str]) -> String {
    match names {
        [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        names => names.join(", "),
    }
}

/// `key: what is wrong` of the first error.
fn describe(error: &figment::Error) -> String {
    let problem = match &error.kind {
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            format!("expected {}, found {}", wanted(expected), given(found))
        }
        Kind::UnknownVariant(name, known) => {
            format!("{name:?} is not one of {}", known.join(", "))
        }
        Kind::MissingField(name) => format!("{name} is not set"),
        other => other.to_string(),
    };
    match error.path.is_empty() {
        true => problem,
        false => format!("{}: {problem}", error.path.join(".")),
    }
}

/// What serde expects, without the names of Rust's types.
fn wanted(expected: &str) -> &str {
    match expected {
        "usize" | "u8" | "u16" | "u32" | "u64" => "a non-negative whole number",
        "isize" | "i8" | "i16" | "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "bool" | "a boolean" => "true or false",
        "path string" => "a path",
        "a map" => "a table",
        "a sequence" => "a list",
        other if other.starts_with("struct ") => "a table",
        other if other.starts_with("enum ") => "a name",
        other => other,
    }
}

fn given(found: &Actual) -> String {
    match found {
        Actual::Bool(value) => value.to_string(),
        Actual::Unsigned(value) => value.to_string(),
        Actual::Signed(value) => value.to_string(),
        Actual::Float(value) => value.to_string(),
        Actual::Str(value) => format!("{value:?}"),
        Actual::Map => "a table".into(),
        Actual::Seq => "a list".into(),
        // Larger than any integer of TOML: "integer `1…` as i128".
        Actual::Other(text) if text.ends_with("128") => {
            let number = text.chars().skip_while(|c| *c != '`').skip(1);
            let number: String = number.take_while(|c| *c != '`').collect();
            format!("{number}, which is too large")
        }
        other => other.to_string(),
    }
}

fn environment(known: &Json) -> Result<Env> {
    let env = Env::prefixed(ENV_PREFIX).split("__");
    for (key, _) in env.iter() {
        check_keys(known, &nested(key.as_str()), "the environment")?;
    }
    Ok(env)
}

/// The resolved configuration as TOML.
///
/// # Errors
/// If TOML has no form for it.
pub fn to_toml(config: &impl Serialize) -> Result<String> {
    toml::to_string(config).context("cannot write the configuration as TOML")
}

/// Reads what [`to_toml`] wrote.
///
/// # Errors
/// If it is not that.
pub fn from_toml<C: DeserializeOwned>(text: &str) -> Result<C> {
    toml::from_str(text).map_err(|error| anyhow!("cannot read the configuration as TOML: {error}"))
}
