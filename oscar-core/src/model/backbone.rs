//! The backbone: embeddings, region projection, encoder and pooler (official `BertImgModel`).
//!
//! What is unusual in it: words and object tags share one embedding and one numbering of
//! positions; region features are projected to the same width and appended, without position,
//! without segment, so that the encoder sees one sequence `[words, tags | regions]`.
//!
//! Field names are the official parameter names, up to two spellings that Rust does not allow
//! (see [`crate::checkpoint`]).

mod cached;

use burn::module::{Module, Param};
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{Bool, Int, Tensor, activation, backend::Backend, module::embedding};

use super::{init, recompute};
use crate::checkpoint::Checkpointed;
use crate::config::{Activation, ModelConfig};
use crate::input::{AttentionMask, OscarInput, Packing};
use crate::ops::{self, OscarBackend};

pub(super) use cached::key_mask;
pub use cached::{CaptionCache, ContextCache};

/// Id whose embedding gets no gradient from look-ups (the official `padding_idx`).
const PADDING_ID: i64 = 0;

/// Score added to a masked key. Finite, so that a row without any key still has a softmax.
const MASKED_SCORE: f64 = -10_000.0;

/// Embeddings, encoder and pooler of Oscar (paper §3, official `BertImgModel`).
#[derive(Module, Debug)]
pub struct Backbone<B: Backend> {
    embeddings: Embeddings<B>,
    /// Projects region features to `hidden_size`.
    img_embedding: Linear<B>,
    /// Normalises the projected regions; Oscar+ only.
    layer_norm: Option<LayerNorm<B>>,
    encoder: Encoder<B>,
    pooler: Pooler<B>,
    dropout: f64,
}

/// What the backbone computed.
#[derive(Clone, Debug)]
pub struct BackboneOutput<B: Backend> {
    /// Last hidden state, `[batch, text + regions, hidden]`; zeros where it was not asked for.
    pub sequence: Tensor<B, 3>,
    /// Pooled first position, `[batch, hidden]`.
    pub pooled: Tensor<B, 2>,
    /// With [`Inspect::hidden_states`]: the embeddings, then each layer's output.
    pub hidden_states: Vec<Tensor<B, 3>>,
    /// With [`Inspect::attentions`]: each layer's probabilities, `[batch, heads, seq, seq]`.
    pub attentions: Vec<Tensor<B, 4>>,
}

/// What a forward pass keeps or changes beside its result.
#[derive(Clone, Debug)]
pub struct Inspect<B: Backend> {
    /// Keep every hidden state.
    pub hidden_states: bool,
    /// Keep every attention matrix.
    pub attentions: bool,
    /// Factor of each head's attention probabilities, `[layers, heads]`.
    pub head_mask: Option<Tensor<B, 2>>,
}

impl<B: Backend> Default for Inspect<B> {
    fn default() -> Self {
        Self {
            hidden_states: false,
            attentions: false,
            head_mask: None,
        }
    }
}

impl<B: Backend> Backbone<B> {
    /// A backbone with fresh weights.
    pub fn new(config: &ModelConfig, device: &B::Device) -> Self {
        let std = config.initializer_range;
        let hidden = config.hidden_size;
        Self {
            embeddings: Embeddings::new(config, device),
            img_embedding: init::linear(config.img_feature_dim, hidden, std, device),
            layer_norm: config
                .use_img_layernorm
                .then(|| init::layer_norm(hidden, config.img_layer_norm_eps, device)),
            encoder: Encoder {
                layer: (0..config.num_hidden_layers)
                    .map(|_| Layer::new(config, device))
                    .collect(),
            },
            pooler: Pooler {
                dense: init::linear(hidden, hidden, std, device),
            },
            dropout: config.hidden_dropout_prob,
        }
    }

