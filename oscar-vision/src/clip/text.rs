//! The text tower of CLIP, for inference.

use std::path::Path;

use burn::nn::{LayerNorm, Linear};
use burn::tensor::{Int, Tensor, TensorData};
use oscar_core::ops::{self, Kernels};

use super::ClipError;
use super::block::{Block, Layers};
use super::file::{ClipFile, Layout, Parts, Side};

/// Sizes of a text tower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextConfig {
    /// Tokens: 49,408 in the published ones.
    pub vocab_size: usize,
    /// Most tokens of a text, its start and end among them: 77 in the published ones.
    pub context_length: usize,
    /// Width of the layers.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of a layer.
    pub heads: usize,
    /// Values of an embedding.
    pub embedding_dim: usize,
}

/// CLIP's text tower: tokens to embeddings.
#[derive(Clone, Debug)]
pub struct ClipText<B: Kernels> {
    /// `[vocab_size, width]`
    token_embedding: Tensor<B, 2>,
    /// `[context_length, width]`
    positional_embedding: Tensor<B, 2>,
    blocks: Vec<Block<B>>,
    ln_final: LayerNorm<B>,
    text_projection: Linear<B>,
    logit_scale: f32,
    config: TextConfig,
}

impl<B: Kernels> ClipText<B> {
    /// Reads the text tower of the files that [`ClipVision::open`](super::ClipVision::open) reads.
    ///
    /// # Errors
    ///
    /// As there; a file without a text tower.
    pub fn open(path: impl AsRef<Path>, device: &B::Device) -> Result<Self, ClipError> {
        Self::read(&ClipFile::open(path.as_ref())?, device)
    }

    pub(super) fn read(file: &ClipFile, device: &B::Device) -> Result<Self, ClipError> {
        let [tokens, positions, norm, projection] = match file.layout() {
            Layout::OpenAi => [
                "token_embedding.weight",
                "positional_embedding",
                "ln_final",
                "text_projection",
            ],
            Layout::HuggingFace => [
                "text_model.embeddings.token_embedding.weight",
                "text_model.embeddings.position_embedding.weight",
                "text_model.final_layer_norm",
                "text_projection.weight",
            ],
        };
        let [vocab_size, width] = file.shape(tokens)?;
        let [context_length, _] = file.shape(positions)?;
        let [first, second] = file.shape(projection)?;
        let embedding_dim = match file.layout() {
            Layout::OpenAi => second,
            Layout::HuggingFace => first,
        };
        let layers = Layers::of(file, Side::Text, width)?;
        let parts = Parts::<B> { file, device };
        let logit_scale = file.values("logit_scale", &[])?;
        Ok(Self {
            token_embedding: parts.named(tokens, [vocab_size, width])?.val(),
            positional_embedding: parts.named(positions, [context_length, width])?.val(),
            blocks: layers.read(&parts)?,
            ln_final: parts.norm(norm, width)?,
            text_projection: parts.projection(projection, [width, embedding_dim])?,
            logit_scale: logit_scale.iter().map(|scale| scale.exp()).sum(),
            config: TextConfig {
                vocab_size,
                context_length,
                width,
                layers: layers.count,
                heads: layers.heads,
                embedding_dim,
            },
        })
    }

    /// Its sizes.
    pub fn config(&self) -> &TextConfig {
        &self.config
    }

    /// What cosines are multiplied with before a softmax: 100 in the published ones.
    pub fn logit_scale(&self) -> f32 {
        self.logit_scale
    }

    /// Tokens of texts, as [`ClipTokenizer`](super::ClipTokenizer) gives them, to embeddings
    /// `[texts, embedding_dim]`: those of the token with the highest number, which ends a text. They are
    /// not normalised.
    ///
    /// # Panics
    ///
    /// If a text has more than `context_length` tokens, or one outside the vocabulary.
    pub fn forward(&self, texts: &[Vec<u32>]) -> Tensor<B, 2> {
        let device = self.token_embedding.device();
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0).max(1);
        // No token reads those behind it, so that nothing reads what fills a text up.
        let filled = texts.iter().flat_map(|text| {
            let ids = text.iter().map(|id| *id as i32);
            ids.chain(std::iter::repeat(0)).take(longest)
        });
        let ends = (0..).step_by(longest).zip(texts).map(|(row, text)| {
            let highest = text.iter().max().copied().unwrap_or(0);
            row + text.iter().position(|id| *id == highest).unwrap_or(0) as i32
        });
        let list = |values: Vec<i32>| {
            let shape = [values.len()];
            Tensor::<B, 1, Int>::from_data(TensorData::new(values, shape), &device)
        };
        let words = self.token_embedding.clone();
        let words = words.select(0, list(filled.collect()));
        let words = ops::unflatten(words, texts.len(), longest);
        let positions = self.positional_embedding.clone().narrow(0, 0, longest);
        let mask = ops::causal_mask(texts.len(), longest, &device);
        let hidden = self
            .blocks
            .iter()
            .fold(words + positions.unsqueeze::<3>(), |hidden, block| {
                block.forward(hidden, mask.clone())
            });
        let last = ops::flatten(hidden).select(0, list(ends.collect()));
        ops::linear(&self.text_projection, self.ln_final.forward(last))
    }
}
