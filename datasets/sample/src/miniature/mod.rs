//! A miniature of every fine-tuning task, made from described boxes of NLVR v1 or from scenes.
//!
//! Real pixels, generated words, exact answers: everything that is asked or stated follows from
//! the objects in a box or scene. A model that takes a laptop minutes learns it, and whether it looked is
//! easy to tell, since the text alone does not decide: a question has each of its answers equally
//! often, a statement is true of two pairs of images in four, a caption stands beside its own
//! image and beside another.
//!
//! | file | rows |
//! |---|---|
//! | `vqa-SPLIT.jsonl` | `{"image", "question", "answers": {answer: 1.0}}` |
//! | `gqa-SPLIT.jsonl` | `{"image", "question", "answer"}`, of more relations |
//! | `vqa-answers.json`, `gqa-answers.json` | all answers there are |
//! | `nlvr2-SPLIT.jsonl` | `{"left", "right", "statement", "label", "identifier"}` |
//! | `retrieval-SPLIT.jsonl` | `{"image", "captions"}` |
//! | `matching-SPLIT.jsonl` | `{"image", "text", "label"}` |
//! | `tasks.json` | [`TasksInfo`] |

mod balance;
mod captions;
mod output;
mod questions;
mod scene;
mod statements;
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use oscar_core::input::ExampleSeed;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::nlvr1::NLVR1_FORMAT;
use crate::scenes::{self, SCENES_FORMAT};
use oscar_datasets::{DATASET_FILE, DatasetError, Result};
use oscar_files::{StagedDir, write_file};

pub(crate) use output::texts;
pub(crate) use world::{Described, Question, Subject, World};

/// The file by which finished tasks are known.
pub const TASKS_FILE: &str = "tasks.json";

/// Version of what [`build_tasks`] makes; raised when its content changes.
pub const TASKS_VERSION: u32 = 2;

/// The seed of the sample's tasks.
pub const DEFAULT_SEED: u64 = 42;

/// Images to rank in a split that is not for training: the work grows with their square.
const RANKED_IMAGES: usize = 100;

/// What was built: the content of `tasks.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TasksInfo {
    /// Always `oscar-tasks`.
    pub format: String,
    /// See [`TASKS_VERSION`].
    pub version: u32,
    /// What the draws follow.
    pub seed: u64,
    /// Whose images these are.
    pub attribution: String,
    /// What there is of each task.
    pub tasks: BTreeMap<String, TaskInfo>,
}

/// What there is of a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskInfo {
    /// Rows of each split.
    pub rows: BTreeMap<String, usize>,
    /// The share of each other split that is answered right by the most common answer to the same
    /// text in `train`; ranking has no such number.
    pub text_only: BTreeMap<String, f64>,
}

/// Makes the tasks of the data sets in `from`, as [`crate::nlvr1::build`] (their described boxes are
/// used) or [`crate::scenes::build_scenes`] made them, in the directory `out`; each is a split of its
/// own name, and all are of the same kind.
///
/// The bytes depend on the data sets, their splits' names and `seed` alone.
///
/// # Errors
/// A directory that is not such a data set; two of the same split, or of different kinds; too few
/// images for a task; an output directory that is already there, unless it holds tasks and
/// `overwrite` is on.
pub fn build_tasks(from: &[PathBuf], out: &Path, seed: u64, overwrite: bool) -> Result<TasksInfo> {
    let heads: Vec<Head> = from.iter().map(|dir| head_of(dir)).collect::<Result<_>>()?;
    for (at, (dir, head)) in from.iter().zip(&heads).enumerate() {
        let before = &heads[..at];
        if let Some(other) = before.iter().find(|other| other.format != head.format) {
            let found = format!(
                "a data set of {} beside one of {}",
                head.format, other.format
            );
            return Err(DatasetError::malformed(
                dir,
                found,
                "make their tasks one by one",
            ));
        }
        if before.iter().any(|other| other.split == head.split) {
            let found = format!("a second data set of the split {}", head.split);
            let fix = "give one of each split, or make their tasks one by one";
            return Err(DatasetError::malformed(dir, found, fix));
        }
    }
    let named = from.iter().zip(&heads);
    match heads.first().map(|head| head.format.as_str()) {
        Some(SCENES_FORMAT) => {
            let read = named.map(|(dir, head)| {
                let scenes = scenes::read(dir)?;
                Ok((head.split.clone(), dir.as_path(), scenes))
            });
            let splits = read.collect::<Result<Vec<_>>>()?;
            let world = scenes::Things::of(splits.iter().flat_map(|(.., scenes)| scenes));
            write_tasks(&world, &splits, scenes::ATTRIBUTION, out, seed, overwrite)
        }
        _ => {
            let read = named.map(|(dir, head)| {
                let scenes = scene::read(&dir.join("regions"))?;
                Ok((head.split.clone(), dir.as_path(), scenes))
            });
            let splits = read.collect::<Result<Vec<_>>>()?;
            let attribution = crate::nlvr1::ATTRIBUTION;
            write_tasks(
                &scene::GreyBoxes,
                &splits,
                attribution,
                out,
                seed,
                overwrite,
            )
        }
    }
}

