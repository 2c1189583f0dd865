//! The heads that more than one model uses.

use burn::module::{Initializer, Module, Param};
use burn::nn::{Embedding, LayerNorm, Linear};
use burn::tensor::{Tensor, activation, backend::Backend};

use super::init;
use crate::config::{Activation, Classifier, ModelConfig};
use crate::ops::{self, OscarBackend};

/// Masked-token head: dense, activation, LayerNorm, output matrix and bias.
///
/// The official code runs it over every position, regions and padding included; here it gets only
/// the rows whose token is to be predicted.
#[derive(Module, Debug)]
pub(super) struct MlmHead<B: Backend> {
    transform: MlmTransform<B>,
    /// Output matrix `[vocab, hidden]` of its own; absent where it is the word embedding.
    decoder: Option<Embedding<B>>,
    /// Added to the logits, `[vocab]`.
    bias: Param<Tensor<B, 1>>,
}

#[derive(Module, Debug)]
struct MlmTransform<B: Backend> {
    dense: Linear<B>,
    layer_norm: LayerNorm<B>,
    epsilon: f64,
    #[module(skip)]
    activation: Activation,
}

impl<B: OscarBackend> MlmHead<B> {
    /// A head with fresh weights; `tied` ones read the word embedding as their output matrix.
    pub(super) fn new(config: &ModelConfig, tied: bool, device: &B::Device) -> Self {
        let (hidden, std) = (config.hidden_size, config.initializer_range);
        Self {
            transform: MlmTransform {
                dense: init::linear(hidden, hidden, std, device),
                layer_norm: init::layer_norm(hidden, config.layer_norm_eps, device),
                epsilon: config.layer_norm_eps,
                activation: config.hidden_act,
            },
            decoder: (!tied).then(|| init::embedding(config.vocab_size, hidden, std, device)),
            bias: Initializer::Zeros.init([config.vocab_size], device),
        }
    }

    /// For inference: with an output matrix of its own, in the type that it is multiplied in, and in
    /// memory in the order in which a product of few rows reads it.
    pub(super) fn for_inference(mut self, word_embeddings: Tensor<B, 2>) -> Self {
        let decoder = self.decoder.map(|decoder| decoder.weight.val());
        let matrix = ops::operand(decoder.unwrap_or(word_embeddings));
        let [vocab, hidden] = matrix.dims();
        let turned = matrix.transpose().reshape([hidden * vocab]);
        let turned = turned.reshape([hidden, vocab]).transpose();
        let weight = Param::from_tensor(turned);
        self.decoder = Some(Embedding { weight });
        self
    }

    /// Logits over the vocabulary.
    ///
    /// # Shapes
    ///
    /// - hidden: `[rows, hidden]`
    /// - word_embeddings: `[vocab, hidden]`
    /// - output: `[rows, vocab]`
    pub(super) fn forward(
        &self,
        hidden: Tensor<B, 2>,
        word_embeddings: Tensor<B, 2>,
    ) -> Tensor<B, 2> {
        let transform = &self.transform;
        let hidden = ops::linear_activate(&transform.dense, transform.activation, hidden);
        let norm = (&transform.layer_norm, transform.epsilon);
        let hidden = ops::layer_norm(norm, ops::to_f32(hidden));
        let decoder = match &self.decoder {
            Some(decoder) => decoder.weight.val(),
            None => word_embeddings,
        };
        ops::tied_linear(hidden, decoder, self.bias.val())
    }
}

/// Classification head. An MLP's parts have the official indices `0`, `2` (and `3`).
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub(super) enum ClassifierHead<B: Backend> {
    /// One linear layer.
    Linear(Linear<B>),
    /// Linear, ReLU, linear.
    Mlp(MlpClassifier<B>),
    /// Linear, ReLU, LayerNorm, linear: NLVR2 heads of models with region LayerNorm.
    NormMlp(NormMlpClassifier<B>),
    /// Linear, GELU, LayerNorm, linear: ROSITA's answers.
    Answer(AnswerHead<B>),
}

/// Two linear layers with a ReLU between them.
#[derive(Module, Debug)]
pub(super) struct MlpClassifier<B: Backend> {
    first: Linear<B>,
    last: Linear<B>,
}

/// Two linear layers with a ReLU and a LayerNorm between them.
#[derive(Module, Debug)]
pub(super) struct NormMlpClassifier<B: Backend> {
    first: Linear<B>,
    norm: LayerNorm<B>,
    last: Linear<B>,
}

/// Answers from the pooled vector: dense, activation, LayerNorm, output layer (ROSITA, without
/// dropout).
#[derive(Module, Debug)]
pub(super) struct AnswerHead<B: Backend> {
    dense: Linear<B>,
    layer_norm: LayerNorm<B>,
    decoder: Linear<B>,
    #[module(skip)]
    activation: Activation,
}

impl<B: OscarBackend> AnswerHead<B> {
    /// A head from `d_input` features to `answers` classes.
    pub(super) fn new(
        config: &ModelConfig,
        d_input: usize,
        answers: usize,
        device: &B::Device,
    ) -> Self {
        let (std, inner) = (
            config.initializer_range,
            config.hidden_size * config.cls_hidden_scale,
        );
        Self {
            dense: init::linear(d_input, inner, std, device),
            layer_norm: init::layer_norm(inner, config.layer_norm_eps, device),
            decoder: init::linear(inner, answers, std, device),
            activation: config.hidden_act,
        }
    }

    /// `[batch, d_input]` to `[batch, answers]`.
    pub(super) fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let hidden = ops::linear_activate(&self.dense, self.activation, input);
        ops::linear(&self.decoder, self.layer_norm.forward(ops::to_f32(hidden)))
    }
}

impl<B: OscarBackend> ClassifierHead<B> {
    /// A head from `d_input` features to `config.num_labels` classes; `norm` puts a LayerNorm into an
    /// MLP.
    pub(super) fn new(
        config: &ModelConfig,
        d_input: usize,
        norm: bool,
        device: &B::Device,
    ) -> Self {
        let linear = |from, to| init::linear(from, to, config.initializer_range, device);
        let (inner, labels) = (
            config.hidden_size * config.cls_hidden_scale,
            config.num_labels,
        );
        match (config.classifier, norm) {
            (Classifier::Linear, _) => Self::Linear(linear(d_input, labels)),
            (Classifier::Answer, _) => {
                Self::Answer(AnswerHead::new(config, d_input, labels, device))
            }
            (Classifier::Mlp, false) => Self::Mlp(MlpClassifier {
                first: linear(d_input, inner),
                last: linear(inner, labels),
            }),
            (Classifier::Mlp, true) => Self::NormMlp(NormMlpClassifier {
                first: linear(d_input, inner),
                norm: init::layer_norm(inner, config.layer_norm_eps, device),
                last: linear(inner, labels),
            }),
        }
    }

    /// `[batch, d_input]` to `[batch, labels]`.
    pub(super) fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        match self {
            Self::Linear(head) => ops::linear(head, input),
            Self::Mlp(head) => {
                let hidden = activation::relu(ops::linear(&head.first, input));
                ops::linear(&head.last, hidden)
            }
            Self::NormMlp(head) => {
                let hidden = activation::relu(ops::linear(&head.first, input));
                ops::linear(&head.last, head.norm.forward(hidden))
            }
            Self::Answer(head) => head.forward(input),
        }
    }
}
