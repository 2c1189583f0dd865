//! The data loader: ordered, prefetching, resumable at any step.
//!
//! Burn's own loader delivers in the order its threads finish, keeps partial batches and starts
//! again from the beginning. Here batch `n` of a run is a function of the seed and of `n` alone:
//! a resumed run sees exactly what it would have seen.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::tensor::backend::Backend;

use crate::error::TrainError;
use crate::order::{ExampleRef, Lanes, Portion, Sequence, Shuffle};

/// Batches that wait in each worker's queue.
const PREFETCH: usize = 2;

/// What a run learns from or is validated on.
pub trait BatchSource<B: Backend>: Send + Sync {
    /// The model's input.
    type Batch: Send + 'static;

    /// Number of examples.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sequences of an example: training and validation may differ in it, and a batch of either is
    /// to take about the same memory.
    fn rows_per_example(&self) -> usize {
        1
    }

    /// The stretches of its examples that are drawn at different rates; together they are all of
    /// them, in order. A single one, unless several corpora are mixed.
    fn portions(&self) -> Vec<Portion> {
        vec![Portion {
            examples: self.len(),
            weight: 1,
        }]
    }

    /// What people find this example by: file and row, and the key of its image. Asked for when
    /// something is wrong with it, not for each example.
    fn name(&self, example: ExampleRef) -> String {
        format!("row {}", example.index + 1)
    }

    /// The batch of these examples, each as it is in its epoch (masks and pollution change).
    ///
    /// # Errors
    ///
    /// If an example cannot be read or encoded; the error names its file and row.
    fn batch(
        &self,
        examples: &[ExampleRef],
        device: &B::Device,
    ) -> Result<Self::Batch, Box<dyn std::error::Error + Send + Sync>>;
}

/// A batch and its share of the step's loss.
#[derive(Clone, Debug)]
pub struct Weighted<T> {
    /// The batch.
    pub batch: T,
    /// Factor of its loss: 1 / accumulation, times the weight of its corpus.
    pub loss_weight: f64,
}

/// A source and its share of each step's loss.
pub struct Corpus<B: Backend, T> {
    /// The examples.
    pub source: Arc<dyn BatchSource<B, Batch = T>>,
    /// Share of the loss; the shares of a run's corpora add up to 1.
    pub weight: f64,
}

impl<B: Backend, T> Clone for Corpus<B, T> {
    fn clone(&self) -> Self {
        Self {
            source: self.source.clone(),
            weight: self.weight,
        }
    }
}

/// How batches follow one another.
#[derive(Clone, Copy, Debug)]
pub struct BatchOrder {
    /// Examples per batch.
    pub micro_batch: usize,
    /// Batches of each corpus per optimiser step.
    pub accumulation: usize,
    /// First optimiser step.
    pub first_step: usize,
    /// Optimiser step to stop before.
    pub end_step: usize,
    /// How the examples are shuffled; without it they come in order, once, the last batch partial.
    pub shuffle: Option<Shuffle>,
    /// Threads that prepare batches.
    pub workers: usize,
    /// Which of the batches of each step are made.
    pub shard: Shard,
}

/// The batches of one of several workers: every `count`-th of each step, from `index` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The worker, from 0.
    pub index: usize,
    /// Number of workers; it divides the batches of a step.
    pub count: usize,
}

impl Shard {
    /// All batches.
    pub const ALL: Self = Self { index: 0, count: 1 };
}

/// An ordered, prefetching, resumable loader: batch `n` depends on the seed and on `n` alone.
pub struct StepLoader<B: Backend, T> {
    plan: Arc<Plan<B, T>>,
}

struct Plan<B: Backend, T> {
    corpora: Vec<Corpus<B, T>>,
    order: BatchOrder,
    device: B::Device,
    /// The order of each corpus; empty if they are not shuffled.
    sequences: Arc<Vec<Sequence>>,
    failure: Failure,
}

/// A place for the error that ended a loader early, since Burn's iterators cannot return one.
pub type Failure = Arc<Mutex<Option<TrainError>>>;

