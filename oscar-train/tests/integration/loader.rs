//! Batch `n` of a run depends on the seed and on `n`, and on nothing else.

use std::sync::Arc;

use burn_flex::{Flex, FlexDevice};
use oscar_train::{
    BatchOrder, BatchSource, Corpus, ExampleRef, Portion, Shard, Shuffle, StepLoader, TrainError,
    Weighted,
};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Gives back which examples it was asked for.
struct Numbers {
    portions: Vec<Portion>,
    broken: Option<u32>,
}

impl Numbers {
    fn new(len: usize) -> Self {
        Self::mixed(&[(len, 1)])
    }

    /// Portions of so many examples, with these weights.
    fn mixed(portions: &[(usize, u64)]) -> Self {
        let portions = portions
            .iter()
            .map(|&(examples, weight)| Portion { examples, weight })
            .collect();
        Self {
            portions,
            broken: None,
        }
    }
}

impl BatchSource<Flex> for Numbers {
    type Batch = Vec<ExampleRef>;

    fn len(&self) -> usize {
        self.portions.iter().map(|portion| portion.examples).sum()
    }

    fn portions(&self) -> Vec<Portion> {
        self.portions.clone()
    }

    fn batch(&self, examples: &[ExampleRef], _: &FlexDevice) -> Result<Self::Batch, Error> {
        match self.broken {
            Some(row) if examples.iter().any(|example| example.index == row) => {
                Err(format!("corpus.jsonl:{row}: bad").into())
            }
            _ => Ok(examples.to_vec()),
        }
    }
}

/// Gives back the step that it was asked for, if it was.
struct Steps;

impl BatchSource<Flex> for Steps {
    type Batch = Option<usize>;

    fn len(&self) -> usize {
        50
    }

    fn batch(&self, _: &[ExampleRef], _: &FlexDevice) -> Result<Self::Batch, Error> {
        Ok(None)
    }

    fn batch_of_step(
        &self,
        step: usize,
        _: &[ExampleRef],
        _: &FlexDevice,
    ) -> Result<Self::Batch, Error> {
        Ok(Some(step))
    }
}

/// Also of a run that resumes, and of validation, which has no steps.
#[test]
fn a_source_is_told_the_optimiser_step() {
    let steps = |order: BatchOrder| -> Vec<Option<usize>> {
        let corpora = [0.75, 0.25].map(|weight| Corpus::<Flex, _> {
            source: Arc::new(Steps),
            weight,
        });
        let loader = StepLoader::new(corpora.into(), order, FlexDevice).expect("enough");
        let batches = loader.iter();
        batches.map(|batch| batch.expect("made").batch).collect()
    };
    // Two batches of two corpora a step.
    let expected = (5..9).flat_map(|step| [Some(step); 4]);
    let resumed = BatchOrder {
        first_step: 5,
        ..order()
    };
    assert_eq!(steps(resumed), expected.collect::<Vec<_>>());
    let in_order = BatchOrder {
        shuffle: None,
        end_step: 1,
        ..order()
    };
    assert!(steps(in_order).iter().all(Option::is_none));
}

fn shuffle(seed: u64, window: usize) -> Option<Shuffle> {
    Some(Shuffle { seed, window })
}

fn order() -> BatchOrder {
    BatchOrder {
        shard: Shard::ALL,
        micro_batch: 4,
        accumulation: 2,
        first_step: 0,
        end_step: 9,
        shuffle: shuffle(7, 0),
        workers: 3,
    }
}

fn batches(sources: &[(usize, f64)], order: BatchOrder) -> Vec<Weighted<Vec<ExampleRef>>> {
    let corpora = sources
        .iter()
        .map(|&(len, weight)| (Numbers::new(len), weight));
    run(corpora.collect(), order)
}

