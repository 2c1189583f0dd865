//! The models and detectors of the server: opened once, before it listens.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oscar_core::checkpoint;
use oscar_core::ops::TrainBackend;
use oscar_search::{Reranker, Search};
use oscar_task::{Family, Opened, Predictor, Task, is_described, task_name};
use serde::Serialize;
use utoipa::ToSchema;

use super::detectors::Detectors;
use super::search::{self, SearchModel};
use crate::args::DeviceArgs;
use crate::backend::dispatch;
use crate::commands::pictures::Kind;
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
    /// The index that weights of search made.
    pub index: Option<&'a Path>,
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
    /// Of a model that searches: the one that can re-rank what it finds.
    pub reranker: Option<String>,
}

/// What a model is, beside the sizes that its files have.
pub struct Description {
    /// The task it was fine-tuned for.
    pub task: &'static str,
    /// The endpoint that asks it.
    pub endpoint: &'static str,
    /// The detector that finds the regions of pictures.
    pub detector: Option<String>,
    /// Values per region that it reads.
    pub region_dim: usize,
}

impl ModelInfo {
    /// Of the weights in `directory`, still without a name.
    pub fn new(directory: &Path, description: Description) -> Self {
        let sizes = checkpoint::inspect(directory).ok();
        Self {
            name: String::new(),
            task: description.task,
            endpoint: description.endpoint,
            detector: description.detector,
            region_dim: description.region_dim,
            parameters: sizes.as_ref().map(|sizes| sizes.parameters),
            hidden_size: sizes.as_ref().and_then(|all| all.sizes.hidden_size),
            num_hidden_layers: sizes.as_ref().map(|all| all.sizes.num_hidden_layers),
            reranker: None,
        }
    }
}

/// A model with what asks it.
pub struct Model {
    /// What clients see.
    pub info: ModelInfo,
    /// What it is asked for.
    pub kind: Kind,
    /// What asks it.
    pub predictor: Box<dyn Predictor>,
    /// The same weights as what re-ranks, if they can.
    pub reranker: Option<Box<dyn Reranker>>,
    /// Index of its detector.
    pub detector: Option<usize>,
}

/// Models and detectors; the thread that owns the device keeps them.
#[derive(Default)]
pub struct Models {
    /// In the order in which they are named.
    pub models: Vec<Model>,
    /// The one that searches.
    pub search: Option<SearchModel>,
    /// What finds the regions of pictures.
    pub detectors: Detectors,
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
            let context = || format!("cannot open the weights in {}", directory.display());
            if task == Search::NAME {
                let opening = search::Opening {
                    directory: &directory,
                    wanted,
                    detectors: &mut opened.detectors,
                };
                let mut model = dispatch(wanted.device, opening).with_context(context)?;
                model.info.name = unused(&name_of(&directory), &mut names);
                tell(&model.info);
                if opened.search.replace(model).is_some() {
                    bail!("several checkpoints are of search; name one of them");
                }
                continue;
            }
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
            let mut model = dispatch_task(&task, wanted.device, opening).with_context(context)?;
            model.info.name = unused(&name_of(&directory), &mut names);
            tell(&model.info);
            opened.models.push(model);
        }
        if wanted.index.is_some() && opened.search.is_none() {
            bail!(
                "an index needs the weights that made it; name them with --checkpoint, beside those \
                 of other tasks"
            );
        }
        if let Some(search) = &mut opened.search {
            search.find_reranker(&mut opened.models);
        }
        Ok(opened)
    }

    /// What clients see of all of them.
    pub fn infos(&self) -> impl Iterator<Item = &ModelInfo> {
        let search = self.search.iter().map(|model| &model.info);
        self.models.iter().map(|model| &model.info).chain(search)
    }
}

fn tell(model: &ModelInfo) {
    tracing::info!(
        "{}: {} ({})",
        model.name,
        model.task,
        model.detector.as_deref().unwrap_or("no detector")
    );
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
    detectors: &'a mut Detectors,
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
        let detector = self.detectors.find::<T, B>(wanted, &checkpoint, &device)?;
        let opened = Opened::<T, B::InnerBackend>::load(checkpoint, &device)?;
        let reranker = T::cross_encoder(&opened).map(|reader| Box::new(reader) as _);
        let description = Description {
            task: T::NAME,
            endpoint: self.kind.endpoint(),
            detector: detector.map(|at| self.detectors.all()[at].identity().to_string()),
            region_dim,
        };
        Ok(Model {
            info: ModelInfo::new(self.directory, description),
            kind: self.kind,
            predictor: Box::new(opened),
            reranker,
            detector,
        })
    }
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
