//! What the tasks need to know of a world: its scenes, what can be asked of them, and what can be
//! counted in them.

use std::hash::Hash;

use rand_chacha::ChaCha8Rng;

/// A question on scenes.
pub(crate) trait Question<S>: Clone + Send + Sync {
    /// In words.
    fn text(&self) -> String;

    /// The answers it can have.
    fn answers(&self) -> Vec<String>;

    /// The answer for `scene`; `None` if the question makes no sense there, or has more than one.
    fn answer(&self, scene: &S) -> Option<String>;
}

/// What statements are about: some things that a scene may show.
pub(crate) trait Subject<S>: Clone + Sync {
    /// One of them: `a black square`.
    fn one(&self) -> String;

    /// More than one: `black squares`.
    fn many(&self) -> String;

    /// How many of them there are.
    fn count(&self, scene: &S) -> usize;

    /// Whether there is any.
    fn is_in(&self, scene: &S) -> bool {
        self.count(scene) > 0
    }
}

/// A scene that can be described.
pub(crate) trait Described: Sync {
    /// What there is, wherever it is: two scenes of equal contents are told apart by places alone.
    type Contents: Eq + Hash;

    /// The key of its image.
    fn key(&self) -> &str;

    /// What there is.
    fn contents(&self) -> Self::Contents;

    /// All that there is, in words.
    fn describe(&self) -> String;

    /// Several captions of all that there is.
    fn captions(&self, rng: &mut ChaCha8Rng) -> Vec<String>;
}

/// A world of scenes.
pub(crate) trait World {
    /// Its scenes.
    type Scene: Described;
    /// What is asked of them.
    type Question: Question<Self::Scene>;
    /// What is counted in them.
    type Subject: Subject<Self::Scene>;

    /// The forms of question of visual question answering, each with all its questions.
    fn vqa(&self) -> Vec<Vec<Self::Question>>;

    /// Those of the compositional one.
    fn gqa(&self) -> Vec<Vec<Self::Question>>;

    /// What statements are about.
    fn subjects(&self) -> Vec<Self::Subject>;
}
