//! The steps between two matrix products, forward and backward, that a backend may do in one pass
//! over memory.

use burn::tensor::Tensor;
use burn::tensor::backend::{Backend, BackendTypes};
use burn::tensor::ops::FloatTensor;

use super::{
    AdamWStep, AdamWUpdate, Attended, AttentionParams, CaptionKeyValues, ConvolutionParams,
    DropoutMask, Guard, HeadLayout, KeyValue, NormGrads, NormOutput, NormParams, RowAttention,
    RowIndex, SavedNorm, TopK, Updated,
};
use super::{
    activation, attention, cached_attention, convolution, dropout, gather, linear, loss, optimizer,
    residual_norm, self_attention, top_k,
};

/// Sums over devices: takes at least one tensor `[n]`, f32, of the caller's device, and gives their
/// sums over all devices. For each device a thread makes this call, with as many tensors of the same
/// sizes and the same devices; where one does not, the others wait without end.
pub type AllReduce<B> = fn(Vec<Tensor<B, 1>>, &[<B as BackendTypes>::Device]) -> Vec<Tensor<B, 1>>;

/// Passes the list of all kernels to a macro, which makes of it the trait or a backend's
/// implementation. After `=` is what a kernel is by default, in Burn's operations.
macro_rules! for_each_kernel {
    ($then:ident $($arguments:tt)*) => { $then! { $($arguments)*
        /// `x weight`, `[rows, d_input]` by `[d_input, d_output]`, in either precision, where no
        /// gradient is computed.
        fn product(x: Tensor<Self, 2>, weight: Tensor<Self, 2>) -> Tensor<Self, 2>
            = Tensor::matmul;

        /// Drops elements and scales the others, forward and backward; `x` is in either precision.
        fn apply_dropout<const D: usize>(
            x: Tensor<Self, D>, mask: &DropoutMask<Self, D>
        ) -> Tensor<Self, D> = dropout::apply_dropout;

        /// Adds `bias` `[width]` to each row of `x` `[rows, width]`, in either precision.
        fn add_bias(x: Tensor<Self, 2>, bias: Tensor<Self, 1>) -> Tensor<Self, 2>
            = linear::add_bias;

        /// `x + bias` with `residual` added, and its ReLU if `rectify`; `x` and `residual` `[rows,
        /// width]` are in either precision. No gradient is computed.
        fn finish_rows(
            x: Tensor<Self, 2>,
            bias: Tensor<Self, 1>,
            residual: Option<Tensor<Self, 2>>,
            rectify: bool
        ) -> Tensor<Self, 2> = convolution::finish_rows;

        /// The sum of the rows of `x` `[rows, width]`, in either precision: `[width]`.
        fn column_sums(x: Tensor<Self, 2>) -> Tensor<Self, 1> = linear::column_sums;

        /// `gelu(product + bias)`, exact; `product` `[rows, width]` is in either precision.
        fn bias_gelu(product: Tensor<Self, 2>, bias: Tensor<Self, 1>) -> Tensor<Self, 2>
            = activation::bias_gelu;

        /// Gradients of [`bias_gelu`](Self::bias_gelu) by the product, in the type of `grad`, and by
        /// the bias.
        fn bias_gelu_backward(
            product: Tensor<Self, 2>, bias: Tensor<Self, 1>, grad: Tensor<Self, 2>
        ) -> (Tensor<Self, 2>, Tensor<Self, 1>) = activation::bias_gelu_backward;

        /// `x sigmoid(s x + c x³)` of `x = product + bias`, where `gate` is `[s, c]`; `product`
        /// `[rows, width]` is in either precision.
        fn bias_gate(
            product: Tensor<Self, 2>, bias: Tensor<Self, 1>, gate: [f32; 2]
        ) -> Tensor<Self, 2> = activation::bias_gate;

        /// Gradients of [`bias_gate`](Self::bias_gate) by the product, in the type of `grad`, and by
        /// the bias.
        fn bias_gate_backward(
            product: Tensor<Self, 2>, bias: Tensor<Self, 1>, grad: Tensor<Self, 2>, gate: [f32; 2]
        ) -> (Tensor<Self, 2>, Tensor<Self, 1>) = activation::bias_gate_backward;

        /// `[batch, heads, seq, size]` to `[batch, seq, heads * size]`, in either precision.
        fn merge_heads(x: Tensor<Self, 4>) -> Tensor<Self, 3> = attention::merge_by_reshape;

        /// `softmax(scores * scale + mask)` over the last axis; `scores` `[batch, heads, queries,
        /// keys]` are in either precision, the mask is `[batch, 1, 1 or queries, keys]`.
        fn masked_softmax(
            scores: Tensor<Self, 4>, mask: Tensor<Self, 4>, scale: f64
        ) -> Tensor<Self, 4> = attention::masked_softmax;

        /// The gradient by the scores from the one by the dropped probabilities, in either precision.
        fn masked_softmax_backward(
            grad: Tensor<Self, 4>,
            probabilities: Tensor<Self, 4>,
            scale: f64,
            mask: &DropoutMask<Self, 4>
        ) -> Tensor<Self, 4> = attention::masked_softmax_backward;

        /// See [`cached_attention`](super::cached_attention()); in either precision, where no
        /// gradient is computed.
        fn cached_attention(
            query: Tensor<Self, 3>,
            shared: &KeyValue<Self>,
            own: &CaptionKeyValues<'_, Self>,
            params: &AttentionParams<Self>
        ) -> Tensor<Self, 3> = cached_attention::by_products;

        /// `LayerNorm(residual + dropout(product + bias))`; `product` `[rows, width]` is in either
        /// precision.
        fn residual_norm(
            product: Tensor<Self, 2>, residual: Tensor<Self, 2>, params: &NormParams<Self>
        ) -> NormOutput<Self> = residual_norm::residual_norm;

        /// Gradients of [`residual_norm`](Self::residual_norm); the branch's has the type of its
        /// product.
        fn residual_norm_backward(grad: Tensor<Self, 2>, saved: &SavedNorm<Self>) -> NormGrads<Self>
            = residual_norm::residual_norm_backward;

        /// Row `index[i]` of `x` as row `i`, zeros where there is no such row; `x` `[rows, width]` is
        /// in either precision.
        fn gather_rows(x: Tensor<Self, 2>, index: &RowIndex<Self>) -> Tensor<Self, 2>
            = gather::select_rows;

        /// Logarithms of the softmax of each row, where no gradient is computed.
        fn log_softmax(x: Tensor<Self, 2>) -> Tensor<Self, 2> = top_k::burn_log_softmax;

        /// The gradient of the cross entropy by the logits, `[rows, classes]`, from the one of each row
        /// `[rows]`; `logarithms` are what [`log_softmax`](Self::log_softmax) makes of them, and each
        /// of `labels` is below `classes`.
        fn cross_entropy_backward(
            logarithms: Tensor<Self, 2>,
            labels: Tensor<Self, 1, burn::tensor::Int>,
            grad: Tensor<Self, 1>
        ) -> Tensor<Self, 2> = loss::cross_entropy_backward;

        /// The `k` largest values of each row, read to the host; of equal ones the first.
        fn top_k(x: Tensor<Self, 2>, k: usize) -> TopK = top_k::repeated_maximum;

        /// The sum of the squares of `x` `[len]`: `[1]`.
        fn sum_of_squares(x: Tensor<Self, 1>) -> Tensor<Self, 1> = optimizer::sum_of_squares;

        /// `x` `[len]` times `factor` `[1]`.
        fn scale(x: Tensor<Self, 1>, factor: Tensor<Self, 1>) -> Tensor<Self, 1>
            = std::ops::Mul::mul;

        /// Parameter, first and second moment after an AdamW step, from `state`, which is the same
        /// three before it; all are `[len]`.
        fn adamw(
            grad: Tensor<Self, 1>, state: [Tensor<Self, 1>; 3], step: AdamWStep
        ) -> [Tensor<Self, 1>; 3] = optimizer::adamw;
    } };
}
pub(super) use for_each_kernel;

