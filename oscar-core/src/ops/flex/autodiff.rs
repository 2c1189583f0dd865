//! The fused operations where gradients are computed: each is one node of the graph.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, TensorPrimitive};
use burn_flex::{Flex, FlexTensor};

use super::tensors::{
    NormParts, SavedNorm, column_sums, contiguous, draw, drop_out, gelu, gelu_backward, linear,
    matmul, merge_heads, residual_norm, residual_norm_backward, softmax, softmax_backward,
    split_heads,
};
use crate::ops::backend::{OscarBackend, ResidualNorm};
use crate::ops::kernels::Dropout;

type Tracked<C> = FloatTensor<Autodiff<Flex, C>>;

impl<C: CheckpointStrategy> OscarBackend for Autodiff<Flex, C> {
    fn linear_bias(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
    ) -> Tensor<Self, 2> {
        let [x, weight, bias] = [tracked(x), tracked(weight), tracked(bias)];
        let node = Linear
            .prepare::<C>([x.node.clone(), weight.node.clone(), bias.node.clone()])
            .compute_bound()
            .stateful();
        let output = linear(
            x.primitive.clone(),
            weight.primitive.clone(),
            bias.primitive,
        );
        wrap_tracked::<C, 2>(match node {
            OpsKind::Tracked(prep) => prep.finish((x.primitive, weight.primitive), output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        })
    }

    fn linear_gelu(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
    ) -> Tensor<Self, 2> {
        let [x, weight, bias] = [tracked(x), tracked(weight), tracked(bias)];
        let node = LinearGelu
            .prepare::<C>([x.node.clone(), weight.node.clone(), bias.node.clone()])
            .compute_bound()
            .stateful();
        let product = matmul(x.primitive.clone(), weight.primitive.clone());
        let bias = contiguous(bias.primitive);
        let output = gelu(&product, &bias);
        wrap_tracked::<C, 2>(match node {
            OpsKind::Tracked(prep) => {
                let saved = SavedGelu {
                    x: x.primitive,
                    weight: weight.primitive,
                    product,
                    bias,
                };
                prep.finish(saved, output)
            }
            OpsKind::UnTracked(prep) => prep.finish(output),
        })
    }

    fn split_heads(x: Tensor<Self, 3>, heads: usize) -> Tensor<Self, 4> {
        let x = tracked(x);
        let node = SplitHeads.prepare::<C>([x.node.clone()]).compute_bound();
        wrap_tracked::<C, 4>(node.stateless(split_heads(x.primitive, heads)))
    }

    fn merge_heads(x: Tensor<Self, 4>) -> Tensor<Self, 3> {
        let heads = x.dims()[1];
        let x = tracked(x);
        let node = MergeHeads
            .prepare::<C>([x.node.clone()])
            .compute_bound()
            .stateful();
        let output = merge_heads(x.primitive);
        wrap_tracked::<C, 3>(match node {
            OpsKind::Tracked(prep) => prep.finish(heads, output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        })
    }

    fn attention_probabilities(
        scores: Tensor<Self, 4>,
        mask: Tensor<Self, 4>,
        scale: f64,
        dropout: f64,
    ) -> Tensor<Self, 4> {
        let dropout = draw(dropout);
        let (scores, mask) = (tracked(scores), contiguous(tracked(mask).primitive));
        let node = Attention
            .prepare::<C>([scores.node.clone()])
            .compute_bound()
            .stateful();
        let probabilities = softmax(scores.primitive, &mask, scale as f32);
        let output = match dropout.is_active() {
            true => drop_out(&probabilities, dropout),
            false => probabilities.clone(),
        };
        wrap_tracked::<C, 4>(match node {
            OpsKind::Tracked(prep) => {
                let saved = SavedAttention {
                    probabilities,
                    scale: scale as f32,
                    dropout,
                };
                prep.finish(saved, output)
            }
            OpsKind::UnTracked(prep) => prep.finish(output),
        })
    }

    fn linear_residual_norm(
        x: Tensor<Self, 2>,
        weights: ResidualNorm<Self>,
        residual: Tensor<Self, 2>,
    ) -> Tensor<Self, 2> {
        let [x, weight, residual] = [tracked(x), tracked(weights.weight), tracked(residual)];
        let [bias, gamma, beta] = [
            tracked(weights.bias),
            tracked(weights.gamma),
            tracked(weights.beta),
        ];
        let nodes = [&x, &weight, &bias, &residual, &gamma, &beta].map(|t| t.node.clone());
        let node = LinearResidualNorm
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful();
        let product = matmul(x.primitive.clone(), weight.primitive.clone());
        let parts = NormParts {
            bias: contiguous(bias.primitive),
            gamma: contiguous(gamma.primitive),
            beta: contiguous(beta.primitive),
            epsilon: weights.epsilon as f32,
            dropout: draw(weights.dropout),
        };
        let (output, normalized, inverse_std) =
            residual_norm(&product, &contiguous(residual.primitive), &parts);
        wrap_tracked::<C, 2>(match node {
            OpsKind::Tracked(prep) => {
                let saved = SavedNorm {
                    x: x.primitive,
                    weight: weight.primitive,
                    normalized,
                    inverse_std,
                    gamma: parts.gamma,
                    dropout: parts.dropout,
                };
                prep.finish(saved, output)
            }
            OpsKind::UnTracked(prep) => prep.finish(output),
        })
    }
}

#[derive(Debug)]
struct Linear;

impl Backward<Flex, 3> for Linear {
    /// Input and weight.
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = contiguous(grads.consume::<Flex>(&ops.node));
        let [x, weight, bias] = ops.parents;
        let (saved_x, saved_weight) = ops.state;
        if let Some(node) = bias {
            grads.register::<Flex>(node.id, column_sums(&grad));
        }
        if let Some(node) = weight {
            grads.register::<Flex>(node.id, matmul(saved_x.transpose(0, 1), grad.clone()));
        }
        if let Some(node) = x {
            grads.register::<Flex>(node.id, matmul(grad, saved_weight.transpose(0, 1)));
        }
    }
}

#[derive(Clone, Debug)]
struct SavedGelu {
    x: FlexTensor,
    weight: FlexTensor,
    product: FlexTensor,
    bias: FlexTensor,
}

#[derive(Debug)]
struct LinearGelu;

impl Backward<Flex, 3> for LinearGelu {
    type State = SavedGelu;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = contiguous(grads.consume::<Flex>(&ops.node));
        let [x, weight, bias] = ops.parents;
        let saved = ops.state;
        let (grad, bias_grad) = gelu_backward(&saved.product, &saved.bias, &grad);
        if let Some(node) = bias {
            grads.register::<Flex>(node.id, bias_grad);
        }
        if let Some(node) = weight {
            grads.register::<Flex>(node.id, matmul(saved.x.transpose(0, 1), grad.clone()));
        }
        if let Some(node) = x {
            grads.register::<Flex>(node.id, matmul(grad, saved.weight.transpose(0, 1)));
        }
    }
}

