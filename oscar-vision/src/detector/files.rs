//! The files of a detector in its folder.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use oscar_core::checkpoint::WEIGHT_FILES;
use oscar_files::FileError;

use super::config::DetectorConfig;
use super::error::DetectorError;
use super::labels::Labels;
use super::yaml;

/// What [`convert`](super::convert) writes beside the weights: configuration and names.
pub const DETECTOR_FILE: &str = "detector.json";

/// Settings and lists of names are kilobytes; a larger file is something else.
const MAX_TEXT: u64 = 8 << 20;

/// Endings of PyTorch files.
const TORCH_ENDINGS: [&str; 4] = ["pth", "pt", "pkl", "bin"];

/// Configuration and names, as they are kept beside converted weights.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    pub config: DetectorConfig,
    pub classes: Vec<String>,
    pub attributes: Vec<String>,
}

/// The files of a detector.
#[derive(Clone, Debug)]
pub struct DetectorFiles {
    /// The folder.
    pub dir: PathBuf,
    /// The weights.
    pub weights: PathBuf,
    /// Configuration and names, if the folder was converted; else they are as published.
    pub(super) description: Option<PathBuf>,
    /// The published configuration, if there is one.
    pub(super) yaml: Option<PathBuf>,
}

impl DetectorFiles {
    /// Finds the files in `dir`: as published (`pytorch_model.bin` or another PyTorch file,
    /// `config.yaml`, lists of names), or converted (`model.safetensors`, `detector.json`).
    ///
    /// # Errors
    /// If there are no weights, or several files may be them.
    pub fn find(dir: &Path) -> Result<Self, DetectorError> {
        let existing = |name: &str| Some(dir.join(name)).filter(|path| path.is_file());
        let weights = match WEIGHT_FILES.iter().find_map(|name| existing(name)) {
            Some(weights) => weights,
            None => only_torch_file(dir)?,
        };
        let yaml = match existing("config.yaml") {
            Some(yaml) => Some(yaml),
            None => list_with_endings(dir, &["yaml", "yml"])?.into_iter().next(),
        };
        Ok(Self {
            dir: dir.to_path_buf(),
            weights,
            description: existing(DETECTOR_FILE),
            yaml,
        })
    }

    /// The configuration and the names; `published` is the published configuration of the detector
    /// whose weights are there.
    pub(super) fn describe(
        &self,
        published: DetectorConfig,
    ) -> Result<(DetectorConfig, Labels), DetectorError> {
        if let Some(path) = &self.description {
            let text = read_small_text(path)?;
            let description: Description = serde_json::from_str(&text).map_err(|error| {
                let found = format!("not the description of a detector ({error})");
                FileError::malformed(path, found, "convert the detector again")
            })?;
            let labels = Labels {
                classes: description.classes,
                attributes: description.attributes,
            };
            return Ok((description.config, labels));
        }
        let config = match &self.yaml {
            Some(path) => yaml::read(path)?,
            None => published,
        };
        let labels = Labels::read(&self.dir, &config)?;
        Ok((config, labels))
    }
}

fn only_torch_file(dir: &Path) -> Result<PathBuf, DetectorError> {
    let mut files = list_with_endings(dir, &TORCH_ENDINGS)?;
    match files.len() {
        1 => Ok(files.remove(0)),
        0 => Err(DetectorError::NoWeights {
            path: dir.to_path_buf(),
            found: format!(
                "the folder holds neither {} nor another file of PyTorch",
                WEIGHT_FILES.join(" nor ")
            ),
            fix: "put the published weights there, or choose another folder",
        }),
        _ => Err(DetectorError::NoWeights {
            path: dir.to_path_buf(),
            found: format!(
                "both {} and {} may be the weights",
                files[0].display(),
                files[1].display()
            ),
            fix: "leave one of them in the folder",
        }),
    }
}

/// The files of `dir` with one of these endings, sorted.
pub(super) fn list_with_endings(dir: &Path, endings: &[&str]) -> Result<Vec<PathBuf>, FileError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(FileError::io("list", dir))? {
        let path = entry.map_err(FileError::io("list", dir))?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if path.is_file() && ending.is_some_and(|ending| endings.contains(&ending)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The text of a small file.
pub(super) fn read_small_text(path: &Path) -> Result<String, FileError> {
    let file = File::open(path).map_err(FileError::io("open", path))?;
    let mut bytes = Vec::new();
    file.take(MAX_TEXT + 1)
        .read_to_end(&mut bytes)
        .map_err(FileError::io("read", path))?;
    if bytes.len() as u64 > MAX_TEXT {
        let found = "the file has over 8 MiB, unlike settings or names";
        return Err(FileError::malformed(path, found, "check which file it is"));
    }
    String::from_utf8(bytes)
        .map_err(|_| FileError::malformed(path, "the file is not text", "check which file it is"))
}
