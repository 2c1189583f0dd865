//! From a recipe to a run and its results.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oscar_core::config::ModelConfig;
use oscar_core::ops::TrainBackend;
use oscar_task::Family;
use oscar_train::{Interrupter, RunDir, RunOptions, SaveRequest, divide_among_workers};

use super::args::RunArgs;
use super::estimate;
use super::processes::{self, Processes};
use super::results::Results;
use super::signals;
use super::start;
use crate::args::{DeviceArgs, Global};
use crate::backend::{self, OnBackend, dispatch};
use crate::config::{self, Configuration, Sections, Source, sample};
use crate::ending::Ending;
use crate::logging;
use crate::output;
use crate::run_dir::header::{self, Header};
use crate::run_dir::{self, CONFIG_FILE, Inputs, LOG_FILE};
use crate::weights;

/// What is wrong with values that cannot be used together, or at all.
const UNUSABLE: &str = "invalid configuration";

/// A command that trains.
pub trait Training {
    /// Its recipe.
    type Recipe: Configuration;

    /// As it is typed: `finetune --task vqa`.
    fn command(&self) -> String;

    /// The built-in recipe that runs without `--config`.
    fn default_recipe(&self) -> String;

    /// Whether its recipes start from weights unless they say otherwise.
    const STARTS_FROM_WEIGHTS: bool;

    /// Logs what the user should know before the run starts.
    ///
    /// # Errors
    /// If the run must not start.
    fn announce(&self, _source: &Source, _recipe: &Self::Recipe) -> Result<()> {
        Ok(())
    }

    /// Trains on one backend.
    ///
    /// # Errors
    /// Whatever ends the training.
    fn train<B: TrainBackend>(
        self,
        recipe: Self::Recipe,
        options: RunOptions,
        device: B::Device,
    ) -> Result<Results>;
}

/// Resolves the recipe, creates or opens the run, trains, and prints the results.
///
/// # Errors
/// If the recipe, the run or a device cannot be used, or the training fails.
pub fn launch<T: Training>(global: &Global, args: &RunArgs, training: T) -> Result<Ending> {
    let default = training.default_recipe();
    let source = Source::open(args.config.as_deref().unwrap_or(&default))?;
    let mut processes = Processes::join()?;
    let (mut recipe, directory) = match args.resume {
        false => {
            let recipe = source.for_command(&training.command(), |source| {
                resolve::<T::Recipe>(source, args)
            })?;
            (recipe, None)
        }
        true => {
            let directory = run_dir::existing_run(&args.runs_dir, args.name.as_deref())?;
            let recipe = resume(&source, args, &directory, &training.command())?;
            (recipe, Some(directory))
        }
    };
    Configuration::validate(&recipe).context(UNUSABLE)?;
    divide(
        &mut recipe,
        processes.world(&args.device),
        directory.as_deref(),
    )
    .context(UNUSABLE)?;
    backend::check(&as_trained(args.device.clone(), &mut recipe))?;
    if args.print_config {
        if processes.leads() {
            match args.json {
                true => output::print_json(&recipe)?,
                false => write!(output::stdout(), "{}", config::to_toml(&recipe)?)?,
            }
        }
        processes.leave();
        return Ok(Ending::Done);
    }
    require_paths(&mut recipe).context(UNUSABLE)?;
    if backend::is_host(&args.device) {
        let all = serde_json::to_value(&recipe)?;
        if let Some(model) = of_bert(&mut recipe) {
            estimate::check(&model, recipe.sections().train, &all)?;
        }
    }
    match directory {
        // Its weights, or how it began without any, are settled.
        Some(_) => {}
        None => {
            let all = serde_json::to_value(&recipe)?;
            let has_data = ["/data/train", "/data/mix/0"]
                .iter()
                .any(|key| all.pointer(key).is_some_and(|value| !value.is_null()));
            // No published weights have a shape of one's own: such a model starts at random.
            let reshaped = start::reshapes(&args.sets);
            let mut init = recipe.sections().init.clone();
            init.required &= !reshaped;
            start::check(
                &source.name,
                &init,
                T::STARTS_FROM_WEIGHTS || reshaped,
                has_data,
            )?;
            training.announce(&source, &recipe)?;
        }
    }
    let directory = match directory {
        Some(directory) => directory,
        None if processes.leads() => {
            run_dir::new_run(&args.runs_dir, args.name.as_deref(), &source.name)?
        }
        None => PathBuf::new(),
    };
    let (recipe, directory) = processes.share((config::to_toml(&recipe)?, directory))?;
    let recipe = config::from_toml(&recipe)?;
    let recipe = (source.name.as_str(), recipe);
    let ending = run(global, args, training, recipe, &directory, &mut processes)?;
    processes.leave();
    Ok(ending)
}

