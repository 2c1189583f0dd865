//! The ViT tower of CLIP, for inference: CLIP is never trained here.

use burn::module::{Initializer, Module, Param};
use burn::nn::{LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Tensor, backend::Backend};
use oscar_core::config::Activation;
use oscar_core::ops::{self, OscarBackend};

use super::ClipError;
use super::block::{Block, Layers};
use super::file::{ClipFile, EPSILON, Layout, Parts, Side};

/// Sizes of a ViT tower. Those of the published ones:
///
/// | | `image_size` | `patch_size` | `width` | `layers` | `heads` | `embedding_dim` |
/// |---|---|---|---|---|---|---|
/// | ViT-B/32 | 224 | 32 | 768 | 12 | 12 | 512 |
/// | ViT-B/16 | 224 | 16 | 768 | 12 | 12 | 512 |
/// | ViT-L/14 | 224 | 14 | 1024 | 24 | 16 | 768 |
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VisionConfig {
    /// Side of the pictures, in pixels.
    pub image_size: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// Width of the layers.
    pub width: usize,
    /// Width of the feed-forward half.
    pub inner: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of a layer, of 64 values each in the published ones.
    pub heads: usize,
    /// Values of an embedding.
    pub embedding_dim: usize,
    /// Activation of the feed-forward half: `quick_gelu` of OpenAI's.
    pub activation: Activation,
}

impl VisionConfig {
    /// Patches along a side.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// The published name of these sizes, else a description.
    pub fn name(&self) -> String {
        match (self.width, self.patch_size, self.layers, self.image_size) {
            (768, 32, 12, 224) => "ViT-B/32".into(),
            (768, 16, 12, 224) => "ViT-B/16".into(),
            (1024, 14, 24, 224) => "ViT-L/14".into(),
            (1024, 14, 24, 336) => "ViT-L/14@336px".into(),
            (width, patch, layers, _) => {
                format!("a ViT of {layers} layers, width {width} and patches of {patch}")
            }
        }
    }
}

/// CLIP's ViT (`VisionTransformer` of the official code): pixels to embeddings.
#[derive(Module, Debug)]
pub struct VisionTransformer<B: Backend> {
    /// The convolution whose kernel is its stride, as a product: `[3 * patch * patch, width]`.
    pub(super) conv1: Linear<B>,
    /// `[width]`
    pub(super) class_embedding: Param<Tensor<B, 1>>,
    /// `[1 + patches, width]`
    pub(super) positional_embedding: Param<Tensor<B, 2>>,
    pub(super) ln_pre: LayerNorm<B>,
    pub(super) blocks: Vec<Block<B>>,
    pub(super) ln_post: LayerNorm<B>,
    pub(super) proj: Linear<B>,
    #[module(skip)]
    pub(super) config: VisionConfig,
}

/// What [`VisionTransformer::inspect`] gives.
#[derive(Clone, Debug)]
pub struct Inspection<B: Backend> {
    /// Of the patches, `[batch, patches, width]`.
    pub patches: Tensor<B, 3>,
    /// Before the first layer, `[batch, 1 + patches, width]`.
    pub ln_pre: Tensor<B, 3>,
    /// Each layer's output, `[batch, 1 + patches, width]`.
    pub blocks: Vec<Tensor<B, 3>>,
    /// The class position, normalised, `[batch, width]`.
    pub ln_post: Tensor<B, 2>,
    /// `[batch, embedding_dim]`
    pub embedding: Tensor<B, 2>,
}

impl<B: Backend> VisionTransformer<B> {
    /// A tower with fresh weights, initialised by `seed` as CLIP's are.
    pub fn fresh(config: VisionConfig, seed: u64, device: &B::Device) -> Self {
        let VisionConfig { width, inner, .. } = config;
        let scale = 1.0 / (width as f64).sqrt();
        let normal = |std: f64| Initializer::Normal { mean: 0.0, std };
        let linear = |from: usize, to: usize, std: f64, bias: bool| Linear {
            weight: normal(std).init([from, to], device),
            bias: bias.then(|| Initializer::Zeros.init([to], device)),
        };
        let norm = || {
            LayerNormConfig::new(width)
                .with_epsilon(EPSILON)
                .init(device)
        };
        // Products of a residual branch are smaller the more layers add to it.
        let branch = scale / (2.0 * config.layers as f64).sqrt();
        let inputs = 3 * config.patch_size * config.patch_size;
        let block = |_| Block {
            ln_1: norm(),
            in_proj: linear(width, 3 * width, scale, true),
            out_proj: linear(width, width, branch, true),
            ln_2: norm(),
            c_fc: linear(width, inner, 1.0 / (2.0 * width as f64).sqrt(), true),
            c_proj: linear(inner, width, branch, true),
            heads: config.heads,
            activation: config.activation,
        };
        let positions = config.grid() * config.grid() + 1;
        let tower = Self {
            conv1: linear(inputs, width, 1.0 / (inputs as f64).sqrt(), false),
            class_embedding: normal(scale).init([width], device),
            positional_embedding: normal(scale).init([positions, width], device),
            ln_pre: norm(),
            blocks: (0..config.layers).map(block).collect(),
            ln_post: norm(),
            proj: linear(width, config.embedding_dim, scale, false),
            config,
        };
        oscar_core::model::initialize(&tower, device, seed);
        tower
    }

    /// Its sizes.
    pub fn config(&self) -> &VisionConfig {
        &self.config
    }