fn run(sources: Vec<(Numbers, f64)>, order: BatchOrder) -> Vec<Weighted<Vec<ExampleRef>>> {
    let corpora = sources
        .into_iter()
        .map(|(source, weight)| Corpus::<Flex, _> {
            source: Arc::new(source),
            weight,
        })
        .collect();
    let loader = StepLoader::new(corpora, order, FlexDevice).expect("enough");
    let batches: Result<_, _> = loader.iter().collect();
    batches.expect("all can be made")
}

/// The examples of each batch, which must all be of one epoch.
fn rows(batches: &[Weighted<Vec<ExampleRef>>]) -> Vec<(u64, Vec<u32>)> {
    batches
        .iter()
        .map(|Weighted { batch, .. }| {
            assert!(batch.iter().all(|example| example.epoch == batch[0].epoch));
            let indices = batch.iter().map(|example| example.index).collect();
            (batch[0].epoch, indices)
        })
        .collect()
}

/// The order of two corpora, and of one whose examples do not fill their last batch, as it has been
/// from the first version on: figures and checkpoints of old runs depend on it.
#[test]
fn the_order_of_whole_epochs_never_changes() {
    let two = rows(&batches(&[(30, 0.75), (11, 0.25)], order()));
    let expected: [(u64, [u32; 4]); 16] = [
        (0, [27, 22, 18, 2]),
        (0, [9, 5, 7, 1]),
        (0, [25, 26, 15, 21]),
        (0, [4, 8, 3, 2]),
        (0, [23, 4, 8, 7]),
        (1, [5, 7, 0, 10]),
        (0, [14, 1, 0, 6]),
        (1, [4, 6, 8, 2]),
        (0, [16, 19, 24, 17]),
        (2, [9, 6, 8, 5]),
        (0, [5, 10, 11, 3]),
        (2, [10, 2, 1, 4]),
        (0, [20, 28, 13, 29]),
        (3, [8, 4, 10, 7]),
        (1, [26, 13, 14, 1]),
        (3, [3, 6, 5, 1]),
    ];
    assert_eq!(
        two[..16],
        expected.map(|(epoch, rows)| (epoch, rows.to_vec()))
    );
    let one = BatchOrder {
        accumulation: 1,
        end_step: 5,
        ..order()
    };
    let expected: [(u64, [u32; 4]); 5] = [
        (0, [0, 7, 5, 2]),
        (0, [9, 1, 6, 8]),
        (1, [9, 5, 7, 1]),
        (1, [4, 8, 3, 2]),
        (2, [8, 2, 6, 1]),
    ];
    assert_eq!(
        rows(&batches(&[(10, 1.0)], one)),
        expected.map(|(epoch, rows)| (epoch, rows.to_vec()))
    );
}

#[test]
fn the_number_of_workers_changes_nothing() {
    let one = batches(
        &[(30, 1.0)],
        BatchOrder {
            workers: 1,
            ..order()
        },
    );
    for workers in [2, 3, 8, 50] {
        assert_eq!(
            rows(&one),
            rows(&batches(&[(30, 1.0)], BatchOrder { workers, ..order() }))
        );
    }
    assert_eq!(one.len(), 18);
}

#[test]
fn a_resumed_run_sees_what_is_left() {
    let whole = rows(&batches(&[(30, 0.75), (11, 0.25)], order()));
    for step in [1, 4, 8] {
        let rest = batches(
            &[(30, 0.75), (11, 0.25)],
            BatchOrder {
                first_step: step,
                ..order()
            },
        );
        assert_eq!(rows(&rest), whole[step * 4..], "from step {step}");
    }
}

