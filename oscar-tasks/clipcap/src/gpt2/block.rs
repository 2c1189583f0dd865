//! A layer of GPT-2: attention and feed-forward network, each after a LayerNorm and with a residual.

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig};
use burn::tensor::{Tensor, backend::Backend};
use oscar_core::config::Activation;
use oscar_core::ops::{self, AttentionParams, CaptionKeyValues, KeyValue, OscarBackend};

use super::conv1d::Conv1d;
use crate::config::Gpt2Config;

/// `x += attn(ln_1(x)); x += mlp(ln_2(x))`.
#[derive(Module, Debug)]
pub(crate) struct Block<B: Backend> {
    ln_1: LayerNorm<B>,
    attn: Attention<B>,
    ln_2: LayerNorm<B>,
    mlp: Mlp<B>,
    residual_dropout: f64,
}

#[derive(Module, Debug)]
struct Attention<B: Backend> {
    /// Query, key and value, side by side.
    c_attn: Conv1d<B>,
    c_proj: Conv1d<B>,
    heads: usize,
    dropout: f64,
}

#[derive(Module, Debug)]
struct Mlp<B: Backend> {
    c_fc: Conv1d<B>,
    c_proj: Conv1d<B>,
}

impl<B: Backend> Block<B> {
    pub(super) fn new(config: &Gpt2Config, frozen: bool, device: &B::Device) -> Self {
        let (width, inner) = (config.n_embd, config.inner());
        let norm = || {
            LayerNormConfig::new(width)
                .with_epsilon(config.layer_norm_epsilon)
                .init(device)
        };
        let dropout = |share| if frozen { 0.0 } else { share };
        Self {
            ln_1: norm(),
            attn: Attention {
                c_attn: Conv1d::new(config, width, 3 * width, device),
                c_proj: Conv1d::new(config, width, width, device),
                heads: config.n_head,
                dropout: dropout(config.attn_pdrop),
            },
            ln_2: norm(),
            mlp: Mlp {
                c_fc: Conv1d::new(config, width, inner, device),
                c_proj: Conv1d::new(config, inner, width, device),
            },
            residual_dropout: dropout(config.resid_pdrop),
        }
    }
}

impl<B: OscarBackend> Block<B> {
    /// `[batch, seq, width]` to the same shape; `mask` `[batch, 1, seq, seq]` is added to the scores.
    pub(super) fn forward(&self, hidden: Tensor<B, 3>, mask: Tensor<B, 4>) -> Tensor<B, 3> {
        self.forward_keeping(hidden, mask).0
    }

    /// As [`forward`](Self::forward), and the keys and values, `[batch, seq, width]` each.
    pub(super) fn forward_keeping(
        &self,
        hidden: Tensor<B, 3>,
        mask: Tensor<B, 4>,
    ) -> (Tensor<B, 3>, KeyValue<B>) {
        let [batch, seq, _] = hidden.dims();
        let rows = ops::flatten(hidden);
        let parts = self
            .attn
            .project(self.ln_1.forward(rows.clone()), batch, seq);
        let [_, key, value] = parts.clone();
        let heads = parts.map(|part| ops::split_heads(part, self.attn.heads));
        let context = ops::attention(heads, mask, self.attn.scale(), self.attn.dropout);
        let rows = self.finish(rows, ops::flatten(ops::merge_heads(context)));
        let own = KeyValue { key, value };
        (ops::unflatten(rows, batch, seq), own)
    }

    /// As [`forward`](Self::forward), and the attention probabilities `[batch, heads, seq, seq]`.
    pub(super) fn inspect(
        &self,
        hidden: Tensor<B, 3>,
        mask: Tensor<B, 4>,
    ) -> (Tensor<B, 3>, Tensor<B, 4>) {
        let [batch, seq, _] = hidden.dims();
        let rows = ops::flatten(hidden);
        let parts = self
            .attn
            .project(self.ln_1.forward(rows.clone()), batch, seq);
        let [query, key, value] = parts.map(|part| ops::split_heads(part, self.attn.heads));
        let scores = query.matmul(key.swap_dims(2, 3));
        let (scale, dropout) = (self.attn.scale(), self.attn.dropout);
        let probabilities = ops::attention_probabilities(scores, mask, scale, dropout);
        let context = ops::merge_heads(probabilities.clone().matmul(value));
        let rows = self.finish(rows, ops::flatten(context));
        (ops::unflatten(rows, batch, seq), probabilities)
    }

    /// Query, and key and value to be kept, of the newest token of each row: `[rows, width]` to
    /// `[rows, 1, width]` each.
    pub(super) fn project_newest(&self, hidden: Tensor<B, 2>) -> (Tensor<B, 3>, KeyValue<B>) {
        let [rows, _] = hidden.dims();
        let normed = self.ln_1.forward(hidden);
        let [query, key, value] = self.attn.project(normed, rows, 1);
        (query, KeyValue { key, value })
    }

    /// The layer's output for the newest token of each row, which reads the prefix of its image and the
    /// words of its row.
    pub(super) fn read(
        &self,
        hidden: Tensor<B, 2>,
        query: Tensor<B, 3>,
        prefix: &KeyValue<B>,
        words: &CaptionKeyValues<'_, B>,
        mask: Tensor<B, 4>,
    ) -> Tensor<B, 2> {
        let params = AttentionParams {
            mask,
            heads: self.attn.heads,
            scale: self.attn.scale(),
            dropout: self.attn.dropout,
        };
        let context = ops::cached_attention(query, prefix, words, &params);
        self.finish(hidden, ops::flatten(context))
    }

    /// The layer after its attention: rows `[rows, width]`, all of them.
    fn finish(&self, hidden: Tensor<B, 2>, context: Tensor<B, 2>) -> Tensor<B, 2> {
        let dropout = self.residual_dropout;
        let hidden = hidden + ops::dropout(self.attn.c_proj.forward(context), dropout);
        let normed = self.ln_2.forward(hidden.clone());
        let inner = self.mlp.c_fc.activate(Activation::GeluNew, normed);
        hidden + ops::dropout(self.mlp.c_proj.forward(inner), dropout)
    }
}

impl<B: OscarBackend> Attention<B> {
    /// Query, key and value of rows `[batch * seq, width]`, `[batch, seq, width]` each.
    fn project(&self, rows: Tensor<B, 2>, batch: usize, seq: usize) -> [Tensor<B, 3>; 3] {
        let projected = ops::unflatten(self.c_attn.forward(rows), batch, seq);
        let width = projected.dims()[2] / 3;
        [0, 1, 2].map(|part| projected.clone().narrow(2, part * width, width))
    }
}

impl<B: Backend> Attention<B> {
    /// Of the scores: 1 / sqrt(size of a head).
    fn scale(&self) -> f64 {
        let [width, _] = self.c_proj.dims();
        1.0 / ((width / self.heads) as f64).sqrt()
    }
}
