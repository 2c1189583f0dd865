//! The statistic of validations: how often the best of the captions that compete is a right one.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use oscar_core::model::ClassTargets;
use oscar_task::{Decided, Statistic};

/// Share of examples whose best decision is a right one: the higher a match is scored the better. Ties
/// count against the model.
pub(crate) const RECALL_AT_1: &str = "R@1";

/// Beyond any score.
const FAR: f64 = 1e9;

/// [`RECALL_AT_1`] of a batch each of whose examples has several decisions of match or no match; `None`
/// if each has but one.
pub(crate) fn recall_at_1<B: Backend>(decided: &Decided<B>) -> Option<Statistic<B>> {
    let [rows, labels] = decided.logits.dims();
    let examples = decided.examples;
    let each = rows / examples.max(1);
    let ClassTargets::Class(classes) = &decided.targets else {
        return None;
    };
    if each < 2 {
        return None;
    }
    let column = |label| decided.logits.clone().narrow(1, label, 1);
    let scores: Tensor<B, 2> = match labels {
        1 => column(0),
        _ => column(1) - column(0),
    };
    let scores = scores.reshape([examples, each]);
    let wrong = classes.clone().equal_elem(0).reshape([examples, each]);
    let best_right = scores.clone().mask_fill(wrong.clone(), -FAR).max_dim(1);
    let best_wrong = scores.mask_fill(wrong.bool_not(), -FAR).max_dim(1);
    let hits = best_right.greater(best_wrong).float().sum();
    Some((RECALL_AT_1, hits, decided.weight(examples)))
}

#[cfg(test)]
mod tests {
    use burn_flex::{Flex, FlexDevice};

    use super::*;

    fn decided(
        logits: Tensor<Flex, 2>,
        classes: [i32; 6],
        examples: usize,
    ) -> Option<Statistic<Flex>> {
        recall_at_1(&Decided {
            logits,
            targets: ClassTargets::Class(Tensor::from_ints(classes, &FlexDevice)),
            examples,
        })
    }

    /// Hits at 1 of two examples with three decisions each.
    fn hits(logits: Tensor<Flex, 2>, classes: [i32; 6]) -> f32 {
        let (_, hits, weight) = decided(logits, classes, 2).expect("they compete");
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
        assert!(decided(logits, [0, 1, 0, 1, 0, 1], 6).is_none());
    }
}
