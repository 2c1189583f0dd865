//! Batch `n` of a run depends on the seed and on `n`, and on nothing else.

use std::sync::Arc;

use burn::data::dataloader::DataLoader;
use burn_flex::{Flex, FlexDevice};
use oscar_train::{BatchSource, Corpus, Failure, Order, StepLoader, TrainError, Weighted};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Gives back which examples it was asked for.
struct Numbers {
    len: usize,
    broken: Option<u32>,
}

impl Numbers {
    fn new(len: usize) -> Self {
        Self { len, broken: None }
    }
}

impl BatchSource<Flex> for Numbers {
    type Batch = (u64, Vec<u32>);

    fn len(&self) -> usize {
        self.len
    }

    fn batch(&self, epoch: u64, indices: &[u32], _: &FlexDevice) -> Result<Self::Batch, Error> {
        match self.broken {
            Some(row) if indices.contains(&row) => Err(format!("corpus.jsonl:{row}: bad").into()),
            _ => Ok((epoch, indices.to_vec())),
        }
    }
}

fn order() -> Order {
    Order {
        micro_batch: 4,
        accumulation: 2,
        first_step: 0,
        end_step: 9,
        shuffle: Some(7),
        workers: 3,
    }
}

fn batches(sources: &[(usize, f64)], order: Order) -> Vec<Weighted<(u64, Vec<u32>)>> {
    let corpora = sources
        .iter()
        .map(|&(len, weight)| Corpus::<Flex, _> {
            source: Arc::new(Numbers::new(len)),
            weight,
        })
        .collect();
    let failure = Failure::default();
    let loader = StepLoader::new(corpora, order, FlexDevice, failure.clone()).expect("enough");
    let batches = loader.iter().collect();
    assert!(failure.lock().expect("no panic").is_none());
    batches
}

fn rows(batches: &[Weighted<(u64, Vec<u32>)>]) -> Vec<(u64, Vec<u32>)> {
    batches
        .iter()
        .map(|weighted| weighted.batch.clone())
        .collect()
}

#[test]
fn the_number_of_workers_changes_nothing() {
    let one = batches(
        &[(30, 1.0)],
        Order {
            workers: 1,
            ..order()
        },
    );
    for workers in [2, 3, 8, 50] {
        assert_eq!(
            rows(&one),
            rows(&batches(&[(30, 1.0)], Order { workers, ..order() }))
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
            Order {
                first_step: step,
                ..order()
            },
        );
        assert_eq!(rows(&rest), whole[step * 4..], "from step {step}");
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
        Order {
            shuffle: Some(8),
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
            .all(|b| b.batch.1.iter().all(|row| *row < 11))
    );
}

#[test]
fn a_pass_in_order_ends_with_a_partial_batch() {
    let failure = Failure::default();
    let source = Arc::new(Numbers::new(10));
    let loader = StepLoader::<Flex, _>::once(source, 4, 2, FlexDevice, failure).expect("enough");
    let seen: Vec<Vec<u32>> = loader.iter().map(|weighted| weighted.batch.1).collect();
    assert_eq!(seen, [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]);
    assert_eq!(loader.num_items(), 10);
}

#[test]
fn a_bad_row_ends_the_loader_with_its_error() {
    let failure = Failure::default();
    let source = Arc::new(Numbers {
        len: 10,
        broken: Some(5),
    });
    let loader =
        StepLoader::<Flex, _>::once(source, 4, 2, FlexDevice, failure.clone()).expect("enough");
    assert_eq!(loader.iter().count(), 1);
    let error = failure
        .lock()
        .expect("no panic")
        .take()
        .expect("an error")
        .to_string();
    assert!(error.contains("corpus.jsonl:5: bad"), "{error}");
}

#[test]
fn too_few_examples_are_refused() {
    let corpora = vec![Corpus::<Flex, _> {
        source: Arc::new(Numbers::new(3)) as Arc<dyn BatchSource<Flex, Batch = (u64, Vec<u32>)>>,
        weight: 1.0,
    }];
    let error = StepLoader::new(corpora, order(), FlexDevice, Failure::default());
    assert!(matches!(
        error.err(),
        Some(TrainError::TooFewExamples {
            found: 3,
            needed: 4,
            ..
        })
    ));
}
