//! Scenes of everyday things: 160 kinds, drawn in five styles of three vendors.
//!
//! A scene has one to four kinds of things, one to three of each, in one style, on a plain canvas.
//! What is said of it follows from where things are. Everything is drawn from a seed, in whole
//! numbers, so that the same seed gives the same bytes on every machine.

mod ask;
mod build;
mod captions;
mod constraints;
mod detect;
mod expand;
mod graph;
mod kinds;
mod scene;
mod sheets;

use std::path::Path;
use std::sync::Arc;

use image::RgbImage;
use oscar_datasets::Result;
use oscar_vision::scenes::{SceneReader, canvas, find_things};

pub(crate) use ask::{Things, read};
pub(crate) use build::SCENES_FORMAT;
pub use build::{SCENES_VERSION, ScenesCounts, ScenesInfo, ScenesOptions, Tags, build_scenes};
pub use detect::detector;
pub use expand::{HELD_OUT_SCENES, NOVEL_SCENES, SCENES_SEED, TRAIN_SCENES, build_scenes_sample};
pub use kinds::Kind;
pub use scene::{HEIGHT, Shown, WIDTH};
pub use sheets::{Pose, Sheets, Style};

/// Whose drawings these are; goes with every data set.
pub const ATTRIBUTION: &str = "Noto Emoji (c) Google Inc, Apache License 2.0. Fluent Emoji (c) \
    Microsoft Corporation, MIT License. Twemoji (c) Twitter, Inc and other contributors, CC-BY 4.0 \
    (https://creativecommons.org/licenses/by/4.0/). Names: emojibase-data (c) Miles Johnson, MIT; \
    Unicode CLDR.";

/// Reads the things of a scene from its pixels, and names them by the training vendors' drawings
/// in `drawings` (`datasets/sample/scenes` of the repository).
///
/// # Errors
/// Drawings that are missing or malformed.
pub fn scene_reader(drawings: &Path) -> Result<SceneReader> {
    let sheets = Sheets::open(drawings)?;
    Ok(SceneReader::new(detector(&sheets, &Style::TRAINING)))
}

/// Whether `image` is a scene as they are drawn here: things on one of its canvases.
pub fn is_scene(image: &RgbImage) -> bool {
    let on_canvas = canvas(image).is_ok_and(|found| scene::CANVASES.contains(&found));
    on_canvas && find_things(image).is_ok_and(|things| !things.is_empty())
}

/// Texts that have every word of scenes, the regular plurals of names left out.
fn words(kinds: &[Arc<Kind>]) -> Vec<String> {
    let numbers = captions::NUMBERS.join(" ");
    let mut texts = vec![captions::WORDS.into(), ask::WORDS.into(), numbers];
    for kind in kinds {
        texts.push(kind.name.clone());
        texts.push(kind.category.clone());
        if kind.plural != format!("{}s", kind.name) {
            texts.push(kind.plural.clone());
        }
    }
    texts
}