impl<B: Backend, T: Send + 'static> StepLoader<B, T> {
    /// A loader over one or several corpora, each giving every step its own batches.
    ///
    /// # Errors
    ///
    /// If a corpus has fewer examples than one batch.
    pub fn new(
        corpora: Vec<Corpus<B, T>>,
        order: BatchOrder,
        device: B::Device,
        failure: Failure,
    ) -> Result<Self, TrainError> {
        let needed = if order.shuffle.is_some() {
            order.micro_batch
        } else {
            1
        };
        for (index, corpus) in corpora.iter().enumerate() {
            if corpus.source.len() < needed {
                return Err(TrainError::TooFewExamples {
                    what: match (order.shuffle, index) {
                        (None, _) => "the validation data",
                        (Some(_), 0) => "the training data",
                        (Some(_), _) => "the extra training data",
                    },
                    found: corpus.source.len(),
                    needed,
                });
            }
        }
        let sequences = match order.shuffle {
            None => Vec::new(),
            Some(shuffle) => sequences(&corpora, shuffle, order.micro_batch),
        };
        Ok(Self {
            plan: Arc::new(Plan {
                corpora,
                order,
                device,
                sequences: Arc::new(sequences),
                failure,
            }),
        })
    }

    /// Batches of a whole pass over `source` in order, the last one partial.
    ///
    /// # Errors
    ///
    /// If `source` is empty.
    pub fn once(
        source: Arc<dyn BatchSource<B, Batch = T>>,
        batch_size: usize,
        workers: usize,
        device: B::Device,
        failure: Failure,
    ) -> Result<Self, TrainError> {
        let order = BatchOrder {
            micro_batch: batch_size,
            accumulation: 1,
            first_step: 0,
            end_step: source.len().div_ceil(batch_size),
            shuffle: None,
            workers,
            shard: Shard::ALL,
        };
        Self::new(
            vec![Corpus {
                source,
                weight: 1.0,
            }],
            order,
            device,
            failure,
        )
    }
}

impl<B: Backend, T: Send + 'static> StepLoader<B, T> {
    /// What the examples of optimiser step `step`, counted from 0, are called: those of all workers,
    /// in the order of the batches.
    pub fn names(&self, step: usize) -> Vec<String> {
        let corpora = &self.plan.corpora;
        let per_step = self.plan.order.accumulation * corpora.len();
        let batches = step * per_step..(step + 1) * per_step;
        let names = |n: usize| {
            let which = n % corpora.len();
            let examples = self.plan.examples(which, n / corpora.len());
            let source = &corpora[which].source;
            examples.into_iter().map(|example| source.name(example))
        };
        batches.flat_map(names).collect()
    }
}

impl<B: Backend, T: Send + 'static> Plan<B, T> {
    /// Numbers of the batches that are made.
    fn micro_batches(&self) -> impl ExactSizeIterator<Item = usize> + Clone + Send + use<B, T> {
        let per_step = self.order.accumulation * self.corpora.len();
        let Shard { index, count } = self.order.shard;
        let all = self.order.first_step * per_step..self.order.end_step * per_step;
        all.skip(index).step_by(count)
    }

    /// Batch `n` of the run: the corpora take turns.
    fn batch(&self, n: usize) -> Result<Weighted<T>, TrainError> {
        let which = n % self.corpora.len();
        let corpus = &self.corpora[which];
        let examples = self.examples(which, n / self.corpora.len());
        let batch = corpus
            .source
            .batch(&examples, &self.device)
            .map_err(TrainError::Data)?;
        Ok(Weighted {
            batch,
            loss_weight: corpus.weight / self.order.accumulation as f64,
        })
    }

    /// The examples of batch `n` of one corpus.
    fn examples(&self, which: usize, n: usize) -> Vec<ExampleRef> {
        let size = self.order.micro_batch as u64;
        let start = n as u64 * size;
        match self.sequences.get(which) {
            Some(sequence) => sequence.examples(start..start + size),
            None => {
                let len = self.corpora[which].source.len() as u64;
                (start..(start + size).min(len))
                    .map(|index| ExampleRef {
                        epoch: 0,
                        index: index as u32,
                    })
                    .collect()
            }
        }
    }
}

fn sequences<B: Backend, T: Send + 'static>(
    corpora: &[Corpus<B, T>],
    shuffle: Shuffle,
    batch_size: usize,
) -> Vec<Sequence> {
    let portions: Vec<Vec<Portion>> = corpora.iter().map(|c| c.source.portions()).collect();
    let total = portions.iter().map(Vec::len).sum();
    let mut first = 0;
    portions
        .iter()
        .map(|portions| {
            let lanes = Lanes { first, total };
            first += portions.len();
            Sequence::of_source(portions, shuffle, batch_size, lanes)
        })
        .collect()
}