    /// The word embedding `[vocab, hidden]`: also the output matrix of a tied MLM head. A frozen one
    /// gets no gradient, neither from look-ups nor from there.
    pub fn word_embeddings(&self) -> Tensor<B, 2> {
        let words = self.embeddings.word_embeddings.weight.val();
        match self.embeddings.frozen_words {
            true => words.detach(),
            false => words,
        }
    }
}

impl<B: OscarBackend> Backbone<B> {
    /// Encodes a batch.
    pub fn forward(&self, input: OscarInput<B>) -> BackboneOutput<B> {
        self.forward_with(input, &Inspect::default())
    }

    /// Encodes a batch, keeping or changing what `inspect` asks for.
    pub fn forward_with(
        &self,
        mut input: OscarInput<B>,
        inspect: &Inspect<B>,
    ) -> BackboneOutput<B> {
        input.region_features = input
            .region_features
            .map(|regions| self.project_regions(regions));
        self.forward_projected(input, inspect)
    }

    /// As [`forward_with`](Self::forward_with), of a batch whose region features are
    /// [projected](Self::project_regions) already: an image that many texts are compared with needs
    /// it once.
    pub fn forward_projected(
        &self,
        input: OscarInput<B>,
        inspect: &Inspect<B>,
    ) -> BackboneOutput<B> {
        let [batch, seq] = input.dims();
        let layout = |packing| Layout {
            batch,
            seq,
            packing,
        };
        // What is looked at is looked at as a whole.
        let whole = inspect.hidden_states || inspect.attentions || inspect.head_mask.is_some();
        let asked = input.query_positions.filter(|_| !whole);
        let (layout, asked) = (
            layout(input.packing),
            asked.map(|asked| layout(Some(asked))),
        );
        let mask = additive_mask(input.attention_mask);
        let text =
            self.embeddings
                .forward(input.input_ids, input.token_type_ids, input.position_ids);
        let embedded = match input.region_features {
            Some(regions) => Tensor::cat(vec![text, regions], 1),
            None => text,
        };
        let mut hidden = layout.pack(embedded);

        let mut hidden_states = Vec::new();
        let mut attentions = Vec::new();
        let count = self.encoder.layer.len();
        for (index, layer) in self.encoder.layer.iter().enumerate() {
            if inspect.hidden_states {
                hidden_states.push(layout.unpack(hidden.clone()));
            }
            let head_mask = inspect.head_mask.as_ref().map(|mask| {
                let [_, heads] = mask.dims();
                mask.clone().narrow(0, index, 1).reshape([1, heads, 1, 1])
            });
            hidden = match inspect.attentions || head_mask.is_some() {
                true => {
                    let look = Look::At { head_mask };
                    let (output, looked_at) =
                        layer.forward(hidden, (&layout, None), mask.clone(), look);
                    attentions.extend(looked_at.filter(|_| inspect.attentions));
                    output
                }
                false => {
                    let (layout, mask) = (layout.clone(), mask.clone());
                    let asked = asked.clone().filter(|_| index + 1 == count);
                    recompute::segment(layer, hidden, move |layer, hidden| {
                        let layouts = (&layout, asked.as_ref());
                        layer.forward(hidden, layouts, mask.clone(), Look::Away).0
                    })
                }
            };
        }
        let sequence = asked.unwrap_or(layout).unpack(hidden);
        if inspect.hidden_states {
            hidden_states.push(sequence.clone());
        }

        let pooled = self.pooler.forward(sequence.clone());
        BackboneOutput {
            sequence,
            pooled,
            hidden_states,
            attentions,
        }
    }

    /// Region features `[batch, regions, dim]` to `[batch, regions, hidden]`: what the encoder reads
    /// of an image.
    pub fn project_regions(&self, regions: Tensor<B, 3>) -> Tensor<B, 3> {
        let [batch, count, _] = regions.dims();
        let projected = ops::linear(&self.img_embedding, ops::flatten(regions));
        let projected = ops::unflatten(projected, batch, count);
        let normed = match &self.layer_norm {
            Some(layer_norm) => layer_norm.forward(projected),
            None => projected,
        };
        ops::dropout(normed, self.dropout)
    }
}

