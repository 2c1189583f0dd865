//! The data loader: ordered, prefetching, resumable at any step.
//!
//! Burn's own loader delivers batches in the order its threads finish, keeps partial batches and
//! always starts from the beginning. Here batch `n` of a run is a function of the seed and of `n`
//! alone: a resumed run sees exactly what it would have seen.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use burn::tensor::backend::Backend;

use crate::error::TrainError;
use crate::order::{ExampleRef, Lanes, Portion, Sequence};
use crate::shuffle::Shuffle;

/// Batches that wait in the queue of each loading thread.
const PREFETCH: usize = 2;

/// Training or validation data.
pub trait BatchSource<B: Backend>: Send + Sync {
    /// The model's input.
    type Batch: Send + 'static;

    /// Number of examples.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sequences per example. Training and validation data may differ in it, and a batch of either
    /// should take about the same memory.
    fn rows_per_example(&self) -> usize {
        1
    }

    /// Consecutive ranges of examples that are sampled at different rates; together they are all
    /// of them, in order. A single one, unless several corpora are mixed.
    fn portions(&self) -> Vec<Portion> {
        vec![Portion {
            examples: self.len(),
            weight: 1,
        }]
    }

    /// How messages name this example: file and row, and the key of its image. Called only when
    /// something is wrong with it.
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

    /// The batch of these examples in optimiser step `step`, counted from 0: of a source whose examples
    /// change in the course of a run. Validation asks for [`batch`](Self::batch).
    ///
    /// # Errors
    ///
    /// As [`batch`](Self::batch).
    fn batch_of_step(
        &self,
        _step: usize,
        examples: &[ExampleRef],
        device: &B::Device,
    ) -> Result<Self::Batch, Box<dyn std::error::Error + Send + Sync>> {
        self.batch(examples, device)
    }
}

/// A batch and its weight in the loss of the step.
#[derive(Clone, Debug)]
pub struct Weighted<T> {
    /// The batch.
    pub batch: T,
    /// Factor of its loss: 1 / accumulation, times the weight of its corpus.
    pub loss_weight: f64,
}

/// A source and its weight in the loss of each step.
pub struct Corpus<B: Backend, T> {
    /// The examples.
    pub source: Arc<dyn BatchSource<B, Batch = T>>,
    /// Weight in the loss; the weights of a run's corpora add up to 1.
    pub weight: f64,
}

/// Which batches a loader makes, and in which order.
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
    /// Loading threads.
    pub workers: usize,
    /// Which of the batches of each step are made.
    pub shard: Shard,
}

/// The batches of one of several workers: every `count`-th of each step, from `index` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The worker, from 0.
    pub index: usize,
    /// Number of workers; it divides the batches of a step in training.
    pub count: usize,
}

impl Shard {
    /// All batches.
    pub const ALL: Self = Self { index: 0, count: 1 };
}

/// An ordered, prefetching, resumable loader: batch `n` depends on the seed and on `n` alone.
pub struct StepLoader<B: Backend, T> {
    corpora: Arc<[Corpus<B, T>]>,
    order: BatchOrder,
    device: B::Device,
    /// The order of each corpus; empty if they are not shuffled.
    sequences: Arc<[Sequence]>,
}

impl<B: Backend, T> Clone for StepLoader<B, T> {
    fn clone(&self) -> Self {
        Self {
            corpora: self.corpora.clone(),
            order: self.order,
            device: self.device.clone(),
            sequences: self.sequences.clone(),
        }
    }
}