/// Checks the settings of a run that is to start, and starts nothing.
///
/// # Errors
/// If one is unknown, of another type or out of range.
pub fn check<T: Training>(args: &RunArgs, training: &T) -> Result<()> {
    let default = training.default_recipe();
    let source = Source::open(args.config.as_deref().unwrap_or(&default))?;
    let sets = settings(args)?;
    let mut recipe: T::Recipe =
        source.for_command(&training.command(), |source| config::resolve(source, &sets))?;
    let checked = Configuration::validate(&recipe).and_then(|()| require_paths(&mut recipe));
    checked.context(UNUSABLE)
}

/// Checks that every path of the recipe has a value: an empty one is the directory that the program is
/// started in, and no message could name it.
fn require_paths<C: Configuration>(recipe: &mut C) -> Result<()> {
    let no_vocab = recipe.sections().vocab.as_deref() == Some("");
    let paths = recipe.data_paths();
    let no_path = paths.iter().any(|path| path.as_os_str().is_empty());
    if !no_vocab && !no_path {
        return Ok(());
    }
    let sections = ["data.", "encoder.", "init.", "task."];
    let mut keys = config::empty_keys(&serde_json::to_value(&*recipe)?);
    keys.retain(|key| sections.iter().any(|section| key.starts_with(section)));
    bail!("{} has no value: give a path", keys.join(", "));
}

/// The devices, with the precision of the recipe, which has the flag in it.
fn as_trained<C: Configuration>(device: DeviceArgs, recipe: &mut C) -> DeviceArgs {
    DeviceArgs {
        precision: Some(recipe.sections().train.precision),
        ..device
    }
}

/// Divides the steps of the recipe among `world` workers.
fn divide<C: Configuration>(recipe: &mut C, world: usize, resumed: Option<&Path>) -> Result<()> {
    let Sections {
        train, optimizer, ..
    } = recipe.sections();
    let before = train.accumulation;
    divide_among_workers(world, train, optimizer)?;
    let started = resumed.filter(|directory| directory.join("checkpoint").exists());
    if let Some(directory) = started
        && train.accumulation != before
    {
        bail!(
            "{} was started with train.accumulation = {before}, which cannot be divided among \
             {world} devices: resume it with a number of devices that divides {before}",
            directory.display()
        );
    }
    Ok(())
}

/// The settings of `--set`, and of the flags that are shorthands for keys.
fn settings(args: &RunArgs) -> Result<Vec<String>> {
    let mut sets = args.sets.clone();
    if let Some(checkpoint) = &args.init {
        // Before the layers are merged: the model's sizes may come from the file beside the weights.
        let checkpoint = weights::find(&args.runs_dir, checkpoint)?;
        let Some(path) = checkpoint.to_str() else {
            bail!(
                "--init {}: the path is not UTF-8, and a recipe has no form for it; rename the file \
                 or directory",
                checkpoint.display()
            );
        };
        let path = toml::Value::String(path.into());
        sets.push(format!("init.checkpoint={path}"));
    }
    if let Some(steps) = args.steps {
        sets.push(format!("train.steps={steps}"));
    }
    if let Some(seed) = args.seed {
        sets.push(format!("train.seed={seed}"));
    }
    if let Some(precision) = args.device.precision {
        sets.push(format!("train.precision=\"{}\"", precision.name()));
    }
    Ok(sets)
}

/// The recipe with the flags.
fn resolve<C: Configuration>(source: &Source, args: &RunArgs) -> Result<C> {
    let (mut recipe, notes) = config::resolve_with_notes::<C>(source, &settings(args)?)?;
    for note in notes {
        tracing::warn!("{note}");
    }
    let random = &mut recipe.sections().init.random;
    for module in &args.init_random {
        if !random.contains(module) {
            random.push(module.clone());
        }
    }
    Ok(recipe)
}

/// The run's own configuration if it has one, else the recipe of --config; then the flags.
fn resume<C: Configuration>(
    source: &Source,
    args: &RunArgs,
    directory: &Path,
    command: &str,
) -> Result<C> {
    let own = run_dir::newest_config(directory);
    if !own.exists() {
        // Never the default recipe instead of the one that this run was started with.
        if args.config.is_none() {
            bail!(
                "{} has no {CONFIG_FILE}, so there is no run to resume: start it without --resume, \
                 or give its recipe with --config",
                directory.display()
            );
        }
        return resolve(source, args);
    }
    if args.config.is_some() {
        tracing::warn!(
            "ignoring --config: resuming with the run's own {}",
            own.display()
        );
    }
    let text = std::fs::read_to_string(&own)
        .with_context(|| format!("cannot read the configuration {}", own.display()))?;
    if let Some(other) = header::command_of(&text).filter(|other| *other != command) {
        bail!(
            "{} was started by `oscar-bin {other}`, not by `oscar-bin {command}`; resume it with \
             the command that started it",
            directory.display()
        );
    }
    let own = Source::file(&own)?;
    let recipe: C = resolve(&own, args)?;
    if directory.join("checkpoint").exists() {
        let as_started: C = config::resolve(&own, &[])?;
        run_dir::require_same(directory, &as_started, &recipe)?;
    }
    Ok(recipe)
}

