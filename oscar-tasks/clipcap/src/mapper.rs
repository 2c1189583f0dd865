//! Mapping networks: from an embedding to the vectors of a prefix (paper §3.2).

use burn::module::{Initializer, Module, Param};
use burn::nn::{LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Tensor, activation, backend::Backend};
use oscar_core::config::Activation;
use oscar_core::ops::{self, OscarBackend};

use crate::config::{ClipCapConfig, MAPPER_EPSILON, MAPPER_HEADS, MappingType};

/// A mapping network.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Mapper<B: Backend> {
    /// Two linear layers with a hyperbolic tangent between them.
    Perceptron(MlpMapper<B>),
    /// A transformer.
    Transformer(TransformerMapper<B>),
    /// One linear layer.
    SingleLayer(Linear<B>),
}

/// The layers of an MLP.
#[derive(Module, Debug)]
pub struct MlpMapper<B: Backend> {
    first: Linear<B>,
    last: Linear<B>,
}

/// Reads the embedding as some vectors, and learned constants behind them; the prefix is what becomes
/// of the constants.
#[derive(Module, Debug)]
pub struct TransformerMapper<B: Backend> {
    linear: Linear<B>,
    /// `[prefix_length, width]`
    prefix_const: Param<Tensor<B, 2>>,
    transformer: Layers<B>,
}

#[derive(Module, Debug)]
struct Layers<B: Backend> {
    layers: Vec<Layer<B>>,
}

/// `x += attn(norm1(x)); x += mlp(norm2(x))`: every position reads every other.
#[derive(Module, Debug)]
struct Layer<B: Backend> {
    norm1: LayerNorm<B>,
    attn: Attention<B>,
    norm2: LayerNorm<B>,
    mlp: Mlp<B>,
}

#[derive(Module, Debug)]
struct Attention<B: Backend> {
    to_queries: Linear<B>,
    /// Keys and values, one behind the other.
    to_keys_values: Linear<B>,
    project: Linear<B>,
}

#[derive(Module, Debug)]
struct Mlp<B: Backend> {
    fc1: Linear<B>,
    fc2: Linear<B>,
}

impl<B: Backend> Mapper<B> {
    /// A network with fresh weights, as PyTorch initialises them: linear layers uniformly within
    /// 1 / sqrt(inputs), the constants N(0, 1).
    pub fn new(config: &ClipCapConfig, device: &B::Device) -> Self {
        let (width, length) = (config.gpt2.n_embd, config.prefix_length);
        let from = config.embedding_dim;
        let linear = |from, to| linear(from, to, true, device);
        match config.mapping_type {
            MappingType::Mlp => {
                let inner = (width * length / 2).max(1);
                Self::Perceptron(MlpMapper {
                    first: linear(from, inner),
                    last: linear(inner, width * length),
                })
            }
            MappingType::Linear => Self::SingleLayer(linear(from, width * length)),
            MappingType::Transformer => Self::Transformer(TransformerMapper {
                linear: linear(from, config.clip_length * width),
                prefix_const: Initializer::Normal {
                    mean: 0.0,
                    std: 1.0,
                }
                .init([length, width], device),
                transformer: Layers {
                    layers: (0..config.mapping_layers)
                        .map(|_| Layer::new(width, device))
                        .collect(),
                },
            }),
        }
    }
}

impl<B: OscarBackend> Mapper<B> {
    /// Embeddings `[batch, embedding_dim]` to prefixes `[batch, prefix_length, width]`.
    pub fn forward(&self, embeddings: Tensor<B, 2>, width: usize) -> Tensor<B, 3> {
        let [batch, _] = embeddings.dims();
        let rows = match self {
            Self::Perceptron(mlp) => {
                let inner = activation::tanh(ops::linear(&mlp.first, embeddings));
                ops::linear(&mlp.last, inner)
            }
            Self::SingleLayer(layer) => ops::linear(layer, embeddings),
            Self::Transformer(mapper) => return mapper.forward(embeddings),
        };
        let [_, values] = rows.dims();
        rows.reshape([batch, values / width, width])
    }

