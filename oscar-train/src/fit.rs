//! One call that trains a model.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use burn_train::Interrupter;
use oscar_core::model::initialize;
use oscar_core::ops::{Precision, TrainBackend};

use crate::error::TrainError;
use crate::learner::{self, Display, Monitor};
use crate::loader::{BatchSource, Corpus, StepLoader};
use crate::metrics_log::{MetricsLog, Written, keep_until};
use crate::non_finite::NON_FINITE_FILE;
use crate::optim::AdamW;
use crate::parallel::{Sums, Team, Workers, broadcast_start, replicate};
use crate::run::{METRICS_FILE, RunDir};
use crate::save::SaveRequest;
use crate::settings::{OptimizerConfig, StepConfig, TrainConfig};
use crate::trainable::Trainable;
use crate::trainer::{
    BeforeEpoch, Describe, Lead, Outcome, SelectionMetric, StepCount, Trainer, TrainingState,
};

/// What a run needs beside its recipe.
pub struct RunOptions {
    /// The run directory, locked.
    pub run: RunDir,
    /// Whether to resume from its newest checkpoint.
    pub resume: bool,
    /// Stops the run, after a checkpoint.
    pub interrupter: Interrupter,
    /// Asks for a checkpoint between those of the recipe.
    pub save: SaveRequest,
    /// Whether Burn's dashboard shows the progress; it needs a terminal.
    pub dashboard: bool,
    /// Where lines of progress are written without a dashboard.
    pub progress: Box<dyn Write + Send + Sync>,
    /// The devices or processes that train together; the run's device is that of the first.
    pub workers: Workers,
}

