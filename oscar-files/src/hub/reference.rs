//! Names of repositories on the hub.

use std::fmt;
use std::str::FromStr;

use super::HubError;

/// What names on the command line begin with.
const PREFIX: &str = "hub:";

/// Longest name of an owner or a repository, as the hub has it.
const MAX_NAME: usize = 96;

/// A repository of models at a revision: `hub:OWNER/NAME@REVISION`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HubReference {
    /// `OWNER/NAME`, or the name alone of those that have no owner.
    pub repository: String,
    /// A branch, a tag or a commit.
    pub revision: String,
}

impl HubReference {
    /// Whether `text` is meant to be one.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// The branch `main` of a repository.
    ///
    /// # Errors
    ///
    /// If the name is not one of a repository.
    pub fn main_of(repository: &str) -> Result<Self, HubError> {
        format!("{PREFIX}{repository}").parse()
    }

    /// Whether the revision is a commit, which never moves.
    #[must_use]
    pub fn is_commit(&self) -> bool {
        is_commit(&self.revision)
    }
}

impl FromStr for HubReference {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let name = text.strip_prefix(PREFIX).unwrap_or(text);
        let (repository, revision) = name.split_once('@').unwrap_or((name, "main"));
        let parts: Vec<&str> = repository.split('/').collect();
        if parts.len() > 2 || !parts.iter().all(|part| is_name(part)) {
            return Err(HubError::Reference {
                given: text.into(),
                found: format!("{repository:?} is not the name of a repository"),
            });
        }
        if !revision.split('/').all(is_name) {
            return Err(HubError::Reference {
                given: text.into(),
                found: format!("{revision:?} is not the name of a branch, tag or commit"),
            });
        }
        Ok(Self {
            repository: repository.into(),
            revision: revision.into(),
        })
    }
}

impl fmt::Display for HubReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}{}", self.repository)?;
        match &*self.revision {
            "main" => Ok(()),
            revision => write!(formatter, "@{revision}"),
        }
    }
}

/// Whether `text` can be a part of a path and of an address as it is.
fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty()
        && text.len() <= MAX_NAME
        && !text.starts_with('.')
        && !text.contains("..")
        && text.bytes().all(plain)
}

/// Whether `text` is the hash of a commit.
pub(super) fn is_commit(text: &str) -> bool {
    is_hex(text, 40)
}

pub(super) fn is_hex(text: &str, digits: usize) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == digits && text.bytes().all(digit)
}
