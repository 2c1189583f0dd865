//! A detector that is open: pictures in, regions out.

use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use oscar_core::ops::Kernels;

use super::attributes::{ScoredAttribute, attributes};
use super::boxes::Rect;
use super::config::{DetectorConfig, Flavour};
use super::error::DetectorError;
use super::files::DetectorFiles;
use super::labels::Labels;
use super::network::Network;
use super::preprocess::{Prepared, stack};
use super::proposals::{Proposals, propose};
use super::random::RandomTensors;
use super::roi::{FeatureMap, pool};
use super::select::{Candidates, Selected, first_class, maximum, select};
use super::weights::Weights;

/// Proposals that go through res5 at a time. More take more memory, about 5 MB each, and are no
/// faster.
const CHUNK: usize = 32;

/// A region detector with its weights, on a device.
///
/// # Examples
/// ```no_run
/// use burn_flex::{Flex, FlexDevice};
/// use oscar_vision::detector::Detector;
/// use oscar_vision::{Picture, PictureLimits, RegionExtractor};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let detector = Detector::<Flex>::open("frcnn-vg-finetuned".as_ref(), &FlexDevice)?;
/// let bytes = std::fs::read("horse.jpg")?;
/// let picture = Picture::decode("horse.jpg", &bytes, PictureLimits::default())?;
/// for region in detector.extract(&[picture]).remove(0)?.regions {
///     println!("{} {:.2} {:?}", region.class, region.score, region.box_px);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Detector<B: Kernels> {
    pub(super) config: DetectorConfig,
    pub(super) labels: Labels,
    pub(super) network: Network<B>,
    /// Of the weights.
    pub(super) digest: String,
    pub(super) batch_size: usize,
    pub(super) device: B::Device,
}

/// What a detector found in a picture, and what it was found from. All is on the host.
#[derive(Clone, Debug, Default)]
pub struct Detection {
    /// The proposals, in pixels of the network's input.
    pub proposals: Proposals,
    /// Features of the proposals, `[proposals, features]`.
    pub features: Vec<f32>,
    /// `[proposals, classes + 1]`
    pub class_logits: Vec<f32>,
    /// `[proposals, slots * 4]`
    pub box_deltas: Vec<f32>,
    /// The selected ones.
    pub selected: Selected,
    /// `[selected, attributes + 1]`; empty if attributes are not predicted.
    pub attribute_logits: Vec<f32>,
    /// The attributes of each selected box, the best first.
    pub attributes: Vec<Vec<ScoredAttribute>>,
    /// The selected boxes in pixels of the picture.
    pub boxes: Vec<Rect>,
}

impl<B: Kernels> Detector<B> {
    /// Opens the detector in `dir`: as published (weights of PyTorch, lists of names, for frcnn
    /// `config.yaml`), or as [`convert`](super::convert) wrote it. Pickles are read without
    /// executing them.
    ///
    /// # Errors
    /// If a file is missing, damaged, or of another model.
    pub fn open(dir: &Path, device: &B::Device) -> Result<Self, DetectorError> {
        Self::open_files(&DetectorFiles::find(dir)?, device)
    }