impl<B: Backend> Checkpointed<B> for Backbone<B> {}

/// 1 = attend, 0 = do not, as a term to add to the scores: `[batch, 1, 1 or seq, seq]`.
fn additive_mask<B: Backend>(mask: AttentionMask<B>) -> Tensor<B, 4> {
    let mask = match mask {
        AttentionMask::Padding(mask) => {
            let [batch, seq] = mask.dims();
            mask.reshape([batch, 1, 1, seq])
        }
        AttentionMask::Full(mask) => {
            let [batch, queries, keys] = mask.dims();
            mask.reshape([batch, 1, queries, keys])
        }
    };
    // (1 - m) * -10000
    mask.neg().add_scalar(1.0).mul_scalar(MASKED_SCORE)
}

/// A named embedding matrix `[entries, hidden]`.
#[derive(Module, Debug)]
struct EmbeddingTable<B: Backend> {
    weight: Param<Tensor<B, 2>>,
}

impl<B: Backend> EmbeddingTable<B> {
    fn new(entries: usize, config: &ModelConfig, device: &B::Device) -> Self {
        let weight = init::embedding(
            entries,
            config.hidden_size,
            config.initializer_range,
            device,
        );
        Self { weight }
    }

    fn forward(&self, ids: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        embedding(self.weight.val(), ids)
    }
}

/// Word + position + segment, normalised.
#[derive(Module, Debug)]
struct Embeddings<B: Backend> {
    word_embeddings: EmbeddingTable<B>,
    position_embeddings: EmbeddingTable<B>,
    token_type_embeddings: EmbeddingTable<B>,
    layer_norm: LayerNorm<B>,
    dropout: f64,
    /// Whether the words' vectors stay as they are.
    frozen_words: bool,
}

impl<B: Backend> Embeddings<B> {
    fn new(config: &ModelConfig, device: &B::Device) -> Self {
        let table = |entries| EmbeddingTable::new(entries, config, device);
        Self {
            word_embeddings: table(config.vocab_size),
            position_embeddings: table(config.max_position_embeddings),
            token_type_embeddings: table(config.type_vocab_size),
            layer_norm: init::layer_norm(config.hidden_size, config.layer_norm_eps, device),
            dropout: config.hidden_dropout_prob,
            frozen_words: config.freeze_embedding,
        }
    }
}

impl<B: OscarBackend> Embeddings<B> {
    /// Ids `[batch, text]` to `[batch, text, hidden]`.
    fn forward(
        &self,
        input_ids: Tensor<B, 2, Int>,
        token_type_ids: Tensor<B, 2, Int>,
        position_ids: Option<Tensor<B, 2, Int>>,
    ) -> Tensor<B, 3> {
        let [_, text] = input_ids.dims();
        let words = self.embed_words(input_ids);
        let positions = match position_ids {
            Some(ids) => self.position_embeddings.forward(ids),
            None => self
                .position_embeddings
                .weight
                .val()
                .narrow(0, 0, text)
                .unsqueeze::<3>(),
        };
        let segments = self.token_type_embeddings.forward(token_type_ids);
        let normed = self.layer_norm.forward(words + positions + segments);
        ops::dropout(normed, self.dropout)
    }

    /// Looks the words up; padding gets its embedding but gives it no gradient.
    fn embed_words(&self, input_ids: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let words = self.word_embeddings.forward(input_ids.clone());
        if !B::ad_enabled(&words.device()) {
            return words;
        }
        if self.frozen_words {
            return words.detach();
        }
        let padding: Tensor<B, 3, Bool> = input_ids.equal_elem(PADDING_ID).unsqueeze_dim(2);
        let padding = padding.expand(words.shape());
        let fixed = words.clone().detach();
        words.mask_where(padding, fixed)
    }
}