    /// Reads it. Sizes follow from the weights, as in the official code.
    pub(super) fn read(file: &ClipFile, device: &B::Device) -> Result<Self, ClipError> {
        let names = Names::of(file.layout());
        let [width, channels, patch_size, _] = file.shape(names.conv1)?;
        let [rows, _] = file.shape(names.positional)?;
        let [first, second] = file.shape(names.proj)?;
        let grid = rows.saturating_sub(1).isqrt();
        if channels != 3 || grid == 0 || grid * grid + 1 != rows {
            let found = format!("its tower has {channels} channels and {rows} positions");
            return Err(file.malformed(format!("{found}, which is not a square of RGB patches")));
        }
        let layers = Layers::of(file, Side::Vision, width)?;
        let embedding_dim = match file.layout() {
            Layout::OpenAi => second,
            Layout::HuggingFace => first,
        };
        let parts = Parts::<B> { file, device };
        let inputs = channels * patch_size * patch_size;
        let conv1 = file.values(names.conv1, &[width, channels, patch_size, patch_size])?;
        Ok(Self {
            conv1: parts.linear(conv1, None, [inputs, width]),
            class_embedding: parts.named(names.class, [width])?,
            positional_embedding: parts.named(names.positional, [rows, width])?,
            ln_pre: parts.norm(names.ln_pre, width)?,
            blocks: layers.read(&parts)?,
            ln_post: parts.norm(names.ln_post, width)?,
            proj: parts.projection(names.proj, [width, embedding_dim])?,
            config: VisionConfig {
                image_size: grid * patch_size,
                patch_size,
                width,
                inner: layers.inner,
                layers: layers.count,
                heads: layers.heads,
                embedding_dim,
                activation: layers.activation,
            },
        })
    }
}

/// Names of the tensors beside those of the layers.
struct Names {
    class: &'static str,
    conv1: &'static str,
    positional: &'static str,
    ln_pre: &'static str,
    ln_post: &'static str,
    proj: &'static str,
}

impl Names {
    fn of(layout: Layout) -> Self {
        match layout {
            Layout::OpenAi => Self {
                class: "visual.class_embedding",
                conv1: "visual.conv1.weight",
                positional: "visual.positional_embedding",
                ln_pre: "visual.ln_pre",
                ln_post: "visual.ln_post",
                proj: "visual.proj",
            },
            Layout::HuggingFace => Self {
                class: "vision_model.embeddings.class_embedding",
                conv1: "vision_model.embeddings.patch_embedding.weight",
                positional: "vision_model.embeddings.position_embedding.weight",
                // So it is spelt in the files.
                ln_pre: "vision_model.pre_layrnorm",
                ln_post: "vision_model.post_layernorm",
                proj: "visual_projection.weight",
            },
        }
    }
}

impl<B: OscarBackend> VisionTransformer<B> {
    /// Pixels `[batch, 3, side, side]` to embeddings `[batch, embedding_dim]`. They are not normalised.
    pub fn forward(&self, pixels: Tensor<B, 4>) -> Tensor<B, 2> {
        let patches = self.patches(pixels);
        let mut hidden = self.embed(patches);
        let Some((last, others)) = self.blocks.split_last() else {
            return self.project(self.class_position(hidden)).1;
        };
        let mask = Self::mask(&hidden);
        for block in others {
            hidden = block.forward(hidden, mask.clone());
        }
        // Of the last layer, only the class position is read.
        self.project(last.forward_first(hidden, mask)).1
    }

    /// As [`forward`](Self::forward), and keeps what each part computes.
    pub fn inspect(&self, pixels: Tensor<B, 4>) -> Inspection<B> {
        let patches = self.patches(pixels);
        let ln_pre = self.embed(patches.clone());
        let mut hidden = ln_pre.clone();
        let mask = Self::mask(&hidden);
        let blocks = self.blocks.iter();
        let blocks = blocks.map(|block| {
            hidden = block.forward(hidden.clone(), mask.clone());
            hidden.clone()
        });
        let blocks: Vec<Tensor<B, 3>> = blocks.collect();
        let last = blocks.last().unwrap_or(&ln_pre).clone();
        let (ln_post, embedding) = self.project(self.class_position(last));
        Inspection {
            patches,
            ln_pre,
            blocks,
            ln_post,
            embedding,
        }
    }

    /// `[batch, patches, width]`, the patches row by row.
    fn patches(&self, pixels: Tensor<B, 4>) -> Tensor<B, 3> {
        let [batch, channels, _, _] = pixels.dims();
        let (grid, patch) = (self.config.grid(), self.config.patch_size);
        let patches = pixels
            .reshape([batch, channels, grid, patch, grid, patch])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([batch * grid * grid, channels * patch * patch]);
        ops::unflatten(ops::linear(&self.conv1, patches), batch, grid * grid)
    }

    fn embed(&self, patches: Tensor<B, 3>) -> Tensor<B, 3> {
        let [batch, _, width] = patches.dims();
        let class = self.class_embedding.val().reshape([1, 1, width]);
        let hidden = Tensor::cat(vec![class.expand([batch, 1, width]), patches], 1);
        let hidden = hidden + self.positional_embedding.val().unsqueeze::<3>();
        self.ln_pre.forward(hidden)
    }

    /// Every position reads every other.
    fn mask(hidden: &Tensor<B, 3>) -> Tensor<B, 4> {
        let [batch, seq, _] = hidden.dims();
        Tensor::zeros([batch, 1, 1, seq], &hidden.device())
    }

    fn class_position(&self, hidden: Tensor<B, 3>) -> Tensor<B, 2> {
        let [batch, _, width] = hidden.dims();
        hidden.narrow(1, 0, 1).reshape([batch, width])
    }

    /// The class position, normalised; and the embedding.
    fn project(&self, class: Tensor<B, 2>) -> (Tensor<B, 2>, Tensor<B, 2>) {
        let normed = self.ln_post.forward(class);
        (normed.clone(), ops::linear(&self.proj, normed))
    }
}
