//! The operations the model is made of, where Burn's own would cost more or mean something else.
//!
//! Each file is an operation: its definition, a function that the model calls; its gradient, written
//! by hand as an [`Operation`]; and what its [`Kernels`] are in Burn's operations, which
//! differentiate themselves and are its oracle in tests. Matrix products are Burn's, but for those of
//! few rows. A backend has kernels of its own where it does better:
//!
//! | | |
//! |---|---|
//! | `host/` | loops over rows of this process's memory: the CPU backend, and LibTorch on the CPU |
//! | `cube/` | kernels that CubeCL compiles: CUDA, Vulkan, Metal |

mod activation;
mod attention;
mod backend;
mod cached_attention;
mod convolution;
#[cfg(feature = "kernels")]
mod cube;
mod dropout;
mod feed_forward;
mod gather;
mod host;
mod kernels;
mod linear;
mod loss;
mod optimizer;
mod precision;
pub(crate) mod random;
mod residual_norm;
mod self_attention;
#[cfg(any(test, feature = "kernels"))]
mod shapes;
mod top_k;

use burn::tensor::{Tensor, backend::Backend};

pub use activation::{activate, affine_activate, linear_activate};
pub use attention::{attention, attention_probabilities, causal_mask, merge_heads, split_heads};
pub use backend::{Operation, OscarBackend, TrainBackend};
pub use cached_attention::{
    AttentionParams, CaptionKeyValues, KeyValue, WordPositions, cached_attention,
};
pub use convolution::{ConvolutionParams, convolution};
pub use dropout::{DropoutMask, KeyedDropout, dropout};
pub use feed_forward::{LayerEnd, feed_forward};
pub use gather::{RowIndex, gather_rows};
pub use kernels::{AllReduce, Kernels};
pub(crate) use linear::linear_low_precision;
pub use linear::{affine, linear, tied_linear};
pub use loss::{cross_entropy, cross_entropy_rows, kl_divergence, smooth_l1_rows, weighted_mean};
pub use optimizer::{AdamWStep, AdamWUpdate, Guard, Updated};
pub use precision::Precision;
pub(crate) use precision::{operand, to_f32};
pub use random::{mix, seed};
pub use residual_norm::{
    NormGrads, NormOutput, NormParams, SavedNorm, layer_norm, linear_residual_norm,
};
pub use self_attention::{
    Attended, AttendedProducts, AttendedTiles, HeadLayout, MOST_TILED_SCORES, RowAttention,
    self_attention,
};
pub use top_k::{TopK, log_softmax, top_k};

/// The two leading axes as one: a product of two matrices has a matrix for its weight gradient,
/// where a batched product would first materialise one weight gradient per row of the batch.
pub fn flatten<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 2> {
    let [batch, seq, width] = x.dims();
    x.reshape([batch * seq, width])
}

/// The inverse of [`flatten`].
pub fn unflatten<B: Backend>(x: Tensor<B, 2>, batch: usize, seq: usize) -> Tensor<B, 3> {
    let [_, width] = x.dims();
    x.reshape([batch, seq, width])
}

#[cfg(test)]
mod tests;