fn run<T: Training>(
    global: &Global,
    args: &RunArgs,
    training: T,
    (name, mut recipe): (&str, T::Recipe),
    directory: &Path,
    group: &mut Processes,
) -> Result<Ending> {
    let leads = group.leads();
    let run = match leads {
        false => RunDir::led_by_another(directory),
        true => {
            let run = RunDir::lock(directory)?.resume_from(args.resume_from);
            record(&recipe, name, &training.command(), args.resume, directory)?;
            tracing::info!("run {}", directory.display());
            run
        }
    };

    let interrupter = Interrupter::new();
    signals::stop_on_signal(interrupter.clone())?;
    let save = SaveRequest::new();
    signals::save_on_signal(&save)?;
    let device = as_trained(group.own_device(&args.device)?, &mut recipe);
    let options = RunOptions {
        run,
        resume: args.resume,
        save,
        workers: group.workers(&device, &interrupter),
        interrupter,
        // Launchers of several processes forward lines, but no keys.
        dashboard: !processes::are_several() && !global.quiet && signals::has_dashboard(),
        progress: logging::progress(global),
    };
    let command = training.command();
    let trained = provide(&mut recipe, args, directory, group).and_then(|()| {
        if options.dashboard {
            logging::to_file(&directory.join(LOG_FILE))?;
        }
        if leads {
            compare_inputs(&mut recipe, &device, directory, args.resume)?;
        }
        let computation = Computation {
            training,
            recipe,
            options,
        };
        dispatch(&device, computation)
    });
    logging::to_screen();
    let results = trained.inspect_err(|_| {
        if leads && !args.resume {
            run_dir::remove_unused(directory);
        }
    })?;
    if !leads {
        return Ok(Ending::Done);
    }
    if results.outcome.interrupted {
        return Ok(signals::interrupted(
            global,
            &command,
            results.outcome.step,
            directory,
            &args.runs_dir,
        ));
    }
    results.print(args.json)?;
    Ok(Ending::Done)
}

/// Records what the run is computed from; on resume, tells what of it is not what it was.
fn compare_inputs(
    recipe: &mut impl Configuration,
    device: &DeviceArgs,
    directory: &Path,
    resumed: bool,
) -> Result<()> {
    // Data that cannot be read is reported by its reader, which knows its key.
    let Ok(inputs) = Inputs::of(recipe, &backend::name(device)) else {
        return Ok(());
    };
    if !resumed || oscar_train::checkpoints(directory)?.is_empty() {
        return inputs.write(directory);
    }
    let differences = inputs.differences(directory)?;
    if !differences.is_empty() {
        tracing::warn!(
            "{} was started with {}: it does not end with the same weights as without the interruption",
            directory.display(),
            differences.join("; ")
        );
    }
    Ok(())
}

/// Writes the configuration of the run. That of the steps before is never replaced: a resume which
/// changes something writes a file of its own.
fn record<C: Configuration>(
    recipe: &C,
    name: &str,
    command: &str,
    resumed: bool,
    directory: &Path,
) -> Result<()> {
    let newest = run_dir::newest_config(directory);
    let own = match resumed {
        true => std::fs::read_to_string(&newest).ok(),
        false => None,
    };
    let here = std::env::current_dir().unwrap_or_default();
    let own = own.as_deref();
    let written = Header {
        recipe: own.map_or(name, |own| header::recipe_of(own).unwrap_or("unknown")),
        command,
        directory: &own.and_then(header::directory_of).unwrap_or(here),
    };
    let step = oscar_train::checkpoints(directory)?
        .last()
        .map(|(step, _)| *step);
    let (Some(step), true) = (step, own.is_some()) else {
        return written.write(&directory.join(CONFIG_FILE), recipe);
    };
    let before: C = config::resolve(&Source::file(&newest)?, &[])?;
    match config::to_toml(&before)? == config::to_toml(recipe)? {
        true => Ok(()),
        false => written.write(&run_dir::config_after(directory, step), recipe),
    }
}

/// The paths of the recipe as they are reached from here, and the sample, if the recipe uses it; only
/// the leading process expands it.
fn provide<C: Configuration>(
    recipe: &mut C,
    args: &RunArgs,
    directory: &Path,
    processes: &mut Processes,
) -> Result<()> {
    run_dir::anchor(recipe, directory);
    if processes.leads() {
        sample::provide(recipe, &args.runs_dir)?;
    }
    processes.meet()?;
    match processes.leads() {
        true => Ok(()),
        false => sample::provide(recipe, &args.runs_dir),
    }
}

struct Computation<T: Training> {
    training: T,
    recipe: T::Recipe,
    options: RunOptions,
}

impl<T: Training> OnBackend for Computation<T> {
    type Output = Results;

    const SEVERAL: bool = true;

    fn run<B: TrainBackend>(self, device: B::Device) -> Result<Results> {
        self.training.train::<B>(self.recipe, self.options, device)
    }
}

/// The configuration of the model, if it is a BERT, of which the memory is known.
fn of_bert<C: Configuration>(recipe: &mut C) -> Option<ModelConfig> {
    <C::Family as Family>::as_bert(recipe.model()).cloned()
}
