//! Burn's learner around a [`Trainer`]: its metrics, its event store and its dashboard.
//!
//! Burn's own strategies count epochs and step the optimiser that the learner holds. Here the learner
//! runs the trainer as a custom strategy, and all it does is show and log what the trainer reports.
//! What Burn calls an epoch is the time between two validations.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{LearningRate, Sgd, SgdConfig};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn_train::{
    AsyncProcessorTraining, EventProcessorTraining, Interrupter, Learner, LearnerEvent,
    LearningComponentsMarker, SupervisedLearningStrategy, SupervisedTraining, TrainLoader,
    TrainingComponents, TrainingItem, TrainingStrategy, ValidLoader,
};
use oscar_core::ops::TrainBackend;

use crate::dashboard::Dashboard;
use crate::error::TrainError;
use crate::metrics_log::{MetricsLog, Written};
use crate::non_finite::NonFinite;
use crate::renderer::LineRenderer;
use crate::settings::TrainConfig;
use crate::stats::{
    LEARNING_RATE, LOSS, SAMPLES_PER_SECOND, SKIPPED, Shown, StatMetric, Statistic, StepOutput,
    StepStats, TOKENS_PER_SECOND,
};
use crate::sync::lock;
use crate::trainable::Trainable;
use crate::trainer::{Outcome, StepCount, Trainer};

/// Burn's types of a learner. Learning rate and optimiser are placeholders: the trainer has its own,
/// whose state checkpoints need.
type Components<B, M> = LearningComponentsMarker<
    B,
    LearningRate,
    M,
    OptimizerAdaptor<Sgd<<B as AutodiffBackend>::InnerBackend>, M, B>,
>;

/// A training step or a validation batch as Burn's event processor receives it.
type Event<B> = LearnerEvent<StepOutput<<B as AutodiffBackend>::InnerBackend>>;

/// Burn's thread that updates metrics, event store and renderer.
type Events<B> = AsyncProcessorTraining<Event<B>, Event<B>>;

