//! Public weights that no repository of the hub has: where to get them, and where they are looked for.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::Deserialize;

/// Weights that are downloaded by hand.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByHand {
    /// What the program calls them.
    pub name: String,
    /// The file or directory where the program looks for them, from where it is started.
    pub place: PathBuf,
    /// What is to be downloaded.
    pub file: String,
    /// Where.
    pub address: String,
    /// The command that makes the place of the file; without one, the file is put there.
    #[serde(default)]
    pub prepare: Option<String>,
    /// What they are for.
    pub purpose: String,
}

impl ByHand {
    /// Where they are.
    ///
    /// # Errors
    /// If they are not there: which file to get, where, and what to do with it.
    pub fn path(&self) -> Result<&Path> {
        if self.place.exists() {
            return Ok(&self.place);
        }
        let then = match &self.prepare {
            Some(command) => format!("run `{command}`"),
            None => format!("put it at {}", self.place.display()),
        };
        bail!(
            "{} is not here: there is no {}, and no repository of the hub has it; download {} from {} and \
             {then}",
            self.name,
            self.place.display(),
            self.file,
            self.address
        )
    }
}
