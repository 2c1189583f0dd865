//! Reads the tower from OpenAI's files and from HuggingFace's.

use std::path::Path;

use burn::module::{Param, ParamId};
use burn::nn::{LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use oscar_core::checkpoint::WeightFile;
use oscar_core::config::Activation;
use oscar_files::{SMALL_FILE, read_text};
use serde::Deserialize;

use super::ClipError;
use super::vit::{Block, ClipVision, EPSILON, VisionConfig};

/// Values of a head in every tower of OpenAI's.
const HEAD: usize = 64;

const FIX: &str = "give a CLIP with a ViT tower: OpenAI's .pt file, or HuggingFace's directory with \
                   config.json";

/// How a file names its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// `visual.transformer.resblocks.0.attn.in_proj_weight`
    OpenAi,
    /// `vision_model.encoder.layers.0.self_attn.q_proj.weight`
    HuggingFace,
}

/// The file that is read, and how.
struct Source<'a, B: Backend> {
    file: &'a WeightFile,
    layout: Layout,
    device: &'a B::Device,
}

/// What `config.json` of HuggingFace says that the weights do not.
#[derive(Deserialize)]
struct Described {
    vision_config: DescribedVision,
}

#[derive(Deserialize)]
struct DescribedVision {
    #[serde(default = "openai_activation")]
    hidden_act: Activation,
    num_attention_heads: Option<usize>,
}

fn openai_activation() -> Activation {
    Activation::QuickGelu
}

impl<B: Backend> ClipVision<B> {
    /// Reads the tower of OpenAI's file (TorchScript, or a dictionary of weights), of a file in
    /// HuggingFace's layout, or of a directory with one. Sizes follow from the weights; a `config.json`
    /// beside them may name the activation and the number of heads. Nothing in a file is executed.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is damaged, or is not a CLIP with a ViT tower.
    pub fn open(path: impl AsRef<Path>, device: &B::Device) -> Result<Self, ClipError> {
        let file = WeightFile::open(path)?;
        let layout = layout(&file)?;
        let source = Source::<B> {
            file: &file,
            layout,
            device,
        };
        let config = source.config()?;
        source.tower(config)
    }
}

/// Whether `path` is a file or a directory of weights with a tower that [`ClipVision::open`] reads.
#[must_use]
pub fn is_clip(path: &Path) -> bool {
    WeightFile::open(path).is_ok_and(|file| layout(&file).is_ok())
}

fn malformed(file: &WeightFile, found: String) -> ClipError {
    ClipError::Malformed {
        path: file.path().into(),
        found,
        fix: FIX,
    }
}

fn layout(file: &WeightFile) -> Result<Layout, ClipError> {
    let has = |name: &str| file.get(name).is_some();
    match (
        has("visual.proj"),
        has("vision_model.embeddings.class_embedding"),
        has("visual.attnpool.positional_embedding"),
    ) {
        (true, ..) => Ok(Layout::OpenAi),
        (_, true, _) => Ok(Layout::HuggingFace),
        (.., true) => Err(malformed(
            file,
            "its image tower is a ResNet, which is not implemented".into(),
        )),
        _ => Err(malformed(file, "it has no image tower of CLIP".into())),
    }
}