    /// What each layer of the transformer computes, `[batch, clip_length + prefix_length, width]`; an
    /// MLP has none.
    pub fn inspect(&self, embeddings: Tensor<B, 2>) -> Vec<Tensor<B, 3>> {
        let Self::Transformer(mapper) = self else {
            return Vec::new();
        };
        let mut hidden = mapper.embed(embeddings);
        let layers = mapper.transformer.layers.iter();
        layers
            .map(|layer| {
                hidden = layer.forward(hidden.clone());
                hidden.clone()
            })
            .collect()
    }
}

impl<B: OscarBackend> TransformerMapper<B> {
    fn embed(&self, embeddings: Tensor<B, 2>) -> Tensor<B, 3> {
        let [batch, _] = embeddings.dims();
        let [length, width] = self.prefix_const.dims();
        let vectors = ops::linear(&self.linear, embeddings);
        let [_, values] = vectors.dims();
        let vectors = vectors.reshape([batch, values / width, width]);
        let constants = self.prefix_const.val().unsqueeze::<3>();
        Tensor::cat(vec![vectors, constants.expand([batch, length, width])], 1)
    }

    fn forward(&self, embeddings: Tensor<B, 2>) -> Tensor<B, 3> {
        let [length, _] = self.prefix_const.dims();
        let embedded = self.embed(embeddings);
        let layers = self.transformer.layers.iter();
        let hidden = layers.fold(embedded, |hidden, layer| layer.forward(hidden));
        let [_, seq, _] = hidden.dims();
        hidden.narrow(1, seq - length, length)
    }
}

impl<B: Backend> Layer<B> {
    fn new(width: usize, device: &B::Device) -> Self {
        let norm = || {
            LayerNormConfig::new(width)
                .with_epsilon(MAPPER_EPSILON)
                .init(device)
        };
        Self {
            norm1: norm(),
            attn: Attention {
                to_queries: linear(width, width, false, device),
                to_keys_values: linear(width, 2 * width, false, device),
                project: linear(width, width, true, device),
            },
            norm2: norm(),
            mlp: Mlp {
                fc1: linear(width, 2 * width, true, device),
                fc2: linear(2 * width, width, true, device),
            },
        }
    }
}

impl<B: OscarBackend> Layer<B> {
    fn forward(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        let [batch, seq, width] = hidden.dims();
        let rows = ops::flatten(hidden);
        let normed = self.norm1.forward(rows.clone());
        let heads = |rows| ops::split_heads(ops::unflatten(rows, batch, seq), MAPPER_HEADS);
        let query = heads(ops::linear(&self.attn.to_queries, normed.clone()));
        let both = ops::linear(&self.attn.to_keys_values, normed);
        let key = heads(both.clone().narrow(1, 0, width));
        let value = heads(both.narrow(1, width, width));
        let mask = Tensor::zeros([batch, 1, 1, seq], &rows.device());
        let scale = 1.0 / ((width / MAPPER_HEADS) as f64).sqrt();
        let context = ops::merge_heads(ops::attention([query, key, value], mask, scale, 0.0));
        let rows = rows + ops::linear(&self.attn.project, ops::flatten(context));

        let normed = self.norm2.forward(rows.clone());
        let inner = ops::linear_activate(&self.mlp.fc1, Activation::Relu, normed);
        ops::unflatten(rows + ops::linear(&self.mlp.fc2, inner), batch, seq)
    }
}

/// A linear layer as PyTorch initialises it.
fn linear<B: Backend>(from: usize, to: usize, bias: bool, device: &B::Device) -> Linear<B> {
    let limit = 1.0 / (from as f64).sqrt();
    let uniform = Initializer::Uniform {
        min: -limit,
        max: limit,
    };
    Linear {
        weight: uniform.init([from, to], device),
        bias: bias.then(|| uniform.init([to], device)),
    }
}
