//! Weights that are opened once and asked often.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use oscar_core::input::RegionHandle;
use oscar_core::ops::OscarBackend;
use oscar_datasets::import::{ExtractedImage, extract};
use oscar_vision::{Picture, RegionExtractor};

use crate::checkpoint::task_name;
use crate::explain::{Explain, Explanation, Region};
use crate::{CrossEncoder, Encoder, Family, Role, Task, TaskCheckpoint, TaskData, TaskError};

/// Questions per batch of a [`Predictor`].
pub(crate) const BATCH: usize = 32;

/// A question to a model.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// Question, statement or caption, where the task has one.
    pub text: Option<String>,
    /// What is asked about: one image, the two of a pair, or none.
    pub images: Vec<Seen>,
    /// How many answers to give.
    pub top: usize,
}

/// What a model sees of an image.
#[derive(Clone, Debug)]
pub enum Seen {
    /// Object tags, separated by spaces, and region features.
    Regions {
        /// The tags.
        tags: String,
        /// The regions, wherever they are stored.
        regions: RegionHandle,
    },
    /// Object tags alone.
    Tags(String),
    /// A picture: the predictor's [extractor](Predictor::set_extractor) finds its regions and tags.
    Picture(Arc<Picture>),
}

impl Seen {
    /// The object tags; empty for a picture, whose tags are not known yet.
    pub fn tags(&self) -> &str {
        match self {
            Self::Regions { tags, .. } | Self::Tags(tags) => tags,
            Self::Picture(_) => "",
        }
    }

    /// The regions, if there are any.
    pub fn regions(&self) -> Option<&RegionHandle> {
        match self {
            Self::Regions { regions, .. } => Some(regions),
            Self::Tags(_) | Self::Picture(_) => None,
        }
    }

    /// What an extractor found in a picture.
    ///
    /// # Errors
    ///
    /// If its regions cannot be read.
    pub fn extracted(image: &Arc<ExtractedImage>) -> Result<Self, TaskError> {
        Ok(Self::Regions {
            tags: image.tag_text(),
            regions: image.regions().map_err(TaskError::Data)?,
        })
    }
}

impl From<(String, RegionHandle)> for Seen {
    fn from((tags, regions): (String, RegionHandle)) -> Self {
        Self::Regions { tags, regions }
    }
}

/// An answer of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Class, caption or answer.
    pub text: String,
    /// Its probability, or the score of a regression.
    pub score: f32,
    /// The region that is meant, where the task finds one.
    pub region: Option<Region>,
}

impl Answer {
    /// An answer that is a text.
    pub fn new(text: impl Into<String>, score: f32) -> Self {
        Self {
            text: text.into(),
            score,
            region: None,
        }
    }

    /// The `top` best of these answers, the best first.
    pub fn best(answers: impl IntoIterator<Item = Self>, top: usize) -> Vec<Self> {
        let mut best: Vec<Self> = answers.into_iter().collect();
        best.sort_by(|a, b| b.score.total_cmp(&a.score));
        best.truncate(top);
        best
    }
}

/// Opened weights of some task, on some backend.
pub trait Predictor: Send {
    /// Name of the task.
    fn task(&self) -> &'static str;

    /// Answers to each of `asks`, the best first; the questions are run in batches.
    ///
    /// # Errors
    ///
    /// If a question cannot be asked of this task, or an image cannot be read.
    fn ask(&self, asks: &[Ask]) -> Result<Vec<Vec<Answer>>, TaskError>;

    /// The answers to one question, and what the model attends to.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    fn explain(&self, ask: &Ask) -> Result<Explanation, TaskError>;

    /// Sets what finds the regions and tags of [pictures](Seen::Picture).
    fn set_extractor(&mut self, extractor: Arc<dyn RegionExtractor>);
}

/// A task whose weights can be opened and asked.
pub trait Predict: Task {
    /// The network, with what answering takes.
    type Model<B: OscarBackend>: Send;

    /// Loads the weights of `checkpoint`.
    ///
    /// # Errors
    ///
    /// If they cannot be read, or are not of its configuration.
    fn load<B: OscarBackend>(
        checkpoint: &TaskCheckpoint<Self>,
        device: &B::Device,
    ) -> Result<Self::Model<B>, TaskError>;

    /// See [`Predictor::ask`].
    ///
    /// # Errors
    ///
    /// As there.
    fn ask<B: OscarBackend>(
        opened: &Opened<Self, B>,
        asks: &[Ask],
    ) -> Result<Vec<Vec<Answer>>, TaskError>;

    /// The same network as what says how well a text and an image match, if these weights are such a
    /// model; tensors are shared.
    fn cross_encoder<B: OscarBackend>(_opened: &Opened<Self, B>) -> Option<CrossEncoder<B>> {
        None
    }
}

/// The weights of a task, opened.
pub struct Opened<T: Predict, B: OscarBackend> {
    /// What describes the weights.
    pub checkpoint: TaskCheckpoint<T>,
    /// The network.
    pub model: T::Model<B>,
    /// Where it computes.
    pub device: B::Device,
    /// What finds the regions of pictures; without it only stored regions can be asked about.
    pub extractor: Option<Arc<dyn RegionExtractor>>,
}

