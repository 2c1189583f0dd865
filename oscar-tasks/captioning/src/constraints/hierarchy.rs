//! The hierarchy of Open Images' classes.

use std::path::Path;

use oscar_core::input::SourceError;
use oscar_datasets::DatasetError;
use oscar_datasets::text::open_text;
use serde::Deserialize;

/// The published one has 6 levels; a file that nests deeper is refused by the JSON reader at 128.
#[derive(Deserialize)]
struct Node {
    #[serde(rename = "LabelName")]
    name: String,
    #[serde(rename = "Subcategory", default)]
    children: Vec<Node>,
}

/// Classes with their heights: the number of levels of more specific classes below.
#[derive(Clone, Debug, Default)]
pub struct Hierarchy {
    /// Each class before those below it.
    classes: Vec<(String, usize)>,
}

impl Hierarchy {
    /// Reads a JSON file of `{"LabelName", "Subcategory": [..]}`.
    ///
    /// # Errors
    ///
    /// The file cannot be read or has another form.
    pub fn read(path: &Path) -> Result<Self, SourceError> {
        let root: Node = serde_json::from_reader(open_text(path)?).map_err(|error| {
            let found = format!("as a class hierarchy: {error}");
            let fix = "it is a tree of `LabelName` and `Subcategory`";
            DatasetError::malformed(path, found, fix)
        })?;
        let mut hierarchy = Self::default();
        hierarchy.add(&root);
        Ok(hierarchy)
    }

    fn add(&mut self, node: &Node) -> usize {
        let at = self.classes.len();
        self.classes.push((node.name.to_lowercase(), 0));
        let below = node.children.iter().map(|child| self.add(child) + 1);
        let height = below.fold(0, usize::max);
        self.classes[at].1 = height;
        height
    }

    /// The height of a class: 0 for the most specific ones, and for an unknown one.
    ///
    /// Officially (`by_part`) it is that of the first class whose name is part of this one's.
    pub fn height(&self, class: &str, by_part: bool) -> usize {
        let mut known = self.classes.iter();
        let found = match by_part {
            true => known.find(|(name, _)| class.contains(name.as_str())),
            false => known.find(|(name, _)| name == class),
        };
        found.map_or(0, |(_, height)| *height)
    }
}