#[derive(Module, Debug)]
struct Encoder<B: Backend> {
    layer: Vec<Layer<B>>,
}

/// One post-LayerNorm transformer layer.
#[derive(Module, Debug)]
struct Layer<B: Backend> {
    attention: Attention<B>,
    intermediate: Dense<B>,
    output: ResidualOutput<B>,
    #[module(skip)]
    activation: Activation,
}

impl<B: Backend> Layer<B> {
    fn new(config: &ModelConfig, device: &B::Device) -> Self {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        Self {
            attention: Attention {
                self_attention: SelfAttention::new(config, device),
                output: ResidualOutput::new(hidden, config, device),
            },
            intermediate: Dense {
                dense: init::linear(hidden, inner, config.initializer_range, device),
            },
            output: ResidualOutput::new(inner, config, device),
            activation: config.hidden_act,
        }
    }
}

impl<B: OscarBackend> Layer<B> {
    /// Rows `[rows, hidden]` to the same, or to the rows of the positions that are `asked` for; and
    /// the attention probabilities if they are looked at.
    fn forward(
        &self,
        hidden: Tensor<B, 2>,
        (layout, asked): (&Layout<B>, Option<&Layout<B>>),
        mask: Tensor<B, 4>,
        look: Look<B>,
    ) -> (Tensor<B, 2>, Option<Tensor<B, 4>>) {
        let queries = match asked {
            Some(asked) => asked.pack(layout.unpack(hidden.clone())),
            None => hidden.clone(),
        };
        let attention = &self.attention.self_attention;
        let rows = [(queries.clone(), asked.unwrap_or(layout)), (hidden, layout)];
        let (context, probabilities) = attention.forward(rows, mask, look);
        (self.finish(context, queries), probabilities)
    }
}

/// Whether a layer's attention probabilities are looked at or changed.
enum Look<B: Backend> {
    Away,
    At { head_mask: Option<Tensor<B, 4>> },
}

/// How positions `[batch, seq]` are rows of a matrix: all of them, or some.
#[derive(Clone)]
struct Layout<B: Backend> {
    batch: usize,
    seq: usize,
    packing: Option<Packing<B>>,
}

impl<B: OscarBackend> Layout<B> {
    /// `[batch, seq, width]` to `[rows, width]`.
    fn pack(&self, x: Tensor<B, 3>) -> Tensor<B, 2> {
        let x = ops::flatten(x);
        match &self.packing {
            Some(packing) => ops::gather_rows(x, &packing.places, &packing.rows),
            None => x,
        }
    }

    /// `[rows, width]` to `[batch, seq, width]`, with zeros where nothing was computed.
    fn unpack(&self, x: Tensor<B, 2>) -> Tensor<B, 3> {
        let x = match &self.packing {
            Some(packing) => ops::gather_rows(x, &packing.rows, &packing.places),
            None => x,
        };
        ops::unflatten(x, self.batch, self.seq)
    }
}

#[derive(Module, Debug)]
struct Attention<B: Backend> {
    self_attention: SelfAttention<B>,
    output: ResidualOutput<B>,
}

#[derive(Module, Debug)]
struct Dense<B: Backend> {
    dense: Linear<B>,
}

/// Linear, dropout, add the residual, LayerNorm.
#[derive(Module, Debug)]
struct ResidualOutput<B: Backend> {
    dense: Linear<B>,
    layer_norm: LayerNorm<B>,
    epsilon: f64,
    dropout: f64,
}

impl<B: Backend> ResidualOutput<B> {
    fn new(d_input: usize, config: &ModelConfig, device: &B::Device) -> Self {
        let hidden = config.hidden_size;
        Self {
            dense: init::linear(d_input, hidden, config.initializer_range, device),
            layer_norm: init::layer_norm(hidden, config.layer_norm_eps, device),
            epsilon: config.layer_norm_eps,
            dropout: config.hidden_dropout_prob,
        }
    }
}