impl<T: Predict, B: OscarBackend> Opened<T, B> {
    /// Opens the directory `path` that fine-tuning left, and reads the weights.
    ///
    /// # Errors
    ///
    /// If a file is missing or wrong, or the weights are another task's.
    pub fn open(path: &Path, device: &B::Device) -> Result<Self, TaskError> {
        Self::load(TaskCheckpoint::open(path)?, device)
    }

    /// Reads the weights that `checkpoint` describes.
    ///
    /// # Errors
    ///
    /// If they cannot be read, or are not of its configuration.
    pub fn load(checkpoint: TaskCheckpoint<T>, device: &B::Device) -> Result<Self, TaskError> {
        Ok(Self {
            model: T::load::<B>(&checkpoint, device)?,
            checkpoint,
            device: device.clone(),
            extractor: None,
        })
    }

    /// Its encoder.
    pub fn encoder(&self) -> &Encoder<T> {
        &self.checkpoint.encoder
    }

    /// Opens a split, whose regions must be those that the model reads.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or its regions have another size.
    pub fn open_split(&self, split: &T::Split, role: Role) -> Result<T::Data, TaskError> {
        let data = self.checkpoint.task.open(split, role, self.encoder());
        let data = data.map_err(TaskError::Data)?;
        self.check_regions(data.region_dim())?;
        Ok(data)
    }

    /// The questions as the model can be asked them: with the regions and tags of their pictures.
    ///
    /// # Errors
    ///
    /// If there is a picture and no extractor, an image cannot be read, or its regions have another size
    /// than the model reads.
    pub fn with_regions<'a>(&self, asks: &'a [Ask]) -> Result<Cow<'a, [Ask]>, TaskError> {
        let images = || asks.iter().flat_map(|ask| &ask.images);
        let pictures: Vec<Picture> = images()
            .filter_map(|seen| match seen {
                Seen::Picture(picture) => Some(Picture::clone(picture)),
                _ => None,
            })
            .collect();
        let asks = match (&self.extractor, pictures.is_empty()) {
            (_, true) => Cow::Borrowed(asks),
            (None, false) => return Err(TaskError::NoExtractor { task: T::NAME }),
            (Some(extractor), false) => {
                let mut found = extract(&**extractor, &pictures).into_iter();
                let mut asks = asks.to_vec();
                for seen in asks.iter_mut().flat_map(|ask| &mut ask.images) {
                    if matches!(seen, Seen::Picture(_))
                        && let Some(image) = found.next()
                    {
                        let image = image.map_err(|error| TaskError::Data(error.into()))?;
                        *seen = Seen::extracted(&image)?;
                    }
                }
                Cow::Owned(asks)
            }
        };
        let images = asks.iter().flat_map(|ask| &ask.images);
        for regions in images.flat_map(Seen::regions) {
            self.check_regions(regions.dim())?;
        }
        Ok(asks)
    }

    /// Checks that the model reads regions of `found` values; texts alone, 0, suit any model.
    pub(crate) fn check_regions(&self, found: usize) -> Result<(), TaskError> {
        let expected = T::Family::region_dim(&self.checkpoint.model);
        match found == 0 || found == expected {
            true => Ok(()),
            false => Err(TaskError::RegionDim { found, expected }),
        }
    }
}

impl<T: Explain, B: OscarBackend> Predictor for Opened<T, B> {
    fn task(&self) -> &'static str {
        T::NAME
    }

    fn ask(&self, asks: &[Ask]) -> Result<Vec<Vec<Answer>>, TaskError> {
        T::ask(self, &self.with_regions(asks)?)
    }

    fn explain(&self, ask: &Ask) -> Result<Explanation, TaskError> {
        let asks = self.with_regions(std::slice::from_ref(ask))?;
        T::explain(self, &asks[0])
    }

    fn set_extractor(&mut self, extractor: Arc<dyn RegionExtractor>) {
        self.extractor = Some(extractor);
    }
}

/// Opens weights on a device.
type Open<Device> = fn(&Path, &Device) -> Result<Box<dyn Predictor>, TaskError>;

/// A task, and how its weights are opened on the backend `B`.
pub struct Opener<B: OscarBackend> {
    name: &'static str,
    open: Open<B::Device>,
}

impl<B: OscarBackend> Opener<B> {
    /// That of the task `T`.
    pub fn of<T: Explain>() -> Self {
        Self {
            name: T::NAME,
            open: |path, device| Ok(Box::new(Opened::<T, B>::open(path, device)?)),
        }
    }
}

/// Opens the weights in `path`, of whichever of `tasks` they are.
///
/// # Errors
///
/// If they are none of these, or a file is missing or wrong.
pub fn open_predictor<B: OscarBackend>(
    path: &Path,
    device: &B::Device,
    tasks: &[Opener<B>],
) -> Result<Box<dyn Predictor>, TaskError> {
    let name = task_name(path)?;
    match tasks.iter().find(|task| task.name == name) {
        Some(task) => (task.open)(path, device),
        None => Err(TaskError::Checkpoint {
            path: path.to_path_buf(),
            found: format!("weights of the task {name}, which is not known here"),
        }),
    }
}
