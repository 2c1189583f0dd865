//! One call that trains a model: Burn's learner set up for Oscar.

use std::io::Write;
use std::marker::PhantomData;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use burn::data::dataloader::DataLoader;
use burn::module::Module;
use burn_train::{
    InferenceStep, Interrupter, Learner, SupervisedTraining, TrainStep, TrainingStrategy,
};
use oscar_core::ops::TrainBackend;

use crate::dashboard::Dashboard;
use crate::error::TrainError;
use crate::loader::{BatchSource, Corpus, Failure, Order, StepLoader, Weighted, lock};
use crate::metrics_log::MetricsLog;
use crate::optim::AdamW;
use crate::order::Shuffle;
use crate::renderer::LineRenderer;
use crate::run::{FixedSettings, RunDir};
use crate::schedule::LinearSchedule;
use crate::settings::{OptimizerConfig, TrainConfig};
use crate::stats::{
    LEARNING_RATE, LOSS, LearningRateMetric, SAMPLES_PER_SECOND, StatMetric, StepOutput,
    TOKENS_PER_SECOND, ThroughputMetric,
};
use crate::strategy::{
    Components, Describe, JudgedBy, Outcome, Pace, Session, StepStrategy, Trainable,
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
    pub judged_by: JudgedBy,
    /// Writes what describes the model beside its weights.
    pub describe: Describe,
}

