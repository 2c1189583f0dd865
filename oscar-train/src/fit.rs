//! One call that trains a model: Burn's learner set up for Oscar.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burn::data::dataloader::DataLoader;
use burn_train::{
    InferenceStep, Interrupter, Learner, SupervisedTraining, TrainStep, TrainingStrategy,
};
use oscar_core::model::initialize;
use oscar_core::ops::TrainBackend;

use crate::dashboard::Dashboard;
use crate::error::TrainError;
use crate::loader::{BatchOrder, BatchSource, Corpus, Failure, Shard, StepLoader, Weighted, lock};
use crate::metrics_log::{MetricsLog, keep_until};
use crate::non_finite::{NON_FINITE_FILE, NonFinite, SKIPPED};
use crate::optim::AdamW;
use crate::order::Shuffle;
use crate::parallel::{
    Done, Numbers, Team, Worker, Workers, divide_among_workers, fork, share_start,
};
use crate::renderer::LineRenderer;
use crate::run::{Best, FixedSettings, METRICS_FILE, RunDir};
use crate::schedule::LinearSchedule;
use crate::settings::{OptimizerConfig, TrainConfig};
use crate::stats::{
    LEARNING_RATE, LOSS, LearningRateMetric, SAMPLES_PER_SECOND, StatMetric, StepOutput,
    TOKENS_PER_SECOND, ThroughputMetric,
};
use crate::strategy::{
    Components, Describe, Follower, Outcome, Pace, SelectionMetric, Session, StepStrategy,
    Trainable,
};

/// What a run needs beside its recipe.
pub struct RunOptions {
    /// The run directory, locked.
    pub run: RunDir,
    /// Whether to go on from its newest checkpoint.
    pub resume: bool,
    /// Stops the run, after a checkpoint.
    pub interrupter: Interrupter,
    /// Whether Burn's dashboard shows the progress; it needs a terminal.
    pub dashboard: bool,
    /// Where lines of progress go without a dashboard.
    pub progress: Box<dyn Write + Send + Sync>,
    /// Who trains together; the run's device is that of the first.
    pub workers: Workers,
}

