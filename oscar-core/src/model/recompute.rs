//! Gradient checkpointing: of a segment of the model only the input is kept, and the segment is
//! computed again when its gradients are.
//!
//! Burn's automatic differentiation holds a lock while it computes gradients, so a segment cannot be
//! a node of the graph that starts another backward pass. Instead the graph is cut: within a
//! [`scope`] a segment is computed without a graph, its result continues as a new leaf, and a tape of
//! the thread remembers how to compute it again. [`backward`] then goes through the tape, last to
//! first: each segment is computed with a graph, and the gradient of its leaf is taken through it, to
//! its weights and to the leaf before it. Nothing but the segment may read its input.

use std::any::Any;
use std::cell::RefCell;

use burn::module::{AutodiffModule, Module};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use scopeguard::guard;

use super::init::init_weights;
use crate::ops::random;

thread_local! {
    /// Segments of the loss that this thread computes, in the order in which they were; `None`
    /// outside of a scope.
    static TAPE: RefCell<Option<Vec<Box<dyn Any>>>> = const { RefCell::new(None) };
}

/// A part of the model from one matrix to another.
type Forward<B> = Box<dyn FnOnce(Tensor<B, 2>) -> Tensor<B, 2>>;

/// A segment that is to be computed again.
struct Segment<B: Backend> {
    forward: Forward<B>,
    input: Tensor<B, 2>,
    /// The leaf that others read.
    output: Tensor<B, 2>,
    /// Where the keys of dropout stood.
    keys: random::Keys,
}

/// A segment, and its output's gradient so far.
type Pending<B> = (
    Segment<B>,
    Option<Tensor<<B as AutodiffBackend>::InnerBackend, 2>>,
);

/// Runs `work`; if `on`, segments of what this thread computes meanwhile are recomputed for their
/// gradients, which must then be computed by [`backward`].
///
/// # Panics
///
/// If a loss was computed in it, but not its gradients.
pub fn scope<T>(on: bool, work: impl FnOnce() -> T) -> T {
    // Also when `work` panics.
    let _restore = guard(TAPE.replace(on.then(Vec::new)), |old| TAPE.set(old));
    let result = work();
    TAPE.with_borrow(|tape| {
        let left = tape.as_ref().map_or(0, Vec::len);
        assert!(left == 0, "{left} segments wait for recompute::backward");
    });
    result
}

/// `forward(module, input)`. In a [`scope`], where gradients are computed, only `input` is kept.
pub(super) fn segment<B: Backend, M: Module<B> + 'static>(
    module: &M,
    input: Tensor<B, 2>,
    forward: impl Fn(&M, Tensor<B, 2>) -> Tensor<B, 2> + 'static,
) -> Tensor<B, 2> {
    if TAPE.with_borrow(Option::is_none) || !B::ad_enabled(&input.device()) {
        return forward(module, input);
    }
    // Clones of weights that have no value yet would each be initialised differently.
    init_weights(module);
    let module = module.clone();
    let keys = random::keys();
    let untracked = input.clone().set_require_grad(false);
    let output = forward(&module.clone().no_grad(), untracked).require_grad();
    let segment = Segment::<B> {
        forward: Box::new(move |input| forward(&module, input)),
        input,
        output: output.clone(),
        keys,
    };
    TAPE.with_borrow_mut(|tape| tape.get_or_insert_default().push(Box::new(segment)));
    output
}

/// The gradients of `loss` by the parameters of `model`: what every training step calls instead of
/// Burn's `backward`, in a [`scope`] or not.
pub fn backward<B: AutodiffBackend, M: AutodiffModule<B>>(
    loss: Tensor<B, 1>,
    model: &M,
) -> GradientsParams {
    let mut sum = GradientsAccumulator::new();
    let mut pending: Vec<Pending<B>> = take().into_iter().map(|one| (one, None)).collect();
    let mut collect = |mut grads: B::Gradients, pending: &mut [Pending<B>]| {
        for (segment, grad) in pending {
            let more = segment.output.grad_remove(&mut grads);
            *grad = match (grad.take(), more) {
                (Some(grad), Some(more)) => Some(grad + more),
                (grad, more) => grad.or(more),
            };
        }
        sum.accumulate(model, GradientsParams::from_grads(grads, model));
    };
    let after = random::keys();
    collect(loss.backward(), &mut pending);
    while let Some((segment, grad)) = pending.pop() {
        // Without a gradient, the loss does not depend on it.
        if let Some(grad) = grad {
            random::restore(segment.keys);
            let output = (segment.forward)(segment.input);
            let product = (output * Tensor::from_inner(grad)).sum();
            collect(product.backward(), &mut pending);
        }
    }
    random::restore(after);
    sum.grads()
}

/// The segments so far, which leave the tape.
fn take<B: Backend>() -> Vec<Segment<B>> {
    let taken = TAPE.with_borrow_mut(|tape| tape.as_mut().map(std::mem::take));
    let of_backend = |segment: Box<dyn Any>| match segment.downcast::<Segment<B>>() {
        Ok(segment) => *segment,
        Err(_) => panic!("a loss is computed on one backend"),
    };
    taken
        .unwrap_or_default()
        .into_iter()
        .map(of_backend)
        .collect()
}
