//! From defaults, recipe, environment and `--set` to one resolved configuration.
//!
//! Later layers win. Every key of every layer is checked against the keys there are, so that a
//! misspelt one is an error that names the nearest, never a setting without effect.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Value};
use oscar_core::config::ModelConfig;
use oscar_pretraining::{CorpusConfig, ExtraConfig, MixConfig, PretrainConfig};
use oscar_train::finetune::{AnyTask, FinetuneConfig, Split};
use oscar_train::{InitConfig, OptimizerConfig, TrainConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::recipes::Recipe;
use crate::sample;

/// What a recipe of a command configures.
pub trait Configuration: Serialize + DeserializeOwned {
    /// The defaults, around this model.
    fn defaults(model: ModelConfig) -> Self;

    /// One with every optional table, for the keys there are.
    fn complete() -> Self;

    /// The model.
    fn model(&mut self) -> &mut ModelConfig;

    /// Paths that may stand for the shipped sample.
    fn data_paths(&mut self) -> Vec<&mut PathBuf>;

    /// The vocabulary, which may be a file of the shipped sample.
    fn vocab(&mut self) -> &mut Option<String>;

    /// Where the weights start.
    fn init(&mut self) -> &mut InitConfig;

    /// What is divided where several devices train.
    fn training(&mut self) -> (&mut TrainConfig, &mut OptimizerConfig);

    /// Checks what can be checked without opening a file.
    ///
    /// # Errors
    /// The first key whose value is out of range.
    fn validate(&self) -> Result<()>;

    /// Sets what follows from other keys, so that it is shown as it will be.
    fn settle(&mut self) {}
}

impl Configuration for PretrainConfig {
    fn defaults(model: ModelConfig) -> Self {
        Self {
            model,
            ..Self::default()
        }
    }

    fn complete() -> Self {
        let mut all = Self::default();
        all.data.train = Some(CorpusConfig::default());
        all.data.validation = Some(CorpusConfig::default());
        all.data.extra = Some(ExtraConfig::default());
        all.data.mix = vec![MixConfig::default()];
        all
    }

    fn model(&mut self) -> &mut ModelConfig {
        &mut self.model
    }

    fn data_paths(&mut self) -> Vec<&mut PathBuf> {
        let corpora = self.data.corpora_mut();
        corpora
            .flat_map(|corpus| [&mut corpus.corpus, &mut corpus.regions])
            .collect()
    }

    fn vocab(&mut self) -> &mut Option<String> {
        &mut self.data.vocab
    }

    fn init(&mut self) -> &mut InitConfig {
        &mut self.init
    }

    fn training(&mut self) -> (&mut TrainConfig, &mut OptimizerConfig) {
        (&mut self.train, &mut self.optimizer)
    }

    fn validate(&self) -> Result<()> {
        self.validate().map_err(|error| anyhow!(error))
    }

    fn settle(&mut self) {
        self.model.num_contrast_classes = self.encoder.num_contrast_classes();
    }
}

impl<T: AnyTask> Configuration for FinetuneConfig<T> {
    fn defaults(model: ModelConfig) -> Self {
        Self {
            model,
            ..Self::default()
        }
    }

    fn complete() -> Self {
        let mut all = Self::default();
        all.data.train = Some(T::Split::default());
        all.data.validation = Some(T::Split::default());
        all.data.test = Some(T::Split::default());
        all
    }

    fn model(&mut self) -> &mut ModelConfig {
        &mut self.model
    }

    fn data_paths(&mut self) -> Vec<&mut PathBuf> {
        let data = &mut self.data;
        let splits = [&mut data.train, &mut data.validation, &mut data.test];
        let mut paths: Vec<&mut PathBuf> = splits
            .into_iter()
            .flatten()
            .flat_map(Split::paths)
            .collect();
        paths.extend(self.task.files());
        paths.extend(&mut self.init.checkpoint);
        paths
    }

    fn vocab(&mut self) -> &mut Option<String> {
        &mut self.data.vocab
    }

    fn init(&mut self) -> &mut InitConfig {
        &mut self.init
    }

    fn training(&mut self) -> (&mut TrainConfig, &mut OptimizerConfig) {
        (&mut self.train, &mut self.optimizer)
    }

    fn validate(&self) -> Result<()> {
        self.validate().map_err(|error| anyhow!(error))
    }
}

/// Prefix of environment variables that set keys: `OSCAR__TRAIN__BATCH_SIZE=16`.
const ENV_PREFIX: &str = "OSCAR__";

/// Most parts of a dotted key.
const MAX_DEPTH: usize = 16;

/// A recipe and where it comes from.
pub struct Source {
    /// For messages and for the name of the run.
    pub name: String,
    origin: String,
    toml: String,
}

impl Source {
    /// A built-in recipe, or a TOML file.
    pub fn open(config: &str) -> Result<Self> {
        if let Some(recipe) = Recipe::find(config) {
            return Ok(Self {
                name: recipe.name.into(),
                origin: format!("the recipe {config}"),
                toml: recipe.toml.into(),
            });
        }
        let path = Path::new(config);
        if path.extension().is_none() && !path.exists() {
            let names = crate::recipes::RECIPES.iter().map(|recipe| recipe.name);
            let hint = nearest(config, names)
                .map_or(String::new(), |name| format!(" Did you mean {name}?"));
            bail!(
                "{config:?} is neither a built-in recipe (`oscar-bin recipes` lists them) \
                 nor a file.{hint}"
            );
        }
        Self::file(path)
    }

    /// A text that stands in no file.
    #[cfg(test)]
    pub fn of_text(toml: &str) -> Self {
        let name = String::from("text");
        Self {
            origin: name.clone(),
            toml: toml.into(),
            name,
        }
    }

    /// A TOML file.
    pub fn file(path: &Path) -> Result<Self> {
        let toml = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        let name = path
            .file_stem()
            .map_or("run".into(), |stem| stem.to_string_lossy().into());
        Ok(Self {
            name,
            origin: path.display().to_string(),
            toml,
        })
    }
}

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

/// A JSON tree with every key there is; of a list of tables, with those of one table.
fn known_keys<C: Configuration>() -> Json {
    let mut known = serde_json::to_value(C::complete()).unwrap_or_default();
    known["model"]["preset"] = Json::Null;
    known
}

/// Refuses the first key of `layer` that is not in `known`.
fn check_keys(known: &Json, layer: &Json, origin: &str) -> Result<()> {
    let Some(unknown) = find_unknown(known, layer, "") else {
        return Ok(());
    };
    let mut keys = Vec::new();
    list_keys(known, "", &mut keys);
    let hint = nearest(&unknown, keys.iter().map(String::as_str)).map_or(String::new(), |key| {
        format!("; the nearest known key is {key}")
    });
    bail!("unknown key {unknown} in {origin}{hint}")
}

fn find_unknown(known: &Json, layer: &Json, path: &str) -> Option<String> {
    if let (Some([known]), Json::Array(layer)) = (known.as_array().map(Vec::as_slice), layer) {
        let mut items = layer.iter().enumerate();
        return items.find_map(|(at, item)| find_unknown(known, item, &format!("{path}[{at}]")));
    }
    let layer = layer.as_object()?;
    // A leaf that is no table has no keys to check; a wrong type is reported when it is read.
    let known = known.as_object()?;
    layer.iter().find_map(|(key, value)| {
        let path = join(path, key);
        match known.get(key) {
            None => Some(only_leaf(path, value)),
            Some(known) => find_unknown(known, value, &path),
        }
    })
}

/// The whole key, if there is but one below the unknown part: `trian.steps`, not `trian`.
fn only_leaf(path: String, value: &Json) -> String {
    match value
        .as_object()
        .map(|table| (table.len(), table.iter().next()))
    {
        Some((1, Some((key, value)))) => only_leaf(join(&path, key), value),
        _ => path,
    }
}

fn list_keys(known: &Json, path: &str, keys: &mut Vec<String>) {
    if let Some([item]) = known.as_array().map(Vec::as_slice) {
        list_keys(item, &format!("{path}[0]"), keys);
    }
    for (key, value) in known.as_object().into_iter().flatten() {
        let path = join(path, key);
        list_keys(value, &path, keys);
        keys.push(path);
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.into()
    } else {
        format!("{path}.{key}")
    }
}

/// The candidate most like `word`.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates.max_by(|a, b| {
        let likeness = |candidate: &str| strsim::normalized_damerau_levenshtein(word, candidate);
        likeness(a).total_cmp(&likeness(b))
    })
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
