//! The models and detectors of the server: opened once, before it listens.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use oscar_core::checkpoint;
use oscar_core::ops::TrainBackend;
use oscar_task::{Family, Opened, Predictor, is_described, task_name};
use oscar_vision::RegionExtractor;
use serde::Serialize;
use utoipa::ToSchema;

use crate::args::DeviceArgs;
use crate::commands::pictures::Kind;
use crate::detector;
use crate::tasks::{AnyTask, OnTaskAndBackend, dispatch_task};
use crate::weights::{self, PublishedArgs};

/// Directories of a run, which say nothing of what its weights are for.
const OF_RUN: [&str; 2] = ["best", "last"];

/// Tasks whose published weights come without their answers.
const WITH_ANSWERS: [&str; 2] = ["vqa", "gqa"];

/// Weights to open: their directory, and their task where they do not name it.
#[derive(Clone, Debug)]
pub struct Weights {
    /// The task of published weights.
    pub task: Option<String>,
    /// The directory, or the name of a run.
    pub path: PathBuf,
}

/// What is to be opened, and where.
pub struct Wanted<'a> {
    /// The weights of each model.
    pub weights: Vec<Weights>,
    /// What published weights do not say of themselves.
    pub published: &'a PublishedArgs,
    /// Detectors by name; each model takes the first whose features it reads.
    pub detectors: &'a [String],
    /// Changes of the settings of all models.
    pub sets: &'a [String],
    /// Where they compute.
    pub device: &'a DeviceArgs,
    /// Whether there are stored regions, so that a model without a detector can be asked, too.
    pub stored: bool,
}

/// What clients see of a model.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ModelInfo {
    /// Its name in requests: that of its run or directory.
    pub name: String,
    /// The task it was fine-tuned for.
    pub task: &'static str,
    /// The endpoint that asks it.
    pub endpoint: &'static str,
    /// The detector that finds the regions of pictures, with its settings.
    pub detector: Option<String>,
    /// Values per region that it reads.
    pub region_dim: usize,
    /// Number of its parameters.
    pub parameters: Option<usize>,
    /// Width of its layers.
    pub hidden_size: Option<usize>,
    /// Number of its layers.
    pub num_hidden_layers: Option<usize>,
}

/// A model with what asks it.
pub struct Model {
    /// What clients see.
    pub info: ModelInfo,
    /// What it is asked for.
    pub kind: Kind,
    /// What asks it.
    pub predictor: Box<dyn Predictor>,
    /// Index of its detector.
    pub detector: Option<usize>,
}

/// Models and detectors; the thread that owns the device keeps them.
#[derive(Default)]
pub struct Models {
    /// In the order in which they are named.
    pub models: Vec<Model>,
    /// Each once, however many models read its features.
    pub detectors: Vec<Arc<dyn RegionExtractor>>,
}

impl Models {
    /// Opens what is wanted.
    ///
    /// # Errors
    /// If weights or a detector cannot be opened, or nothing here asks such weights.
    pub fn open(wanted: &Wanted<'_>) -> Result<Self> {
        let mut opened = Self::default();
        let mut names = HashSet::new();
        for weights in &wanted.weights {
            let directory = weights::locate(&weights.path)?;
            let described = is_described(&directory);
            let task = match (described, &weights.task) {
                (true, _) => task_name(&directory)?,
                (false, Some(task)) => task.clone(),
                (false, None) => bail!(
                    "{} does not name its task, as published weights do not; name it: \
                     TASK={}",
                    directory.display(),
                    weights.path.display()
                ),
            };
            let Some(kind) = Kind::of_task(&task) else {
                bail!(
                    "{} has weights of the task {task}, which has no endpoint",
                    directory.display()
                );
            };
            let opening = Opening {
                directory: &directory,
                described,
                kind,
                wanted,
                detectors: &mut opened.detectors,
            };
            let mut model = dispatch_task(&task, wanted.device, opening)
                .with_context(|| format!("cannot open the weights in {}", directory.display()))?;
            model.info.name = unused(&name_of(&directory), &mut names);
            tracing::info!(
                "{}: {} ({})",
                model.info.name,
                model.info.task,
                model.info.detector.as_deref().unwrap_or("no detector")
            );
            opened.models.push(model);
        }
        Ok(opened)
    }
}

