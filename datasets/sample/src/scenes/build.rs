//! Writes a data set of scenes.

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use image::{ImageFormat, RgbImage};
use indicatif::{ProgressBar, ProgressStyle};
use oscar_core::input::{InputError, LabelNames, RegionLabels, Tokenizer};
use oscar_datasets::store::{Boxes, ImageRegions, StoreOptions, StoreWriter, Tag};
use oscar_datasets::{DATASET_FILE, DatasetError, Result};
use oscar_files::{StagedDir, write_file, write_json};
use oscar_vision::scenes::{Detector, FEATURE_DIM, SceneReader, feature, find_things};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::captions::{caption, expressions};
use super::constraints::Constraints;
use super::detect::detector;
use super::graph::Graph;
use super::scene::{Chances, HEIGHT, Scene, Shown, WIDTH};
use super::sheets::{Sheets, Style};
use super::{ATTRIBUTION, words};
use crate::lines::Lines;
use crate::miniature::{Draws, Part};

/// What `dataset.json` of a directory that [`build_scenes`] makes says it is.
pub(crate) const SCENES_FORMAT: &str = "oscar-scenes";

/// Version of what [`build_scenes`] makes; raised when its content changes.
pub const SCENES_VERSION: u32 = 3;

/// Directory of the pictures of a data set.
const PICTURES: &str = "pictures";

/// Scenes in memory at a time.
const CHUNK: usize = 256;

/// What to build.
#[derive(Clone, Debug)]
pub struct ScenesOptions {
    /// Name of the split: the first part of each scene's key. Another one gives other scenes.
    pub split: String,
    /// How many scenes.
    pub count: usize,
    /// Styles, each as frequent; a scene has one. Those of the training vendors by default.
    pub styles: Vec<Style>,
    /// Which kinds are shown; those that captions of training name by default.
    pub shown: Shown,
    /// Draw kinds with frequencies of one by their rank, instead of all as often; off by default.
    pub long_tail: bool,
    /// Where tags come from; the kinds' names by default.
    pub tags: Tags,
    /// Captions of each scene; two by default.
    pub captions: usize,
    /// Write the pictures too; on by default.
    pub pictures: bool,
    /// What everything drawn follows.
    pub seed: u64,
    /// Replace a data set that is already there; off by default.
    pub overwrite: bool,
}

impl ScenesOptions {
    /// Options with the defaults stated at each field.
    pub fn new(split: &str, count: usize, seed: u64) -> Self {
        Self {
            split: split.into(),
            count,
            styles: Style::TRAINING.into(),
            shown: Shown::default(),
            long_tail: false,
            tags: Tags::default(),
            captions: 2,
            pictures: true,
            seed,
            overwrite: false,
        }
    }
}

/// Where object tags come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tags {
    /// The names of the things: every tag is right.
    #[default]
    Names,
    /// A nearest-neighbour detector that knows the drawings of the other vendors, so that its
    /// errors on scenes of training are as frequent as on others.
    Detected,
}

/// What was built: the content of `dataset.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenesInfo {
    /// Always `oscar-scenes`.
    pub format: String,
    /// See [`SCENES_VERSION`].
    pub version: u32,
    /// Name of the split.
    pub split: String,
    /// What was drawn follows it.
    pub seed: u64,
    /// Styles of the scenes.
    pub styles: Vec<Style>,
    /// Which kinds are shown.
    pub shown: Shown,
    /// Whether kinds are drawn with frequencies of one by their rank.
    pub long_tail: bool,
    /// Where the tags come from.
    pub tags: Tags,
    /// Whose drawings these are.
    pub attribution: String,
    /// Directory of the pictures beside this file, if they were written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pictures: Option<String>,
    /// How much there is.
    pub counts: ScenesCounts,
}

/// How much a data set holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenesCounts {
    /// Scenes.
    pub scenes: usize,
    /// Things in them.
    pub things: usize,
    /// Scenes whose things are found from their pixels with exactly the boxes they were drawn in.
    pub read_exactly: usize,
    /// Tags that are the names of their things.
    pub right_tags: usize,
    /// Captions.
    pub captions: usize,
    /// Words in them.
    pub caption_words: usize,
}

/// A scene and what is stored of it.
struct Made {
    scene: Scene,
    png: Vec<u8>,
    exact: bool,
    features: Vec<f32>,
    tags: Vec<Tag>,
    labels: RegionLabels,
    captions: Vec<String>,
}

