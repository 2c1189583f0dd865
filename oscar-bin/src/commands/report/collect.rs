//! Held-out examples with the predictions and attention of a run's weights.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use oscar_core::ops::TrainBackend;
use oscar_pretraining::{PretrainConfig, Probed, TASK_NAME, exhibit, probe};
use oscar_task::explain::{Choice, Exhibit};
use oscar_task::{FinetuneConfig, Opened, Role, Split};

use crate::args::DeviceArgs;
use crate::backend::{OnBackend, dispatch};
use crate::config::{self, Configuration, sample};
use crate::run_dir;
use crate::tasks::{AnyTask, OnTaskAndBackend, dispatch_task};

/// The run to take examples from.
pub struct Source<'a> {
    pub run: &'a Path,
    pub weights: &'a Path,
    pub choice: Choice,
    pub quiet: bool,
}

/// Examples, and the paths of their images.
pub struct Samples {
    pub exhibits: Vec<Exhibit>,
    pub stores: Vec<PathBuf>,
    /// What a pre-trained model reads from images and tags.
    pub probed: Option<Probed>,
}

/// Runs the weights on examples of the run's validation data.
///
/// # Errors
/// If the configuration, the data or the weights cannot be read.
pub fn take(task: &str, source: &Source<'_>, device: &DeviceArgs) -> Result<Samples> {
    let bar = indicatif::ProgressBar::new_spinner().with_message("running held-out examples");
    match source.quiet {
        true => bar.set_draw_target(indicatif::ProgressDrawTarget::hidden()),
        false => bar.enable_steady_tick(std::time::Duration::from_millis(200)),
    }
    let taken = match task {
        TASK_NAME => {
            let mut recipe: PretrainConfig = resolved(source)?;
            let stores = recipe.data_paths().into_iter().map(|path| path.clone());
            let stores = stores.collect();
            let (exhibits, probed) = dispatch(device, Pretraining { recipe, source })?;
            Ok(Samples {
                exhibits,
                stores,
                probed,
            })
        }
        task => dispatch_task(task, device, Finetuning { source }),
    };
    bar.finish_and_clear();
    taken
}

/// The run's configuration, with real paths for the sample.
fn resolved<C: Configuration>(source: &Source<'_>) -> Result<C> {
    let file = run_dir::newest_config(source.run);
    let mut recipe: C = config::resolve(&config::Source::file(&file)?, &[])?;
    recipe.validate().context("invalid configuration")?;
    run_dir::anchor(&mut recipe, source.run);
    sample::provide(&mut recipe, &run_dir::runs_of(source.run))?;
    Ok(recipe)
}

struct Pretraining<'a> {
    recipe: PretrainConfig,
    source: &'a Source<'a>,
}

impl OnBackend for Pretraining<'_> {
    type Output = (Vec<Exhibit>, Option<Probed>);

    fn run<B: TrainBackend>(self, device: B::Device) -> Result<Self::Output> {
        let Source {
            run,
            weights,
            choice,
            ..
        } = self.source;
        let exhibits = exhibit::<B::InnerBackend>(&self.recipe, weights, choice, &device)
            .map_err(|error| anyhow!(error))?;
        // Of the last weights, which a run that was killed does not have.
        if self.recipe.grounding.examples == 0 || !run.join("last").is_dir() {
            return Ok((exhibits, None));
        }
        let probed = probe::<B::InnerBackend>(&self.recipe, run, false, &|_, _| {}, &device)
            .map_err(|error| anyhow!(error))?;
        Ok((exhibits, probed.into_iter().next_back()))
    }
}

struct Finetuning<'a> {
    source: &'a Source<'a>,
}

impl OnTaskAndBackend for Finetuning<'_> {
    type Output = Samples;

    fn run<T: AnyTask, B: TrainBackend>(self, device: B::Device) -> Result<Samples> {
        let recipe: FinetuneConfig<T> = resolved(self.source)?;
        let validation = recipe.data.validation;
        let mut split = validation.context("data.validation is not set: no examples to show")?;
        let stores = split.paths().into_iter().map(|path| path.clone());
        let stores = stores.collect();
        let opened = Opened::<T, B::InnerBackend>::open(self.source.weights, &device)?;
        let data = opened.open_split(&split, Role::Validate);
        let data = data.context("data.validation")?;
        let exhibits = T::exhibits(&opened, &data, &self.source.choice)?;
        Ok(Samples {
            exhibits,
            stores,
            probed: None,
        })
    }
}