#[derive(Debug)]
struct SplitHeads;

impl Backward<Flex, 1> for SplitHeads {
    type State = ();

    fn backward(self, ops: Ops<(), 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        if let [Some(node)] = ops.parents {
            grads.register::<Flex>(node.id, merge_heads(grad));
        }
    }
}

#[derive(Debug)]
struct MergeHeads;

impl Backward<Flex, 1> for MergeHeads {
    /// Number of heads.
    type State = usize;

    fn backward(self, ops: Ops<usize, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = contiguous(grads.consume::<Flex>(&ops.node));
        if let [Some(node)] = ops.parents {
            grads.register::<Flex>(node.id, split_heads(grad, ops.state));
        }
    }
}

#[derive(Clone, Debug)]
struct SavedAttention {
    probabilities: FlexTensor,
    scale: f32,
    dropout: Dropout,
}

#[derive(Debug)]
struct Attention;

impl Backward<Flex, 1> for Attention {
    type State = SavedAttention;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = contiguous(grads.consume::<Flex>(&ops.node));
        let [Some(node)] = ops.parents else { return };
        let SavedAttention {
            probabilities,
            scale,
            dropout,
        } = ops.state;
        let grad = softmax_backward(grad, &probabilities, scale, dropout);
        grads.register::<Flex>(node.id, grad);
    }
}

#[derive(Debug)]
struct LinearResidualNorm;

impl Backward<Flex, 6> for LinearResidualNorm {
    type State = SavedNorm;

    fn backward(self, ops: Ops<Self::State, 6>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = contiguous(grads.consume::<Flex>(&ops.node));
        let [x, weight, bias, residual, gamma, beta] = ops.parents;
        let saved = ops.state;
        let norm = residual_norm_backward(&grad, &saved);
        for (node, grad) in [
            (bias, norm.bias),
            (residual, norm.residual),
            (gamma, norm.gamma),
            (beta, norm.beta),
        ] {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, grad);
            }
        }
        if let Some(node) = weight {
            let grad = matmul(saved.x.transpose(0, 1), norm.branch.clone());
            grads.register::<Flex>(node.id, grad);
        }
        if let Some(node) = x {
            grads.register::<Flex>(node.id, matmul(norm.branch, saved.weight.transpose(0, 1)));
        }
    }
}

fn tracked<C: CheckpointStrategy, const D: usize>(
    tensor: Tensor<Autodiff<Flex, C>, D>,
) -> Tracked<C> {
    tensor.into_primitive().tensor()
}

fn wrap_tracked<C: CheckpointStrategy, const D: usize>(
    tensor: Tracked<C>,
) -> Tensor<Autodiff<Flex, C>, D> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}