#[test]
fn a_resumed_run_of_windows_and_of_a_mix_sees_what_is_left() {
    for window in [0, 8] {
        let order = BatchOrder {
            shuffle: shuffle(7, window),
            ..order()
        };
        let sources = || {
            vec![
                (Numbers::mixed(&[(30, 3), (200, 1), (7, 2)]), 0.75),
                (Numbers::new(101), 0.25),
            ]
        };
        let examples = |order| -> Vec<Vec<ExampleRef>> {
            let batches = run(sources(), order).into_iter();
            batches.map(|weighted| weighted.batch).collect()
        };
        let whole = examples(order);
        for step in 1..9 {
            let rest = examples(BatchOrder {
                first_step: step,
                workers: step,
                ..order
            });
            assert_eq!(rest, whole[step * 4..], "from step {step}, window {window}");
        }
    }
}

#[test]
fn an_epoch_has_each_example_at_most_once_and_whole_batches_only() {
    // 30 examples in batches of 4: 7 batches an epoch, 2 examples dropped.
    let all = rows(&batches(&[(30, 1.0)], order()));
    let epoch = |wanted: u64| -> Vec<u32> {
        let of_epoch = all.iter().filter(|(epoch, _)| *epoch == wanted);
        let mut rows: Vec<u32> = of_epoch.flat_map(|(_, rows)| rows.clone()).collect();
        rows.sort_unstable();
        rows
    };
    for number in [0, 1] {
        let mut seen = epoch(number);
        assert_eq!(seen.len(), 28);
        seen.dedup();
        assert_eq!(seen.len(), 28, "no example twice");
    }
    assert_ne!(all[0].1, all[7].1, "each epoch has its own order");
    assert!(all.iter().all(|(_, rows)| rows.len() == 4));
}

#[test]
fn another_seed_is_another_order() {
    let other = batches(
        &[(30, 1.0)],
        BatchOrder {
            shuffle: shuffle(8, 0),
            ..order()
        },
    );
    assert_ne!(rows(&batches(&[(30, 1.0)], order())), rows(&other));
}

#[test]
fn two_corpora_take_turns_and_share_the_loss() {
    let both = batches(&[(30, 0.75), (11, 0.25)], order());
    let weights: Vec<f64> = both.iter().map(|weighted| weighted.loss_weight).collect();
    assert_eq!(weights[..4], [0.375, 0.125, 0.375, 0.125]);
    // A step's weights add up to 1 whatever the accumulation.
    for step in weights.chunks(4) {
        assert!((step.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
    assert!(
        both.iter()
            .skip(1)
            .step_by(2)
            .all(|b| b.batch.iter().all(|example| example.index < 11))
    );
}

#[test]
fn a_pass_in_order_ends_with_a_partial_batch() {
    let source = Arc::new(Numbers::new(10));
    let loader = StepLoader::<Flex, _>::once(source, 4, 2, Shard::ALL, FlexDevice).expect("enough");
    assert_eq!(loader.iter().len(), 3);
    let batches: Result<Vec<_>, _> = loader.iter().collect();
    let expected = [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]];
    assert_eq!(
        rows(&batches.expect("all can be made")),
        expected.map(|rows| (0, rows))
    );
}

#[test]
fn a_bad_row_ends_the_loader_with_its_error() {
    let source = Arc::new(Numbers {
        broken: Some(5),
        ..Numbers::new(10)
    });
    let loader = StepLoader::<Flex, _>::once(source, 4, 2, Shard::ALL, FlexDevice).expect("enough");
    let batches: Vec<_> = loader.iter().collect();
    let [Ok(_), Err(TrainError::Data(error))] = &batches[..] else {
        panic!("one batch, then the error");
    };
    assert!(error.to_string().contains("corpus.jsonl:5"), "{error}");
}

#[test]
fn too_few_examples_are_refused() {
    let corpora = vec![Corpus::<Flex, _> {
        source: Arc::new(Numbers::new(3)) as Arc<dyn BatchSource<Flex, Batch = Vec<ExampleRef>>>,
        weight: 1.0,
    }];
    let error = StepLoader::new(corpora, order(), FlexDevice);
    assert!(matches!(
        error.err(),
        Some(TrainError::TooFewExamples {
            found: 3,
            needed: 4,
            ..
        })
    ));
}