/// The name of a run, or of a directory of weights.
fn name_of(directory: &Path) -> String {
    // `runs/vqa/best` is the run vqa.
    let name = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
    let own = name(directory).unwrap_or_else(|| "model".into());
    match OF_RUN.contains(&&*own) {
        true => directory.parent().and_then(name).unwrap_or(own),
        false => own,
    }
}

/// `name`, with a number if another model has it.
fn unused(name: &str, taken: &mut HashSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.to_string()).chain(numbered);
    names
        .find(|name| taken.insert(name.clone()))
        .unwrap_or_default()
}

struct Opening<'a> {
    directory: &'a Path,
    described: bool,
    kind: Kind,
    wanted: &'a Wanted<'a>,
    detectors: &'a mut Vec<Arc<dyn RegionExtractor>>,
}

impl OnTaskAndBackend for Opening<'_> {
    type Output = Model;

    fn run<T: AnyTask, B: TrainBackend>(self, device: B::Device) -> Result<Model> {
        let wanted = self.wanted;
        let published = match self.described {
            true => PublishedArgs::default(),
            false => PublishedArgs {
                answers: wanted
                    .published
                    .answers
                    .clone()
                    .filter(|_| WITH_ANSWERS.contains(&T::NAME)),
                ..wanted.published.clone()
            },
        };
        let checkpoint = weights::open::<T>(self.directory, &published, wanted.sets)?;
        let region_dim = T::Family::region_dim(&checkpoint.model);
        let open = |name| detector::open_for::<T, B::InnerBackend>(name, &checkpoint, &device);
        let found = match wanted.detectors {
            [] => open(None),
            [names @ .., last] => {
                let fitting = names.iter().find_map(|name| open(Some(name)).ok());
                fitting.map_or_else(|| open(Some(last)), Ok)
            }
        };
        let detector = match found {
            Ok(found) => Some(place(found, self.detectors)),
            Err(error) if wanted.stored && wanted.detectors.is_empty() => {
                tracing::warn!("only stored images can be asked about: {error:#}");
                None
            }
            Err(error) => return Err(error),
        };
        let sizes = checkpoint::inspect(self.directory).ok();
        let opened = Opened::<T, B::InnerBackend>::load(checkpoint, &device)?;
        Ok(Model {
            info: ModelInfo {
                name: String::new(),
                task: T::NAME,
                endpoint: self.kind.endpoint(),
                detector: detector.map(|at| self.detectors[at].identity().to_string()),
                region_dim,
                parameters: sizes.as_ref().map(|sizes| sizes.parameters),
                hidden_size: sizes.as_ref().and_then(|all| all.sizes.hidden_size),
                num_hidden_layers: sizes.as_ref().map(|all| all.sizes.num_hidden_layers),
            },
            kind: self.kind,
            predictor: Box::new(opened),
            detector,
        })
    }
}

/// The index of a detector equal to `found`, which is kept if there is none yet.
fn place(found: Arc<dyn RegionExtractor>, all: &mut Vec<Arc<dyn RegionExtractor>>) -> usize {
    let identity = found.identity();
    let known = all.iter().position(|known| known.identity() == identity);
    known.unwrap_or_else(|| {
        all.push(found);
        all.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_called_as_its_run_or_directory_and_no_two_alike() {
        let mut taken = HashSet::new();
        let paths = [
            "runs/vqa/best",
            "published/vqa",
            "runs/vqa/last",
            "captioner/",
        ];
        let names = paths.map(|path| unused(&name_of(Path::new(path)), &mut taken));
        assert_eq!(names, ["vqa", "vqa-2", "vqa-3", "captioner"]);
    }
}
