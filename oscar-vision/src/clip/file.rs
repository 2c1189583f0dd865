//! An open file of CLIP: under whose names it has its tensors, and the parts that are made of them.

use std::path::Path;

use burn::module::{Param, ParamId};
use burn::nn::{LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use oscar_core::checkpoint::{Weight, WeightFile};
use oscar_core::config::Activation;
use oscar_files::{SMALL_FILE, read_text};
use safetensors::Dtype;
use serde::Deserialize;

use super::ClipError;

/// Epsilon of every LayerNorm.
pub(super) const EPSILON: f64 = 1e-5;

/// Values of a head in every transformer of OpenAI's.
pub(super) const HEAD: usize = 64;

const FIX: &str = "give a CLIP: OpenAI's .pt file, or HuggingFace's directory with config.json";

/// How a file names its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `visual.transformer.resblocks.0.attn.in_proj_weight`
    OpenAi,
    /// `vision_model.encoder.layers.0.self_attn.q_proj.weight`
    HuggingFace,
}

/// What the image tower of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TowerKind {
    /// A ViT.
    Transformer,
    /// The modified ResNet; only OpenAI's files have one.
    ResNet,
}

/// One of CLIP's two transformers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// That of the pictures.
    Vision,
    /// That of the texts.
    Text,
}

/// What `config.json` of HuggingFace says that the weights do not.
#[derive(Clone, Deserialize)]
struct Described {
    #[serde(default)]
    text_config: DescribedTransformer,
    vision_config: DescribedTransformer,
}

#[derive(Clone, Deserialize)]
pub(super) struct DescribedTransformer {
    #[serde(default = "openai_activation")]
    pub hidden_act: Activation,
    #[serde(default)]
    pub num_attention_heads: Option<usize>,
}

impl Default for DescribedTransformer {
    fn default() -> Self {
        Self {
            hidden_act: openai_activation(),
            num_attention_heads: None,
        }
    }
}

fn openai_activation() -> Activation {
    Activation::QuickGelu
}

/// An open file of CLIP.
pub(super) struct ClipFile {
    file: WeightFile,
    layout: Layout,
    kind: TowerKind,
}

impl ClipFile {
    /// Opens OpenAI's file (TorchScript, or a dictionary of weights), a file in HuggingFace's layout,
    /// or a directory with one. Nothing in a file is executed.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is damaged, or has no image tower of CLIP.
    pub fn open(path: &Path) -> Result<Self, ClipError> {
        let file = WeightFile::open(path)?;
        // As the official code finds out: a ResNet has no `visual.proj`.
        const MARKS: [(&str, Layout, TowerKind); 3] = [
            ("visual.proj", Layout::OpenAi, TowerKind::Transformer),
            (
                "vision_model.embeddings.class_embedding",
                Layout::HuggingFace,
                TowerKind::Transformer,
            ),
            (
                "visual.attnpool.positional_embedding",
                Layout::OpenAi,
                TowerKind::ResNet,
            ),
        ];
        let found = MARKS.iter().find(|(name, ..)| file.get(name).is_some());
        match found {
            Some((_, layout, kind)) => Ok(Self {
                layout: *layout,
                kind: *kind,
                file,
            }),
            None => Err(ClipError::Malformed {
                path: file.path().into(),
                found: "it has no image tower of CLIP".into(),
                fix: FIX,
            }),
        }
    }

    /// Under whose names the tensors are.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// What the image tower is.
    pub fn kind(&self) -> TowerKind {
        self.kind
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The weights, under the names that they have.
    pub fn weights(&self) -> &WeightFile {
        &self.file
    }

    /// Those of a floating-point type: OpenAI's files count batches, HuggingFace's number positions.
    pub fn floats(&self) -> impl Iterator<Item = &Weight> {
        let floats = [Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F64];
        let weights = self.file.weights().iter();
        weights.filter(move |weight| floats.contains(&weight.tensor.dtype()))
    }

    /// Whether it has a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.file.get(name).is_some()
    }

    pub fn malformed(&self, found: String) -> ClipError {
        ClipError::Malformed {
            path: self.path().into(),
            found,
            fix: FIX,
        }
    }

