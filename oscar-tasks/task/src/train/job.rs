//! A run that is ready to start but for its model.

use std::sync::Arc;
use std::time::{Duration, Instant};

use oscar_core::checkpoint::{self, Parameter};
use oscar_core::ops::TrainBackend;
use oscar_train::{
    BatchSource, BeforeEpoch, Corpus, Fit, Outcome, RunOptions, SelectionMetric, TrainError,
    Trainable, fit, start_weights,
};

use super::{FinetuneConfig, FinetuneError};
use crate::{Task, TaskCheckpoint};

/// Opened data, the resolved recipe, and where the run goes.
pub struct Job<B: TrainBackend, T: Task> {
    /// The recipe; sizes of the model and number of steps are final.
    pub config: FinetuneConfig<T>,
    /// The encoder, and what else the checkpoints of the run carry.
    pub checkpoint: Arc<TaskCheckpoint<T>>,
    /// Training data.
    pub train: Arc<T::Data>,
    /// Validation data.
    pub validation: Arc<T::Data>,
    /// Where to compute.
    pub device: B::Device,
    /// Steps that were done before an interruption; 0 for a new run.
    pub done_before: usize,
    pub(crate) options: RunOptions,
}

/// A task's model and its batches.
pub struct Parts<B: TrainBackend, M, X, V> {
    /// With fresh weights.
    pub model: M,
    /// Training batches.
    pub train: Arc<dyn BatchSource<B, Batch = X>>,
    /// Validation batches.
    pub validation: Arc<dyn BatchSource<B::InnerBackend, Batch = V>>,
    /// Module, by official name, that start weights may lack; it is then initialised randomly.
    pub head: Option<&'static str>,
    /// Statistics to show beside the loss: name, and whether higher is better.
    pub metrics: Vec<(&'static str, bool)>,
    /// The same for statistics that only validations measure.
    pub validation_metrics: Vec<(&'static str, bool)>,
    /// The statistic by which the best weights are chosen, the highest.
    pub selection_metric: &'static str,
}

/// The result of a training.
#[derive(Debug)]
pub struct Trained {
    /// How it ended.
    pub outcome: Outcome,
    /// Parameters of the model.
    pub parameters: usize,
    /// Time, validation and checkpoints included.
    pub time: Duration,
}

impl<B: TrainBackend, T: Task> Job<B, T> {
    /// Batches of each step that this process computes: all of them, unless several train together.
    pub fn batches_per_step(&self) -> usize {
        self.options
            .workers
            .local_micro_batches(self.config.train.accumulation)
    }

    /// Gives the model its start weights, and trains it to the last step.
    ///
    /// # Errors
    ///
    /// If data cannot be read, a checkpoint cannot be read or written, or the loss is not finite.
    pub fn fit<M, X, V>(self, parts: Parts<B, M, X, V>) -> Result<Trained, FinetuneError>
    where
        X: Send + 'static,
        V: Send + 'static,
        M: Trainable<B, Batch = X, ValidationBatch = V>,
    {
        self.fit_with(parts, None)
    }

    /// As [`fit`](Self::fit), with what is done with the weights before each epoch.
    ///
    /// # Errors
    ///
    /// As [`fit`](Self::fit), or that of `before_epoch`.
    pub fn fit_with<M, X, V>(
        self,
        parts: Parts<B, M, X, V>,
        before_epoch: Option<BeforeEpoch<M::InnerModule>>,
    ) -> Result<Trained, FinetuneError>
    where
        X: Send + 'static,
        V: Send + 'static,
        M: Trainable<B, Batch = X, ValidationBatch = V>,
    {
        let (config, checkpoint) = (self.config, self.checkpoint);
        // A resumed run has weights of its own; those it started from may be gone by then.
        let model = match self.done_before {
            0 => {
                let mut init = config.init.clone();
                init.random.extend(parts.head.map(String::from));
                start_weights(parts.model, &init).map_err(TrainError::from)?
            }
            _ => parts.model,
        };
        let parameters = checkpoint::parameters(&model)
            .iter()
            .map(Parameter::len)
            .sum();
        tracing::info!(
            "{parameters} parameters; {} training and {} validation examples; {} steps of {}",
            parts.train.len(),
            parts.validation.len(),
            config.train.steps,
            config.train.batch_size,
        );
        let started = Instant::now();
        let (_, outcome) = fit(Fit {
            before_epoch,
            model,
            device: self.device,
            corpora: vec![Corpus {
                source: parts.train,
                weight: 1.0,
            }],
            validation: parts.validation,
            train: config.train.clone(),
            optimizer: config.optimizer.clone(),
            options: self.options,
            metrics: parts.metrics,
            validation_metrics: parts.validation_metrics,
            selection_metric: SelectionMetric::Highest(parts.selection_metric),
            describe: Arc::new(move |directory| {
                let described = checkpoint.describe(directory);
                described.map_err(|error| TrainError::Data(Box::new(error)))
            }),
        })?;
        Ok(Trained {
            outcome,
            parameters,
            time: started.elapsed(),
        })
    }
}
