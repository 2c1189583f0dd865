//! Fine-tuned weights that a command opens: those of a run, or as they were published.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use oscar_core::ops::OscarBackend;
use oscar_pretraining::TASK_NAME;
use oscar_task::{
    Config, Family, FinetuneConfig, Opened, Recipe, TaskCheckpoint, is_described, open_published,
};
use oscar_vision::clip::is_clip;
use serde::{Deserialize, Serialize};

use crate::config::{self, Source};
use crate::hub;
use crate::run_dir::CONFIG_FILE;
use crate::tasks::{AnyTask, task_of_weights};

/// Directories of a run that hold weights, the first one there is preferred.
const OF_RUN: [&str; 2] = ["best", "last"];

/// Where runs are, unless another directory is named.
const RUNS: &str = "runs";

/// What published weights do not say of themselves.
#[derive(Clone, Debug, Default, Args)]
pub struct PublishedArgs {
    /// Recipe of published weights, which have no task.json [default: by the size of the model]
    #[arg(long, value_name = "NAME|FILE", help_heading = "Published weights")]
    pub config: Option<String>,
    /// Answer vocabulary of published VQA or GQA weights [default: the one in their directory]
    #[arg(long, value_name = "FILE", help_heading = "Published weights")]
    pub answers: Option<PathBuf>,
}

/// The parts of a checkpoint that `--set` may change.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "T: AnyTask")]
struct Settings<T: AnyTask> {
    task: T,
    encoder: oscar_task::EncoderConfig<T>,
    padding: oscar_core::input::PaddingConfig,
}

/// What `named` names: a file or directory of weights; a run, by its directory or its name in `runs`,
/// of which it is the best weights, else the last; a repository of the hub or known public weights,
/// which are downloaded if they are missing. A name that names nothing is returned as it is.
///
/// # Errors
/// If weights of the hub cannot be downloaded.
pub fn find(runs: &Path, named: &Path) -> Result<PathBuf> {
    let run = runs.join(named);
    if (named.exists() || !run.exists())
        && let Some(downloaded) = hub::directory(named)?
    {
        return Ok(downloaded);
    }
    let place = match named.exists() || !run.exists() {
        true => named.to_path_buf(),
        false => run,
    };
    if is_described(&place) {
        return Ok(place);
    }
    // Pre-trained weights are not described.
    let is_run = place.join(CONFIG_FILE).exists();
    let mut of_run = OF_RUN.iter().map(|name| place.join(name));
    let weights = of_run.find(|weights| is_described(weights) || is_run && weights.is_dir());
    Ok(weights.unwrap_or(place))
}

/// The directory of the weights that `named` names, as [`find`] says, with runs in `runs`.
///
/// # Errors
/// If there is none.
pub fn locate(named: &Path) -> Result<PathBuf> {
    let found = find(Path::new(RUNS), named)?;
    if !found.is_dir() {
        bail!(
            "{}: there is no such directory, no such run in {RUNS}, and no such public weights; give \
             a directory of weights, the name of a run, or a repository as hub:OWNER/NAME \
             (`oscar-bin model pull` lists those that have names)",
            named.display()
        );
    }
    Ok(found)
}

/// The CLIP that `named` names, a file or a directory of weights; none if it names something else.
///
/// # Errors
/// If weights of the hub cannot be downloaded.
pub fn clip(named: &Path) -> Result<Option<PathBuf>> {
    let found = find(Path::new(RUNS), named)?;
    let is_it = found.exists() && !is_described(&found) && is_clip(&found);
    Ok(is_it.then_some(found))
}

/// The task of the weights that `named` names: the one that is given, else the one they record.
///
/// # Errors
/// If none is given, and the weights are not found or record none, as published ones do not.
pub fn task(given: Option<&str>, named: &Path) -> Result<String> {
    match given {
        Some(task) => Ok(task.into()),
        None => {
            let directory = locate(named)?;
            let task = task_of_weights(&directory).context("name the task with --task")?;
            if task == TASK_NAME {
                bail!(
                    "{} has weights of pre-training, which answer nothing; fine-tune them for a task \
                     with `oscar-bin finetune --init`, or name fine-tuned ones",
                    directory.display()
                );
            }
            Ok(task)
        }
    }
}