impl<B: Backend> Source<'_, B> {
    /// Sizes of the tower, as the official code finds them.
    fn config(&self) -> Result<VisionConfig, ClipError> {
        let (patches, positions) = match self.layout {
            Layout::OpenAi => ("visual.conv1.weight", "visual.positional_embedding"),
            Layout::HuggingFace => (
                "vision_model.embeddings.patch_embedding.weight",
                "vision_model.embeddings.position_embedding.weight",
            ),
        };
        let [width, channels, patch_size, _] = self.shape(patches)?;
        let [rows, _] = self.shape(positions)?;
        let grid = rows.saturating_sub(1).isqrt();
        let [inner, _] = self.shape(&self.block_name(0, "mlp.c_fc.weight"))?;
        let [first, second] = self.shape(self.proj_name())?;
        let layers = (0..)
            .take_while(|block| {
                let name = self.block_name(*block, "ln_1.weight");
                self.file.get(&name).is_some()
            })
            .count();
        let described = self.described()?;
        let heads = described.as_ref().and_then(|d| d.num_attention_heads);
        let config = VisionConfig {
            image_size: grid * patch_size,
            patch_size,
            width,
            inner,
            layers,
            heads: heads.unwrap_or(width / HEAD),
            embedding_dim: match self.layout {
                Layout::OpenAi => second,
                Layout::HuggingFace => first,
            },
            activation: described.map_or_else(openai_activation, |d| d.hidden_act),
        };
        let fits = channels == 3
            && grid > 0
            && grid * grid + 1 == rows
            && config.heads > 0
            && width.is_multiple_of(config.heads);
        match fits {
            true => Ok(config),
            false => Err(malformed(
                self.file,
                format!(
                    "its tower has {channels} channels, {rows} positions, width {width} and {} heads, \
                     which do not fit each other",
                    config.heads
                ),
            )),
        }
    }

    fn described(&self) -> Result<Option<DescribedVision>, ClipError> {
        let path = self.file.path().with_file_name("config.json");
        if self.layout == Layout::OpenAi || !path.is_file() {
            return Ok(None);
        }
        let wrong = |found: String| ClipError::Malformed {
            path: path.clone(),
            found,
            fix: "give the config.json of the same CLIP",
        };
        let text = read_text(&path, SMALL_FILE).map_err(|error| wrong(error.to_string()))?;
        let described: Described =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        Ok(Some(described.vision_config))
    }

    fn proj_name(&self) -> &'static str {
        match self.layout {
            Layout::OpenAi => "visual.proj",
            Layout::HuggingFace => "visual_projection.weight",
        }
    }

    /// The name of a tensor of a layer, from OpenAI's.
    fn block_name(&self, block: usize, name: &str) -> String {
        if self.layout == Layout::OpenAi {
            return format!("visual.transformer.resblocks.{block}.{name}");
        }
        const NAMES: [(&str, &str); 5] = [
            ("attn.out_proj", "self_attn.out_proj"),
            ("ln_1", "layer_norm1"),
            ("ln_2", "layer_norm2"),
            ("mlp.c_fc", "mlp.fc1"),
            ("mlp.c_proj", "mlp.fc2"),
        ];
        let found = NAMES
            .iter()
            .find_map(|(openai, own)| Some(format!("{own}{}", name.strip_prefix(openai)?)));
        let name = found.unwrap_or_else(|| name.into());
        format!("vision_model.encoder.layers.{block}.{name}")
    }

    fn shape<const D: usize>(&self, name: &str) -> Result<[usize; D], ClipError> {
        let weight = self.file.get(name);
        let weight = weight.ok_or_else(|| malformed(self.file, format!("it has no {name}")))?;
        let shape = weight.tensor.shape();
        shape.try_into().map_err(|_| {
            let found = format!("{name} has shape {shape:?}, but {D} axes are expected");
            malformed(self.file, found)
        })
    }

    /// The values of a tensor of this shape.
    fn values(&self, name: &str, expected: &[usize]) -> Result<Vec<f32>, ClipError> {
        let weight = self.file.get(name);
        let weight = weight.ok_or_else(|| malformed(self.file, format!("it has no {name}")))?;
        let found = weight.tensor.shape();
        if found != expected {
            let found = format!("{name} has shape {found:?}, but {expected:?} is expected");
            return Err(malformed(self.file, found));
        }
        Ok(self.file.f32_of(weight)?)
    }

    fn param<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Param<Tensor<B, D>> {
        let tensor = Tensor::from_data(TensorData::new(values, shape), self.device);
        Param::initialized(ParamId::new(), tensor)
    }

    /// A linear layer whose weight is `[to, from]` in the file, with a bias if one is named.
    fn linear(
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

    fn named_linear(&self, name: &str, [from, to]: [usize; 2]) -> Result<Linear<B>, ClipError> {
        let weight = self.values(&format!("{name}.weight"), &[to, from])?;
        let bias = self.values(&format!("{name}.bias"), &[to])?;
        Ok(self.linear(weight, Some(bias), [from, to]))
    }

    fn norm(&self, name: &str, width: usize) -> Result<LayerNorm<B>, ClipError> {
        let mut norm: LayerNorm<B> = LayerNormConfig::new(width)
            .with_epsilon(EPSILON)
            .init(self.device);
        norm.gamma = self.param(self.values(&format!("{name}.weight"), &[width])?, [width]);
        norm.beta = Some(self.param(self.values(&format!("{name}.bias"), &[width])?, [width]));
        Ok(norm)
    }

    fn tower(&self, config: VisionConfig) -> Result<ClipVision<B>, ClipError> {
        let VisionConfig {
            width,
            patch_size: patch,
            embedding_dim,
            ..
        } = config;
        let positions = config.grid() * config.grid() + 1;
        let [class, conv1, positional, ln_pre, ln_post] = match self.layout {
            Layout::OpenAi => [
                "visual.class_embedding",
                "visual.conv1.weight",
                "visual.positional_embedding",
                "visual.ln_pre",
                "visual.ln_post",
            ],
            Layout::HuggingFace => [
                "vision_model.embeddings.class_embedding",
                "vision_model.embeddings.patch_embedding.weight",
                "vision_model.embeddings.position_embedding.weight",
                // So it is spelt in the files.
                "vision_model.pre_layrnorm",
                "vision_model.post_layernorm",
            ],
        };
        let inputs = 3 * patch * patch;
        let conv1 = self.values(conv1, &[width, 3, patch, patch])?;
        let proj = match self.layout {
            Layout::OpenAi => {
                let values = self.values("visual.proj", &[width, embedding_dim])?;
                Linear {
                    weight: self.param(values, [width, embedding_dim]),
                    bias: None,
                }
            }
            Layout::HuggingFace => {
                let values = self.values(self.proj_name(), &[embedding_dim, width])?;
                self.linear(values, None, [width, embedding_dim])
            }
        };
        let blocks = (0..config.layers).map(|block| self.block(block, &config));
        Ok(ClipVision {
            conv1: self.linear(conv1, None, [inputs, width]),
            class_embedding: self.param(self.values(class, &[width])?, [width]),
            positional_embedding: self.param(
                self.values(positional, &[positions, width])?,
                [positions, width],
            ),
            ln_pre: self.norm(ln_pre, width)?,
            blocks: blocks.collect::<Result<_, _>>()?,
            ln_post: self.norm(ln_post, width)?,
            proj,
            config,
        })
    }

    fn block(&self, block: usize, config: &VisionConfig) -> Result<Block<B>, ClipError> {
        let (width, inner) = (config.width, config.inner);
        let name = |part: &str| self.block_name(block, part);
        Ok(Block {
            ln_1: self.norm(&name("ln_1"), width)?,
            in_proj: self.in_proj(block, width)?,
            out_proj: self.named_linear(&name("attn.out_proj"), [width, width])?,
            ln_2: self.norm(&name("ln_2"), width)?,
            c_fc: self.named_linear(&name("mlp.c_fc"), [width, inner])?,
            c_proj: self.named_linear(&name("mlp.c_proj"), [inner, width])?,
            heads: config.heads,
            activation: config.activation,
        })
    }

    /// Query, key and value of a layer; HuggingFace has them one by one.
    fn in_proj(&self, block: usize, width: usize) -> Result<Linear<B>, ClipError> {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        match self.layout {
            Layout::OpenAi => {
                let name = |part: &str| self.block_name(block, part);
                weight = self.values(&name("attn.in_proj_weight"), &[3 * width, width])?;
                bias = self.values(&name("attn.in_proj_bias"), &[3 * width])?;
            }
            Layout::HuggingFace => {
                for part in ["q", "k", "v"] {
                    let name =
                        |end: &str| self.block_name(block, &format!("self_attn.{part}_proj.{end}"));
                    weight.extend(self.values(&name("weight"), &[width, width])?);
                    bias.extend(self.values(&name("bias"), &[width])?);
                }
            }
        }
        Ok(self.linear(weight, Some(bias), [width, 3 * width]))
    }
}