/// Trains to the last step, or until interrupted. Returns the model for evaluation.
///
/// # Errors
///
/// If data cannot be read, a checkpoint cannot be read or written, or the loss is not finite.
/// Checkpoints written before stay.
pub fn fit<B, M, T, V>(fit: Fit<B, M, T, V>) -> Result<(M::InnerModule, Outcome), TrainError>
where
    B: TrainBackend,
    T: Send + 'static,
    V: Send + 'static,
    M: Trainable<B> + TrainStep<Input = Weighted<T>>,
    M::InnerModule: InferenceStep<Input = Weighted<V>, Output = StepOutput<B::InnerBackend>>,
{
    fit.train.validate()?;
    fit.optimizer.validate(fit.train.steps)?;
    let settings = FixedSettings {
        seed: fit.train.seed,
        steps: fit.train.steps,
        batch_size: fit.train.batch_size,
        accumulation: fit.train.accumulation,
        examples: fit
            .corpora
            .iter()
            .map(|corpus| corpus.source.len())
            .collect(),
        shuffle_window: fit.train.shuffle_window,
        mix: fit
            .corpora
            .iter()
            .map(|corpus| corpus.source.portions())
            .filter(|portions| portions.len() > 1)
            .flatten()
            .collect(),
    };
    let optimizer = AdamW::new(fit.optimizer.adamw(), &fit.model);
    let (model, optimizer, state) = match fit.options.resume {
        true => fit
            .options
            .run
            .restore(&settings, fit.model, optimizer, &fit.device)?,
        false => (fit.model, optimizer, None),
    };
    B::seed(&fit.device, fit.train.seed);
    initialize::<B, M>(&model);
    let start = state.map_or((0, None), |state| (state.step, state.best));
    if fit.options.resume {
        announce_resume(start.0, fit.train.steps);
    }

    let train_rows = fit
        .corpora
        .iter()
        .map(|corpus| corpus.source.rows_per_example())
        .max()
        .unwrap_or(1);
    let failure = Failure::default();
    let order = Order {
        micro_batch: fit.train.batch_size / fit.train.accumulation,
        accumulation: fit.train.accumulation,
        first_step: start.0,
        end_step: fit.train.steps,
        shuffle: Some(Shuffle {
            seed: fit.train.seed,
            window: fit.train.shuffle_window,
        }),
        workers: fit.train.workers,
    };
    let train_loader = StepLoader::new(fit.corpora, order, fit.device.clone(), failure.clone())?;
    let validation_batch =
        (order.micro_batch * train_rows / fit.validation.rows_per_example().max(1)).max(1);
    let valid_loader = StepLoader::once(
        fit.validation,
        validation_batch,
        fit.train.workers,
        fit.device.clone(),
        failure.clone(),
    )?;
    let schedule = LinearSchedule::new(
        fit.optimizer.learning_rate,
        fit.optimizer.warmup_steps,
        fit.train.steps,
        fit.optimizer.schedule_order,
    )
    .with_decay(fit.optimizer.decay);
    let diverged = Arc::new(AtomicBool::new(false));
    let directory = fit.options.run.path().to_path_buf();
    let metrics_path = directory.join("metrics.jsonl");
    let parts = settings.parts();
    let session = Session {
        run: fit.options.run,
        pace: Pace {
            validate_every: fit.train.validate_every,
            save_every: fit.train.save_every,
            keep: fit.train.keep_checkpoints,
            max_grad_norm: fit.optimizer.max_grad_norm,
            clip_at: fit.optimizer.clip_at,
        },
        schedule: schedule.clone(),
        settings,
        start,
        optimizer: optimizer.clone(),
        device: fit.device,
        failure,
        describe: fit.describe,
        judged_by: fit.judged_by,
        diverged: diverged.clone(),
    };
    let outcome = Arc::new(Mutex::new(None));
    let strategy = StepStrategy {
        session: Mutex::new(Some(session)),
        outcome: outcome.clone(),
        model: PhantomData,
    };

    let mut training = SupervisedTraining::<Components<B, M>>::new(
        directory,
        Arc::new(train_loader) as Arc<dyn DataLoader<B, Weighted<T>>>,
        Arc::new(valid_loader) as Arc<dyn DataLoader<B::InnerBackend, Weighted<V>>>,
    )
    .with_training_strategy(TrainingStrategy::Custom(Arc::new(strategy)))
    .with_interrupter(fit.options.interrupter.clone())
    // The program has its own tracing subscriber.
    .with_application_logger(None)
    .with_metric_logger(MetricsLog::open(&metrics_path, start.0, parts)?)
    .metric_train_numeric(StatMetric::new(LOSS, false).watching(diverged))
    .metric_valid_numeric(StatMetric::new(LOSS, false).cumulative())
    .metric_train_numeric(LearningRateMetric::default())
    .metric_train_numeric(ThroughputMetric::samples())
    .metric_train_numeric(ThroughputMetric::tokens());
    let order_of_metrics = std::iter::once(LOSS)
        .chain(fit.metrics.iter().map(|(name, _)| *name))
        .chain(fit.validation_metrics.iter().map(|(name, _)| *name))
        .chain([LEARNING_RATE, SAMPLES_PER_SECOND, TOKENS_PER_SECOND])
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
    training = match fit.options.dashboard {
        true => training.renderer(Dashboard::start(
            fit.options.interrupter,
            order_of_metrics,
            parts,
            start.0,
            fit.train.steps,
        )),
        false => training.renderer(LineRenderer::new(
            fit.options.progress,
            fit.train.log_every,
            parts,
            fit.train.steps,
            order_of_metrics,
        )),
    };
    let result = training.launch(Learner::new(model, optimizer, schedule));
    let outcome = lock(&outcome).take().unwrap_or(Err(TrainError::Worker))?;
    Ok((result.model, outcome))
}

/// Draws the parameters that no file gave, in the order of the fields. Burn draws a parameter when it
/// is first used, which is another order in another model.
fn initialize<B: TrainBackend, M: Module<B>>(model: &M) {
    struct Touch;
    impl<B: burn::tensor::backend::Backend> burn::module::ModuleVisitor<B> for Touch {
        fn visit_float<const D: usize>(
            &mut self,
            param: &burn::module::Param<burn::tensor::Tensor<B, D>>,
        ) {
            let _ = param.val();
        }
    }
    model.visit(&mut Touch);
}

fn announce_resume(step: usize, steps: usize) {
    match step {
        0 => tracing::warn!("nothing to resume: no checkpoint yet; starting from step 0"),
        step => tracing::info!("resuming after step {step} of {steps}"),
    }
}
