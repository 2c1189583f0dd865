//! The YAML files that name the tables of a data set.

use std::io::Read;
use std::path::{Path, PathBuf};

use oscar_files::named_by;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{DatasetError, Result, excerpt};
use crate::images::SharedImages;
use crate::official::{OfficialFiles, OfficialImages, OfficialOptions, PartFiles};
use crate::text::open_text;
use crate::tsv::TsvFile;

/// Such a file is a few lines; a larger one is something else.
const MAX_BYTES: u64 = 1 << 20;

/// The tables of a split; other keys are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Tables {
    /// Region features.
    pub feature: Option<PathBuf>,
    /// Object tags.
    pub label: Option<PathBuf>,
    /// Sizes of the images.
    pub hw: Option<PathBuf>,
    /// Rows of the other tables that belong to the split.
    pub linelist: Option<PathBuf>,
    /// Captions.
    pub caption: Option<PathBuf>,
    /// Detected objects that constrain captions.
    pub cbs_box: Option<PathBuf>,
    /// Word pieces of constraint words.
    pub cbs_constraint: Option<PathBuf>,
    /// Forms of word pieces.
    pub cbs_tokenforms: Option<PathBuf>,
    /// Hierarchy of the classes.
    pub cbs_hierarchy: Option<PathBuf>,
}

impl Tables {
    /// Whether `path` is such a file, by its name.
    pub fn is_one(path: &Path) -> bool {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|e| ["yaml", "yml"].contains(&e.to_ascii_lowercase().as_str()))
    }

    /// Reads the file at `path`, whose paths are relative to its folder and stay inside it.
    ///
    /// # Errors
    /// A file that is missing or of another form; a path that leaves the folder.
    pub fn read(path: &Path) -> Result<Self> {
        const FIX: &str = "it names the tables of a split: `feature`, `label`, `hw`, `linelist`, \
                           `caption`, and for constrained captions `cbs_box`, `cbs_constraint`, \
                           `cbs_tokenforms`, `cbs_hierarchy`";
        let mut tables: Self = read(path, FIX)?;
        for name in [
            &mut tables.feature,
            &mut tables.label,
            &mut tables.hw,
            &mut tables.linelist,
            &mut tables.caption,
            &mut tables.cbs_box,
            &mut tables.cbs_constraint,
            &mut tables.cbs_tokenforms,
            &mut tables.cbs_hierarchy,
        ]
        .into_iter()
        .flatten()
        {
            *name = named_by(path, &*name)?;
        }
        Ok(tables)
    }

    /// The images of the feature table, with the tags of the label table; `path` is the YAML file.
    ///
    /// # Errors
    /// If there is no feature table, or a table cannot be read.
    pub(crate) fn open_images(&self, path: &Path) -> Result<SharedImages> {
        let features = self.feature.clone().ok_or_else(|| {
            let fix = "name the feature table, or give the region store";
            DatasetError::malformed(path, "no `feature`", fix)
        })?;
        let part = PartFiles {
            features,
            labels: self.label.clone(),
            sizes: self.hw.clone(),
            ..PartFiles::default()
        };
        let files = OfficialFiles {
            parts: vec![part],
            ignored: Vec::new(),
        };
        Ok(OfficialImages::open_files(
            path,
            &files,
            OfficialOptions::default(),
        )?)
    }

    /// The keys of the images in its tables, in order; `path` is the YAML file.
    ///
    /// # Errors
    /// If there is no table of images, or it cannot be read.
    pub(crate) fn image_keys(&self, path: &Path) -> Result<Vec<String>> {
        let Some(table) = self.label.as_ref().or(self.feature.as_ref()) else {
            let found = "none of `caption`, `label` and `feature`";
            return Err(DatasetError::malformed(path, found, "name a table"));
        };
        let table = TsvFile::open(table)?;
        let key = |row| table.first_field(row).map(String::from);
        (0..table.len()).map(key).collect()
    }
}

/// Reads a YAML file of at most 1 MiB; `fix` says what it should hold.
///
/// # Errors
/// A file that is missing, too large or of another form; the message has the line.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, fix: &'static str) -> Result<T> {
    let mut text = String::new();
    let read = open_text(path)?
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(DatasetError::io("read", path))?;
    if read as u64 > MAX_BYTES {
        let found = format!("more than {MAX_BYTES} bytes");
        return Err(DatasetError::malformed(path, found, fix));
    }
    serde_saphyr::from_str(&text).map_err(|error| {
        let line = error.location().and_then(|location| {
            let number = usize::try_from(location.line()).ok()?.checked_sub(1)?;
            Some(format!(": {}", excerpt(text.lines().nth(number)?.trim())))
        });
        let found = format!("{}{}", error.without_snippet(), line.unwrap_or_default());
        DatasetError::malformed(path, found, fix)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_tables_of_images() {
        let path = Path::new("a.yaml");
        let found = Tables::default().image_keys(path).unwrap_err().to_string();
        assert!(found.contains("none of `caption`, `label`"), "{found}");
        let found = Tables::default().open_images(path).err().unwrap();
        assert!(found.to_string().contains("no `feature`"), "{found}");
    }

    #[test]
    fn tables_are_relative_to_the_file_and_inside_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Tables::read(&path).map_err(|error| error.to_string())
        };
        let tables = read(
            "img: a.tsv\nlabel: 'b.tsv'  # tags\nhw: c/d.tsv\nx: [1, 2]\ncbs_box: e/../f.tsv\n",
        )
        .unwrap();
        assert_eq!(tables.label, Some(dir.path().join("b.tsv")));
        assert_eq!(tables.hw, Some(dir.path().join("c/d.tsv")));
        assert_eq!(tables.cbs_box, Some(dir.path().join("e/../f.tsv")));
        assert_eq!(tables.feature, None);
        for (text, wanted) in [
            ("label: [", "a.yaml: "),
            ("label: /etc/passwd\n", "/etc/passwd leads out"),
            ("caption: ../c.json\n", "../c.json leads out"),
        ] {
            let found = read(text).unwrap_err();
            assert!(found.contains(wanted), "{text:?}: {found}");
        }
        let text = " ".repeat(MAX_BYTES as usize + 1);
        assert!(read(&text).unwrap_err().contains("more than 1048576 bytes"));
    }
}
