//! What the engine asks of a model.

use burn::module::AutodiffModule;
use burn_train::{InferenceStep, TrainStep};
use oscar_core::checkpoint::Checkpointed;
use oscar_core::ops::TrainBackend;

use crate::loader::Weighted;
use crate::stats::StepOutput;

/// A model that this engine trains.
///
/// Every model whose Burn steps take [`Weighted`] batches and yield [`StepOutput`] is one.
pub trait Trainable<B: TrainBackend>:
    TrainStep<Input = Weighted<Self::Batch>, Output = StepOutput<B::InnerBackend>>
    + AutodiffModule<
        B,
        InnerModule: InferenceStep<
            Input = Weighted<Self::ValidationBatch>,
            Output = StepOutput<B::InnerBackend>,
        >,
    > + Checkpointed<B>
    + std::fmt::Display
    + 'static
{
    /// What it is trained on.
    type Batch: Send + 'static;
    /// What it is validated on.
    type ValidationBatch: Send + 'static;
}

impl<B, M, T, V> Trainable<B> for M
where
    B: TrainBackend,
    T: Send + 'static,
    V: Send + 'static,
    M: TrainStep<Input = Weighted<T>, Output = StepOutput<B::InnerBackend>>
        + AutodiffModule<B>
        + Checkpointed<B>
        + std::fmt::Display
        + 'static,
    M::InnerModule: InferenceStep<Input = Weighted<V>, Output = StepOutput<B::InnerBackend>>,
{
    type Batch = T;
    type ValidationBatch = V;
}