/// What to train, on what, and where to.
pub struct Fit<B: TrainBackend, M, T, V> {
    /// The model, with its start weights.
    pub model: M,
    /// The device it is on.
    pub device: B::Device,
    /// What to learn from: one corpus, or several whose weights add up to 1.
    pub corpora: Vec<Corpus<B, T>>,
    /// What to validate on.
    pub validation: Arc<dyn BatchSource<B::InnerBackend, Batch = V>>,
    /// `[train]`.
    pub train: TrainConfig,
    /// `[optimizer]`.
    pub optimizer: OptimizerConfig,
    /// Where the run goes, and what is told of it.
    pub options: RunOptions,
    /// Task statistics to show beside the loss: name, and whether higher is better.
    pub metrics: Vec<(&'static str, bool)>,
    /// The same of those that validations alone measure.
    pub validation_metrics: Vec<(&'static str, bool)>,
    /// By what the best weights are chosen.
    pub selection_metric: SelectionMetric,
    /// Writes what describes the model beside its weights.
    pub describe: Describe,
}

/// Trains to the last step, or until interrupted. Returns the model for evaluation.
///
/// # Errors
///
/// If data cannot be read, a checkpoint cannot be read or written, the loss is not finite, or
/// another worker failed or is gone. Checkpoints written before stay, and unless it is the loss,
/// the last whole step is kept.
pub fn fit<B, M, T, V>(mut fit: Fit<B, M, T, V>) -> Result<(M::InnerModule, Outcome), TrainError>
where
    B: TrainBackend,
    T: Send + 'static,
    V: Send + 'static,
    M: Trainable<B> + TrainStep<Input = Weighted<T>>,
    M::InnerModule: InferenceStep<Input = Weighted<V>, Output = StepOutput<B::InnerBackend>>,
{
    let world = fit.options.workers.world();
    divide_among_workers(world, &mut fit.train, &mut fit.optimizer)?;
    fit.train.validate()?;
    fit.optimizer.validate(fit.train.steps)?;
    let crew = Crew::<B>::assemble(&fit.device, &mut fit.options, &fit.train);
    let mut team = crew.first;
    let numbers = numbers(&fit.corpora, &fit.train, &fit.optimizer);
    if world > 1 && team.rank() == 0 {
        tracing::info!(
            "{world} workers: each computes {} of the {} parts of a step",
            numbers.settings.parts() / world,
            numbers.settings.parts(),
        );
    }

    let optimizer = AdamW::new(fit.optimizer.adamw(), &fit.model);
    let (model, optimizer, state) = match fit.options.resume && team.rank() == 0 {
        true => {
            let run = &fit.options.run;
            run.restore(&numbers.settings, fit.model, optimizer, &fit.device)?
        }
        false => (fit.model, optimizer, None),
    };
    initialize(&model, &fit.device, fit.train.seed);
    let (done, best): (Done, Option<Best>) = state.map_or_else(Default::default, |state| {
        let (step, skipped) = (state.step, state.skipped);
        (Done { step, skipped }, state.best)
    });
    if fit.options.resume && team.rank() == 0 {
        announce_resume(done.step, fit.train.steps);
    }
    let (model, optimizer, done) = match world > 1 && crew.others.is_empty() {
        true => share_start(
            &mut team,
            &numbers.settings,
            done,
            (model, optimizer),
            &fit.device,
        )?,
        false => (model, optimizer, done),
    };

    let rows = fit
        .corpora
        .iter()
        .map(|corpus| corpus.source.rows_per_example())
        .max()
        .unwrap_or(1);
    let failure = Failure::default();
    let order = BatchOrder {
        micro_batch: fit.train.batch_size / fit.train.accumulation,
        accumulation: fit.train.accumulation,
        first_step: done.step,
        end_step: fit.train.steps,
        shuffle: Some(Shuffle {
            seed: fit.train.seed,
            window: fit.train.shuffle_window,
        }),
        workers: fit.train.workers,
        shard: Shard {
            index: team.rank(),
            count: world,
        },
    };
    let loader = StepLoader::new(fit.corpora, order, fit.device.clone(), failure.clone())?;
    let loader = Arc::new(loader);
    let others = crew
        .others
        .into_iter()
        .map(|(team, device)| -> Result<Follower<B, M>, TrainError> {
            let replica = fork(&model, &optimizer, &device)?;
            let failure = Failure::default();
            let loader = loader.of_worker(team.rank(), device.clone(), failure.clone());
            let worker = Worker::new(numbers.clone(), replica, device, failure, team, done);
            Ok((worker, Arc::new(loader)))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let rank = team.rank();
    let mut lead = Worker::new(
        numbers.clone(),
        (model.clone(), optimizer.clone()),
        fit.device.clone(),
        failure.clone(),
        team,
        done,
    );
    if rank > 0 {
        drop((model, optimizer));
        lead.follow(&*loader)?;
        let outcome = Outcome {
            step: lead.done.step,
            interrupted: lead.done.step < fit.train.steps,
            leads: false,
            validation: None,
            best: None,
            skipped: lead.done.skipped,
        };
        return Ok((lead.model().valid(), outcome));
    }

    let validation_batch =
        (order.micro_batch * rows / fit.validation.rows_per_example().max(1)).max(1);
    let valid_loader = StepLoader::once(
        fit.validation,
        validation_batch,
        fit.train.workers,
        fit.device,
        failure,
    )?;
    let directory = fit.options.run.path().to_path_buf();
    let log = MetricsLog::open(&directory.join(METRICS_FILE), done.step)?;
    keep_until(&directory.join(NON_FINITE_FILE), done.step)?;
    let named = loader.clone();
    let session = Session {
        run: fit.options.run,
        pace: Pace {
            validate_every: fit.train.validate_every,
            save_every: fit.train.save_every,
            keep: fit.train.keep_checkpoints,
        },
        best,
        lead,
        others,
        describe: fit.describe,
        selection_metric: fit.selection_metric,
        names: Arc::new(move |step| named.names(step)),
        written: log.written(),
    };
    let outcome = Arc::new(Mutex::new(None));
    let strategy = StepStrategy {
        session: Mutex::new(Some(session)),
        outcome: outcome.clone(),
    };

    let mut training = SupervisedTraining::<Components<B, M>>::new(
        directory,
        loader as Arc<dyn DataLoader<B, Weighted<T>>>,
        Arc::new(valid_loader) as Arc<dyn DataLoader<B::InnerBackend, Weighted<V>>>,
    )
    .with_training_strategy(TrainingStrategy::Custom(Arc::new(strategy)))
    .with_interrupter(fit.options.interrupter.clone())
    // The program has its own tracing subscriber.
    .with_application_logger(None)
    .with_metric_logger(log)
    .metric_train_numeric(StatMetric::new(LOSS, false))
    .metric_valid_numeric(StatMetric::new(LOSS, false).cumulative())
    .metric_train_numeric(LearningRateMetric::default())
    .metric_train_numeric(ThroughputMetric::samples())
    .metric_train_numeric(ThroughputMetric::tokens());
    let order_of_metrics = std::iter::once(LOSS)
        .chain(fit.metrics.iter().map(|(name, _)| *name))
        .chain(fit.validation_metrics.iter().map(|(name, _)| *name))
        .chain([
            SKIPPED,
            LEARNING_RATE,
            SAMPLES_PER_SECOND,
            TOKENS_PER_SECOND,
        ])
        .map(String::from)
        .collect();
    for (name, higher_is_better) in fit.metrics {
        let metric = StatMetric::new(name, higher_is_better);
        training = training
            .metric_train_numeric(metric.clone())
            .metric_valid_numeric(metric.cumulative());
    }
    for (name, higher_is_better) in fit.validation_metrics {
        let metric = StatMetric::new(name, higher_is_better);
        training = training.metric_valid_numeric(metric.cumulative());
    }
    if fit.train.non_finite == NonFinite::Skip {
        training = training.metric_train_numeric(StatMetric::new(SKIPPED, false));
    }
    training = match fit.options.dashboard {
        true => training.renderer(Dashboard::start(
            fit.options.interrupter,
            order_of_metrics,
            done.step,
            fit.train.steps,
        )),
        false => training.renderer(LineRenderer::new(
            fit.options.progress,
            fit.train.log_every,
            fit.train.steps,
            order_of_metrics,
        )),
    };
    let result = training.launch(Learner::new(model, optimizer, numbers.schedule));
    let outcome = lock(&outcome).take().unwrap_or(Err(TrainError::Worker))?;
    Ok((result.model, outcome))
}

/// The workers of this process.
struct Crew<B: TrainBackend> {
    first: Team,
    others: Vec<(Team, B::Device)>,
}

impl<B: TrainBackend> Crew<B> {
    fn assemble(first: &B::Device, options: &mut RunOptions, train: &TrainConfig) -> Self {
        let limit = Duration::from_secs(train.peer_timeout_seconds as u64);
        let team = |group| Team::new(group, limit, options.interrupter.clone());
        let workers = std::mem::replace(&mut options.workers, Workers::devices(vec![0]));
        let (group, others) = workers.start::<B>(first);
        Self {
            first: team(group),
            others: others
                .into_iter()
                .map(|(group, device)| (team(group), device))
                .collect(),
        }
    }
}

fn numbers<B: TrainBackend, T: Send + 'static>(
    corpora: &[Corpus<B, T>],
    train: &TrainConfig,
    optimizer: &OptimizerConfig,
) -> Numbers {
    let portions = corpora.iter().map(|corpus| corpus.source.portions());
    Numbers {
        settings: FixedSettings {
            seed: train.seed,
            steps: train.steps,
            batch_size: train.batch_size,
            accumulation: train.accumulation,
            examples: corpora.iter().map(|corpus| corpus.source.len()).collect(),
            shuffle_window: train.shuffle_window,
            mix: portions
                .filter(|portions| portions.len() > 1)
                .flatten()
                .collect(),
        },
        schedule: LinearSchedule::new(
            optimizer.learning_rate,
            optimizer.warmup_steps,
            train.steps,
            optimizer.schedule_order,
        )
        .with_decay(optimizer.decay),
        max_grad_norm: optimizer.max_grad_norm,
        clip_at: optimizer.clip_at,
        non_finite: train.non_finite,
        gradient_checkpointing: train.gradient_checkpointing,
    }
}

fn announce_resume(step: usize, steps: usize) {
    match step {
        0 => tracing::warn!("nothing to resume: no checkpoint yet; starting from step 0"),
        step => tracing::info!("resuming after step {step} of {steps}"),
    }
}
