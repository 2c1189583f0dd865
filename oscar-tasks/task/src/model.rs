//! A classifier as Burn's learner sees it: one step of training, one of validation.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn_train::{InferenceStep, TrainOutput, TrainStep};
use oscar_core::checkpoint::Checkpointed;
use oscar_core::config::ModelConfig;
use oscar_core::input::OscarInput;
use oscar_core::model::{ClassTargets, OscarClassifier, recompute};
use oscar_core::ops::{OscarBackend, TrainBackend};

use crate::source::ClassBatch;
use oscar_train::Weighted;
use oscar_train::{LOSS, StepOutput};

/// Mean score of the best class: 1 or 0 where one class is right, a soft score otherwise.
pub const ACCURACY: &str = "Accuracy";

/// Share of examples whose best decision is a right one: where an example has several decisions, the
/// higher its match is scored the better. Ties count against the model.
pub const RECALL_AT_1: &str = "R@1";

/// [`OscarClassifier`], ready to be trained.
#[derive(Module, Debug)]
pub struct FinetuneModel<B: Backend> {
    model: OscarClassifier<B>,
}

impl<B: OscarBackend> FinetuneModel<B> {
    /// A model with fresh weights; `pair` joins the sequences of a decision.
    pub fn new(config: &ModelConfig, pair: bool, device: &B::Device) -> Self {
        let model = match pair {
            false => OscarClassifier::new(config, device),
            true => OscarClassifier::joint(config, device),
        };
        Self { model }
    }

    /// The classifier itself.
    pub fn model(&self) -> &OscarClassifier<B> {
        &self.model
    }

    /// Logits of a batch, whose rows are whole decisions.
    fn logits(&self, input: OscarInput<B>) -> Tensor<B, 2> {
        let logits = self.model.forward(input);
        logits.unwrap_or_else(|incomplete| panic!("{incomplete}"))
    }
}

impl<B: Backend> Checkpointed<B> for FinetuneModel<B> {}

impl<B: TrainBackend> TrainStep for FinetuneModel<B> {
    type Input = Weighted<ClassBatch<B>>;
    type Output = StepOutput<B::InnerBackend>;

    fn step(&self, input: Self::Input) -> TrainOutput<Self::Output> {
        let Weighted { batch, loss_weight } = input;
        let logits = self.logits(batch.input);
        let loss = self.model.loss(logits.clone(), batch.targets.clone());
        let targets = match batch.targets {
            ClassTargets::Class(classes) => ClassTargets::Class(classes.inner()),
            ClassTargets::Soft(scores) => ClassTargets::Soft(scores.inner()),
        };
        let statistics = statistics(
            logits.inner(),
            loss.clone().inner(),
            targets,
            (batch.num_examples, batch.num_tokens),
        );
        let loss = match loss_weight {
            1.0 => loss,
            weight => loss.mul_scalar(weight),
        };
        TrainOutput {
            grads: recompute::backward(loss, self),
            item: statistics,
        }
    }
}

impl<B: OscarBackend> InferenceStep for FinetuneModel<B> {
    type Input = Weighted<ClassBatch<B>>;
    type Output = StepOutput<B>;

    fn step(&self, input: Self::Input) -> Self::Output {
        let batch = input.batch;
        let logits = self.logits(batch.input);
        let loss = self.model.loss(logits.clone(), batch.targets.clone());
        let size = (batch.num_examples, batch.num_tokens);
        statistics(logits, loss, batch.targets, size)
    }
}