impl<B: OscarBackend> ResidualOutput<B> {
    /// Rows of the branch and of the residual to rows `[rows, hidden]`.
    fn forward(&self, input: Tensor<B, 2>, residual: Tensor<B, 2>) -> Tensor<B, 2> {
        let constants = (self.epsilon, self.dropout);
        ops::linear_residual_norm(&self.dense, &self.layer_norm, constants, input, residual)
    }
}

/// Multi-head attention over the whole sequence.
///
/// Written out, because Burn's has dropout on the scores rather than on the probabilities and its
/// fused one has neither dropout nor an additive mask that is exact on every backend.
#[derive(Module, Debug)]
struct SelfAttention<B: Backend> {
    query: Linear<B>,
    key: Linear<B>,
    value: Linear<B>,
    dropout: f64,
    num_heads: usize,
}

impl<B: Backend> SelfAttention<B> {
    fn new(config: &ModelConfig, device: &B::Device) -> Self {
        let hidden = config.hidden_size;
        let linear = || init::linear(hidden, hidden, config.initializer_range, device);
        Self {
            query: linear(),
            key: linear(),
            value: linear(),
            dropout: config.attention_probs_dropout_prob,
            num_heads: config.num_attention_heads,
        }
    }
}

impl<B: OscarBackend> SelfAttention<B> {
    /// What `queries` read of `rows`, and the probabilities.
    fn forward(
        &self,
        [(queries, asked), (rows, layout)]: [(Tensor<B, 2>, &Layout<B>); 2],
        mask: Tensor<B, 4>,
        look: Look<B>,
    ) -> (Tensor<B, 2>, Option<Tensor<B, 4>>) {
        let query = self.heads(&self.query, queries, asked);
        let key = self.heads(&self.key, rows.clone(), layout);
        let value = self.heads(&self.value, rows, layout);
        let (context, probabilities) = match look {
            Look::Away => {
                let read = ops::attention([query, key, value], mask, self.scale(), self.dropout);
                (read, None)
            }
            Look::At { head_mask } => {
                let scores = query.matmul(key.swap_dims(2, 3));
                let mut probabilities = self.probabilities(scores, mask);
                if let Some(head_mask) = head_mask {
                    probabilities = probabilities * head_mask;
                }
                (probabilities.clone().matmul(value), Some(probabilities))
            }
        };
        (asked.pack(ops::merge_heads(context)), probabilities)
    }

    /// One of the three projections, rows to `[batch, heads, seq, size]`.
    fn heads(&self, layer: &Linear<B>, hidden: Tensor<B, 2>, layout: &Layout<B>) -> Tensor<B, 4> {
        let projected = ops::linear_low_precision(layer, hidden);
        ops::split_heads(layout.unpack(projected), self.num_heads)
    }

    /// Of the scores: 1 / sqrt(size of a head).
    fn scale(&self) -> f64 {
        let [width, _] = self.query.weight.dims();
        1.0 / ((width / self.num_heads) as f64).sqrt()
    }

    fn probabilities(&self, scores: Tensor<B, 4>, mask: Tensor<B, 4>) -> Tensor<B, 4> {
        ops::attention_probabilities(scores, mask, self.scale(), self.dropout)
    }
}

#[derive(Module, Debug)]
struct Pooler<B: Backend> {
    dense: Linear<B>,
}

impl<B: OscarBackend> Pooler<B> {
    /// `[batch, seq, hidden]` to `[batch, hidden]`: dense and tanh on position 0.
    fn forward(&self, sequence: Tensor<B, 3>) -> Tensor<B, 2> {
        let [batch, _, hidden] = sequence.dims();
        let first = sequence.slice([0..batch, 0..1]).reshape([batch, hidden]);
        activation::tanh(ops::linear(&self.dense, first))
    }
}