    /// The shape of a tensor of `D` axes.
    pub fn shape<const D: usize>(&self, name: &str) -> Result<[usize; D], ClipError> {
        let weight = self.file.get(name);
        let weight = weight.ok_or_else(|| self.malformed(format!("it has no {name}")))?;
        let shape = weight.tensor.shape();
        shape.try_into().map_err(|_| {
            let found = format!("{name} has shape {shape:?}, but {D} axes are expected");
            self.malformed(found)
        })
    }

    /// The values of a tensor of this shape.
    pub fn values(&self, name: &str, expected: &[usize]) -> Result<Vec<f32>, ClipError> {
        let weight = self.file.get(name);
        let weight = weight.ok_or_else(|| self.malformed(format!("it has no {name}")))?;
        let found = weight.tensor.shape();
        if found != expected {
            let found = format!("{name} has shape {found:?}, but {expected:?} is expected");
            return Err(self.malformed(found));
        }
        Ok(self.file.f32_of(weight)?)
    }

    /// What the `config.json` beside the weights says of a transformer; OpenAI's files have none, and
    /// no other sizes than its own.
    pub fn described(&self, side: Side) -> Result<DescribedTransformer, ClipError> {
        let path = self.path().with_file_name("config.json");
        if self.layout == Layout::OpenAi || !path.is_file() {
            return Ok(DescribedTransformer::default());
        }
        let wrong = |found: String| ClipError::Malformed {
            path: path.clone(),
            found,
            fix: "give the config.json of the same CLIP",
        };
        let text = read_text(&path, SMALL_FILE).map_err(|error| wrong(error.to_string()))?;
        let described: Described =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        Ok(match side {
            Side::Vision => described.vision_config,
            Side::Text => described.text_config,
        })
    }
}

/// Makes parts of a network of the tensors of a file.
pub(super) struct Parts<'a, B: Backend> {
    pub file: &'a ClipFile,
    pub device: &'a B::Device,
}

impl<B: Backend> Parts<'_, B> {
    pub fn param<const D: usize>(
        &self,
        values: Vec<f32>,
        shape: [usize; D],
    ) -> Param<Tensor<B, D>> {
        let tensor = Tensor::from_data(TensorData::new(values, shape), self.device);
        Param::initialized(ParamId::new(), tensor)
    }

    /// The tensor `name` of this shape.
    pub fn named<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
    ) -> Result<Param<Tensor<B, D>>, ClipError> {
        Ok(self.param(self.file.values(name, &shape)?, shape))
    }

    /// A linear layer whose weight is `[to, from]` in the file, with a bias if one is given.
    pub fn linear(
        &self,
        weight: Vec<f32>,
        bias: Option<Vec<f32>>,
        [from, to]: [usize; 2],
    ) -> Linear<B> {
        let weight = Tensor::<B, 2>::from_data(TensorData::new(weight, [to, from]), self.device);
        // In the order in which products read it.
        let turned = weight.transpose().reshape([from * to]).reshape([from, to]);
        Linear {
            weight: Param::initialized(ParamId::new(), turned),
            bias: bias.map(|bias| self.param(bias, [to])),
        }
    }

    /// The linear layer `name`, with a bias.
    pub fn named_linear(&self, name: &str, [from, to]: [usize; 2]) -> Result<Linear<B>, ClipError> {
        let weight = self.file.values(&format!("{name}.weight"), &[to, from])?;
        let bias = self.file.values(&format!("{name}.bias"), &[to])?;
        Ok(self.linear(weight, Some(bias), [from, to]))
    }

    /// A projection without a bias, which is `[from, to]` in OpenAI's files and `[to, from]` in
    /// HuggingFace's.
    pub fn projection(&self, name: &str, [from, to]: [usize; 2]) -> Result<Linear<B>, ClipError> {
        match self.file.layout() {
            Layout::OpenAi => Ok(Linear {
                weight: self.named(name, [from, to])?,
                bias: None,
            }),
            Layout::HuggingFace => {
                let values = self.file.values(name, &[to, from])?;
                Ok(self.linear(values, None, [from, to]))
            }
        }
    }

    pub fn norm(&self, name: &str, width: usize) -> Result<LayerNorm<B>, ClipError> {
        let mut norm: LayerNorm<B> = LayerNormConfig::new(width)
            .with_epsilon(EPSILON)
            .init(self.device);
        norm.gamma = self.named(&format!("{name}.weight"), [width])?;
        norm.beta = Some(self.named(&format!("{name}.bias"), [width])?);
        Ok(norm)
    }
}
