//! The half of a layer after its attention. Where launches are costly it is one node of the graph, and the
//! gradients by both uses of what lies between its LayerNorms are added by the kernel that reads them.

use burn::nn::{LayerNorm, Linear};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

use super::activation::{LinearGate, LinearGelu, gate, linear_activate};
use super::backend::{Operation, OscarBackend, primitive, tensor};
use super::dropout::DropoutMask;
use super::kernels::Kernels;
use super::linear::weight_and_bias;
use super::residual_norm::{LinearResidualNorm, gamma_and_beta, linear_residual_norm};
use crate::config::Activation;

/// How a half of a layer ends: see [`linear_residual_norm`].
#[derive(Debug)]
pub struct LayerEnd<'a, B: Backend> {
    /// `x W + b`
    pub dense: &'a Linear<B>,
    /// The LayerNorm of the sum with the residual.
    pub norm: &'a LayerNorm<B>,
    /// Of the LayerNorm.
    pub epsilon: f64,
    /// Probability that an output of `dense` is dropped.
    pub dropout: f64,
}

impl<B: OscarBackend> LayerEnd<'_, B> {
    fn forward(&self, input: Tensor<B, 2>, residual: Tensor<B, 2>) -> Tensor<B, 2> {
        let constants = (self.epsilon, self.dropout);
        linear_residual_norm(self.dense, self.norm, constants, input, residual)
    }
}

/// The layer after its self-attention: the end of the attention, whose residual is the layer's input
/// `hidden`, then `inner` with its activation and the end of the layer. Rows, all of them: `context` and
/// `hidden` are `[rows, hidden]`, and so is the result, f32.
pub fn feed_forward<B: OscarBackend>(
    ends: [LayerEnd<'_, B>; 2],
    (inner, activation): (&Linear<B>, Activation),
    context: Tensor<B, 2>,
    hidden: Tensor<B, 2>,
) -> Tensor<B, 2> {
    let costly = <B::Kernels as Kernels>::has_costly_launches(&hidden.device());
    let activations = (B::TRAINS && costly).then(|| (activation, gate(activation)));
    let activated = match activations {
        Some((Activation::Gelu, _)) => Activated::Gelu,
        Some((_, Some(gate))) => Activated::Gate(gate),
        _ => {
            let [attention_end, layer_end] = ends;
            let normed = attention_end.forward(context, hidden);
            let activated = linear_activate(inner, activation, normed.clone());
            return layer_end.forward(activated, normed);
        }
    };
    let constants = ends.each_ref().map(|end| (end.epsilon, end.dropout));
    let [first, last] = ends.map(|end| {
        let (weight, bias) = weight_and_bias(end.dense);
        let [gamma, beta] = gamma_and_beta(end.norm);
        (weight, [bias, gamma, beta])
    });
    let inner = weight_and_bias(inner);
    match activated {
        Activated::Gelu => joined(LinearGelu, constants, [context, hidden], first, inner, last),
        Activated::Gate(gate) => joined(
            LinearGate(gate),
            constants,
            [context, hidden],
            first,
            inner,
            last,
        ),
    }
}

/// An activation that is one operation with the linear layer before it.
enum Activated {
    Gelu,
    Gate([f32; 2]),
}

/// A weight `[d_input, d_output]`; bias, gamma and beta `[d_output]`.
type End<B> = (Tensor<B, 2>, [Tensor<B, 1>; 3]);

/// [`feed_forward`] as one operation, of weights and vectors; `constants` are epsilon and dropout of both
/// ends, `activated` is the linear layer between them with its activation.
pub(super) fn joined<B: OscarBackend, A: Operation<B::Kernels, 3>>(
    activated: A,
    constants: [(f64, f64); 2],
    [context, hidden]: [Tensor<B, 2>; 2],
    (first_weight, first): End<B>,
    (inner_weight, inner_bias): (Tensor<B, 2>, Tensor<B, 1>),
    (last_weight, last): End<B>,
) -> Tensor<B, 2> {
    let device = hidden.device();
    let [attention_end, layer_end] = constants.map(|(epsilon, dropout)| LinearResidualNorm {
        epsilon,
        dropout: DropoutMask::new::<B>(hidden.dims(), dropout, &device),
    });
    let operation = FeedForward {
        attention_end,
        activated,
        layer_end,
    };
    let ([first_bias, first_gamma, first_beta], [last_bias, last_gamma, last_beta]) =
        (first.map(primitive), last.map(primitive));
    let inputs = [
        primitive(context),
        primitive(first_weight),
        first_bias,
        primitive(hidden),
        first_gamma,
        first_beta,
        primitive(inner_weight),
        primitive(inner_bias),
        primitive(last_weight),
        last_bias,
        last_gamma,
        last_beta,
    ];
    tensor(B::apply(operation, inputs))
}

/// `A` is the linear layer with its activation.
#[derive(Debug)]
struct FeedForward<B: Backend, A> {
    attention_end: LinearResidualNorm<B>,
    activated: A,
    layer_end: LinearResidualNorm<B>,
}

type Saved<B, O, const N: usize> = <O as Operation<B, N>>::Saved;

impl<B: Kernels, A: Operation<B, 3>> Operation<B, 12> for FeedForward<B, A> {
    type Saved = (
        Saved<B, LinearResidualNorm<B>, 6>,
        Saved<B, A, 3>,
        Saved<B, LinearResidualNorm<B>, 6>,
    );

    fn forward(self, inputs: [FloatTensor<B>; 12]) -> (FloatTensor<B>, Self::Saved) {
        let [context, weight, bias, hidden, gamma, beta, rest @ ..] = inputs;
        let end = [context, weight, bias, hidden, gamma, beta];
        let (normed, first) = self.attention_end.forward(end);
        let [inner_weight, inner_bias, weight, bias, gamma, beta] = rest;
        let (inner, between) = self
            .activated
            .forward([normed.clone(), inner_weight, inner_bias]);
        let end = [inner, weight, bias, normed, gamma, beta];
        let (output, last) = self.layer_end.forward(end);
        (output, (first, between, last))
    }

    fn backward(
        (first, between, last): Self::Saved,
        grad: FloatTensor<B>,
        wanted: [bool; 12],
    ) -> [Option<FloatTensor<B>>; 12] {
        let [context, w1, b1, hidden, g1, e1, w2, b2, w3, b3, g3, e3] = wanted;
        let wanted = [true, w3, b3, true, g3, e3];
        let [by_inner, w3, b3, by_residual, g3, e3] =
            LinearResidualNorm::backward(last, grad, wanted);
        let by_inner = by_inner.expect("the gradient that is wanted");
        let [by_normed, w2, b2] = A::backward(between, by_inner, [true, w2, b2]);
        let both = [by_residual, by_normed].map(|grad| tensor(grad.expect("as above")));
        let (factors, saved) = first;
        let grads = B::residual_norm_backward_of_two(both, &saved);
        let wanted = [context, w1, b1, hidden, g1, e1];
        let [context, w1, b1, hidden, g1, e1] =
            LinearResidualNorm::gradients(factors, grads, wanted);
        [context, w1, b1, hidden, g1, e1, w2, b2, w3, b3, g3, e3]
    }
}