/// Where and how the progress of a run is shown.
pub(crate) struct Display {
    /// Burn's dashboard instead of lines.
    pub dashboard: bool,
    /// Where lines go without a dashboard.
    pub lines: Box<dyn Write + Send + Sync>,
    pub interrupter: Interrupter,
    /// Task statistics of training and validation: name, and whether higher is better.
    pub metrics: Vec<(&'static str, bool)>,
    /// The same of validations alone.
    pub validation_metrics: Vec<(&'static str, bool)>,
}

/// A column of the log and the display.
struct Column {
    name: &'static str,
    higher_is_better: bool,
    /// How training steps show it, if they do.
    train: Option<Shown>,
    validation: bool,
}

impl Display {
    /// All columns, in the order in which they are shown.
    fn columns(&self, config: &TrainConfig) -> Vec<Column> {
        let column = |name, higher_is_better, train, validation| Column {
            name,
            higher_is_better,
            train,
            validation,
        };
        let (newest, mean) = (Some(Shown::Newest), Some(Shown::NewestAndMean));
        let mut columns = vec![column(LOSS, false, mean, true)];
        let task = self.metrics.iter();
        columns.extend(task.map(|(name, higher)| column(name, *higher, mean, true)));
        let validation = self.validation_metrics.iter();
        columns.extend(validation.map(|(name, higher)| column(name, *higher, None, true)));
        if config.non_finite == NonFinite::Skip {
            columns.push(column(SKIPPED, false, newest, false));
        }
        columns.push(column(LEARNING_RATE, false, newest, false));
        // A low terminal shows the first few of a dashboard only; the speed should be among them.
        let speed = if self.dashboard { 1 } else { columns.len() };
        columns.insert(speed, column(SAMPLES_PER_SECOND, true, mean, false));
        columns.push(column(TOKENS_PER_SECOND, true, mean, false));
        columns
    }
}

/// Runs `trainer`, the leading one, inside Burn's learner; returns the model for evaluation.
///
/// # Errors
///
/// Whatever ended the training.
pub(crate) fn launch<B: TrainBackend, M: Trainable<B>>(
    trainer: Trainer<B, M>,
    config: &TrainConfig,
    log: MetricsLog,
    display: Display,
) -> Result<(M::InnerModule, Outcome), TrainError> {
    let first_step = trainer.done.step;
    let directory = trainer
        .lead
        .as_ref()
        .map(|lead| lead.run.path().to_path_buf());
    let model = trainer.model().clone();
    let run = Arc::new(RunTrainer {
        trainer: Mutex::new(trainer),
        outcome: Mutex::new(None),
    });
    let mut training = SupervisedTraining::<Components<B, M>>::new(
        directory.unwrap_or_default(),
        Arc::new(NoLoader) as TrainLoader<Components<B, M>>,
        Arc::new(NoLoader) as ValidLoader<Components<B, M>>,
    )
    .with_training_strategy(TrainingStrategy::Custom(run.clone()))
    .with_interrupter(display.interrupter.clone())
    // The program has its own tracing subscriber.
    .with_application_logger(None)
    .with_metric_logger(log);
    for column in display.columns(config) {
        let metric = |shown| StatMetric::new(column.name, column.higher_is_better, shown);
        if let Some(shown) = column.train {
            training = training.metric_train_numeric(metric(shown));
        }
        if column.validation {
            training = training.metric_valid_numeric(metric(Shown::Mean));
        }
    }
    training = match display.dashboard {
        true => training.renderer(Dashboard::start(
            display.interrupter,
            first_step,
            config.steps,
        )),
        false => training.renderer(LineRenderer::new(
            display.lines,
            config.log_every,
            config.steps,
        )),
    };
    let learner = Learner::new(model, SgdConfig::new().init(), 0.0);
    let launched = catch_unwind(AssertUnwindSafe(|| training.launch(learner).model));
    let outcome = lock(&run.outcome).take();
    match (launched, outcome) {
        (Ok(model), Some(outcome)) => Ok((model, outcome?)),
        (Err(_), Some(Err(error))) => Err(error),
        (Err(panic), _) => Err(TrainError::panicked(&*panic)),
        (Ok(_), None) => Err(TrainError::Panicked("the learner did not run".into())),
    }
}

/// The strategy of Burn's learner: run the trainer.
struct RunTrainer<B: TrainBackend, M: Trainable<B>> {
    /// Locked for the whole training: Burn calls a strategy by a shared reference, once.
    trainer: Mutex<Trainer<B, M>>,
    outcome: Mutex<Option<Result<Outcome, TrainError>>>,
}

impl<B: TrainBackend, M: Trainable<B>> SupervisedLearningStrategy<Components<B, M>>
    for RunTrainer<B, M>
{
    fn fit(
        &self,
        components: TrainingComponents<Components<B, M>>,
        learner: Learner<Components<B, M>>,
        _train: TrainLoader<Components<B, M>>,
        _validation: ValidLoader<Components<B, M>>,
        _starting_epoch: usize,
    ) -> (M, Events<B>) {
        // From here on the trainer owns the only copy, so that updates may happen in place.
        drop(learner);
        let mut trainer = lock(&self.trainer);
        if let Some(lead) = &mut trainer.lead {
            lead.monitor.events = Some(components.event_processor);
        }
        let outcome = trainer.run();
        *lock(&self.outcome) = Some(outcome);
        let monitor = trainer.lead.as_mut().map(|lead| &mut lead.monitor);
        let events = monitor.and_then(|monitor| monitor.events.take());
        match (trainer.take_model(), events) {
            (Some(model), Some(events)) => (model, events),
            // An update failed half-way. Burn wants a model all the same; `launch` catches this.
            _ => resume_unwind(Box::new("the model is lost")),
        }
    }
}

/// The loader that Burn's learner asks for and hands to the strategy; the trainer has its own.
struct NoLoader;

impl<B: Backend, T: 'static> DataLoader<B, T> for NoLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<T> + 'a> {
        Box::new(NoBatches(std::iter::empty()))
    }

    fn num_items(&self) -> usize {
        0
    }

    fn to_device(&self, _: &B::Device) -> Arc<dyn DataLoader<B, T>> {
        Arc::new(Self)
    }

    fn slice(&self, _: usize, _: usize) -> Arc<dyn DataLoader<B, T>> {
        Arc::new(Self)
    }
}

struct NoBatches<T>(std::iter::Empty<T>);

impl<T> Iterator for NoBatches<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.next()
    }
}

