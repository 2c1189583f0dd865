//! The public weights that the program knows by name.

use std::sync::LazyLock;

use oscar_files::hub::{HubError, HubReference};
use serde::Deserialize;

use super::ByHand;

/// Public weights.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// What the program calls them.
    pub name: String,
    /// Their repository on the hub.
    pub repository: String,
    /// Files of which the first that the repository has is needed.
    #[serde(default)]
    pub one_of: Vec<String>,
    /// Files that are needed.
    pub files: Vec<String>,
    /// Files that are taken if the repository has them.
    #[serde(default)]
    pub optional: Vec<String>,
    /// About what is downloaded.
    pub megabytes: u64,
    /// Their licence, as their repository says.
    pub licence: String,
    /// Where they come from.
    pub source: String,
    /// What they are for.
    pub purpose: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    weights: Vec<Known>,
    by_hand: Vec<ByHand>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    // A test reads the table, so that no program is made with a broken one.
    toml::from_str(include_str!("../../../config/weights.toml")).unwrap_or_else(|error| {
        tracing::error!("config/weights.toml: {error}");
        Table {
            weights: vec![],
            by_hand: vec![],
        }
    })
});

impl ByHand {
    /// All of them.
    pub fn all() -> &'static [Self] {
        &TABLE.by_hand
    }

    /// Those called `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        Self::all().iter().find(|weights| weights.name == name)
    }
}

impl Known {
    /// All of them.
    pub fn all() -> &'static [Self] {
        &TABLE.weights
    }

    /// Those called `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        Self::all().iter().find(|known| known.name == name)
    }

    /// Those of a repository, at whatever revision.
    pub fn of(reference: &HubReference) -> Option<&'static Self> {
        let is_it = |known: &&Self| known.repository == reference.repository;
        Self::all().iter().find(is_it)
    }

    /// Where they are.
    ///
    /// # Errors
    /// If the table's repository is not one.
    pub fn reference(&self) -> Result<HubReference, HubError> {
        HubReference::main_of(&self.repository)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::wanted;

    #[test]
    fn the_table_is_complete_and_names_repositories() {
        let table: Table = toml::from_str(include_str!("../../../config/weights.toml")).unwrap();
        assert!(table.weights.len() > 5);
        for known in &table.weights {
            let reference = known.reference().unwrap();
            assert_eq!(Known::of(&reference).unwrap().name, known.name);
            assert_eq!(
                Known::find(&known.name).unwrap().repository,
                known.repository
            );
            assert!(known.megabytes > 0 && known.source.starts_with("https://"));
            let mut files = known.files.clone();
            files.extend(known.one_of.first().cloned());
            let found = wanted(&reference, &files).unwrap();
            assert_eq!(found.len(), files.len());
        }
        for weights in &table.by_hand {
            assert!(Known::find(&weights.name).is_none(), "{}", weights.name);
            assert!(weights.address.starts_with("https://"), "{}", weights.name);
            let error = weights.path().unwrap_err().to_string();
            assert!(error.contains(&weights.file), "{error}");
        }
    }
}
