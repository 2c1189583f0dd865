//! The scenes that recipes train and validate on, drawn on the user's machine.

use std::fs;
use std::path::{Path, PathBuf};

use oscar_datasets::store::{FORMAT_VERSION, RegionStore};
use oscar_datasets::{DATASET_FILE, JsonlCorpus, Result};
use oscar_files::{StagedDir, write_json};
use serde::{Deserialize, Serialize};

use super::build::{SCENES_VERSION, ScenesOptions, build_scenes};
use super::kinds::{HINT, KINDS_FILE};
use super::scene::Shown;
use super::sheets::Style;
use crate::expand::fingerprint;
use crate::miniature::{TASKS_FILE, TASKS_VERSION, build_tasks};
use crate::weights;

/// Scenes to train on.
pub const TRAIN_SCENES: usize = 16_000;
/// Scenes of each split to validate on.
pub const HELD_OUT_SCENES: usize = 1_000;
/// Scenes with things that no caption of training names.
pub const NOVEL_SCENES: usize = 300;
/// What all of them follow.
pub const SCENES_SEED: u64 = 42;

/// The mark of a complete build: which program made it from which drawings.
#[derive(PartialEq, Serialize, Deserialize)]
struct Mark {
    format: String,
    version: u32,
    store_version: u32,
    /// None in what version 1 of the scenes was made with, which had no tasks.
    #[serde(default)]
    tasks_version: u32,
    fingerprint: String,
}

/// The splits: those of training vendors have other scenes each, `far` another artist too, and the last
/// kinds that no caption of training names. Held-out scenes have pictures, for reports.
fn splits() -> [ScenesOptions; 4] {
    let split = |name: &str, count: usize| ScenesOptions {
        pictures: count != TRAIN_SCENES,
        ..ScenesOptions::new(name, count, SCENES_SEED)
    };
    let far = ScenesOptions {
        styles: Style::HELD_OUT.into(),
        ..split("far", HELD_OUT_SCENES)
    };
    [
        split("train", TRAIN_SCENES),
        split("near", HELD_OUT_SCENES),
        far,
        ScenesOptions {
            shown: Shown::Novel,
            ..split(NOVEL, NOVEL_SCENES)
        },
    ]
}

/// Draws the scenes that recipes name as `sample:scenes/…`, from the drawings in `drawings`
/// (`datasets/sample/scenes` of the repository), into the directory `out`: `train/`, `near/` in the
/// styles of training, `far/` in that of the vendor held out, `novel/` with kinds that no caption of
/// training names, each as [`build_scenes`] makes it, and `vocab.txt`; in `tasks/` the tasks on them, as
/// [`build_tasks`] makes them, and in `novel/tasks/` those on novel kinds, of which training asks nothing; in
/// `weights/` a copy of the start weights, if there are any.
///
/// Returns at once, with `false`, if `out` was already built from the same drawings by the same
/// version; replaces it if not.
///
/// # Errors
/// If the drawings are not whole, if `out` is there and is something else, or if the disk refuses.
pub fn build_scenes_sample(drawings: &Path, out: &Path) -> Result<bool> {
    let sheets = Style::ALL.map(|style| PathBuf::from(format!("{}.webp", style.name())));
    let start = drawings.join(WEIGHTS);
    let weights = weights::FILES.map(|name| Path::new(WEIGHTS).join(name));
    let weights = weights.into_iter().filter(|_| start.is_dir());
    let files = sheets.into_iter().chain([KINDS_FILE.into()]).chain(weights);
    let files: Vec<PathBuf> = files.collect();
    let mark = Mark {
        format: "oscar-scenes-sample".into(),
        version: SCENES_VERSION,
        store_version: FORMAT_VERSION,
        tasks_version: TASKS_VERSION,
        fingerprint: fingerprint(drawings, &files, HINT)?,
    };
    if is_complete(out, &mark) {
        return Ok(false);
    }
    let mut staged = StagedDir::create(out, DATASET_FILE, true)?;
    // Only what is there now is out of date; what another process finishes meanwhile is as good.
    staged.allow_overwrite(out.join(DATASET_FILE).exists());
    let mut made = Vec::new();
    for options in splits() {
        let split = staged.path().join(&options.split);
        build_scenes(drawings, &split, &options)?;
        made.push(split);
    }
    // All splits have the same words.
    if let Some(split) = made.last() {
        let words = oscar_datasets::mapped::read_file(&split.join(VOCAB_FILE), HINT)?;
        oscar_files::write_file(&staged.path().join(VOCAB_FILE), &words)?;
    }
    weights::copy(&start, &staged.path().join(WEIGHTS), HINT)?;
    let novel = made.split_off(made.len() - 1);
    build_tasks(&made, &staged.path().join(TASKS), SCENES_SEED, false)?;
    let of_novel = staged.path().join(NOVEL).join(TASKS);
    build_tasks(&novel, &of_novel, SCENES_SEED, false)?;
    write_json(&staged.path().join(DATASET_FILE), &mark)?;
    match staged.commit() {
        Ok(()) => Ok(true),
        Err(_) if is_complete(out, &mark) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

const VOCAB_FILE: &str = "vocab.txt";
const TASKS: &str = "tasks";
/// The split of kinds that no caption of training names.
const NOVEL: &str = "novel";
/// Start weights for the tasks.
const WEIGHTS: &str = "weights";

/// Whether `out` is complete and from the same drawings. The splits are opened, which takes
/// milliseconds: a build someone deleted half of is not whole.
fn is_complete(out: &Path, wanted: &Mark) -> bool {
    let found = fs::read(out.join(DATASET_FILE)).ok();
    let found = found.and_then(|bytes| serde_json::from_slice::<Mark>(&bytes).ok());
    let whole = |options: &ScenesOptions| {
        let dir = out.join(&options.split);
        let store = RegionStore::open(&dir.join("regions")).ok()?;
        JsonlCorpus::open(&dir.join("captions.jsonl"), store).ok()
    };
    found.is_some_and(|found| found == *wanted)
        && out.join(VOCAB_FILE).is_file()
        && out.join(TASKS).join(TASKS_FILE).is_file()
        && out.join(NOVEL).join(TASKS).join(TASKS_FILE).is_file()
        && splits().iter().all(|options| whole(options).is_some())
}