impl<T> DataLoaderIterator<T> for NoBatches<T> {
    fn progress(&self) -> Progress {
        Progress::new(0, 0)
    }
}

/// Reports the statistics of a run to Burn, which shows and logs them on its event thread.
pub(crate) struct Monitor<B: TrainBackend> {
    steps: usize,
    validate_every: usize,
    /// Whether the number of skipped steps is shown.
    skips: bool,
    /// Burn's event thread, once it runs.
    events: Option<Events<B>>,
    /// How far the log is written, which that thread does.
    written: Written,
    /// Lines of the log that were reported.
    reported: usize,
    /// When the last step or validation ended.
    since: Instant,
}

impl<B: TrainBackend> Monitor<B> {
    pub fn new(config: &TrainConfig, written: Written) -> Self {
        Self {
            steps: config.steps,
            validate_every: config.validate_every,
            skips: config.non_finite == NonFinite::Skip,
            events: None,
            written,
            reported: 0,
            since: Instant::now(),
        }
    }

    /// Reports a step that was made at `end`, with its learning rate and speed.
    pub fn step(&mut self, mut stats: StepStats, done: StepCount, lr: f64, end: Instant) {
        let seconds = end
            .saturating_duration_since(self.since)
            .as_secs_f64()
            .max(1e-9);
        self.since = end;
        let (examples, tokens) = (stats.examples as f64, stats.tokens as f64);
        stats.entries.extend([
            Statistic::new(LEARNING_RATE, lr, 1.0),
            Statistic::new(SAMPLES_PER_SECOND, examples, seconds),
            Statistic::new(TOKENS_PER_SECOND, tokens, seconds),
        ]);
        if self.skips {
            let total = done.skipped.total as f64;
            stats.entries.push(Statistic::new(SKIPPED, total, 1.0));
        }
        let progress = Progress::new(done.step, self.steps);
        let period = self.period(done.step);
        let item = TrainingItem::new(stats.into(), progress, period, Some(done.step), Some(lr));
        if let Some(events) = &mut self.events {
            events.process_train(LearnerEvent::ProcessedItem(item));
        }
        self.reported += 1;
    }

    /// Reports batch `number` (from 1) of `total` of the validation after `step`.
    pub fn validation_batch(&mut self, stats: StepStats, number: usize, total: usize, step: usize) {
        let progress = Progress::new(number, total);
        let period = self.period(step);
        let item = TrainingItem::new(stats.into(), progress, period, Some(number), None);
        if let Some(events) = &mut self.events {
            events.process_valid(LearnerEvent::ProcessedItem(item));
        }
    }

    /// Reports that the validation after `step` is complete.
    pub fn validation_end(&mut self, step: usize) {
        let period = self.period(step).items_processed;
        if let Some(events) = &mut self.events {
            events.process_valid(LearnerEvent::EndEpoch(period));
            events.process_train(LearnerEvent::EndEpoch(period));
        }
        self.reported += 1;
        // Its time is not that of the next step.
        self.since = Instant::now();
    }

    /// Waits until the log has everything that was reported.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn wait_until_written(&mut self) -> Result<(), TrainError> {
        self.written.wait(self.reported)
    }

    /// Burn's epoch: the number of the validation, from 1, that comes at or after `step`.
    fn period(&self, step: usize) -> Progress {
        let every = self.validate_every;
        Progress::new((step - 1) / every + 1, self.steps.div_ceil(every))
    }
}
