//! The tensors of a weight file under the names of each published detector.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use oscar_core::checkpoint::{CheckpointError, NamedTensor, ShapeMismatch, Weight, WeightFile};
use sha2::{Digest, Sha256};

use super::boxes::cell_anchors;
use super::config::{DetectorConfig, Flavour};
use super::error::DetectorError;
use super::yaml::name_of;
use crate::conv::BatchNorm;

/// A tensor that only the weights of this flavour have.
fn mark(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Frcnn => "backbone.stem.conv1.weight",
        Flavour::Vinvl => "backbone.body.stem.conv1.weight",
    }
}

/// Tensors that files hold beside the weights, and that nothing is computed from.
const LEFTOVERS: [&str; 1] = ["num_batches_tracked"];

/// VinVL's attribute head has res5 of the box head a second time.
const SHARED: [&str; 2] = [
    "attribute.feature_extractor.head.layer4.",
    "roi_heads.box.feature_extractor.head.layer4.",
];

/// Where the tensors of a network come from.
pub(super) trait TensorSource {
    /// The tensor `name` of `shape`.
    fn get(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, DetectorError>;

    /// Weight and bias of the convolution `name` with the batch norm `norm` folded in.
    fn folded(
        &self,
        name: &str,
        norm: &str,
        shape: [usize; 4],
        eps: f32,
    ) -> Result<(Vec<f32>, Vec<f32>), DetectorError> {
        let mut weight = self.get(&format!("{name}.weight"), &shape)?;
        let of_norm = |part: &str| self.get(&format!("{norm}.{part}"), &shape[..1]);
        let norm = BatchNorm {
            scale: of_norm("weight")?,
            shift: of_norm("bias")?,
            mean: of_norm("running_mean")?,
            variance: of_norm("running_var")?,
            eps,
        };
        let bias = norm.fold(&mut weight);
        Ok((weight, bias))
    }
}

/// An opened weight file of a detector. It notes which tensors are read.
pub(super) struct Weights {
    file: WeightFile,
    /// Positions in the file by published name.
    names: BTreeMap<String, usize>,
    flavour: Flavour,
    used: RefCell<BTreeSet<String>>,
    /// What was read, for the digest.
    digest: RefCell<Sha256>,
}

impl TensorSource for Weights {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, DetectorError> {
        let path = self.file.path();
        let Some(weight) = self.weight(name) else {
            return Err(CheckpointError::Tensor {
                path: path.to_path_buf(),
                name: name.into(),
                reason: "the file lacks this tensor, which the configured detector has; check \
                         the configuration, or copy the file again"
                    .into(),
            }
            .into());
        };
        if weight.tensor.shape() != shape {
            return Err(CheckpointError::Mismatch {
                path: path.to_path_buf(),
                mismatched: vec![ShapeMismatch {
                    name: name.into(),
                    file: weight.tensor.shape().to_vec(),
                    model: shape.to_vec(),
                }],
            }
            .into());
        }
        let values = self.values(weight)?;
        self.used.borrow_mut().insert(name.into());
        let mut digest = self.digest.borrow_mut();
        digest.update(name);
        for value in &values {
            digest.update(value.to_le_bytes());
        }
        Ok(values)
    }
}

impl Weights {
    /// Opens `path`, whose names decide which detector it is.
    pub fn open(path: &Path) -> Result<Self, DetectorError> {
        let file = WeightFile::open(path)?;
        let found = [Flavour::Frcnn, Flavour::Vinvl]
            .into_iter()
            .find_map(|flavour| {
                let names = file.weights().iter().map(|weight| weight.name.as_str());
                let mut prefixes = names.filter_map(|name| name.strip_suffix(mark(flavour)));
                // A prefix such as `module.` stands before every name.
                let prefix = prefixes.find(|prefix| prefix.is_empty() || prefix.ends_with('.'))?;
                Some((flavour, prefix.to_string()))
            });
        let Some((flavour, prefix)) = found else {
            return Err(DetectorError::OtherModel {
                found: format!(
                    "it has {} tensors, but neither {} nor {}: it is not one of the two detectors",
                    file.weights().len(),
                    mark(Flavour::Frcnn),
                    mark(Flavour::Vinvl)
                ),
                path: file.path().to_path_buf(),
            });
        };
        let named = file.weights().iter().enumerate().map(|(at, weight)| {
            let name = weight.name.strip_prefix(&prefix).unwrap_or(&weight.name);
            // Names of TensorFlow, as HuggingFace's loader accepts them.
            (name.replace("gamma", "weight").replace("beta", "bias"), at)
        });
        Ok(Self {
            names: named.collect(),
            file,
            flavour,
            used: RefCell::default(),
            digest: RefCell::new(Sha256::new()),
        })
    }