impl<B: Backend, T: Send + 'static> DataLoader<B, Weighted<T>> for StepLoader<B, T> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Weighted<T>> + 'a> {
        Box::new(StepIterator::start(self.plan.clone()))
    }

    fn num_items(&self) -> usize {
        match self.plan.order.shuffle {
            Some(_) => self.plan.micro_batches().len() * self.plan.order.micro_batch,
            None => self.plan.corpora[0].source.len(),
        }
    }

    fn to_device(&self, device: &B::Device) -> Arc<dyn DataLoader<B, Weighted<T>>> {
        Arc::new(self.with(self.plan.order, device.clone(), self.plan.failure.clone()))
    }

    /// `start` and `end` count examples, rounded down to whole steps.
    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<B, Weighted<T>>> {
        let order = self.plan.order;
        let per_step = order.micro_batch * order.accumulation * self.plan.corpora.len();
        let first_step = order.first_step + start / per_step;
        let end_step = (order.first_step + end / per_step).min(order.end_step);
        let order = BatchOrder {
            first_step,
            end_step,
            ..order
        };
        let (device, failure) = (self.plan.device.clone(), self.plan.failure.clone());
        Arc::new(self.with(order, device, failure))
    }
}

impl<B: Backend, T: Send + 'static> StepLoader<B, T> {
    /// The loader of another worker.
    pub(crate) fn of_worker(&self, index: usize, device: B::Device, failure: Failure) -> Self {
        let shard = Shard {
            index,
            ..self.plan.order.shard
        };
        let order = BatchOrder {
            shard,
            ..self.plan.order
        };
        self.with(order, device, failure)
    }

    fn with(&self, order: BatchOrder, device: B::Device, failure: Failure) -> Self {
        let plan = Plan {
            corpora: self.plan.corpora.clone(),
            order,
            device,
            sequences: self.plan.sequences.clone(),
            failure,
        };
        Self {
            plan: Arc::new(plan),
        }
    }
}

/// Thread `w` of `k` makes every `k`-th batch, so reading the queues in turn restores the order.
struct StepIterator<B: Backend, T> {
    plan: Arc<Plan<B, T>>,
    queues: Vec<Receiver<Result<Weighted<T>, TrainError>>>,
    next: usize,
    total: usize,
}

impl<B: Backend, T: Send + 'static> StepIterator<B, T> {
    fn start(plan: Arc<Plan<B, T>>) -> Self {
        let numbers = plan.micro_batches();
        let workers = plan.order.workers.max(1);
        let queues = (0..workers)
            .map(|worker| {
                let (sender, receiver) = sync_channel(PREFETCH);
                let plan = plan.clone();
                let numbers = numbers.clone().skip(worker).step_by(workers);
                std::thread::spawn(move || prepare(&plan, numbers, &sender));
                receiver
            })
            .collect();
        Self {
            plan,
            queues,
            next: 0,
            total: numbers.len(),
        }
    }
}

fn prepare<B: Backend, T: Send + 'static>(
    plan: &Plan<B, T>,
    numbers: impl Iterator<Item = usize>,
    sender: &SyncSender<Result<Weighted<T>, TrainError>>,
) {
    for number in numbers {
        let batch = plan.batch(number);
        let failed = batch.is_err();
        // Nobody listens any more once the iterator is dropped.
        if sender.send(batch).is_err() || failed {
            return;
        }
    }
}

impl<B: Backend, T: Send + 'static> Iterator for StepIterator<B, T> {
    type Item = Weighted<T>;

    fn next(&mut self) -> Option<Weighted<T>> {
        if self.next == self.total {
            return None;
        }
        let queue = &self.queues[self.next % self.queues.len()];
        match queue.recv().unwrap_or(Err(TrainError::Worker)) {
            Ok(batch) => {
                self.next += 1;
                Some(batch)
            }
            Err(error) => {
                lock(&self.plan.failure).get_or_insert(error);
                None
            }
        }
    }
}

impl<B: Backend, T: Send + 'static> DataLoaderIterator<Weighted<T>> for StepIterator<B, T> {
    fn progress(&self) -> Progress {
        Progress::new(self.next, self.total)
    }
}

/// A poisoned lock here still holds a whole value: every write is one assignment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
