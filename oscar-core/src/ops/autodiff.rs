//! The model's operations where gradients are computed: each is one node of the graph.
//!
//! A node gives each input its gradient in that input's own type, so that f32 weights have f32
//! gradients whatever the precision of the products.

use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Tensor, TensorPrimitive};

use super::backend::{OscarBackend, ResidualNorm, RowIndex, TopK};
use super::fused::{Dropped, Kernels, NormParts, SavedNorm};
use super::plain;
use super::precision::{operand, to};

type Tracked<B, C> = FloatTensor<Autodiff<B, C>>;

impl<B: Kernels, C: CheckpointStrategy> OscarBackend for Autodiff<B, C> {
    fn linear_bias(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
    ) -> Tensor<Self, 2> {
        linear([x, weight], Order::InputFirst, bias)
    }

    fn tied_linear(
        x: Tensor<Self, 2>,
        matrix: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
    ) -> Tensor<Self, 2> {
        linear([x, matrix], Order::OutputFirst, bias)
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
        let (product, operands) = multiply::<B>(x.primitive, weight.primitive, Order::InputFirst);
        let bias = tensor::<B, 1>(bias.primitive);
        let output = primitive(B::bias_gelu(product.clone(), bias.clone()));
        wrap::<B, C, 2>(match node {
            OpsKind::Tracked(prep) => {
                let saved = SavedGelu {
                    operands,
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
        let output = plain::split_heads(tensor::<B, 3>(x.primitive), heads);
        wrap::<B, C, 4>(node.stateless(primitive(output)))
    }

    fn merge_heads(x: Tensor<Self, 4>) -> Tensor<Self, 3> {
        let [_, heads, _, _] = x.dims();
        let x = tracked(x);
        let node = MergeHeads
            .prepare::<C>([x.node.clone()])
            .compute_bound()
            .stateful();
        let output = primitive(<B as Kernels>::merge_heads(tensor(x.primitive)));
        wrap::<B, C, 3>(match node {
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
        let dropped = B::draw(scores.dims(), dropout, &scores.device());
        let (scores, mask) = (tracked(scores), tensor::<B, 4>(tracked(mask).primitive));
        let node = Attention
            .prepare::<C>([scores.node.clone()])
            .compute_bound()
            .stateful();
        let probabilities = B::masked_softmax(tensor(scores.primitive), mask, scale);
        let output = primitive(B::drop_out(probabilities.clone(), &dropped));
        wrap::<B, C, 4>(match node {
            OpsKind::Tracked(prep) => {
                let saved = SavedAttention {
                    probabilities,
                    scale,
                    dropped,
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
        let dropped = B::draw(residual.dims(), weights.dropout, &residual.device());
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
        let (product, operands) = multiply::<B>(x.primitive, weight.primitive, Order::InputFirst);
        let product_dtype = product.dtype();
        let parts = NormParts {
            bias: tensor(bias.primitive),
            gamma: tensor(gamma.primitive),
            beta: tensor(beta.primitive),
            epsilon: weights.epsilon,
            dropped,
        };
        let normed = B::residual_norm(product, tensor(residual.primitive), &parts);
        let output = primitive(normed.output);
        wrap::<B, C, 2>(match node {
            OpsKind::Tracked(prep) => {
                let norm = SavedNorm {
                    normalized: normed.normalized,
                    inverse_std: normed.inverse_std,
                    gamma: parts.gamma,
                    dropped: parts.dropped,
                    product_dtype,
                };
                prep.finish((operands, norm), output)
            }
            OpsKind::UnTracked(prep) => prep.finish(output),
        })
    }

    fn dropout<const D: usize>(x: Tensor<Self, D>, probability: f64) -> Tensor<Self, D> {
        if probability == 0.0 {
            return x;
        }
        let dropped = B::draw(x.dims(), probability, &x.device());
        let x = tracked(x);
        let node = DropOut::<D>
            .prepare::<C>([x.node.clone()])
            .compute_bound()
            .stateful();
        let output = primitive(B::drop_out(tensor::<B, D>(x.primitive), &dropped));
        wrap::<B, C, D>(match node {
            OpsKind::Tracked(prep) => prep.finish(dropped, output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        })
    }

    fn gather_rows(
        x: Tensor<Self, 2>,
        index: &RowIndex<Self>,
        back: &RowIndex<Self>,
    ) -> Tensor<Self, 2> {
        let x = tracked(x);
        let node = GatherRows
            .prepare::<C>([x.node.clone()])
            .compute_bound()
            .stateful();
        let output = <B as Kernels>::gather_rows(tensor(x.primitive), &index.inner());
        let output = primitive(output);
        wrap::<B, C, 2>(match node {
            OpsKind::Tracked(prep) => prep.finish(back.inner(), output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        })
    }

    fn top_k(x: Tensor<Self, 2>, k: usize) -> TopK {
        <B as Kernels>::top_k(tensor(tracked(x).primitive), k)
    }
}

/// The operands of a product as they were multiplied, and the types that their gradients have.
#[derive(Clone, Debug)]
struct Operands<B: Backend> {
    x: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    order: Order,
    dtypes: (DType, DType),
}

/// Which axis of a weight comes first.
#[derive(Clone, Copy, Debug)]
enum Order {
    InputFirst,
    OutputFirst,
}

/// The product of `x` and `weight` in the precision of the thread.
fn multiply<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    order: Order,
) -> (Tensor<B, 2>, Operands<B>) {
    let (x, weight) = (tensor::<B, 2>(x), tensor::<B, 2>(weight));
    let dtypes = (x.dtype(), weight.dtype());
    let (x, weight) = (operand(x), operand(weight));
    let product = x.clone().matmul(match order {
        Order::InputFirst => weight.clone(),
        Order::OutputFirst => weight.clone().transpose(),
    });
    let operands = Operands {
        x,
        weight,
        order,
        dtypes,
    };
    (product, operands)
}

/// `x W + b`, where the axes of `weight` are in this order.
fn linear<B: Kernels, C: CheckpointStrategy>(
    [x, weight]: [Tensor<Autodiff<B, C>, 2>; 2],
    order: Order,
    bias: Tensor<Autodiff<B, C>, 1>,
) -> Tensor<Autodiff<B, C>, 2> {
    let [x, weight, bias] = [tracked(x), tracked(weight), tracked(bias)];
    let node = Linear
        .prepare::<C>([x.node.clone(), weight.node.clone(), bias.node.clone()])
        .compute_bound()
        .stateful();
    let (product, saved) = multiply::<B>(x.primitive, weight.primitive, order);
    let output = primitive(B::add_bias(product, tensor(bias.primitive)));
    wrap::<B, C, 2>(match node {
        OpsKind::Tracked(prep) => prep.finish(saved, output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    })
}

impl<B: Backend> Operands<B> {
    /// Gives both operands their gradients from the one by the product.
    fn register(self, grads: &mut Gradients, [x, weight]: [Option<NodeId>; 2], grad: Tensor<B, 2>) {
        if let Some(node) = weight {
            let product = match self.order {
                Order::InputFirst => self.x.transpose().matmul(grad.clone()),
                Order::OutputFirst => grad.clone().transpose().matmul(self.x),
            };
            grads.register::<B>(node, primitive(to(product, self.dtypes.1)));
        }
        if let Some(node) = x {
            let product = grad.matmul(match self.order {
                Order::InputFirst => self.weight.transpose(),
                Order::OutputFirst => self.weight,
            });
            grads.register::<B>(node, primitive(to(product, self.dtypes.0)));
        }
    }
}

#[derive(Debug)]
struct Linear;

impl<B: Kernels> Backward<B, 3> for Linear {
    type State = Operands<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = tensor::<B, 2>(grads.consume::<B>(&ops.node));
        let [x, weight, bias] = ops.parents.map(|node| node.map(|node| node.id));
        if let Some(node) = bias {
            grads.register::<B>(node, primitive(B::column_sums(grad.clone())));
        }
        ops.state.register(grads, [x, weight], grad);
    }
}

#[derive(Clone, Debug)]
struct SavedGelu<B: Backend> {
    operands: Operands<B>,
    product: Tensor<B, 2>,
    bias: Tensor<B, 1>,
}

#[derive(Debug)]
struct LinearGelu;

impl<B: Kernels> Backward<B, 3> for LinearGelu {
    type State = SavedGelu<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = tensor::<B, 2>(grads.consume::<B>(&ops.node));
        let [x, weight, bias] = ops.parents.map(|node| node.map(|node| node.id));
        let saved = ops.state;
        let (grad, bias_grad) = B::bias_gelu_backward(saved.product, saved.bias, grad);
        if let Some(node) = bias {
            grads.register::<B>(node, primitive(bias_grad));
        }
        saved.operands.register(grads, [x, weight], grad);
    }
}

#[derive(Debug)]
struct SplitHeads;

impl<B: Kernels> Backward<B, 1> for SplitHeads {
    type State = ();

    fn backward(self, ops: Ops<(), 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = tensor::<B, 4>(grads.consume::<B>(&ops.node));
        if let [Some(node)] = ops.parents {
            grads.register::<B>(node.id, primitive(<B as Kernels>::merge_heads(grad)));
        }
    }
}

#[derive(Debug)]
struct MergeHeads;

impl<B: Kernels> Backward<B, 1> for MergeHeads {
    /// Number of heads.
    type State = usize;

    fn backward(self, ops: Ops<usize, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = tensor::<B, 3>(grads.consume::<B>(&ops.node));
        if let [Some(node)] = ops.parents {
            grads.register::<B>(node.id, primitive(plain::split_heads(grad, ops.state)));
        }
    }
}

#[derive(Debug)]
struct GatherRows;

impl<B: Kernels> Backward<B, 1> for GatherRows {
    /// The way back.
    type State = RowIndex<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = tensor::<B, 2>(grads.consume::<B>(&ops.node));
        if let [Some(node)] = ops.parents {
            let grad = <B as Kernels>::gather_rows(grad, &ops.state);
            grads.register::<B>(node.id, primitive(grad));
        }
    }
}

#[derive(Clone, Debug)]
struct SavedAttention<B: Backend> {
    probabilities: Tensor<B, 4>,
    scale: f64,
    dropped: Dropped<B, 4>,
}

#[derive(Debug)]
struct Attention;

impl<B: Kernels> Backward<B, 1> for Attention {
    type State = SavedAttention<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = tensor::<B, 4>(grads.consume::<B>(&ops.node));
        let [Some(node)] = ops.parents else { return };
        let SavedAttention {
            probabilities,
            scale,
            dropped,
        } = ops.state;
        let grad = B::masked_softmax_backward(grad, probabilities, scale, &dropped);
        grads.register::<B>(node.id, primitive(grad));
    }
}

#[derive(Debug)]
struct LinearResidualNorm;

impl<B: Kernels> Backward<B, 6> for LinearResidualNorm {
    type State = (Operands<B>, SavedNorm<B>);

    fn backward(self, ops: Ops<Self::State, 6>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = tensor::<B, 2>(grads.consume::<B>(&ops.node));
        let [x, weight, bias, residual, gamma, beta] =
            ops.parents.map(|node| node.map(|node| node.id));
        let (operands, saved) = ops.state;
        let norm = B::residual_norm_backward(grad, &saved);
        for (node, grad) in [(bias, norm.bias), (gamma, norm.gamma), (beta, norm.beta)] {
            if let Some(node) = node {
                grads.register::<B>(node, primitive(grad));
            }
        }
        if let Some(node) = residual {
            grads.register::<B>(node, primitive(norm.residual));
        }
        operands.register(grads, [x, weight], norm.branch);
    }
}

#[derive(Debug)]
struct DropOut<const D: usize>;

impl<B: Kernels, const D: usize> Backward<B, 1> for DropOut<D> {
    type State = Dropped<B, D>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = tensor::<B, D>(grads.consume::<B>(&ops.node));
        if let [Some(node)] = ops.parents {
            grads.register::<B>(node.id, primitive(B::drop_out(grad, &ops.state)));
        }
    }
}

fn tracked<B: Backend, C: CheckpointStrategy, const D: usize>(
    tensor: Tensor<Autodiff<B, C>, D>,
) -> Tracked<B, C> {
    tensor.into_primitive().tensor()
}

fn wrap<B: Backend, C: CheckpointStrategy, const D: usize>(
    tensor: Tracked<B, C>,
) -> Tensor<Autodiff<B, C>, D> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}

fn tensor<B: Backend, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}
