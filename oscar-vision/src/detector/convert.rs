//! Published weights to safetensors, so that no pickle is needed to open them again.

use std::path::Path;

use oscar_core::checkpoint::{WEIGHT_FILES, write_tensors};
use oscar_files::{check_target, write_directory, write_json};

use super::config::DetectorConfig;
use super::error::DetectorError;
use super::files::{DETECTOR_FILE, Description, DetectorFiles};
use super::weights::Weights;

/// Writes the detector in the folder `from` to the new folder `to`, whole or not at all: its
/// weights under their published names as `model.safetensors`, its configuration and names as
/// `detector.json`.
///
/// # Errors
/// As [`Detector::open`](super::Detector::open); if `to` exists or cannot be written.
pub fn convert(from: &Path, to: &Path) -> Result<DetectorConfig, DetectorError> {
    let files = DetectorFiles::find(from)?;
    let weights = Weights::open(&files.weights)?;
    let (config, labels) = files.describe(DetectorConfig::published(weights.flavour()))?;
    weights.check_flavour(&config)?;
    labels.check(from, &config)?;
    let tensors = weights.to_tensors()?;
    let description = Description {
        config: config.clone(),
        classes: labels.classes,
        attributes: labels.attributes,
    };
    check_target(to, DETECTOR_FILE, false)?;
    write_directory(to, |dir| {
        write_json(&dir.join(DETECTOR_FILE), &description)?;
        write_tensors(dir.join(WEIGHT_FILES[0]), &tensors)?;
        Ok::<_, DetectorError>(())
    })?;
    Ok(config)
}
