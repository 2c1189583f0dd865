//! What models small enough to do their steps by hand have alike.

use burn::module::AutodiffModule;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn_train::TrainOutput;
use oscar_train::{LOSS, StepOutput, Weighted};

/// The statistics of a batch of `rows` whose mean loss is `loss` `[1]`; each row has so many tokens.
pub fn output<B: Backend>(loss: Tensor<B, 1>, rows: usize, tokens: usize) -> StepOutput<B> {
    let weight = Tensor::full([1], rows as f32, &loss.device());
    let statistics = vec![(LOSS, loss * weight.clone(), weight)];
    StepOutput::new(statistics, rows, tokens * rows)
}

/// A step of training on points `[rows, columns]` whose mean loss `model` computes by `loss`.
pub fn train_step<B: AutodiffBackend, M: AutodiffModule<B>>(
    model: &M,
    input: Weighted<Tensor<B, 2>>,
    tokens: usize,
    loss: impl FnOnce(&M, &Tensor<B, 2>) -> Tensor<B, 1>,
) -> TrainOutput<StepOutput<B::InnerBackend>> {
    let loss = loss(model, &input.batch);
    let statistics = output(loss.clone().inner(), input.batch.dims()[0], tokens);
    TrainOutput::new(model, (loss * input.loss_weight).backward(), statistics)
}