    /// As [`open`](Self::open), from these files.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_files(files: &DetectorFiles, device: &B::Device) -> Result<Self, DetectorError> {
        let weights = Weights::open(&files.weights)?;
        let published = DetectorConfig::published(weights.flavour());
        let (config, labels) = files.describe(published)?;
        weights.check_flavour(&config)?;
        let invalid = |found| DetectorError::Config {
            path: files.dir.clone(),
            found,
        };
        config
            .problem()
            .map_or(Ok(()), |found| Err(invalid(found)))?;
        labels.check(&files.dir, &config)?;
        let network = Network::load(&weights, &config, device)?;
        let digest = weights.finish(&config)?;
        Ok(Self {
            config,
            labels,
            network,
            digest,
            batch_size: 1,
            device: device.clone(),
        })
    }

    /// A detector of these settings with random weights, to measure its speed and memory.
    ///
    /// # Errors
    /// If a value of `config` is out of range.
    pub fn random(config: DetectorConfig, device: &B::Device) -> Result<Self, DetectorError> {
        if let Some(found) = config.problem() {
            return Err(DetectorError::Config {
                path: "the detector's settings".into(),
                found,
            });
        }
        let names = |what: &str, count: usize| (0..count).map(|n| format!("{what} {n}")).collect();
        Ok(Self {
            network: Network::load(&RandomTensors, &config, device)?,
            labels: Labels {
                classes: names("class", config.heads.classes),
                attributes: names("attribute", config.heads.attributes),
            },
            digest: "random".into(),
            config,
            batch_size: 1,
            device: device.clone(),
        })
    }

    /// The same detector with settings changed by `change`: those of the input and of the selection,
    /// and the numbers of proposals.
    ///
    /// # Errors
    /// If the network would be another one, or a value is out of range.
    pub fn with_config(
        mut self,
        change: impl FnOnce(&mut DetectorConfig),
    ) -> Result<Self, DetectorError> {
        let mut config = self.config.clone();
        change(&mut config);
        let fixed = |config: &DetectorConfig| {
            let mut heads = config.heads.clone();
            heads.with_attributes = true;
            (
                config.flavour,
                config.backbone.clone(),
                heads,
                config.rpn.anchor_sizes.clone(),
                config.rpn.anchor_ratios.clone(),
                config.rpn.hidden,
            )
        };
        let problem = match fixed(&config) == fixed(&self.config) {
            true => config.problem(),
            false => Some("the weights fix flavour, backbone, anchors and heads".into()),
        };
        if let Some(found) = problem {
            return Err(DetectorError::Config {
                path: "the detector's settings".into(),
                found,
            });
        }
        self.config = config;
        Ok(self)
    }

    /// Reads up to `pictures` of equal size at a time; 1 by default. On a GPU more are faster. What
    /// is found in a picture depends on it only by rounding.
    #[must_use]
    pub fn with_batch_size(mut self, pictures: usize) -> Self {
        self.batch_size = pictures.max(1);
        self
    }

    /// Its configuration.
    pub fn config(&self) -> &DetectorConfig {
        &self.config
    }

    /// The names of its classes and attributes.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Its network.
    pub fn network(&self) -> &Network<B> {
        &self.network
    }

    /// Detects regions in pictures of one batch. Smaller pictures are padded, and padding changes
    /// what is found in them: give pictures of equal size to get what each gives alone.
    pub fn detect(&self, pictures: &[Prepared]) -> Vec<Detection> {
        if pictures.is_empty() {
            return Vec::new();
        }
        let (pixels, [height, width]) = stack(pictures, self.config.input.pad_value);
        let shape = [pictures.len(), height, width, 3];
        let pixels = Tensor::from_data(TensorData::new(pixels, shape), &self.device);
        let res4 = self.network.backbone(pixels);
        let maps = self.network.proposal_maps(res4.clone());
        let [_, height, width, channels] = res4.dims();
        let (values, logits, deltas) = (host(res4), host(maps.logits), host(maps.deltas));
        let part = |all: &[f32], number: usize| {
            let size = all.len() / pictures.len();
            all[number * size..][..size].to_vec()
        };
        let detections = pictures.iter().enumerate().map(|(number, picture)| {
            let map = FeatureMap {
                values: part(&values, number),
                height,
                width,
                channels,
            };
            let (logits, deltas) = (part(&logits, number), part(&deltas, number));
            let cells = [height, width];
            let proposals = propose(&self.config, &logits, &deltas, cells, picture.size);
            self.detect_in(&map, proposals, picture)
        });
        detections.collect()
    }

    /// What follows the proposals of a picture.
    fn detect_in(&self, map: &FeatureMap, proposals: Proposals, picture: &Prepared) -> Detection {
        if proposals.boxes.is_empty() {
            return Detection::default();
        }
        let config = &self.config;
        let features = self.features_of(map, &proposals.boxes);
        let class_logits = host(self.network.class_logits(features.clone()));
        let box_deltas = match config.selection.rule.boxes_are_proposals() {
            true => Vec::new(),
            false => host(self.network.box_deltas(features.clone())),
        };
        let candidates = Candidates {
            proposals: &proposals.boxes,
            class_logits: &class_logits,
            box_deltas: &box_deltas,
            size: picture.size,
        };
        let selected = select(config, candidates);
        let [x, y] = picture.scales();
        let to_picture = |b: &Rect| [b[0] * x, b[1] * y, b[2] * x, b[3] * y];
        let mut detection = Detection {
            boxes: selected.boxes.iter().map(to_picture).collect(),
            features: host(features),
            proposals,
            class_logits,
            box_deltas,
            selected,
            ..Detection::default()
        };
        if config.heads.with_attributes && !detection.selected.keep.is_empty() {
            detection.attribute_logits = self.attribute_logits(map, &detection);
            detection.attributes = attributes(config, &detection.attribute_logits);
        } else {
            detection.attributes = vec![Vec::new(); detection.boxes.len()];
        }
        detection
    }

    /// The features of boxes, `[boxes, features]`: cells, res5 and their mean, some boxes at a time.
    pub fn features_of(&self, map: &FeatureMap, boxes: &[Rect]) -> Tensor<B, 2> {
        let heads = &self.config.heads;
        let side = heads.resolution;
        let chunks = boxes.chunks(CHUNK).map(|boxes| {
            let cells = pool(heads.pooler, map, boxes, side);
            let shape = [boxes.len(), side, side, map.channels];
            let cells = Tensor::from_data(TensorData::new(cells, shape), &self.device);
            Network::features(self.network.res5(cells))
        });
        Tensor::cat(chunks.collect(), 0)
    }

    /// Logits of the attributes of the selected boxes.
    ///
    /// Frcnn predicts them from the proposal's features and its best class, background included;
    /// VinVL from the features of the final box and its class.
    fn attribute_logits(&self, map: &FeatureMap, detection: &Detection) -> Vec<f32> {
        let selected = &detection.selected;
        let columns = self.config.heads.classes + 1;
        let of_final_boxes = self.config.flavour == Flavour::Vinvl
            && !self.config.selection.rule.boxes_are_proposals();
        let features = match of_final_boxes {
            true => self.features_of(map, &selected.boxes),
            false => {
                let (rows, dim) = (selected.keep.len(), self.config.backbone.res5_channels());
                let row = |at: &usize| &detection.features[at * dim..][..dim];
                let values: Vec<f32> = selected.keep.iter().flat_map(row).copied().collect();
                Tensor::from_data(TensorData::new(values, [rows, dim]), &self.device)
            }
        };
        let classes: Vec<usize> = match self.config.flavour {
            Flavour::Frcnn => {
                let row = |at: &usize| &detection.class_logits[at * columns..][..columns];
                selected.keep.iter().map(|at| maximum(row(at)).0).collect()
            }
            Flavour::Vinvl => {
                let first = first_class(Flavour::Vinvl);
                selected.classes.iter().map(|class| class + first).collect()
            }
        };
        host(self.network.attribute_logits(features, &classes))
    }
}

/// The values of a tensor on the host.
fn host<B: Kernels, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    let data = tensor.into_data().convert::<f32>();
    data.into_vec().expect("converted to f32")
}
