//! A layer of CLIP's transformers, of both sides, and how files name its tensors.

use burn::module::Module;
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{Tensor, backend::Backend};
use oscar_core::config::Activation;
use oscar_core::ops::{self, OscarBackend};

use super::ClipError;
use super::file::{ClipFile, HEAD, Layout, Parts, Side};

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

impl<B: OscarBackend> Block<B> {
    /// `[batch, seq, width]` to the same shape; `mask` `[batch, 1, 1 or seq, seq]` is added to the
    /// scores.
    pub(super) fn forward(&self, hidden: Tensor<B, 3>, mask: Tensor<B, 4>) -> Tensor<B, 3> {
        let [batch, seq, _] = hidden.dims();
        let rows = ops::flatten(hidden);
        let projected = self.projected(rows.clone(), batch, seq);
        let context = self.attend([0, 1, 2].map(|part| self.part(&projected, part)), mask);
        ops::unflatten(self.finish(rows, context), batch, seq)
    }

    /// The first position after the layer, `[batch, width]`; `mask` is `[batch, 1, 1, seq]`.
    pub(super) fn forward_first(&self, hidden: Tensor<B, 3>, mask: Tensor<B, 4>) -> Tensor<B, 2> {
        let [batch, seq, width] = hidden.dims();
        let projected = self.projected(ops::flatten(hidden.clone()), batch, seq);
        let query = self.part(&projected, 0).narrow(1, 0, 1);
        let parts = [query, self.part(&projected, 1), self.part(&projected, 2)];
        let context = self.attend(parts, mask);
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
    fn attend(&self, parts: [Tensor<B, 3>; 3], mask: Tensor<B, 4>) -> Tensor<B, 2> {
        let [_, _, width] = parts[1].dims();
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

/// Sizes of the layers of one side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layers {
    side: Side,
    pub(super) width: usize,
    pub(super) inner: usize,
    pub(super) count: usize,
    pub(super) heads: usize,
    pub(super) activation: Activation,
}

impl Layers {
    /// The layers of a file, of this width.
    pub(super) fn of(file: &ClipFile, side: Side, width: usize) -> Result<Self, ClipError> {
        let name = |block, part| block_name(file.layout(), side, block, part);
        let count = (0..).take_while(|block| file.has(&name(*block, "ln_1.weight")));
        let count = count.count();
        let [inner, _] = file.shape(&name(0, "mlp.c_fc.weight"))?;
        let described = file.described(side)?;
        let heads = described.num_attention_heads.unwrap_or(width / HEAD);
        if heads == 0 || !width.is_multiple_of(heads) {
            let found = format!("its layers have width {width} and {heads} heads");
            return Err(file.malformed(format!("{found}, which do not fit each other")));
        }
        Ok(Self {
            side,
            width,
            inner,
            count,
            heads,
            activation: described.hidden_act,
        })
    }

    /// Reads them.
    pub(super) fn read<B: Backend>(
        &self,
        parts: &Parts<'_, B>,
    ) -> Result<Vec<Block<B>>, ClipError> {
        (0..self.count)
            .map(|block| self.block(parts, block))
            .collect()
    }

    fn block<B: Backend>(&self, parts: &Parts<'_, B>, block: usize) -> Result<Block<B>, ClipError> {
        let (width, inner) = (self.width, self.inner);
        let name = |part: &str| block_name(parts.file.layout(), self.side, block, part);
        Ok(Block {
            ln_1: parts.norm(&name("ln_1"), width)?,
            in_proj: self.in_proj(parts, block)?,
            out_proj: parts.named_linear(&name("attn.out_proj"), [width, width])?,
            ln_2: parts.norm(&name("ln_2"), width)?,
            c_fc: parts.named_linear(&name("mlp.c_fc"), [width, inner])?,
            c_proj: parts.named_linear(&name("mlp.c_proj"), [inner, width])?,
            heads: self.heads,
            activation: self.activation,
        })
    }

    /// Query, key and value of a layer; HuggingFace has them one by one.
    fn in_proj<B: Backend>(
        &self,
        parts: &Parts<'_, B>,
        block: usize,
    ) -> Result<Linear<B>, ClipError> {
        let (file, width) = (parts.file, self.width);
        let name = |part: &str| block_name(file.layout(), self.side, block, part);
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        match file.layout() {
            Layout::OpenAi => {
                weight = file.values(&name("attn.in_proj_weight"), &[3 * width, width])?;
                bias = file.values(&name("attn.in_proj_bias"), &[3 * width])?;
            }
            Layout::HuggingFace => {
                for part in ["q", "k", "v"] {
                    let name = |end: &str| name(&format!("self_attn.{part}_proj.{end}"));
                    weight.extend(file.values(&name("weight"), &[width, width])?);
                    bias.extend(file.values(&name("bias"), &[width])?);
                }
            }
        }
        Ok(parts.linear(weight, Some(bias), [width, 3 * width]))
    }
}

/// The name of a tensor of a layer, from OpenAI's.
fn block_name(layout: Layout, side: Side, block: usize, name: &str) -> String {
    const NAMES: [(&str, &str); 5] = [
        ("attn.out_proj", "self_attn.out_proj"),
        ("ln_1", "layer_norm1"),
        ("ln_2", "layer_norm2"),
        ("mlp.c_fc", "mlp.fc1"),
        ("mlp.c_proj", "mlp.fc2"),
    ];
    let layers = match (layout, side) {
        (Layout::OpenAi, Side::Vision) => "visual.transformer.resblocks",
        (Layout::OpenAi, Side::Text) => "transformer.resblocks",
        (Layout::HuggingFace, Side::Vision) => "vision_model.encoder.layers",
        (Layout::HuggingFace, Side::Text) => "text_model.encoder.layers",
    };
    let own = NAMES.iter().find_map(|(openai, own)| {
        let end = name.strip_prefix(openai)?;
        (layout == Layout::HuggingFace).then(|| format!("{own}{end}"))
    });
    let name = own.as_deref().unwrap_or(name);
    format!("{layers}.{block}.{name}")
}
