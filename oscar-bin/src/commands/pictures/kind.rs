//! What pictures are asked, and by which weights where none are named.

use oscar_sample::scenes::is_scene;
use oscar_vision::drawings::DrawingReader;
use oscar_vision::{Picture, RegionExtractor};

use crate::detector;

/// What is asked of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Describe it.
    Caption,
    /// Answer a question.
    Question,
    /// Say whether a text matches it.
    Match,
    /// Find the thing that an expression means.
    Find,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Caption, Self::Question, Self::Match, Self::Find];

    /// What weights of this task are asked.
    pub fn of_task(task: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.tasks().contains(&task))
    }

    /// Where a server is asked this.
    pub fn endpoint(self) -> &'static str {
        match self {
            Self::Caption => "/v1/caption",
            Self::Question => "/v1/ask",
            Self::Match => "/v1/match",
            Self::Find => "/v1/find",
        }
    }

    /// Tasks whose weights do this; published weights are of the first unless another is named.
    pub fn tasks(self) -> &'static [&'static str] {
        match self {
            Self::Caption => &["captioning", "clipcap"],
            Self::Question => &["vqa", "gqa"],
            Self::Match => &["retrieval", "matching"],
            Self::Find => &["refer"],
        }
    }

    /// The task that trains on the sample best for this.
    pub fn trained(self) -> &'static str {
        match self {
            Self::Caption => "captioning",
            Self::Question => "vqa",
            Self::Match => "matching",
            Self::Find => "refer",
        }
    }

    /// Public weights that do this for photographs, if any are known.
    pub(super) fn known(self) -> Option<&'static str> {
        match self {
            Self::Caption => Some("vinvl-captioning"),
            Self::Question | Self::Match | Self::Find => None,
        }
    }

    /// Shipped weights that do this for such pictures, if there are any.
    pub fn shipped(self, pictures: OfSample) -> Option<&'static str> {
        match (pictures, self) {
            (OfSample::Scene, Self::Caption) => Some("sample:scenes/weights/captioning"),
            (OfSample::Scene, Self::Match) => Some("sample:scenes/weights/matching"),
            (OfSample::Drawing, Self::Caption) => Some("sample:weights/captioning"),
            (_, Self::Question | Self::Find) | (OfSample::Drawing, Self::Match) => None,
        }
    }
}

/// Pictures that the sample has, or makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfSample {
    /// Everyday things on a plain canvas.
    Scene,
    /// A box of coloured shapes.
    Drawing,
}

impl OfSample {
    /// What `picture` is, if it is of the sample.
    pub(super) fn of(picture: &Picture) -> Option<Self> {
        if is_scene(&picture.image) {
            return Some(Self::Scene);
        }
        let drawing = DrawingReader.extract(std::slice::from_ref(picture));
        drawing.iter().all(Result::is_ok).then_some(Self::Drawing)
    }

    /// Where some of them are shipped.
    pub fn pictures(self) -> &'static str {
        match self {
            Self::Scene => "sample:scenes/pictures",
            Self::Drawing => "sample:pictures",
        }
    }

    /// What the detector called `named` reads, if it is one of the sample's.
    pub fn read_by(named: &str) -> Option<Self> {
        match named {
            named if detector::is_drawing(named) => Some(Self::Drawing),
            named if detector::is_scene(named) => Some(Self::Scene),
            _ => None,
        }
    }
}
