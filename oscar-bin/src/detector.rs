//! What finds the regions of pictures: named on the command line, or the one that a checkpoint's
//! features came from.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use oscar_core::input::BOX_VALUES;
use oscar_core::ops::OscarBackend;
use oscar_sample::scenes::scene_reader;
use oscar_task::{Config, Family, TaskCheckpoint};
use oscar_vision::RegionExtractor;
use oscar_vision::clip::{ClipExtractor, ClipOptions, is_clip};
use oscar_vision::detector::Detector;
use oscar_vision::drawings::DrawingReader;

use crate::config::sample;
use crate::hub;
use crate::tasks::AnyTask;

/// Names of the reader of the sample's drawings.
const DRAWINGS: [&str; 2] = ["drawing", "drawings"];

/// Names of the reader of scenes of everyday things.
const SCENES: [&str; 2] = ["scene", "scenes"];

/// Whether `named` is the reader of the sample's drawings.
pub fn is_drawing(named: &str) -> bool {
    DRAWINGS.contains(&named)
}

/// Whether `named` is the reader of scenes of everyday things.
pub fn is_scene(named: &str) -> bool {
    SCENES.contains(&named)
}

/// Opens the detector called `named`: a directory of weights, as published or converted; `drawing`;
/// `scene`; the file or directory of a CLIP, whose one region is the whole picture; or weights of the
/// hub, which are downloaded if they are missing.
///
/// # Errors
/// If there is none, or it cannot be downloaded or opened.
pub fn open<B: OscarBackend>(named: &str, device: &B::Device) -> Result<Arc<dyn RegionExtractor>> {
    if is_drawing(named) {
        return Ok(Arc::new(DrawingReader));
    }
    if is_scene(named) {
        let drawings = sample::shipped("sample:scenes").context(
            "cannot find the drawings that things are named by (datasets/sample/scenes): run from \
             the repository",
        )?;
        return Ok(Arc::new(scene_reader(&drawings)?));
    }
    let downloaded = hub::directory(Path::new(named))?;
    let path = downloaded.as_deref().unwrap_or(Path::new(named));
    if is_clip(path) {
        let clip = ClipExtractor::<B::Kernels>::open(path, ClipOptions::default(), device)?;
        return Ok(Arc::new(clip));
    }
    if !path.is_dir() {
        bail!(
            "{named}: there is no such directory; name the directory of a detector (its weights, \
             configuration and lists of names), a CLIP, public weights ({} or hub:OWNER/NAME), \
             `drawing` for the drawings of NLVR v1, or `scene` for scenes of everyday things",
            hub::known_names("--detector")
        );
    }
    let detector = Detector::<B::Kernels>::open(path, device)?;
    Ok(Arc::new(detector))
}

/// Opens the detector called `named`, else the one whose features the weights of `checkpoint` were
/// trained on, and checks that the model reads what it gives.
///
/// # Errors
/// If it is not known or cannot be opened, or gives features of another size.
pub fn open_for<T: AnyTask, B: OscarBackend>(
    named: Option<&str>,
    checkpoint: &TaskCheckpoint<T>,
    device: &B::Device,
) -> Result<Arc<dyn RegionExtractor>> {
    let name = name_for(named, checkpoint)?;
    let detector = open::<B>(&name, device)?;
    check_fits(&*detector, &name, checkpoint)?;
    Ok(detector)
}

/// The name of the detector called `named`, else of the one whose features the weights of `checkpoint`
/// were trained on.
///
/// # Errors
/// If it is not known.
pub fn name_for<T: AnyTask>(named: Option<&str>, checkpoint: &TaskCheckpoint<T>) -> Result<String> {
    match named {
        Some(name) => Ok(name.to_string()),
        None => of_checkpoint(checkpoint),
    }
}

/// Checks that a model reads what the detector called `name` gives.
///
/// # Errors
/// If it gives features of another size.
pub fn check_fits<T: AnyTask>(
    detector: &dyn RegionExtractor,
    name: &str,
    checkpoint: &TaskCheckpoint<T>,
) -> Result<()> {
    let (found, expected) = (detector.feature_dim() + BOX_VALUES, region_dim(checkpoint));
    if found != expected {
        bail!(
            "the detector {name} gives regions of {found} values, but the weights in {} read \
             {expected}; name the detector of their features with --detector",
            checkpoint.path.display()
        );
    }
    Ok(())
}

/// The detector whose features a checkpoint was trained on: by its name where the checkpoint has it,
/// else by the size of the features.
fn of_checkpoint<T: AnyTask>(checkpoint: &TaskCheckpoint<T>) -> Result<String> {
    if let Some(name) = &checkpoint.extractor {
        return Ok(name.clone());
    }
    if region_dim(checkpoint) == DrawingReader.feature_dim() + BOX_VALUES {
        return Ok(DRAWINGS[0].into());
    }
    let likely = T::Family::likely_extractor(&checkpoint.model);
    let known = T::Family::known_extractor(&checkpoint.model);
    if let Some(known) = known.filter(|name| hub::is_known(name)) {
        tracing::info!(
            "{}: the weights do not name the detector of their features (probably {likely}); taking \
             {}, unless --detector names another",
            checkpoint.path.display(),
            known
        );
        return Ok(known.into());
    }
    bail!(
        "the weights in {} do not name the detector of their features (probably {likely}); name its \
         directory with --detector",
        checkpoint.path.display()
    )
}

fn region_dim<T: AnyTask>(checkpoint: &TaskCheckpoint<T>) -> usize {
    let model: &Config<T> = &checkpoint.model;
    T::Family::region_dim(model)
}
