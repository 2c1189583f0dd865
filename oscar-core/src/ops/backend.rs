//! The trait that the model is generic over, and how an operation becomes a node of its graph.

use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{Tensor, TensorPrimitive};

use super::kernels::Kernels;
use super::{AttentionParams, CaptionKeyValues, KeyValue, attention, cached_attention, top_k};

/// A backend that Oscar runs on: every one that has [`Kernels`], and `Autodiff` on top of it.
///
/// The operations themselves are functions of this module, generic over this trait.
pub trait OscarBackend: Backend {
    /// The backend that computes: this one, or the one that `Autodiff` wraps.
    type Kernels: Kernels<Device = Self::Device>;

    /// Whether gradients are computed; dropout is active where they are, as everywhere in Burn.
    const TRAINS: bool;

    /// The output of an operation; under `Autodiff` it is one node of the graph.
    fn apply<O, const N: usize>(operation: O, inputs: [FloatTensor<Self>; N]) -> FloatTensor<Self>
    where
        O: Operation<Self::Kernels, N>;

    /// The same tensor without gradients.
    fn inner(tensor: FloatTensor<Self>) -> FloatTensor<Self::Kernels>;

    /// The same integers.
    fn inner_int(tensor: IntTensor<Self>) -> IntTensor<Self::Kernels>;

    /// See [`attention`](super::attention()).
    fn attention(
        query_key_value: [Tensor<Self, 4>; 3],
        mask: Tensor<Self, 4>,
        scale: f64,
        dropout: f64,
    ) -> Tensor<Self, 4> {
        attention::by_products(query_key_value, mask, scale, dropout)
    }

    /// See [`cached_attention`](super::cached_attention()).
    fn cached_attention(
        query: Tensor<Self, 3>,
        shared: &KeyValue<Self>,
        own: &CaptionKeyValues<'_, Self>,
        params: &AttentionParams<Self>,
    ) -> Tensor<Self, 3> {
        cached_attention::by_products(query, shared, own, params)
    }

    /// See [`log_softmax`](super::log_softmax()).
    fn log_softmax(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        top_k::burn_log_softmax(x)
    }
}

/// A backend that Oscar trains on.
pub trait TrainBackend:
    AutodiffBackend<InnerBackend: OscarBackend + Kernels> + OscarBackend
{
}

impl<B> TrainBackend for B where
    B: AutodiffBackend<InnerBackend: OscarBackend + Kernels> + OscarBackend
{
}

/// An operation whose gradient is written by hand. That keeps less than the graph of Burn's
/// operations would, and is exact where theirs is not: their GELU has the gradient of the tanh
/// approximation on some backends.
///
/// `B` is the backend that computes. Each gradient has the type of its input, so that f32 weights
/// have f32 gradients whatever the precision of the products.
pub trait Operation<B: Backend, const N: usize>: Debug + Send + Sized + 'static {
    /// What the gradient is computed from.
    type Saved: Clone + Debug + Send + 'static;

    /// The output where no gradient is computed.
    fn infer(self, inputs: [FloatTensor<B>; N]) -> FloatTensor<B> {
        self.forward(inputs).0
    }

    /// The output, and what its gradient needs.
    fn forward(self, inputs: [FloatTensor<B>; N]) -> (FloatTensor<B>, Self::Saved);

    /// The gradients by those inputs that are `wanted`, from the one by the output.
    fn backward(
        saved: Self::Saved,
        grad: FloatTensor<B>,
        wanted: [bool; N],
    ) -> [Option<FloatTensor<B>>; N];
}

impl<B: Kernels> OscarBackend for B {
    type Kernels = B;

    const TRAINS: bool = false;

    fn apply<O, const N: usize>(operation: O, inputs: [FloatTensor<B>; N]) -> FloatTensor<B>
    where
        O: Operation<B, N>,
    {
        operation.infer(inputs)
    }

    fn inner(tensor: FloatTensor<B>) -> FloatTensor<B> {
        tensor
    }

    fn inner_int(tensor: IntTensor<B>) -> IntTensor<B> {
        tensor
    }

    fn attention(
        query_key_value: [Tensor<B, 4>; 3],
        mask: Tensor<B, 4>,
        scale: f64,
        _dropout: f64,
    ) -> Tensor<B, 4> {
        <B as Kernels>::attention(query_key_value, mask, scale)
    }

    fn cached_attention(
        query: Tensor<B, 3>,
        shared: &KeyValue<B>,
        own: &CaptionKeyValues<'_, B>,
        params: &AttentionParams<B>,
    ) -> Tensor<B, 3> {
        <B as Kernels>::cached_attention(query, shared, own, params)
    }

    fn log_softmax(x: Tensor<B, 2>) -> Tensor<B, 2> {
        <B as Kernels>::log_softmax(x)
    }
}

impl<B: Kernels> OscarBackend for Autodiff<B> {
    type Kernels = B;

    const TRAINS: bool = true;

    fn apply<O, const N: usize>(operation: O, inputs: [FloatTensor<Self>; N]) -> FloatTensor<Self>
    where
        O: Operation<B, N>,
    {
        let nodes = inputs.each_ref().map(|input| input.node.clone());
        // The graph forgets a node that nothing refers to, and other threads that compute gradients
        // clean it up: the inputs' nodes are referred to until the new node is in the graph.
        let _referred = inputs.each_ref().map(|input| input.rc.clone());
        let node = Node(PhantomData::<O>)
            .prepare::<NoCheckpointing>(nodes)
            .compute_bound()
            .stateful();
        let (output, saved) = operation.forward(inputs.map(|input| input.primitive));
        match node {
            OpsKind::Tracked(node) => node.finish(saved, output),
            OpsKind::UnTracked(node) => node.finish(output),
        }
    }

    fn inner(tensor: FloatTensor<Self>) -> FloatTensor<B> {
        tensor.primitive
    }

    fn inner_int(tensor: IntTensor<Self>) -> IntTensor<B> {
        tensor
    }
}

/// An [`Operation`] in the graph.
#[derive(Debug)]
struct Node<O>(PhantomData<O>);

impl<B: Backend, O: Operation<B, N>, const N: usize> Backward<B, N> for Node<O> {
    type State = O::Saved;

    fn backward(self, ops: Ops<O::Saved, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let by_input = O::backward(ops.state, grad, wanted);
        for (parent, grad) in ops.parents.into_iter().zip(by_input) {
            if let (Some(parent), Some(grad)) = (parent, grad) {
                grads.register::<B>(parent.id, grad);
            }
        }
    }
}

/// The tensor of a primitive.
pub(super) fn tensor<B: Backend, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// The primitive of a tensor.
pub(super) fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

/// The same tensor without gradients, on the backend that computes.
pub(super) fn inner<B: OscarBackend, const D: usize>(x: Tensor<B, D>) -> Tensor<B::Kernels, D> {
    tensor(B::inner(primitive(x)))
}
