//! The backbone: embeddings, region projection, encoder and pooler (official `BertImgModel`).
//!
//! Words and object tags share one embedding and one numbering of positions; region features are
//! projected to the same width and appended without position and segment, so that the encoder
//! reads one sequence `[words, tags | regions]`.
//!
//! Field names are the official parameter names, up to two spellings that Rust does not allow
//! (see [`crate::checkpoint`]).

use burn::module::Module;
use burn::nn::{Embedding, LayerNorm, Linear};
use burn::tensor::{Bool, Int, Tensor, activation, backend::Backend};

use super::region_projection::RegionProjection;
use super::{init, recompute};
use crate::checkpoint::Checkpointed;
use crate::config::{Activation, ModelConfig};
use crate::input::{AttentionMask, OscarInput, Packing};
use crate::ops::{self, HeadLayout, Kernels, LayerEnd, OscarBackend};

/// Id whose embedding gets no gradient from look-ups (the official `padding_idx`), unless the
/// configuration says otherwise.
const PADDING_ID: i64 = 0;

/// Added to the score of a masked key. Finite, so that a row without any key still has a softmax.
const MASKED_SCORE: f64 = -10_000.0;

/// Embeddings, encoder and pooler of Oscar (paper §3, official `BertImgModel`).
#[derive(Module, Debug)]
pub struct Backbone<B: Backend> {
    pub(super) embeddings: Embeddings<B>,
    /// Projects region features to `hidden_size`.
    img_embedding: RegionProjection<B>,
    /// Normalises the projected regions; Oscar+ and ROSITA.
    layer_norm: Option<LayerNorm<B>>,
    pub(super) encoder: Encoder<B>,
    pooler: Pooler<B>,
    dropout: f64,
}

/// What the backbone computes.
#[derive(Clone, Debug)]
pub struct BackboneOutput<B: Backend> {
    /// Last hidden state, `[batch, text + regions, hidden]`; zeros where it was not computed (see
    /// [`OscarInput`]).
    pub sequence: Tensor<B, 3>,
    /// Pooled first position, `[batch, hidden]`.
    pub pooled: Tensor<B, 2>,
}

/// What every layer computes.
#[derive(Clone, Debug)]
pub struct Inspection<B: Backend> {
    /// The embeddings, then each layer's output, `[batch, seq, hidden]`.
    pub hidden_states: Vec<Tensor<B, 3>>,
    /// Each layer's attention probabilities, `[batch, heads, seq, seq]`.
    pub attentions: Vec<Tensor<B, 4>>,
}