macro_rules! declare_trait {
    ($(
        $(#[$doc:meta])*
        fn $name:ident $(<const $D:ident: usize>)? ($($argument:ident: $Type:ty),*) -> $Output:ty
            = $default:path;
    )*) => {
        /// What a backend may compute better than Burn's operations, of which each kernel has a
        /// body: a backend without any of its own says only `impl Kernels for B {}`.
        ///
        /// Tensors *in either precision* may be bf16, and results that replace them have the same
        /// type; all others are f32, and so is everything computed in between.
        pub trait Kernels: Backend {
            /// Whether dropout on this device is a function of a key and of each element's index, so
            /// that no mask is kept. The kernels then take [`DropoutMask::Keyed`].
            fn has_keyed_dropout(_device: &Self::Device) -> bool {
                false
            }

            /// `softmax(query keyᵀ * scale + mask) value`, in either precision, where no gradient is
            /// computed.
            fn attention(
                [query, key, value]: [Tensor<Self, 4>; 3],
                mask: Tensor<Self, 4>,
                scale: f64,
            ) -> Tensor<Self, 4> {
                let scores = query.matmul(key.swap_dims(2, 3));
                Self::masked_softmax(scores, mask, scale).matmul(value)
            }

            /// [`masked_softmax`](Self::masked_softmax), and the same after dropout.
            fn dropped_softmax(
                scores: Tensor<Self, 4>,
                mask: Tensor<Self, 4>,
                scale: f64,
                dropout: &DropoutMask<Self, 4>,
            ) -> [Tensor<Self, 4>; 2] {
                let probabilities = Self::masked_softmax(scores, mask, scale);
                let dropped = Self::apply_dropout(probabilities.clone(), dropout);
                [probabilities, dropped]
            }

            /// Whether a launch costs more on this device than it computes, so that few operations that
            /// do much, such as [`self_attention`](super::self_attention()), are faster than many.
            fn has_costly_launches(_device: &Self::Device) -> bool {
                false
            }

            /// As [`residual_norm_backward`](Self::residual_norm_backward), from a gradient that is the
            /// sum of two.
            fn residual_norm_backward_of_two(
                [first, second]: [Tensor<Self, 2>; 2],
                saved: &SavedNorm<Self>,
            ) -> NormGrads<Self> {
                Self::residual_norm_backward(first + second, saved)
            }

            /// LayerNorm of rows `[rows, width]`, f32.
            fn layer_norm(
                x: Tensor<Self, 2>,
                vectors: [Tensor<Self, 1>; 2],
                epsilon: f64,
            ) -> NormOutput<Self> {
                residual_norm::layer_norm_by_residual(x, vectors, epsilon)
            }

            /// The cross entropy of each row of `logits` `[rows, classes]`, f32, whose `labels` `[rows]`
            /// are below `classes`; and the logarithms of the probabilities `[rows, classes]`, which
            /// [`cross_entropy_backward`](Self::cross_entropy_backward) takes.
            fn cross_entropy(
                logits: Tensor<Self, 2>,
                labels: Tensor<Self, 1, burn::tensor::Int>,
            ) -> (Tensor<Self, 1>, Tensor<Self, 2>) {
                loss::losses_and_logarithms(logits, labels)
            }

            /// Attention of rows to each other, of query, key and value side by side without their
            /// `biases` `[width]`: `[rows, 3 width]`, in either precision, to `[query rows, width]`.
            fn attend_rows(
                x: Tensor<Self, 2>,
                biases: [Tensor<Self, 1>; 3],
                params: &RowAttention<Self>,
            ) -> (Tensor<Self, 2>, Attended<Self>) {
                self_attention::attend_rows(x, biases, params)
            }

            /// The gradient of [`attend_rows`](Self::attend_rows) by its rows.
            fn attend_rows_backward(
                grad: Tensor<Self, 2>,
                attended: Attended<Self>,
                params: &RowAttention<Self>,
            ) -> Tensor<Self, 2> {
                self_attention::attend_rows_backward(grad, attended, params)
            }

            /// [`column_sums`](Self::column_sums) of `[rows, 3 width]`, as three of `[width]`.
            fn three_column_sums(x: Tensor<Self, 2>) -> [Tensor<Self, 1>; 3] {
                self_attention::three_column_sums(x)
            }

            /// Three matrices `[rows, width]` side by side, in either precision: `[rows, 3 width]`.
            fn join_columns(parts: [Tensor<Self, 2>; 3]) -> Tensor<Self, 2> {
                self_attention::join_columns(parts)
            }

            /// The inverse of [`join_columns`](Self::join_columns).
            fn split_columns(x: Tensor<Self, 2>) -> [Tensor<Self, 2>; 3] {
                self_attention::split_columns(x)
            }

            /// Rows `[rows, width]`, in either precision, as heads `[batch, heads, seq, size]`.
            fn rows_to_heads(x: Tensor<Self, 2>, layout: &HeadLayout<Self>) -> Tensor<Self, 4> {
                self_attention::rows_to_heads(x, layout)
            }

            /// As [`rows_to_heads`](Self::rows_to_heads), of three matrices side by side and a bias
            /// `[width]` of each: those of query, key and value.
            fn rows_to_three_heads(
                x: Tensor<Self, 2>,
                biases: [Tensor<Self, 1>; 3],
                layout: &HeadLayout<Self>,
            ) -> [Tensor<Self, 4>; 3] {
                self_attention::rows_to_three_heads(x, biases, layout)
            }

            /// The inverse of [`rows_to_heads`](Self::rows_to_heads).
            fn heads_to_rows(x: Tensor<Self, 4>, layout: &HeadLayout<Self>) -> Tensor<Self, 2> {
                self_attention::heads_to_rows(x, layout)
            }

            /// The inverse of [`rows_to_three_heads`](Self::rows_to_three_heads), without biases.
            fn three_heads_to_rows(
                heads: [Tensor<Self, 4>; 3],
                layout: &HeadLayout<Self>,
            ) -> Tensor<Self, 2> {
                self_attention::three_heads_to_rows(heads, layout)
            }

            /// See [`convolution`](super::convolution()), whose kernels of one cell are products
            /// instead.
            fn convolution(
                x: Tensor<Self, 4>,
                params: &ConvolutionParams<Self>,
                residual: Option<Tensor<Self, 4>>,
                rectify: bool,
            ) -> Tensor<Self, 4> {
                convolution::by_planes(x, params, residual, rectify)
            }

            /// Whether the host runs ahead of this device, and waits for it when it reads a value.
            fn is_asynchronous(_device: &Self::Device) -> bool {
                false
            }

            /// How devices of this process sum among themselves, if they can without the host.
            fn all_reduce() -> Option<AllReduce<Self>> {
                None
            }

            /// At least one tensor, one after the other.
            fn collect(values: Vec<Tensor<Self, 1>>) -> Tensor<Self, 1> {
                Tensor::cat(values, 0)
            }

            /// The joint L2 norm of at least one gradient, f32 of any shape: `[1]`.
            fn joint_norm(grads: Vec<FloatTensor<Self>>) -> Tensor<Self, 1> {
                optimizer::joint_norm(grads)
            }

            /// The gradients, f32 of any shape, scaled by one factor to a joint norm of at most
            /// `max_norm`; `norm` `[1]` is the one they have.
            fn clip(
                grads: Vec<FloatTensor<Self>>,
                norm: Tensor<Self, 1>,
                max_norm: f64,
            ) -> Vec<FloatTensor<Self>> {
                optimizer::clip(grads, norm, max_norm)
            }

            /// All parameters and moments after an AdamW step.
            fn adamw_all(
                updates: Vec<AdamWUpdate<Self>>,
                guard: &Guard<Self>,
            ) -> Vec<Updated<Self>> {
                optimizer::adamw_all(updates, guard)
            }

            $(
                $(#[$doc])*
                fn $name $(<const $D: usize>)? ($($argument: $Type),*) -> $Output {
                    $default($($argument),*)
                }
            )*
        }
    };
}
for_each_kernel!(declare_trait);
