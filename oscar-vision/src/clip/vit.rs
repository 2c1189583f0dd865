//! The ViT tower of CLIP, for inference: CLIP is never trained here.

use burn::module::{Initializer, Module, Param};
use burn::nn::{LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Tensor, backend::Backend};
use oscar_core::config::Activation;
use oscar_core::ops::{self, OscarBackend};

/// Epsilon of every LayerNorm.
pub(super) const EPSILON: f64 = 1e-5;

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

/// CLIP's ViT: pixels to embeddings.
#[derive(Module, Debug)]
pub struct ClipVision<B: Backend> {
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

/// `x += attn(ln_1(x)); x += mlp(ln_2(x))`.
#[derive(Module, Debug)]
pub(super) struct Block<B: Backend> {
    pub(super) ln_1: LayerNorm<B>,
    /// Query, key and value, side by side.
    pub(super) in_proj: Linear<B>,
    pub(super) out_proj: Linear<B>,
    pub(super) ln_2: LayerNorm<B>,
    pub(super) c_fc: Linear<B>,
    pub(super) c_proj: Linear<B>,
    pub(super) heads: usize,
    #[module(skip)]
    pub(super) activation: Activation,
}

/// What [`ClipVision::inspect`] gives.
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

impl<B: Backend> ClipVision<B> {
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
}

impl<B: OscarBackend> ClipVision<B> {
    /// Pixels `[batch, 3, side, side]` to embeddings `[batch, embedding_dim]`. They are not normalised.
    pub fn forward(&self, pixels: Tensor<B, 4>) -> Tensor<B, 2> {
        let patches = self.patches(pixels);
        let mut hidden = self.embed(patches);
        let Some((last, others)) = self.blocks.split_last() else {
            return self.project(self.class_position(hidden)).1;
        };
        for block in others {
            hidden = block.forward(hidden);
        }
        // Of the last layer, only the class position is read.
        self.project(last.forward_first(hidden)).1
    }

    /// As [`forward`](Self::forward), and keeps what each part computes.
    pub fn inspect(&self, pixels: Tensor<B, 4>) -> Inspection<B> {
        let patches = self.patches(pixels);
        let ln_pre = self.embed(patches.clone());
        let mut hidden = ln_pre.clone();
        let blocks = self.blocks.iter();
        let blocks = blocks.map(|block| {
            hidden = block.forward(hidden.clone());
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

impl<B: OscarBackend> Block<B> {
    /// `[batch, seq, width]` to the same shape.
    fn forward(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        let [batch, seq, _] = hidden.dims();
        let rows = ops::flatten(hidden);
        let projected = self.projected(rows.clone(), batch, seq);
        let context = self.attend([0, 1, 2].map(|part| self.part(&projected, part)));
        ops::unflatten(self.finish(rows, context), batch, seq)
    }

    /// The first position after the layer, `[batch, width]`.
    fn forward_first(&self, hidden: Tensor<B, 3>) -> Tensor<B, 2> {
        let [batch, seq, width] = hidden.dims();
        let projected = self.projected(ops::flatten(hidden.clone()), batch, seq);
        let query = self.part(&projected, 0).narrow(1, 0, 1);
        let context = self.attend([query, self.part(&projected, 1), self.part(&projected, 2)]);
        self.finish(hidden.narrow(1, 0, 1).reshape([batch, width]), context)
    }

    fn projected(&self, rows: Tensor<B, 2>, batch: usize, seq: usize) -> Tensor<B, 3> {
        let projected = ops::linear(&self.in_proj, self.ln_1.forward(rows));
        ops::unflatten(projected, batch, seq)
    }

    /// Query, key or value, `[batch, seq, width]`.
    fn part(&self, projected: &Tensor<B, 3>, part: usize) -> Tensor<B, 3> {
        let width = projected.dims()[2] / 3;
        projected.clone().narrow(2, part * width, width)
    }

    /// Attention of query, key and value: rows `[batch * queries, width]`.
    fn attend(&self, parts: [Tensor<B, 3>; 3]) -> Tensor<B, 2> {
        let [batch, keys, width] = parts[1].dims();
        let mask = Tensor::zeros([batch, 1, 1, keys], &parts[1].device());
        let scale = 1.0 / ((width / self.heads) as f64).sqrt();
        let heads = parts.map(|part| ops::split_heads(part, self.heads));
        ops::flatten(ops::merge_heads(ops::attention(heads, mask, scale, 0.0)))
    }

    fn finish(&self, rows: Tensor<B, 2>, context: Tensor<B, 2>) -> Tensor<B, 2> {
        let rows = rows + ops::linear(&self.out_proj, context);
        let normed = self.ln_2.forward(rows.clone());
        let inner = ops::linear_activate(&self.c_fc, self.activation, normed);
        rows + ops::linear(&self.c_proj, inner)
    }
}