/// Draws scenes from the drawings in `drawings` (`datasets/sample/scenes` of the repository), and
/// writes the data set `out`.
///
/// | file | holds |
/// |---|---|
/// | `regions/` | a store: each thing a region, in reading order, with its tag |
/// | `captions.jsonl` | `{"image", "text"}` |
/// | `expressions.jsonl` | `{"image", "expression", "box"}`: expressions that mean one thing |
/// | `scenes.jsonl` | a scene graph a line: objects with boxes, categories, relations, referring expressions |
/// | `constraints/` | what captions have to name, as NoCaps gives it: only where novel kinds are shown |
/// | `pictures/` | `KEY.png`, unless `pictures` is off |
/// | `vocab.txt` | all words of scenes, the same whatever is drawn |
/// | `dataset.json` | [`ScenesInfo`] |
///
/// The bytes depend on the drawings and options alone, not on the machine or the number of threads.
///
/// # Errors
/// Drawings that are missing or malformed; no style to draw; a directory `out` that is already
/// there, unless it holds a data set and `overwrite` is on.
pub fn build_scenes(drawings: &Path, out: &Path, options: &ScenesOptions) -> Result<ScenesInfo> {
    let staged = StagedDir::create(out, DATASET_FILE, options.overwrite)?;
    let maker = Maker::new(Sheets::open(drawings)?, drawings, options)?;
    let dir = staged.path();
    let pictures = dir.join(PICTURES);
    if options.pictures {
        fs::create_dir(&pictures).map_err(DatasetError::io("create", &pictures))?;
    }
    let mut store = StoreWriter::create(
        &dir.join("regions"),
        StoreOptions {
            source: format!(
                "scenes of drawings, split {}, seed {}",
                options.split, options.seed
            ),
            extractor: Some(SceneReader::NAME.into()),
            label_names: Some(maker.label_names()),
            ..StoreOptions::new(FEATURE_DIM)
        },
    )?;
    let mut captions = Lines::create(dir.join("captions.jsonl"))?;
    let mut graphs = Lines::create(dir.join("scenes.jsonl"))?;
    let mut referring = Lines::create(dir.join("expressions.jsonl"))?;
    let mut constraints = (options.shown != Shown::Known).then(Constraints::default);
    let mut counts = ScenesCounts::default();
    let bar = progress(options.count);
    for start in (0..options.count).step_by(CHUNK) {
        let numbers = start..(start + CHUNK).min(options.count);
        let made: Vec<Made> = numbers
            .into_par_iter()
            .map(|number| maker.make(number))
            .collect::<Result<_>>()?;
        for made in &made {
            made.count(&mut counts);
            made.store(&mut store)?;
            graphs.push(&Graph::of(&made.scene))?;
            if let Some(constraints) = &mut constraints {
                constraints.push(&made.scene.key, &made.tags, &maker.sheets.kinds)?;
            }
            for text in &made.captions {
                captions.push(&Row {
                    image: &made.scene.key,
                    text,
                })?;
            }
            for (expression, object) in expressions(&made.scene) {
                referring.push(&ExpressionRow {
                    image: &made.scene.key,
                    expression: &expression,
                    place: made.scene.things[object].place,
                })?;
            }
            if options.pictures {
                write_file(&pictures.join(format!("{}.png", made.scene.key)), &made.png)?;
            }
        }
        bar.inc(made.len() as u64);
    }
    bar.finish_and_clear();
    store.finish()?;
    captions.finish()?;
    graphs.finish()?;
    referring.finish()?;
    if let Some(constraints) = constraints {
        constraints.write(&maker.sheets.kinds, dir)?;
    }
    write_vocabulary(&maker.sheets, &dir.join("vocab.txt"))?;
    let info = maker.info(counts);
    write_json(&dir.join(DATASET_FILE), &info)?;
    staged.commit()?;
    Ok(info)
}

#[derive(Serialize)]
struct Row<'a> {
    image: &'a str,
    text: &'a str,
}

#[derive(Serialize)]
struct ExpressionRow<'a> {
    image: &'a str,
    expression: &'a str,
    #[serde(rename = "box")]
    place: [u32; 4],
}

struct Maker<'a> {
    sheets: Sheets,
    chances: Chances,
    /// If tags are detected.
    detector: Option<Arc<Detector>>,
    options: &'a ScenesOptions,
    draws: Draws,
}

impl<'a> Maker<'a> {
    fn new(sheets: Sheets, drawings: &Path, options: &'a ScenesOptions) -> Result<Self> {
        if options.styles.is_empty() {
            let found = "no style to draw was given";
            return Err(DatasetError::malformed(
                drawings,
                found,
                "give one or more styles",
            ));
        }
        // Ranks are the same in every split of a seed.
        let mut ranks = Draws::new(options.seed, "ranks").rng(0);
        let (shown, tail) = (options.shown, options.long_tail);
        Ok(Self {
            chances: Chances::new(&sheets, &options.styles, shown, tail, &mut ranks),
            detector: match options.tags {
                Tags::Names => None,
                Tags::Detected => Some(detector(&sheets, &Style::ALL)),
            },
            draws: Draws::new(options.seed, &options.split),
            sheets,
            options,
        })
    }