/// Makes and writes the tasks of these splits: name, directory and scenes of each.
fn write_tasks<W: World>(
    world: &W,
    from: &[(String, &Path, Vec<W::Scene>)],
    attribution: &str,
    out: &Path,
    seed: u64,
    overwrite: bool,
) -> Result<TasksInfo> {
    let mut splits: BTreeMap<&str, output::Split> = BTreeMap::new();
    for (name, dir, scenes) in from {
        let split = output::Split::make(world, name, scenes, seed);
        if let Some(task) = split.empty_task() {
            let found = format!("too few images: nothing could be asked for {task}");
            return Err(DatasetError::malformed(dir, found, "give more images"));
        }
        splits.insert(name, split);
    }
    let staged = StagedDir::create(out, TASKS_FILE, overwrite)?;
    let mut tasks: BTreeMap<String, TaskInfo> = BTreeMap::new();
    for (name, split) in &splits {
        split.write(name, staged.path())?;
        for (task, texts) in &split.texts {
            let info = tasks.entry(task.to_string()).or_default();
            info.rows.insert(name.to_string(), split.rows(task));
            let train = splits
                .get("train")
                .filter(|_| *name != "train" && *task != "retrieval");
            if let Some(known) = train.and_then(|train| train.texts.get(task)) {
                let share = balance::text_only(known, texts);
                info.text_only.insert(name.to_string(), share);
            }
        }
    }
    for (task, forms) in [("vqa", world.vqa()), ("gqa", world.gqa())] {
        let path = staged.path().join(format!("{task}-answers.json"));
        write_json(&path, &questions::answers(&forms))?;
    }
    let info = TasksInfo {
        format: "oscar-tasks".into(),
        version: TASKS_VERSION,
        seed,
        attribution: attribution.into(),
        tasks,
    };
    write_json(&staged.path().join(TASKS_FILE), &info)?;
    staged.commit()?;
    Ok(info)
}

/// What tells the kind of a data set and its split: the beginning of its `dataset.json`.
#[derive(Deserialize)]
struct Head {
    format: String,
    split: String,
}

fn head_of(dir: &Path) -> Result<Head> {
    let path = dir.join(DATASET_FILE);
    let hint = "give a directory that `data build nlvr1` or `dev scenes` made";
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(DatasetError::Missing { path, hint });
        }
        Err(error) => return Err(DatasetError::io("read", &path)(error)),
    };
    let head: Head = serde_json::from_slice(&text)
        .map_err(|error| DatasetError::malformed(&path, error.to_string(), hint))?;
    match head.format == NLVR1_FORMAT || head.format == SCENES_FORMAT {
        true => Ok(head),
        false => {
            let found = format!("a data set of {}", head.format);
            Err(DatasetError::malformed(&path, found, hint))
        }
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(value)
        .map_err(|error| DatasetError::io("write", path)(error.into()))?;
    json.push(b'\n');
    Ok(write_file(path, &json)?)
}

/// Random numbers by seed, split, part and place: nothing that is drawn depends on what else is.
#[derive(Clone, Copy)]
pub(crate) struct Draws {
    seed: u64,
    part: u64,
}

/// What is drawn for.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    Vqa,
    Gqa,
    Nlvr2,
    Retrieval,
    Matching,
    /// A scene.
    Scene,
    /// Its captions.
    Caption,
    /// What a detector of scenes knows.
    Crops,
    Form(usize),
}

impl Draws {
    pub(crate) fn new(seed: u64, split: &str) -> Self {
        // Polynomial hash: names of splits are few and short.
        let part = split.bytes().fold(7, |hash: u64, byte| {
            hash.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        Self { seed, part }
    }

    pub(crate) fn part(self, part: Part) -> Self {
        let number = match part {
            Part::Vqa => 1,
            Part::Gqa => 2,
            Part::Nlvr2 => 3,
            Part::Retrieval => 4,
            Part::Matching => 5,
            Part::Scene => 6,
            Part::Caption => 7,
            Part::Crops => 8,
            Part::Form(number) => 16 + number as u64,
        };
        Self {
            part: self.part.wrapping_mul(1009).wrapping_add(number),
            ..self
        }
    }

    pub(crate) fn rng(self, index: usize) -> ChaCha8Rng {
        let seed = ExampleSeed {
            seed: self.seed,
            epoch: self.part,
        };
        seed.rng(index)
    }
}