fn statistics<B: Backend>(
    logits: Tensor<B, 2>,
    loss: Tensor<B, 1>,
    targets: ClassTargets<B>,
    (examples, tokens): (usize, usize),
) -> StepOutput<B> {
    let [rows, labels] = logits.dims();
    let weight = Tensor::<B, 1>::full([1], rows as f32, &logits.device());
    let recall = recall_at_1(&logits, &targets, examples);
    let right = match (targets, labels) {
        // A regression decides at one half.
        (ClassTargets::Class(classes), 1) => {
            let decided = logits.reshape([rows]).greater_equal_elem(0.5).int();
            decided.equal(classes).float().sum()
        }
        (ClassTargets::Soft(scores), 1) => {
            let decided = logits.greater_equal_elem(0.5).float();
            decided
                .equal(scores.greater_equal_elem(0.5).float())
                .float()
                .sum()
        }
        (ClassTargets::Class(classes), _) => {
            let best = logits.argmax(1).reshape([rows]);
            best.equal(classes).float().sum()
        }
        (ClassTargets::Soft(scores), _) => scores.gather(1, logits.argmax(1)).sum(),
    };
    let mut statistics = vec![
        (LOSS, loss * weight.clone(), weight.clone()),
        (ACCURACY, right, weight),
    ];
    statistics.extend(recall.map(|(hits, weight)| (RECALL_AT_1, hits, weight)));
    StepOutput::new(statistics, examples, tokens)
}

/// Hits and their number, if the examples have several decisions of match or no match each.
fn recall_at_1<B: Backend>(
    logits: &Tensor<B, 2>,
    targets: &ClassTargets<B>,
    examples: usize,
) -> Option<(Tensor<B, 1>, Tensor<B, 1>)> {
    /// Beyond any score.
    const FAR: f64 = 1e9;
    let [rows, labels] = logits.dims();
    let each = rows / examples.max(1);
    let ClassTargets::Class(classes) = targets else {
        return None;
    };
    if each < 2 || each * examples != rows || labels > 2 {
        return None;
    }
    let column = |label| logits.clone().narrow(1, label, 1);
    let scores = match labels {
        1 => column(0),
        _ => column(1) - column(0),
    };
    let scores = scores.reshape([examples, each]);
    let wrong = classes.clone().equal_elem(0).reshape([examples, each]);
    let best_right = scores.clone().mask_fill(wrong.clone(), -FAR).max_dim(1);
    let best_wrong = scores.mask_fill(wrong.bool_not(), -FAR).max_dim(1);
    let hits = best_right.greater(best_wrong).float().sum();
    let weight = Tensor::full([1], examples as f32, &hits.device());
    Some((hits, weight))
}

#[cfg(test)]
mod tests {
    use burn_flex::{Flex, FlexDevice};

    use super::*;

    /// Hits at 1 of two examples with three decisions each.
    fn hits(logits: Tensor<Flex, 2>, classes: [i32; 6]) -> f32 {
        let classes = ClassTargets::Class(Tensor::from_ints(classes, &FlexDevice));
        let (hits, weight) = recall_at_1(&logits, &classes, 2).expect("they compete");
        assert_eq!(weight.into_scalar(), 2.0);
        hits.into_scalar()
    }

    #[test]
    fn the_best_decision_of_an_example_is_to_be_right() {
        let one = |values: [f32; 6]| Tensor::<Flex, 1>::from_floats(values, &FlexDevice);
        let scores = one([0.5, 0.9, 0.1, 0.2, 0.1, 0.3]).reshape([6, 1]);
        assert_eq!(hits(scores.clone(), [0, 1, 0, 0, 0, 1]), 2.0);
        assert_eq!(hits(scores.clone(), [0, 1, 0, 1, 0, 0]), 1.0);
        assert_eq!(hits(scores.clone(), [1, 1, 0, 1, 0, 1]), 2.0);
        // None is right.
        assert_eq!(hits(scores.clone(), [0, 0, 0, 0, 0, 1]), 1.0);
        // What counts with two classes is how far the second is above the first.
        let logits = Tensor::cat(vec![scores.clone() * 3.0, scores * 2.0], 1);
        assert_eq!(hits(logits, [0, 0, 1, 0, 1, 0]), 2.0);
        // Equal scores are no hit.
        let even = Tensor::ones([6, 2], &FlexDevice);
        assert_eq!(hits(even, [1, 0, 0, 1, 0, 0]), 0.0);
    }

    #[test]
    fn single_decisions_do_not_compete() {
        let logits = Tensor::<Flex, 2>::ones([6, 2], &FlexDevice);
        let classes = Tensor::from_ints([0, 1, 0, 1, 0, 1], &FlexDevice);
        assert!(recall_at_1(&logits, &ClassTargets::Class(classes), 6).is_none());
    }
}
