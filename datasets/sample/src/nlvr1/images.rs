//! The images of a split, from a zip archive or a directory.
//!
//! File names are `SPLIT-GROUP-LETTER-PERMUTATION.png`: `dev-1373-0-0.png` is permutation 0 of the
//! image with identifier `1373-0` of split `dev`. Annotations describe permutation 0; the others
//! show the same boxes in another order and are ignored.

use std::collections::BTreeMap;
use std::path::Path;

use oscar_datasets::pictures::Pictures;
use oscar_datasets::{DatasetError, Result};
use oscar_vision::Picture;

/// The images of one split, found by identifier.
pub struct Images {
    pictures: Pictures,
    split: String,
    /// Positions among the pictures.
    positions: BTreeMap<String, usize>,
}

impl Images {
    /// Lists the images in `path`, a zip archive or a directory (searched with its subdirectories).
    ///
    /// `split` picks the images whose names begin with it; without it, all must be of one split.
    ///
    /// # Errors
    /// If `path` is missing or is not an archive, has no image of the split, or has two with the
    /// same identifier.
    pub fn open(path: &Path, split: Option<&str>) -> Result<Self> {
        let pictures = Pictures::open(path)?;
        let wrong = |found: String, fix| Err(DatasetError::malformed(path, found, fix));
        let mut positions = BTreeMap::new();
        let mut of_split: Option<&str> = split;
        for at in 0..pictures.len() {
            let name = pictures.name(at);
            let Some((its_split, identifier)) = parse_name(name) else {
                continue;
            };
            let first = *of_split.get_or_insert(its_split);
            if first != its_split {
                if split.is_some() {
                    continue;
                }
                let found = format!("images of two splits, `{first}` and `{its_split}`");
                return wrong(found, "name the split to use");
            }
            if positions.insert(identifier.to_string(), at).is_some() {
                return wrong(format!("two files named {name}"), "remove one of the two");
            }
        }
        match of_split.filter(|_| !positions.is_empty()) {
            None => {
                let wanted = split.unwrap_or("SPLIT");
                let found = format!("no image named {wanted}-GROUP-LETTER-0.png");
                wrong(found, "check path and split name")
            }
            Some(split) => Ok(Self {
                split: split.into(),
                pictures,
                positions,
            }),
        }
    }

    /// The split: the first part of the file names.
    pub fn split(&self) -> &str {
        &self.split
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether there is no image; there is at least one in an opened split.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// Whether there is an image with this identifier.
    pub fn contains(&self, identifier: &str) -> bool {
        self.positions.contains_key(identifier)
    }

    /// The archive or directory.
    pub fn path(&self) -> &Path {
        self.pictures.path()
    }

    /// The file name of image `identifier`.
    pub fn file_name(&self, identifier: &str) -> String {
        format!("{}-{identifier}-0.png", self.split)
    }

    /// The file of image `identifier`, as it is stored.
    ///
    /// # Errors
    /// If there is no such image, or its file cannot be read.
    pub fn read_file(&self, identifier: &str) -> Result<Vec<u8>> {
        self.pictures.bytes(self.position(identifier)?)
    }

    /// The picture of image `identifier`.
    ///
    /// # Errors
    /// As [`read_file`](Self::read_file), or if it cannot be decoded.
    pub fn picture(&self, identifier: &str) -> Result<Picture> {
        self.pictures.picture(self.position(identifier)?)
    }

    fn position(&self, identifier: &str) -> Result<usize> {
        let position = self.positions.get(identifier).copied();
        position.ok_or_else(|| DatasetError::ImageFile {
            name: self.file_name(identifier),
            images: self.path().to_path_buf(),
            found: "there is no such image".into(),
            fix: "check that annotations and images belong together",
        })
    }
}

/// Split and identifier of a file name, if it is a permutation 0.
fn parse_name(name: &str) -> Option<(&str, &str)> {
    let (split, identifier) = name.strip_suffix("-0.png")?.split_once('-')?;
    let (group, letter) = identifier.split_once('-')?;
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    (!split.is_empty() && digits(group) && digits(letter)).then_some((split, identifier))
}
