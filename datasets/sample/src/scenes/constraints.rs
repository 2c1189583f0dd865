//! What captions of novel kinds have to name, as NoCaps gives it: four files that constrain a search.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use oscar_datasets::store::Tag;
use oscar_datasets::{DatasetError, Result};
use oscar_files::{write_file, write_json};
use serde::Serialize;

use super::kinds::Kind;

/// Directory of the files in a data set.
const DIRECTORY: &str = "constraints";

/// A thing that a caption has to name.
#[derive(Serialize)]
struct Named<'a> {
    rect: [f32; 4],
    class: &'a str,
    conf: f32,
}

/// A class and those below it.
#[derive(Serialize)]
struct Class<'a> {
    #[serde(rename = "LabelName")]
    name: &'a str,
    #[serde(rename = "Subcategory", skip_serializing_if = "Vec::is_empty")]
    below: Vec<Class<'a>>,
}

/// The constraints of a data set: in each scene, the things whose tags are of novel kinds.
#[derive(Default)]
pub(super) struct Constraints {
    boxes: String,
}

impl Constraints {
    /// Adds the scene `key` with these tags.
    pub(super) fn push(&mut self, key: &str, tags: &[Tag], kinds: &[Arc<Kind>]) -> Result<()> {
        let is_novel = |tag: &&Tag| {
            let kind = kinds.iter().find(|kind| kind.name == tag.class);
            kind.is_some_and(|kind| kind.novel)
        };
        let named = tags.iter().filter(is_novel).filter_map(|tag| {
            Some(Named {
                rect: tag.box_px?,
                class: &tag.class,
                conf: tag.score,
            })
        });
        let named: Vec<Named<'_>> = named.collect();
        let json = serde_json::to_string(&named)
            .map_err(|error| DatasetError::io("write", Path::new(BOXES))(error.into()))?;
        self.boxes += &format!("{key}\t{json}\n");
        Ok(())
    }

    /// Writes the files into a directory of the data set `dir`.
    ///
    /// | file | holds |
    /// |---|---|
    /// | `boxes.tsv` | `image, [{"rect", "class", "conf"}]` |
    /// | `hierarchy.json` | the categories, and the kinds below each |
    /// | `tokens.tsv` | a word of a kind's name, and its word pieces |
    /// | `forms.tsv` | a word piece, and the pieces that may replace it: irregular plurals |
    pub(super) fn write(&self, kinds: &[Arc<Kind>], dir: &Path) -> Result<()> {
        let dir = dir.join(DIRECTORY);
        fs::create_dir(&dir).map_err(DatasetError::io("create", &dir))?;
        let (tokens, forms) = words(kinds);
        for (name, text) in [
            (BOXES, &self.boxes),
            ("tokens.tsv", &tokens),
            ("forms.tsv", &forms),
        ] {
            write_file(&dir.join(name), text.as_bytes())?;
        }
        write_json(&dir.join("hierarchy.json"), &hierarchy(kinds))?;
        Ok(())
    }
}

const BOXES: &str = "boxes.tsv";

fn hierarchy(kinds: &[Arc<Kind>]) -> Class<'_> {
    let mut categories: Vec<&str> = kinds.iter().map(|kind| kind.category.as_str()).collect();
    categories.sort_unstable();
    categories.dedup();
    let category = |name| Class {
        name,
        below: kinds
            .iter()
            .filter(|kind| kind.category == name)
            .map(|kind| Class {
                name: &kind.name,
                below: Vec::new(),
            })
            .collect(),
    };
    Class {
        name: "thing",
        below: categories.into_iter().map(category).collect(),
    }
}

/// The tables of word pieces and of their forms.
///
/// Every word of a name is a piece of the vocabulary. A regular plural begins with the piece of the
/// singular; an irregular one is another form of the last word, unless more than that word differs.
fn words(kinds: &[Arc<Kind>]) -> (String, String) {
    let mut pieces: Vec<&str> = kinds.iter().flat_map(|kind| kind.name.split(' ')).collect();
    pieces.sort_unstable();
    pieces.dedup();
    let mut tokens = String::new();
    for piece in pieces {
        // Writing to a string cannot fail.
        let _ = writeln!(tokens, "{piece}\t{piece}");
    }
    let mut forms = String::new();
    for kind in kinds {
        let (before, last) = kind.name.rsplit_once(' ').unwrap_or(("", &kind.name));
        let (same, plural) = kind.plural.rsplit_once(' ').unwrap_or(("", &kind.plural));
        if before == same && plural != last && plural != format!("{last}s") {
            let _ = writeln!(forms, "{last}\t{last},{plural}");
        }
    }
    (tokens, forms)
}
