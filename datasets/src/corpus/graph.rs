//! Scene graphs in the rows of a corpus.

use oscar_core::input::{Relation, SceneGraph, SceneGraphError};
use serde::Deserialize;

use crate::findings::{Defect, Kind};

/// The `graph` of a row of JSON lines: words by their number in the text, from 0; regions by theirs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GraphRow {
    /// A lemma for each word; the words in lower case by default.
    lemmas: Option<Vec<String>>,
    objects: Vec<usize>,
    #[serde(default)]
    attributes: Vec<(usize, Vec<usize>)>,
    #[serde(default)]
    relations: Vec<(usize, Vec<usize>, usize)>,
    #[serde(default)]
    regions: Vec<(usize, Vec<usize>)>,
}

impl GraphRow {
    /// The graph of `text`.
    ///
    /// # Errors
    /// Another number of lemmas than of words; a word that is not there.
    pub(super) fn of(self, text: &str) -> Result<SceneGraph, Defect> {
        let words = text.split_whitespace();
        let own = || words.clone().map(str::to_lowercase).collect();
        let relations = self.relations.into_iter();
        let relation = |(subject, predicate, object)| Relation {
            subject,
            predicate,
            object,
        };
        let graph = SceneGraph {
            lemmas: self.lemmas.unwrap_or_else(own),
            objects: self.objects,
            attributes: self.attributes,
            relations: relations.map(relation).collect(),
            regions: self.regions,
        };
        check(&graph, words.count(), None)?;
        Ok(graph)
    }
}

/// Checks the graph of a text of so many words, beside an image of so many regions if that is known.
///
/// # Errors
/// What does not fit.
pub(super) fn check(
    graph: &SceneGraph,
    words: usize,
    regions: Option<usize>,
) -> Result<(), Defect> {
    graph.check(words, regions).map_err(|error| {
        let fix = match error {
            SceneGraphError::Lemmas { .. } => "give one lemma for each word between blanks",
            SceneGraphError::Word { .. } => "count words from 0, between blanks",
            SceneGraphError::Region { .. } => "check that graph and image belong together",
        };
        Defect::of(Kind::Mismatch, error.to_string()).fix(fix)
    })
}