/// What to train, on which data, and how.
pub struct Fit<B: TrainBackend, M: Trainable<B>> {
    /// The model, with its start weights.
    pub model: M,
    /// The device it is on.
    pub device: B::Device,
    /// Training data: one corpus, or several whose weights add up to 1.
    pub corpora: Vec<Corpus<B, M::Batch>>,
    /// Validation data.
    pub validation: Arc<dyn BatchSource<B::InnerBackend, Batch = M::ValidationBatch>>,
    /// `[train]`.
    pub train: TrainConfig,
    /// `[optimizer]`.
    pub optimizer: OptimizerConfig,
    /// Where the run is written, and how it is shown.
    pub options: RunOptions,
    /// Task statistics to show beside the loss: name, and whether higher is better.
    pub metrics: Vec<(&'static str, bool)>,
    /// The same of those that validations alone measure.
    pub validation_metrics: Vec<(&'static str, bool)>,
    /// How the best weights are selected.
    pub selection_metric: SelectionMetric,
    /// Writes what describes the model beside its weights.
    pub describe: Describe,
    /// What is done with the weights before each epoch, if anything is.
    pub before_epoch: Option<BeforeEpoch<M::InnerModule>>,
}

/// Trains to the last step, or until interrupted. Returns the model for evaluation.
///
/// # Errors
///
/// If data cannot be read, a checkpoint cannot be read or written, the run directory has checkpoints
/// that are not to be resumed, the loss is not finite, a device fails, or another worker failed or is
/// gone. Checkpoints written before stay; unless the weights may be damaged, the last whole step is
/// saved.
pub fn fit<B, M>(mut fit: Fit<B, M>) -> Result<(M::InnerModule, Outcome), TrainError>
where
    B: TrainBackend,
    M: Trainable<B>,
{
    let world = fit.options.workers.world();
    let config = StepConfig::new(fit.train, fit.optimizer, world, &fit.corpora)?;
    let reads_late = fit.options.workers.reads_late();
    let (mut team, others) = teams::<B>(&mut fit.options, &fit.device, &config.train);
    let rank = team.rank();
    let devices = others.iter().map(|(_, device)| device);
    let devices = std::iter::once(&fit.device).chain(devices).cloned();
    let sums = Sums::new(config.train.all_reduce, devices.collect());
    if world > 1 && rank == 0 {
        let count = config.settings.micro_batches();
        let own = count / world;
        let place = match sums.on_devices() {
            true => "among the devices",
            false => "in main memory",
        };
        tracing::info!(
            "{world} workers: each computes {own} of the {count} batches of a step; their gradients \
             are summed {place}"
        );
    }

    let mut state = load_or_initialise(&fit.options, &config, fit.model, &fit.device, rank)?;
    if world > 1 && others.is_empty() {
        // Workers are processes, of which the first alone has read a checkpoint.
        state = broadcast_start(&mut team, &config.settings, state, &fit.device)?;
    }
    let (done, best, unwritten_best) = (state.done, state.best, state.unwritten_best);

    let sources = fit.corpora.iter().map(|corpus| &*corpus.source);
    let rows_per_example = sources.map(|source| source.rows_per_example()).max();
    let order = config.batch_order(done.step, rank, world);
    let loader = StepLoader::new(fit.corpora, order, fit.device.clone())?;
    let rows = order.micro_batch * rows_per_example.unwrap_or(1);
    let batch_size = (rows / fit.validation.rows_per_example().max(1)).max(1);
    let validation = StepLoader::once(
        fit.validation,
        batch_size,
        config.train.workers,
        order.shard,
        fit.device.clone(),
    )?;
    let worker = |state, data, device, team| {
        let config = config.clone();
        let mut worker = Trainer::<B, M>::new(config, state, data, device, team, sums.clone());
        worker.reads_late |= reads_late;
        worker.before_epoch = fit.before_epoch.clone();
        worker
    };
    let mut followers = Vec::with_capacity(others.len());
    for (team, device) in others {
        let data = (
            loader.for_worker(team.rank(), device.clone()),
            validation.for_worker(team.rank(), device.clone()),
        );
        followers.push(worker(replicate(&state, &device)?, data, device, team));
    }
    let mut trainer = worker(state, (loader, validation), fit.device, team);
    if rank > 0 {
        let outcome = trainer.run()?;
        return Ok((trainer.model().valid(), outcome));
    }

    let (log, written) = open_log(fit.options.run.path(), done.step)?;
    trainer.lead = Some(Lead {
        run: fit.options.run,
        selection_metric: fit.selection_metric,
        describe: fit.describe,
        monitor: Monitor::new(&config.train, written),
        best,
        unwritten_best,
        last: None,
        saved: (done.step > 0).then_some(done.step),
        save: fit.options.save,
        threads: followers.into_iter().map(spawn).collect(),
    });
    let display = Display {
        dashboard: fit.options.dashboard,
        lines: fit.options.progress,
        interrupter: fit.options.interrupter,
        metrics: fit.metrics,
        validation_metrics: fit.validation_metrics,
    };
    learner::launch(trainer, &config.train, log, display)
}

/// The workers of this process beside its first, and their devices.
type Others<B> = Vec<(Team, <B as burn::tensor::backend::BackendTypes>::Device)>;

/// The team of the first worker of this process, whose device is `first`, and the other workers.
fn teams<B: TrainBackend>(
    options: &mut RunOptions,
    first: &B::Device,
    train: &TrainConfig,
) -> (Team, Others<B>) {
    let limit = Duration::from_secs(train.peer_timeout_seconds as u64);
    let team = |group| Team::new(group, limit, options.interrupter.clone());
    let workers = std::mem::replace(&mut options.workers, Workers::devices(vec![0]));
    let (group, others) = workers.start::<B>(first);
    let others = others
        .into_iter()
        .map(|(group, device)| (team(group), device));
    (team(group), others.collect())
}

/// The state of the run's newest checkpoint if it is to be resumed, else that of a new run. Only
/// worker 0 reads checkpoints.
fn load_or_initialise<B: TrainBackend, M: Trainable<B>>(
    options: &RunOptions,
    config: &StepConfig,
    model: M,
    device: &B::Device,
    rank: usize,
) -> Result<TrainingState<B, M>, TrainError> {
    let optimizer = AdamW::new(config.optimizer.adamw(), &model);
    let (model, optimizer, state) = match options.resume && rank == 0 {
        true => options
            .run
            .restore(&config.settings, model, optimizer, device)?,
        false => (model, optimizer, None),
    };
    initialize(&model, device, config.train.seed);
    match (options.resume, &state) {
        _ if rank > 0 => {}
        (true, Some(state)) => {
            let steps = config.train.steps;
            tracing::info!("resuming after step {} of {steps}", state.step);
        }
        (true, None) => {
            tracing::warn!("nothing to resume: there is no checkpoint yet; starting from step 0");
        }
        (false, _) if options.run.list()?.is_empty() => {}
        (false, _) => {
            let path = options.run.path().to_path_buf();
            return Err(TrainError::HasCheckpoints { path });
        }
    }
    let (done, best, unwritten_best) = state.map_or_else(Default::default, |state| {
        let (step, skipped) = (state.step, state.skipped);
        (
            StepCount { step, skipped },
            state.best,
            state.unwritten_best,
        )
    });
    Ok(TrainingState {
        model,
        optimizer,
        done,
        best,
        unwritten_best,
    })
}

/// Opens the log of a run that continues after `step`, and drops what later steps left.
fn open_log(run: &Path, step: usize) -> Result<(MetricsLog, Written), TrainError> {
    keep_until(&run.join(NON_FINITE_FILE), step)?;
    MetricsLog::open(&run.join(METRICS_FILE), step)
}

/// Runs a worker beside the leading one. It announces its errors to the others.
fn spawn<B: TrainBackend, M: Trainable<B>>(mut trainer: Trainer<B, M>) -> JoinHandle<()> {
    // The precision of matrix products is a property of the thread.
    let precision = Precision::current();
    std::thread::spawn(move || drop(precision.scope(|| trainer.run())))
}
