//! ClipCap: a mapping network and GPT-2.

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use oscar_core::checkpoint::Checkpointed;
use oscar_core::ops::{self, OscarBackend};

use crate::config::ClipCapConfig;
use crate::gpt2::{Gpt2LmHead, Gpt2Steps};
use crate::mapper::Mapper;

/// Token that the official loss never counts: its id fills captions up, and is that of `!`.
pub const PADDING: u32 = 0;

/// The official `ClipCaptionModel`, or `ClipCaptionPrefix` with
/// [`only_prefix`](ClipCapConfig::only_prefix).
#[derive(Module, Debug)]
pub struct ClipCap<B: Backend> {
    clip_project: Mapper<B>,
    gpt: Gpt2LmHead<B>,
    normalize: bool,
}

/// Captions to learn.
#[derive(Clone, Debug)]
pub struct CaptionTargets<B: Backend> {
    /// `[batch, longest]`, filled up with [`PADDING`].
    pub tokens: Tensor<B, 2, Int>,
    /// Rows of the flattened `[batch * (prefix + longest)]` sequence that predict a token that counts.
    pub positions: Tensor<B, 1, Int>,
    /// These tokens.
    pub labels: Tensor<B, 1, Int>,
    /// How many there are.
    pub count: usize,
}

impl<B: Backend> CaptionTargets<B> {
    /// The targets of `captions`, whose tokens follow a prefix of `prefix` vectors.
    pub fn new(captions: &[&[u32]], prefix: usize, device: &B::Device) -> Self {
        let longest = captions.iter().map(|caption| caption.len()).max();
        let longest = longest.unwrap_or(0).max(1);
        let mut tokens = vec![PADDING as i32; captions.len() * longest];
        let (mut positions, mut labels) = (Vec::new(), Vec::new());
        for (row, caption) in captions.iter().enumerate() {
            for (at, token) in caption.iter().enumerate() {
                tokens[row * longest + at] = *token as i32;
                if *token != PADDING {
                    // The position before predicts it; the last of the prefix the first word.
                    positions.push((row * (prefix + longest) + prefix + at - 1) as i32);
                    labels.push(*token as i32);
                }
            }
        }
        let count = labels.len();
        let list = |values: Vec<i32>| {
            let shape = [values.len()];
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        Self {
            tokens: Tensor::from_data(TensorData::new(tokens, [captions.len(), longest]), device),
            positions: list(positions),
            labels: list(labels),
            count,
        }
    }
}

impl<B: Backend> ClipCap<B> {
    /// A model with fresh weights. With [`only_prefix`](ClipCapConfig::only_prefix), GPT-2 has no
    /// gradients.
    pub fn new(config: &ClipCapConfig, device: &B::Device) -> Self {
        let gpt = Gpt2LmHead::new(&config.gpt2, config.only_prefix, device);
        Self {
            clip_project: Mapper::new(config, device),
            gpt: match config.only_prefix {
                true => gpt.no_grad(),
                false => gpt,
            },
            normalize: config.normalize_prefix,
        }
    }

    /// The language model.
    pub fn gpt2(&self) -> &Gpt2LmHead<B> {
        &self.gpt
    }

    /// The mapping network.
    pub fn mapper(&self) -> &Mapper<B> {
        &self.clip_project
    }
}

impl<B: OscarBackend> ClipCap<B> {
    /// As [`for_inference`](oscar_core::model::for_inference), and with a copy of the output matrix that
    /// is faster for few rows.
    pub fn for_inference(mut self) -> Self {
        self.gpt = self.gpt.for_inference();
        oscar_core::model::for_inference(self)
    }

    /// What the mapping network reads of embeddings `[batch, embedding_dim]`: divided by their length,
    /// if the model was trained so.
    pub fn normalized(&self, embeddings: Tensor<B, 2>) -> Tensor<B, 2> {
        if !self.normalize {
            return embeddings;
        }
        let squares = embeddings.clone() * embeddings.clone();
        embeddings / squares.sum_dim(1).sqrt()
    }

    /// Prefixes `[batch, prefix_length, width]` of embeddings `[batch, embedding_dim]`, as CLIP gives
    /// them.
    pub fn prefix(&self, embeddings: Tensor<B, 2>) -> Tensor<B, 3> {
        let [_, width] = self.gpt.word_embeddings().dims();
        self.clip_project
            .forward(self.normalized(embeddings), width)
    }

    /// Prefix and embeddings of the tokens `[batch, longest]`, as GPT-2 reads them:
    /// `[batch, prefix_length + longest, width]`.
    pub fn vectors(&self, embeddings: Tensor<B, 2>, tokens: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let words = self.gpt.embed_words(tokens);
        Tensor::cat(vec![self.prefix(embeddings), words], 1)
    }

    /// The official loss, `[1]`: the mean cross entropy of every token but [`PADDING`], each predicted
    /// from the prefix and the tokens before it. Nothing is learned after the last token of a caption:
    /// it ends where the model has learned to write a full stop. 0 where no token counts.
    ///
    /// Captions are filled up behind their last token, which no earlier position reads, so that no mask
    /// is needed.
    pub fn loss(&self, embeddings: Tensor<B, 2>, targets: CaptionTargets<B>) -> Tensor<B, 1> {
        if targets.count == 0 {
            return self.prefix(embeddings).sum().mul_scalar(0.0);
        }
        let vectors = self.vectors(embeddings, targets.tokens);
        let hidden = ops::flatten(self.gpt.forward(vectors));
        let logits = self.gpt.logits(hidden.select(0, targets.positions));
        ops::cross_entropy(logits, targets.labels, None)
    }

    /// Starts to write captions of embeddings `[images, embedding_dim]`.
    pub fn steps(&self, embeddings: Tensor<B, 2>) -> Gpt2Steps<'_, B> {
        Gpt2Steps::new(&self.gpt, self.prefix(embeddings))
    }
}

impl<B: Backend> Checkpointed<B> for ClipCap<B> {
    fn is_bert(&self) -> bool {
        false
    }

    fn aliases(&self) -> &'static [(&'static str, &'static str)] {
        &[("gpt.lm_head.weight", "gpt.transformer.wte.weight")]
    }
}