impl<B: Backend> Backbone<B> {
    /// A backbone with fresh weights.
    pub fn new(config: &ModelConfig, device: &B::Device) -> Self {
        let std = config.initializer_range;
        let hidden = config.hidden_size;
        Self {
            embeddings: Embeddings::new(config, device),
            img_embedding: RegionProjection::new(config, device),
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
    pub fn forward(&self, mut input: OscarInput<B>) -> BackboneOutput<B> {
        let regions = input.region_features;
        input.region_features = regions.map(|regions| self.project_regions(regions));
        self.forward_projected(input)
    }

    /// As [`forward`](Self::forward), with region features that are
    /// [projected](Self::project_regions) already: an image that is compared with many texts is
    /// projected once.
    pub fn forward_projected(&self, mut input: OscarInput<B>) -> BackboneOutput<B> {
        let layout = Layout::new(&input, input.packing.clone());
        let queries = input.query_positions.take();
        let queries = queries.map(|positions| Layout::new(&input, Some(positions)));
        let mask = additive_mask(input.attention_mask.clone());
        let embedded = Packed::new(self.embed(input), layout);
        self.output(self.encode(embedded, queries, mask).unpack())
    }

    /// Encodes a batch, every position of it, and keeps what each layer computes.
    pub fn inspect(&self, mut input: OscarInput<B>) -> (BackboneOutput<B>, Inspection<B>) {
        let regions = input.region_features;
        input.region_features = regions.map(|regions| self.project_regions(regions));
        let layout = Layout::new(&input, input.packing.clone());
        let mask = additive_mask(input.attention_mask.clone());
        let mut hidden = Packed::new(self.embed(input), layout);
        let mut inspection = Inspection {
            hidden_states: vec![hidden.clone().unpack()],
            attentions: Vec::new(),
        };
        for layer in &self.encoder.layer {
            let (output, attention) = layer.inspect(hidden, mask.clone());
            inspection.hidden_states.push(output.clone().unpack());
            inspection.attentions.push(attention);
            hidden = output;
        }
        (self.output(hidden.unpack()), inspection)
    }

    /// Text and projected regions as one sequence `[batch, seq, hidden]`.
    fn embed(&self, input: OscarInput<B>) -> Tensor<B, 3> {
        let text =
            self.embeddings
                .forward(input.input_ids, input.token_type_ids, input.position_ids);
        match input.region_features {
            Some(regions) => Tensor::cat(vec![text, regions], 1),
            None => text,
        }
    }

    /// Runs all layers, the last one for `queries` alone if they are given.
    fn encode(
        &self,
        embedded: Packed<B>,
        queries: Option<Layout<B>>,
        mask: Tensor<B, 4>,
    ) -> Packed<B> {
        let count = self.encoder.layer.len();
        let layers = self.encoder.layer.iter().enumerate();
        layers.fold(embedded, |hidden, (index, layer)| {
            let queries = queries.clone().filter(|_| index + 1 == count);
            let (keys, mask) = (hidden.layout, mask.clone());
            let layout = queries.clone().unwrap_or_else(|| keys.clone());
            let rows = recompute::segment(layer, hidden.rows, move |layer, rows| {
                let layout = keys.clone();
                layer.forward(Packed { rows, layout }, queries.as_ref(), mask.clone())
            });
            Packed { rows, layout }
        })
    }

    fn output(&self, sequence: Tensor<B, 3>) -> BackboneOutput<B> {
        let pooled = self.pooler.forward(sequence.clone());
        BackboneOutput { sequence, pooled }
    }

    /// Region features `[batch, regions, dim]` to what the encoder reads of an image,
    /// `[batch, regions, hidden]`.
    pub fn project_regions(&self, regions: Tensor<B, 3>) -> Tensor<B, 3> {
        let [batch, count, _] = regions.dims();
        let projected = self.img_embedding.forward(ops::flatten(regions));
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
pub(super) fn additive_mask<B: Backend>(mask: AttentionMask<B>) -> Tensor<B, 4> {
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

/// Word + position + segment, normalised.
#[derive(Module, Debug)]
pub(super) struct Embeddings<B: Backend> {
    word_embeddings: Embedding<B>,
    position_embeddings: Embedding<B>,
    token_type_embeddings: Embedding<B>,
    layer_norm: LayerNorm<B>,
    epsilon: f64,
    dropout: f64,
    /// Whether the word embedding is excluded from training.
    frozen_words: bool,
    /// Whether look-ups of [`PADDING_ID`] have a gradient.
    padding_learns: bool,
}

impl<B: Backend> Embeddings<B> {
    fn new(config: &ModelConfig, device: &B::Device) -> Self {
        let (hidden, std) = (config.hidden_size, config.initializer_range);
        let table = |entries| init::embedding(entries, hidden, std, device);
        Self {
            word_embeddings: table(config.vocab_size),
            position_embeddings: table(config.max_position_embeddings),
            token_type_embeddings: table(config.type_vocab_size),
            layer_norm: init::layer_norm(hidden, config.layer_norm_eps, device),
            epsilon: config.layer_norm_eps,
            dropout: config.hidden_dropout_prob,
            frozen_words: config.freeze_embedding,
            padding_learns: config.padding_gets_gradient,
        }
    }
}

impl<B: OscarBackend> Embeddings<B> {
    /// Ids `[batch, text]` to `[batch, text, hidden]`.
    pub(super) fn forward(
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
        let sums = words + positions + segments;
        let [batch, text, _] = sums.dims();
        let norm = (&self.layer_norm, self.epsilon);
        let normed = ops::unflatten(ops::layer_norm(norm, ops::flatten(sums)), batch, text);
        ops::dropout(normed, self.dropout)
    }

    /// Looks the words up; padding gets its embedding but, by default, has no gradient.
    fn embed_words(&self, input_ids: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let words = self.word_embeddings.forward(input_ids.clone());
        if !B::ad_enabled(&words.device()) {
            return words;
        }
        if self.frozen_words {
            return words.detach();
        }
        if self.padding_learns {
            return words;
        }
        let padding: Tensor<B, 3, Bool> = input_ids.equal_elem(PADDING_ID).unsqueeze_dim(2);
        let padding = padding.expand(words.shape());
        let fixed = words.clone().detach();
        words.mask_where(padding, fixed)
    }
}

#[derive(Module, Debug)]
pub(super) struct Encoder<B: Backend> {
    pub(super) layer: Vec<Layer<B>>,
}

/// One post-LayerNorm transformer layer.
#[derive(Module, Debug)]
pub(super) struct Layer<B: Backend> {
    pub(super) attention: Attention<B>,
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
    /// The output rows at the positions of `queries`, by default of all of `hidden`.
    fn forward(
        &self,
        hidden: Packed<B>,
        queries: Option<&Layout<B>>,
        mask: Tensor<B, 4>,
    ) -> Tensor<B, 2> {
        let attention = &self.attention.self_attention;
        let Some(layout) = queries else {
            let context = attention.forward(&hidden, &hidden, mask);
            return self.feed_forward(context, hidden.rows);
        };
        let queries = Packed::new(hidden.clone().unpack(), layout.clone());
        let context = attention.forward(&queries, &hidden, mask);
        self.feed_forward(context, queries.rows)
    }

    /// The output, and the attention probabilities.
    fn inspect(&self, hidden: Packed<B>, mask: Tensor<B, 4>) -> (Packed<B>, Tensor<B, 4>) {
        let (context, probabilities) = self.attention.self_attention.inspect(&hidden, mask);
        let Packed { rows, layout } = hidden;
        let rows = self.feed_forward(context, rows);
        (Packed { rows, layout }, probabilities)
    }

    /// The layer after its self-attention: adds the projected `context` to `hidden`, the layer's
    /// input, and runs the feed-forward network. Rows `[rows, hidden]`, all three.
    pub(super) fn feed_forward(&self, context: Tensor<B, 2>, hidden: Tensor<B, 2>) -> Tensor<B, 2> {
        let ends = [&self.attention.output, &self.output].map(ResidualOutput::end);
        let inner = (&self.intermediate.dense, self.activation);
        ops::feed_forward(ends, inner, context, hidden)
    }
}

/// Hidden states of some positions of a batch, as the rows of a matrix.
#[derive(Clone)]
pub(super) struct Packed<B: Backend> {
    /// `[rows, width]`
    pub(super) rows: Tensor<B, 2>,
    pub(super) layout: Layout<B>,
}

/// Which positions of `[batch, seq]` the rows of a matrix are: all of them, or some.
#[derive(Clone)]
pub(super) struct Layout<B: Backend> {
    batch: usize,
    seq: usize,
    packing: Option<Packing<B>>,
    /// The packing, or that of all positions, where layers are to be [few
    /// operations](Kernels::has_costly_launches).
    heads: Option<Packing<B>>,
}

impl<B: OscarBackend> Layout<B> {
    fn new(input: &OscarInput<B>, packing: Option<Packing<B>>) -> Self {
        let ([batch, seq], device) = (input.dims(), input.input_ids.device());
        let few = B::TRAINS && <B::Kernels as Kernels>::has_costly_launches(&device);
        let all = || Packing::all(batch * seq, &device);
        let heads = few.then(|| packing.clone().unwrap_or_else(all));
        Self {
            batch,
            seq,
            packing,
            heads,
        }
    }

    /// How the rows are divided among heads, for [`ops::self_attention`].
    fn heads(&self, heads: usize) -> Option<HeadLayout<B>> {
        let Packing { places, rows } = self.heads.clone()?;
        Some(HeadLayout {
            batch: self.batch,
            seq: self.seq,
            heads,
            places,
            rows,
        })
    }
}

impl<B: OscarBackend> Packed<B> {
    /// The rows of `hidden` `[batch, seq, width]` at the positions of `layout`.
    fn new(hidden: Tensor<B, 3>, layout: Layout<B>) -> Self {
        let rows = layout.pack(hidden);
        Self { rows, layout }
    }

    /// All rows of `hidden` `[batch, seq, width]`.
    pub(super) fn all(hidden: Tensor<B, 3>) -> Self {
        let [batch, seq, _] = hidden.dims();
        let layout = Layout {
            batch,
            seq,
            packing: None,
            heads: None,
        };
        Self::new(hidden, layout)
    }

    /// `[batch, seq, width]`, with zeros where nothing was computed.
    pub(super) fn unpack(self) -> Tensor<B, 3> {
        self.layout.unpack(self.rows)
    }
}

impl<B: OscarBackend> Layout<B> {
    /// `[batch, seq, width]` to `[rows, width]`.
    pub(super) fn pack(&self, x: Tensor<B, 3>) -> Tensor<B, 2> {
        let x = ops::flatten(x);
        match &self.packing {
            Some(packing) => ops::gather_rows(x, &packing.places, &packing.rows),
            None => x,
        }
    }

    /// `[rows, width]` to `[batch, seq, width]`, with zeros where there is no row.
    fn unpack(&self, x: Tensor<B, 2>) -> Tensor<B, 3> {
        let x = match &self.packing {
            Some(packing) => ops::gather_rows(x, &packing.rows, &packing.places),
            None => x,
        };
        ops::unflatten(x, self.batch, self.seq)
    }
}

#[derive(Module, Debug)]
pub(super) struct Attention<B: Backend> {
    pub(super) self_attention: SelfAttention<B>,
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

impl<B: Backend> ResidualOutput<B> {
    fn end(&self) -> LayerEnd<'_, B> {
        LayerEnd {
            dense: &self.dense,
            norm: &self.layer_norm,
            epsilon: self.epsilon,
            dropout: self.dropout,
        }
    }
}

/// Multi-head attention over the whole sequence.
///
/// Written out, because Burn's has dropout on the scores rather than on the probabilities and its
/// fused one has neither dropout nor an additive mask that is exact on every backend.
#[derive(Module, Debug)]
pub(super) struct SelfAttention<B: Backend> {
    pub(super) query: Linear<B>,
    pub(super) key: Linear<B>,
    pub(super) value: Linear<B>,
    pub(super) dropout: f64,
    pub(super) num_heads: usize,
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
    /// The rows of `queries`, positions of `keys`, after attention to `keys`.
    fn forward(&self, queries: &Packed<B>, keys: &Packed<B>, mask: Tensor<B, 4>) -> Tensor<B, 2> {
        let layouts = [keys, queries].map(|packed| packed.layout.heads(self.num_heads));
        if let [Some(keys_layout), Some(layout)] = layouts {
            let projections = [&self.query, &self.key, &self.value];
            let (layouts, constants) = ([&keys_layout, &layout], (self.scale(), self.dropout));
            let rows = keys.rows.clone();
            return ops::self_attention(projections, rows, layouts, mask, constants);
        }
        let heads = [
            self.project(&self.query, queries),
            self.project(&self.key, keys),
            self.project(&self.value, keys),
        ];
        queries.layout.pack(self.attend(heads, mask))
    }

    /// The rows of `hidden` after attention to each other, and the attention probabilities.
    fn inspect(&self, hidden: &Packed<B>, mask: Tensor<B, 4>) -> (Tensor<B, 2>, Tensor<B, 4>) {
        let heads = [&self.query, &self.key, &self.value];
        let [query, key, value] =
            heads.map(|layer| ops::split_heads(self.project(layer, hidden), self.num_heads));
        let scores = query.matmul(key.swap_dims(2, 3));
        let (scale, dropout) = (self.scale(), self.dropout);
        let probabilities = ops::attention_probabilities(scores, mask, scale, dropout);
        let context = ops::merge_heads(probabilities.clone().matmul(value));
        (hidden.layout.pack(context), probabilities)
    }

    /// One of the three projections, `[batch, seq, width]`.
    pub(super) fn project(&self, layer: &Linear<B>, hidden: &Packed<B>) -> Tensor<B, 3> {
        hidden
            .layout
            .unpack(ops::linear_low_precision(layer, hidden.rows.clone()))
    }

    /// Scaled dot-product attention of projected query, key and value, `[batch, seq, width]` each.
    pub(super) fn attend(&self, heads: [Tensor<B, 3>; 3], mask: Tensor<B, 4>) -> Tensor<B, 3> {
        let heads = heads.map(|projected| ops::split_heads(projected, self.num_heads));
        ops::merge_heads(ops::attention(heads, mask, self.scale(), self.dropout))
    }

    /// Of the scores: 1 / sqrt(size of a head).
    pub(super) fn scale(&self) -> f64 {
        let [width, _] = self.query.weight.dims();
        1.0 / ((width / self.num_heads) as f64).sqrt()
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
