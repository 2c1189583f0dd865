//! The names of classes and attributes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oscar_files::FileError;
use serde::Deserialize;

use super::config::{DetectorConfig, Flavour};
use super::error::DetectorError;
use super::files::{list_with_endings, read_small_text};

/// Class and attribute lists of bottom-up attention, as its repositories name them.
pub const OBJECTS_FILE: &str = "objects_vocab.txt";
/// See [`OBJECTS_FILE`].
pub const ATTRIBUTES_FILE: &str = "attributes_vocab.txt";

/// The 1600 classes and 400 attributes of bottom-up attention, which its weights on the hub do not have
/// beside them.
const VISUAL_GENOME: [&str; 2] = [
    include_str!("../../../config/visual-genome-objects.txt"),
    include_str!("../../../config/visual-genome-attributes.txt"),
];

/// The names of classes and attributes, without background and "none".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Names of the attributes.
    pub attributes: Vec<String>,
}

impl Labels {
    /// Reads the names that the published weights in `dir` come with: one name a line in two files,
    /// or VinVL's JSON file with `idx_to_label`. Weights of bottom-up attention with its 1600 classes
    /// and 400 attributes have its names if no file is there.
    ///
    /// # Errors
    /// If the files are missing or of another form.
    pub fn read(dir: &Path, config: &DetectorConfig) -> Result<Self, DetectorError> {
        match config.flavour {
            Flavour::Frcnn => {
                let sizes = (config.heads.classes, config.heads.attributes);
                let published = [OBJECTS_FILE, ATTRIBUTES_FILE];
                if sizes == (1600, 400) && published.iter().all(|name| !dir.join(name).exists()) {
                    let [classes, attributes] = VISUAL_GENOME.map(|text| names(text).collect());
                    return Ok(Self {
                        classes,
                        attributes,
                    });
                }
                Ok(Self {
                    classes: read_lines(dir, OBJECTS_FILE, "class")?,
                    attributes: read_lines(dir, ATTRIBUTES_FILE, "attribute")?,
                })
            }
            Flavour::Vinvl => read_label_map(dir),
        }
    }

    /// Refuses lists of another length than the weights have.
    pub(super) fn check(&self, dir: &Path, config: &DetectorConfig) -> Result<(), DetectorError> {
        let heads = &config.heads;
        let lists = [
            ("classes", self.classes.len(), heads.classes),
            ("attributes", self.attributes.len(), heads.attributes),
        ];
        for (what, found, wanted) in lists {
            if found != wanted {
                return Err(DetectorError::Labels {
                    path: dir.to_path_buf(),
                    found: format!("the lists name {found} {what}, but the detector has {wanted}"),
                    fix: "take the lists that were published with the weights",
                });
            }
        }
        Ok(())
    }
}

/// A name a line; of synonyms, separated by commas, the first.
fn names(text: &str) -> impl Iterator<Item = String> {
    let name = |line: &str| {
        let first = line.split(',').next().unwrap_or_default();
        first.trim().to_lowercase()
    };
    text.lines().map(name)
}

fn read_lines(dir: &Path, file: &str, what: &str) -> Result<Vec<String>, DetectorError> {
    let path = dir.join(file);
    if !path.is_file() {
        return Err(DetectorError::Labels {
            path,
            found: format!("the list of {what} names is missing"),
            fix: "put it beside the weights: it is published with bottom-up attention, in \
                  data/genome/1600-400-20, one name a line",
        });
    }
    let text = read_small_text(&path)?;
    let names: Vec<String> = names(&text).collect();
    match names.iter().position(String::is_empty) {
        None => Ok(names),
        Some(at) => Err(FileError::malformed(
            &path,
            format!("line {} is empty", at + 1),
            "give one name a line",
        )
        .into()),
    }
}

#[derive(Deserialize)]
struct LabelMap {
    idx_to_label: HashMap<String, String>,
    idx_to_attribute: HashMap<String, String>,
}

fn read_label_map(dir: &Path) -> Result<Labels, DetectorError> {
    let mut found: Option<PathBuf> = None;
    for path in list_with_endings(dir, &["json"])? {
        // A file that is too large, or is not text, is another one.
        let is_one = read_small_text(&path).is_ok_and(|text| text.contains("\"idx_to_label\""));
        if !is_one {
            continue;
        }
        if let Some(first) = &found {
            return Err(DetectorError::Labels {
                found: format!("{} is a label map, too", first.display()),
                path,
                fix: "leave one of them beside the weights",
            });
        }
        found = Some(path);
    }
    let Some(path) = found else {
        return Err(DetectorError::Labels {
            path: dir.to_path_buf(),
            found: "no JSON file with `idx_to_label`, the class names, is in the folder".into(),
            fix: "put VG-SGG-dicts-vgoi6-clipped.json beside the weights; it is published with them",
        });
    };
    let text = read_small_text(&path)?;
    let map: LabelMap = serde_json::from_str(&text).map_err(|error| {
        let found = format!("not a label map ({error})");
        FileError::malformed(&path, found, "copy it again")
    })?;
    Ok(Labels {
        classes: numbered(&path, "idx_to_label", &map.idx_to_label)?,
        attributes: numbered(&path, "idx_to_attribute", &map.idx_to_attribute)?,
    })
}

/// The names of 1, 2, …, without a gap; 0 is the background and may be named.
fn numbered(
    path: &Path,
    key: &str,
    names: &HashMap<String, String>,
) -> Result<Vec<String>, DetectorError> {
    let count = names.len() - usize::from(names.contains_key("0"));
    let name = |number: usize| {
        names.get(&number.to_string()).cloned().ok_or_else(|| {
            let found = format!("`{key}` has {count} names, but none for {number}");
            FileError::malformed(path, found, "copy it again").into()
        })
    };
    (1..=count).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bottom_up_attention_has_its_names_without_files() {
        let place = tempfile::tempdir().unwrap();
        let mut config = DetectorConfig::frcnn_vg();
        let labels = Labels::read(place.path(), &config).unwrap();
        labels.check(place.path(), &config).unwrap();
        assert!(
            labels
                .classes
                .iter()
                .all(|name| !name.is_empty() && !name.contains(','))
        );
        assert_eq!(
            (&*labels.classes[0], &*labels.attributes[0]),
            ("yolk", "gray")
        );
        // A file that is there counts, and other detectors have other names.
        std::fs::write(place.path().join(OBJECTS_FILE), "thing").unwrap();
        assert!(Labels::read(place.path(), &config).is_err());
        std::fs::remove_file(place.path().join(OBJECTS_FILE)).unwrap();
        config.heads.classes = 1599;
        let error = Labels::read(place.path(), &config).unwrap_err();
        assert!(
            matches!(error, DetectorError::Labels { path, .. } if path.ends_with(OBJECTS_FILE))
        );
    }
}