/// Opens what describes the weights of the task in `named`, and changes it by `sets`.
///
/// # Errors
/// If the weights are not found, are another task's, or what describes them is wrong.
pub fn open<T: AnyTask>(
    named: &Path,
    published: &PublishedArgs,
    sets: &[String],
) -> Result<TaskCheckpoint<T>> {
    let directory = locate(named)?;
    if is_described(&directory) {
        if let Some(config) = &published.config {
            bail!(
                "{} names its task and settings; --config {config} is for published weights, \
                 which do not",
                directory.join("task.json").display()
            );
        }
        let checkpoint = TaskCheckpoint::<T>::open(&directory)?;
        check_answers(published, &checkpoint.task)?;
        let sets = with_answers(published, sets);
        if sets.is_empty() {
            return Ok(checkpoint);
        }
        let recipe = Recipe {
            task: checkpoint.task.clone(),
            encoder: checkpoint.encoder_config.clone(),
            padding: checkpoint.padding,
        };
        return Ok(checkpoint.with(overridden(recipe, &sets)?)?);
    }
    let model = open_published::<T>(&directory)?;
    let name = match &published.config {
        Some(name) => name.clone(),
        None => recipe_of::<T>(&model.config),
    };
    for note in &model.notes {
        tracing::warn!("{}: {note}", directory.display());
    }
    let mut recipe = recipe::<T>(&name)?;
    recipe.adopt(&model)?;
    check_answers(published, &recipe.task)?;
    let recipe = overridden(recipe, &with_answers(published, sets))?;
    tracing::info!(
        "{}: published weights ({}), read as the recipe {name} says",
        directory.display(),
        model.kind
    );
    // A section of a task with answers has this key, and it is empty until they are named.
    if serde_json::to_value(&recipe.task)?["answers"] == "" {
        bail!(
            "{}: there is no answer vocabulary in it; name the list of its answers, one for each \
             class, with --answers FILE",
            directory.display()
        );
    }
    TaskCheckpoint::published(model, recipe).with_context(|| {
        format!(
            "cannot use the published weights in {}",
            directory.display()
        )
    })
}

/// Opens the weights of the task in `named`, as they describe themselves, and reads them.
///
/// # Errors
/// As [`open`]; if the weights cannot be read.
pub fn load<T: AnyTask, B: OscarBackend>(named: &Path, device: &B::Device) -> Result<Opened<T, B>> {
    let checkpoint = open::<T>(named, &PublishedArgs::default(), &[])?;
    Ok(Opened::load(checkpoint, device)?)
}

/// Refuses an answer vocabulary for a task that has none.
fn check_answers<T: AnyTask>(published: &PublishedArgs, task: &T) -> Result<()> {
    let has_answers = serde_json::to_value(task)?.get("answers").is_some();
    match &published.answers {
        Some(path) if !has_answers => bail!(
            "--answers {} does not apply to the task {}, which has no answer vocabulary; leave it out",
            path.display(),
            T::NAME
        ),
        _ => Ok(()),
    }
}

/// `sets`, with the answer vocabulary among them.
fn with_answers(published: &PublishedArgs, sets: &[String]) -> Vec<String> {
    let answers = published.answers.iter();
    let answers = answers.map(|path| format!("task.answers={}", path.display()));
    answers.chain(sets.iter().cloned()).collect()
}

fn overridden<T: AnyTask>(recipe: Recipe<T>, sets: &[String]) -> Result<Recipe<T>> {
    let Recipe {
        task,
        encoder,
        padding,
    } = recipe;
    let settings = Settings {
        task,
        encoder,
        padding,
    };
    let settings = config::overridden(settings, sets)?;
    Ok(Recipe {
        task: settings.task,
        encoder: settings.encoder,
        padding: settings.padding,
    })
}

/// The sections of a recipe that say how weights are used.
fn recipe<T: AnyTask>(name: &str) -> Result<Recipe<T>> {
    let source = Source::open(name)?;
    let recipe: FinetuneConfig<T> = config::resolve_alone(&source)
        .with_context(|| format!("{name} is not a recipe of the task {}", T::NAME))?;
    Ok(Recipe {
        task: recipe.task,
        encoder: recipe.encoder,
        padding: recipe.padding,
    })
}

/// The recipe of a published model of this configuration.
fn recipe_of<T: AnyTask>(model: &Config<T>) -> String {
    let kinds = T::Family::recipes(model);
    let names = kinds.iter().map(|kind| format!("{}-{kind}", T::NAME));
    let mut names: Vec<String> = names.collect();
    let known = names
        .iter()
        .position(|name| config::Recipe::find(name).is_some());
    names.swap_remove(known.unwrap_or(names.len() - 1))
}