impl<B: Backend, T: Send + 'static> StepLoader<B, T> {
    /// A loader over one or several corpora, each of which provides batches of its own to every
    /// step.
    ///
    /// # Errors
    ///
    /// If a corpus has fewer examples than one batch.
    pub fn new(
        corpora: Vec<Corpus<B, T>>,
        order: BatchOrder,
        device: B::Device,
    ) -> Result<Self, TrainError> {
        let needed = match order.shuffle {
            Some(_) => order.micro_batch,
            None => 1,
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
            corpora: corpora.into(),
            order,
            device,
            sequences: sequences.into(),
        })
    }

    /// Batches of a whole pass over `source` in order, the last one partial; of them those of `shard`.
    ///
    /// # Errors
    ///
    /// If `source` is empty.
    pub fn once(
        source: Arc<dyn BatchSource<B, Batch = T>>,
        batch_size: usize,
        workers: usize,
        shard: Shard,
        device: B::Device,
    ) -> Result<Self, TrainError> {
        let order = BatchOrder {
            micro_batch: batch_size,
            accumulation: 1,
            first_step: 0,
            end_step: source.len().div_ceil(batch_size),
            shuffle: None,
            workers,
            shard,
        };
        let weight = 1.0;
        Self::new(vec![Corpus { source, weight }], order, device)
    }

    /// The same batches, but those of worker `index`, on its device.
    pub(crate) fn for_worker(&self, index: usize, device: B::Device) -> Self {
        let mut loader = self.clone();
        loader.order.shard.index = index;
        loader.device = device;
        loader
    }

    /// How many batches the first of all workers makes: no other one makes more.
    pub(crate) fn rounds(&self) -> usize {
        self.for_worker(0, self.device.clone())
            .batch_numbers()
            .len()
    }

    /// Starts the loading threads. The first error ends the batches.
    pub fn iter(&self) -> StepIterator<T> {
        let numbers = self.batch_numbers();
        let workers = self.order.workers.max(1);
        let queues = (0..workers)
            .map(|worker| {
                let (sender, receiver) = sync_channel(PREFETCH);
                let loader = self.clone();
                let numbers = numbers.clone().skip(worker).step_by(workers);
                std::thread::spawn(move || loader.prepare(numbers, &sender));
                receiver
            })
            .collect();
        StepIterator {
            queues,
            next: 0,
            end: numbers.len(),
        }
    }

    fn prepare(
        &self,
        numbers: impl Iterator<Item = usize>,
        sender: &SyncSender<Result<Weighted<T>, TrainError>>,
    ) {
        for number in numbers {
            let batch = self.batch(number);
            let failed = batch.is_err();
            // The receiver is gone once the iterator is dropped.
            if sender.send(batch).is_err() || failed {
                return;
            }
        }
    }

    /// Names of the examples of optimiser step `step`, counted from 0: those of all workers, in the
    /// order of the batches.
    pub fn names(&self, step: usize) -> Vec<String> {
        let per_step = self.order.accumulation * self.corpora.len();
        let batches = step * per_step..(step + 1) * per_step;
        let names = |n: usize| {
            let which = n % self.corpora.len();
            let examples = self.examples(which, n / self.corpora.len());
            let source = &self.corpora[which].source;
            examples.into_iter().map(|example| source.name(example))
        };
        batches.flat_map(names).collect()
    }

    /// The epoch of optimiser step `step`, counted from 0: that of the latest of its examples, of the first
    /// corpus.
    pub fn epoch(&self, step: usize) -> u64 {
        let batches = step * self.order.accumulation..(step + 1) * self.order.accumulation;
        let examples = batches.flat_map(|n| self.examples(0, n));
        examples.map(|example| example.epoch).max().unwrap_or(0)
    }

    /// Numbers of the batches that are made.
    fn batch_numbers(&self) -> impl ExactSizeIterator<Item = usize> + Clone + Send + use<B, T> {
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
        let batch = match self.order.shuffle {
            // Validation goes over its examples, whatever the step of training.
            None => corpus.source.batch(&examples, &self.device),
            Some(_) => {
                let step = n / (self.order.accumulation * self.corpora.len());
                corpus.source.batch_of_step(step, &examples, &self.device)
            }
        };
        Ok(Weighted {
            batch: batch.map_err(TrainError::Data)?,
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

/// Batches in order. Thread `w` of `k` makes every `k`-th one, so reading the queues in turn
/// restores the order.
pub struct StepIterator<T> {
    queues: Vec<Receiver<Result<Weighted<T>, TrainError>>>,
    next: usize,
    end: usize,
}

impl<T> Iterator for StepIterator<T> {
    type Item = Result<Weighted<T>, TrainError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.end {
            return None;
        }
        let queue = &self.queues[self.next % self.queues.len()];
        let batch = queue.recv().unwrap_or(Err(TrainError::LoaderPanicked));
        self.next += 1;
        if batch.is_err() {
            self.end = self.next;
        }
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.next, Some(self.end - self.next))
    }
}

impl<T> ExactSizeIterator for StepIterator<T> {}