    /// The detector that the weights are of.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Refuses weights of the other detector than `config` is about.
    pub fn check_flavour(&self, config: &DetectorConfig) -> Result<(), DetectorError> {
        if self.flavour == config.flavour {
            return Ok(());
        }
        Err(DetectorError::OtherModel {
            path: self.file.path().to_path_buf(),
            found: format!(
                "the weights are those of {}, but the configuration is that of {}",
                name_of(self.flavour),
                name_of(config.flavour)
            ),
        })
    }

    fn weight(&self, name: &str) -> Option<&Weight> {
        self.names.get(name).map(|at| &self.file.weights()[*at])
    }

    fn values(&self, weight: &Weight) -> Result<Vec<f32>, DetectorError> {
        let path = self.file.path().to_path_buf();
        let name = weight.name.clone();
        let values = weight
            .tensor
            .to_f32()
            .map_err(|error| CheckpointError::Tensor {
                path: path.clone(),
                name: name.clone(),
                reason: error.to_string(),
            })?;
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(index) => Err(CheckpointError::NonFinite {
                path,
                name,
                value: values[index],
                index,
            }
            .into()),
        }
    }

    /// Compares what the file has twice or what follows from the configuration; logs tensors that
    /// nothing is computed from. Returns the digest of the tensors that were read.
    pub fn finish(self, config: &DetectorConfig) -> Result<String, DetectorError> {
        self.check_anchors(config)?;
        self.check_shared()?;
        let used = self.used.borrow();
        let known = |name: &&String| {
            used.contains(*name)
                || LEFTOVERS.iter().any(|end| name.ends_with(end))
                || name.starts_with(SHARED[0])
                || name.as_str() == self.anchors_name()
        };
        let unused: Vec<&str> = self
            .names
            .keys()
            .filter(|name| !known(name))
            .map(String::as_str)
            .collect();
        if !unused.is_empty() {
            tracing::warn!(
                "{}: {} tensors are not used: {}",
                self.file.path().display(),
                unused.len(),
                unused.join(", ")
            );
        }
        let digest = self.digest.borrow().clone().finalize();
        Ok(oscar_files::hex(&digest[..8]))
    }

    fn anchors_name(&self) -> &'static str {
        match self.flavour {
            Flavour::Frcnn => "proposal_generator.anchor_generator.cell_anchors.0",
            Flavour::Vinvl => "rpn.anchor_generator.cell_anchors.0",
        }
    }

    /// The anchors of the file are those of the configuration, if it has any.
    fn check_anchors(&self, config: &DetectorConfig) -> Result<(), DetectorError> {
        let Some(weight) = self.weight(self.anchors_name()) else {
            return Ok(());
        };
        let values = self.values(weight)?;
        let anchors = cell_anchors(config.flavour, &config.rpn).concat();
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 0.01;
        if values.len() == anchors.len() && values.iter().zip(&anchors).all(near) {
            return Ok(());
        }
        Err(DetectorError::OtherModel {
            path: self.file.path().to_path_buf(),
            found: format!(
                "its anchors ({}) are not those of the configuration: sizes {:?}, ratios {:?}",
                self.anchors_name(),
                config.rpn.anchor_sizes,
                config.rpn.anchor_ratios
            ),
        })
    }

    /// What VinVL's file has twice is the same.
    fn check_shared(&self) -> Result<(), DetectorError> {
        for name in self.names.keys() {
            let Some(rest) = name.strip_prefix(SHARED[0]) else {
                continue;
            };
            let other = format!("{}{rest}", SHARED[1]);
            let (Some(a), Some(b)) = (self.weight(name), self.weight(&other)) else {
                continue;
            };
            if self.values(a)? != self.values(b)? {
                return Err(DetectorError::OtherModel {
                    path: self.file.path().to_path_buf(),
                    found: format!(
                        "{name} differs from {other}; a detector whose attribute head has layers \
                         of its own is not supported"
                    ),
                });
            }
        }
        Ok(())
    }

    /// Every tensor that the detector is made of, under the published names.
    pub fn to_tensors(&self) -> Result<Vec<NamedTensor>, DetectorError> {
        let kept = |name: &&String| {
            !LEFTOVERS.iter().any(|end| name.ends_with(end)) && !name.starts_with(SHARED[0])
        };
        let read = |name: &String| {
            let weight = &self.file.weights()[self.names[name]];
            Ok(NamedTensor {
                name: name.clone(),
                shape: weight.tensor.shape().to_vec(),
                data: self.values(weight)?,
            })
        };
        self.names.keys().filter(kept).map(read).collect()
    }
}
