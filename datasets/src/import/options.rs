//! What to read, and how.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{DatasetError, Result};
use crate::official::{FEATURE_DIM, TagChoice};

/// A published form of region features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Official feature tables, single or in chunks.
    Official,
    /// Tables of the VinVL tools: objects with their features, or objects alone.
    Vinvl,
    /// Tables of LXMERT or of bottom-up attention.
    Lxmert,
    /// One `.npz` archive per image, of bottom-up attention.
    Npz,
    /// One `.npy` array per image.
    Npy,
    /// One safetensors file per image.
    Safetensors,
    /// A dictionary of tensors, saved by PyTorch.
    Pt,
}

impl Format {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Official => "official",
            Self::Vinvl => "vinvl",
            Self::Lxmert => "lxmert",
            Self::Npz => "npz",
            Self::Npy => "npy",
            Self::Safetensors => "safetensors",
            Self::Pt => "pt",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// More values than any detector gives.
const MAX_FEATURE_DIM: usize = 1 << 16;

/// What to read, and how.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// The format; detected by default.
    pub format: Option<Format>,
    /// Appearance values per region; [`FEATURE_DIM`] by default.
    pub feature_dim: usize,
    /// Label TSV with the object tags.
    pub labels: Option<PathBuf>,
    /// Image sizes: an `hw.tsv`, or a JSON object.
    pub sizes: Option<PathBuf>,
    /// Feature file of a data set whose own tables have objects alone.
    pub features: Option<PathBuf>,
    /// Names of the classes that [`Format::Lxmert`], [`Format::Npz`] and [`Format::Npy`] give by
    /// number.
    pub classes: Option<PathBuf>,
    /// Names of the attributes that they give by number.
    pub attributes: Option<PathBuf>,
    /// Which objects of label rows are the tags.
    pub tags: TagChoice,
    /// Import the objects of [`Format::Vinvl`] tables without features; off by default.
    pub tags_only: bool,
    /// Open a file in which a key occurs twice; the importer will refuse the second.
    pub repeated_keys: bool,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            format: None,
            feature_dim: FEATURE_DIM,
            labels: None,
            sizes: None,
            features: None,
            classes: None,
            attributes: None,
            tags: TagChoice::default(),
            tags_only: false,
            repeated_keys: false,
        }
    }
}

impl SourceOptions {
    /// Refuses a dimension that no features have.
    pub(super) fn check_feature_dim(&self, path: &Path) -> Result<()> {
        match self.feature_dim {
            1..=MAX_FEATURE_DIM => Ok(()),
            dim => {
                let found = format!("`feature_dim` is {dim}");
                let fix = "give a dimension from 1 to 65536";
                Err(DatasetError::malformed(path, found, fix))
            }
        }
    }

    /// Refuses an option that does not apply to a format, rather than ignore it.
    pub(super) fn check(&self, path: &Path, format: Format) -> Result<()> {
        let numbered = matches!(format, Format::Lxmert | Format::Npz | Format::Npy);
        let given = [
            (
                "features",
                self.features.is_some(),
                format == Format::Official,
            ),
            ("tags_only", self.tags_only, format == Format::Vinvl),
            ("classes", self.classes.is_some(), numbered),
            ("attributes", self.attributes.is_some(), numbered),
        ];
        match given.iter().find(|(_, given, applies)| *given && !applies) {
            None => Ok(()),
            Some((option, ..)) => {
                let found = format!("the option `{option}` does not apply to the format {format}");
                Err(DatasetError::malformed(path, found, "remove it"))
            }
        }
    }
}
