//! GPT-2 (Radford et al., 2019), with the names and the arithmetic of HuggingFace's
//! `GPT2LMHeadModel`.
//!
//! The input is vectors, not tokens: a prefix takes the place of words. Positions count from the
//! first vector. The output matrix is the word embedding.

mod block;
mod conv1d;
mod steps;
mod tokenizer;

use burn::module::{Initializer, Module, Param};
use burn::nn::{Embedding, LayerNorm, LayerNormConfig};
use burn::tensor::{Int, Tensor, backend::Backend};
use oscar_core::ops::{self, OscarBackend};

use crate::config::Gpt2Config;
use block::Block;
pub use steps::Gpt2Steps;
pub use tokenizer::{ASSETS, Gpt2Tokenizer, TokenizerError, clean_up};

/// GPT-2 with its tied output matrix.
#[derive(Module, Debug)]
pub struct Gpt2LmHead<B: Backend> {
    pub(crate) transformer: Gpt2<B>,
    /// The output matrix `[vocab, width]` in an order that is faster for few rows; for inference
    /// alone.
    head: Option<Embedding<B>>,
}

/// Word and position embeddings, and the layers.
#[derive(Module, Debug)]
pub(crate) struct Gpt2<B: Backend> {
    wte: Embedding<B>,
    wpe: Embedding<B>,
    pub(super) h: Vec<Block<B>>,
    ln_f: LayerNorm<B>,
    dropout: f64,
}

/// What [`Gpt2LmHead::inspect`] gives.
#[derive(Clone, Debug)]
pub struct Inspection<B: Backend> {
    /// Each layer's output, `[batch, seq, width]`.
    pub blocks: Vec<Tensor<B, 3>>,
    /// Attention probabilities of each layer, `[batch, heads, seq, seq]`.
    pub attentions: Vec<Tensor<B, 4>>,
    /// Last hidden state, normalised, `[batch, seq, width]`.
    pub hidden: Tensor<B, 3>,
}

impl<B: Backend> Gpt2LmHead<B> {
    /// A model with fresh weights: N(0, `initializer_range`), biases 0. Nothing is dropped in a
    /// `frozen` one.
    pub fn new(config: &Gpt2Config, frozen: bool, device: &B::Device) -> Self {
        let (width, std) = (config.n_embd, config.initializer_range);
        let table = |entries| Embedding {
            weight: Initializer::Normal { mean: 0.0, std }.init([entries, width], device),
        };
        let layers = 0..config.n_layer;
        Self {
            transformer: Gpt2 {
                wte: table(config.vocab_size),
                wpe: table(config.n_positions),
                h: layers.map(|_| Block::new(config, frozen, device)).collect(),
                ln_f: LayerNormConfig::new(width)
                    .with_epsilon(config.layer_norm_epsilon)
                    .init(device),
                dropout: if frozen { 0.0 } else { config.embd_pdrop },
            },
            head: None,
        }
    }

    /// The word embedding `[vocab, width]`.
    pub fn word_embeddings(&self) -> Tensor<B, 2> {
        self.transformer.wte.weight.val()
    }

    /// Embeddings of tokens `[batch, seq]`: `[batch, seq, width]`.
    pub fn embed_words(&self, tokens: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        self.transformer.wte.forward(tokens)
    }
}

impl<B: OscarBackend> Gpt2LmHead<B> {
    /// For inference: with an output matrix of its own, in memory in the order in which a product of
    /// few rows reads it.
    pub fn for_inference(mut self) -> Self {
        let words = self.word_embeddings();
        let [vocab, width] = words.dims();
        let turned = words.transpose().reshape([width * vocab]);
        self.head = Some(Embedding {
            weight: Param::from_tensor(turned.reshape([width, vocab]).transpose()),
        });
        self
    }

    /// The last hidden state, normalised, of vectors `[batch, seq, width]`; each reads itself and
    /// those before it.
    pub fn forward(&self, vectors: Tensor<B, 3>) -> Tensor<B, 3> {
        let [batch, seq, _] = vectors.dims();
        let mask = ops::causal_mask(batch, seq, &vectors.device());
        let mut hidden = self.transformer.embed(vectors, 0);
        for block in &self.transformer.h {
            hidden = block.forward(hidden, mask.clone());
        }
        self.transformer.ln_f.forward(hidden)
    }

    /// As [`forward`](Self::forward), and keeps what each layer computes.
    pub fn inspect(&self, vectors: Tensor<B, 3>) -> Inspection<B> {
        let [batch, seq, _] = vectors.dims();
        let mask = ops::causal_mask(batch, seq, &vectors.device());
        let mut hidden = self.transformer.embed(vectors, 0);
        let (mut blocks, mut attentions) = (Vec::new(), Vec::new());
        for block in &self.transformer.h {
            let (output, attention) = block.inspect(hidden, mask.clone());
            blocks.push(output.clone());
            attentions.push(attention);
            hidden = output;
        }
        Inspection {
            blocks,
            attentions,
            hidden: self.transformer.ln_f.forward(hidden),
        }
    }

    /// Vocabulary logits `[rows, vocab]` of hidden states `[rows, width]`.
    pub fn logits(&self, hidden: Tensor<B, 2>) -> Tensor<B, 2> {
        let matrix = match &self.head {
            Some(head) => head.weight.val(),
            None => self.word_embeddings(),
        };
        let [vocab, _] = matrix.dims();
        let bias = Tensor::zeros([vocab], &hidden.device());
        ops::tied_linear(hidden, matrix, bias)
    }
}

impl<B: OscarBackend> Gpt2<B> {
    /// Vectors `[batch, seq, width]` with the embeddings of the positions from `first` on.
    pub(super) fn embed(&self, vectors: Tensor<B, 3>, first: usize) -> Tensor<B, 3> {
        let [_, seq, _] = vectors.dims();
        let positions = self.wpe.weight.val().narrow(0, first, seq);
        ops::dropout(vectors + positions.unsqueeze::<3>(), self.dropout)
    }

    /// The last LayerNorm, on rows.
    pub(super) fn last_norm(&self, rows: Tensor<B, 2>) -> Tensor<B, 2> {
        self.ln_f.forward(rows)
    }
}