    /// The classes of regions: the kinds, in the order of their list.
    fn label_names(&self) -> Arc<LabelNames> {
        let kinds = self.sheets.kinds.iter();
        Arc::new(LabelNames {
            objects: kinds.map(|kind| kind.name.clone()).collect(),
            attributes: Vec::new(),
        })
    }

    /// What the tags say of the regions, each of which has one.
    fn labels(&self, tags: &[Tag]) -> RegionLabels {
        let kinds = &self.sheets.kinds;
        let number = |tag: &Tag| kinds.iter().position(|kind| kind.name == tag.class);
        RegionLabels {
            objects: tags
                .iter()
                .filter_map(|tag| Some(number(tag)? as u16))
                .collect(),
            object_scores: tags.iter().map(|tag| tag.score).collect(),
            ..RegionLabels::default()
        }
    }

    fn make(&self, number: usize) -> Result<Made> {
        let key = format!("{}-{number:06}", self.options.split);
        let mut rng = self.draws.part(Part::Scene).rng(number);
        let (scene, picture) = Scene::draw(key, &self.sheets, &self.chances, &mut rng);
        let boxes: Vec<[u32; 4]> = scene.things.iter().map(|thing| thing.place).collect();
        let features: Vec<[f32; FEATURE_DIM]> = boxes
            .iter()
            .map(|place| feature(&picture, *place))
            .collect();
        let tags = scene.things.iter().zip(&features).map(|(thing, feature)| {
            let name = &scene.kind_of(thing).name;
            let except = Some(scene.style.vendor());
            let found = self
                .detector
                .as_ref()
                .and_then(|detector| detector.name(feature, except));
            let (class, score) = found.unwrap_or((name, 1.0));
            Tag {
                class: class.into(),
                score,
                box_px: Some(thing.place.map(|v| v as f32)),
                attributes: Vec::new(),
            }
        });
        let tags: Vec<Tag> = tags.collect();
        let mut rng = self.draws.part(Part::Caption).rng(number);
        Ok(Made {
            labels: self.labels(&tags),
            tags,
            captions: (0..self.options.captions)
                .map(|_| caption(&scene, &mut rng))
                .collect(),
            exact: find_things(&picture).is_ok_and(|found| found == boxes),
            png: match self.options.pictures {
                true => encode(&picture)?,
                false => Vec::new(),
            },
            features: features.into_iter().flatten().collect(),
            scene,
        })
    }

    fn info(&self, counts: ScenesCounts) -> ScenesInfo {
        let options = self.options;
        ScenesInfo {
            format: SCENES_FORMAT.into(),
            version: SCENES_VERSION,
            split: options.split.clone(),
            seed: options.seed,
            styles: options.styles.clone(),
            shown: options.shown,
            long_tail: options.long_tail,
            tags: options.tags,
            attribution: ATTRIBUTION.into(),
            pictures: options.pictures.then(|| PICTURES.into()),
            counts,
        }
    }
}

impl Made {
    fn count(&self, counts: &mut ScenesCounts) {
        let things = self.scene.things.iter().zip(&self.tags);
        counts.scenes += 1;
        counts.things += self.tags.len();
        counts.read_exactly += usize::from(self.exact);
        counts.right_tags += things
            .filter(|(thing, tag)| self.scene.kind_of(thing).name == tag.class)
            .count();
        counts.captions += self.captions.len();
        counts.caption_words += self
            .captions
            .iter()
            .map(|c| c.split(' ').count())
            .sum::<usize>();
    }

    fn store(&self, store: &mut StoreWriter) -> Result<()> {
        let boxes: Vec<[f32; 4]> = self
            .scene
            .things
            .iter()
            .map(|thing| thing.place.map(|v| v as f32))
            .collect();
        let image = ImageRegions {
            key: &self.scene.key,
            width: WIDTH,
            height: HEIGHT,
            features: &self.features,
            boxes: Boxes::Pixels(&boxes),
            tags: &self.tags,
        };
        store.push_labelled(image, self.labels.clone())
    }
}

fn encode(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut png = Cursor::new(Vec::new());
    let written = picture.write_to(&mut png, ImageFormat::Png);
    written.map_err(|error| {
        let failed = std::io::Error::other(error);
        DatasetError::io("encode", Path::new("a scene"))(failed)
    })?;
    Ok(png.into_inner())
}

/// The vocabulary of all that is said of scenes.
///
/// A regular plural is its name and the piece `##s`, so that a thing's tag shares a word with its
/// plural in a caption.
fn write_vocabulary(sheets: &Sheets, path: &Path) -> Result<()> {
    let failed = |error: InputError| DatasetError::io("write", path)(std::io::Error::other(error));
    let vocabulary = Tokenizer::from_texts(&words(&sheets.kinds)).map_err(failed)?;
    vocabulary.save(path).map_err(failed)
}

fn progress(scenes: usize) -> ProgressBar {
    // Hidden by indicatif when stderr is no terminal.
    let bar = ProgressBar::new(scenes as u64);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} scenes, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_message("drawing")
}
