//! A fine-tuning run from recipe to scores.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use oscar_core::input::SourceError;
use oscar_core::ops::TrainBackend;
use oscar_train::{Outcome, RunOptions, TrainError, divide_among_workers, peak_memory};

use super::{FinetuneConfig, Job, Learn};
use crate::{
    Encoder, EvaluateOptions, Evaluation, Family, Opened, Role, Score, Task, TaskCheckpoint,
    TaskData, TaskError, write_predictions,
};

/// Directory in a run where scores that take hours are kept.
pub(crate) const CACHE: &str = "cache";

/// The result of a run.
#[derive(Debug)]
pub struct FinetuneReport {
    /// How the training ended.
    pub outcome: Outcome,
    /// The best weights on the data to score; `None` if the run was interrupted.
    pub evaluation: Option<Evaluation>,
    /// The prediction file, if the task has one.
    pub predictions: Option<PathBuf>,
    /// Parameters of the model.
    pub parameters: usize,
    /// Examples trained on by this process.
    pub examples: usize,
    /// Time of the training by this process, validation and checkpoints included.
    pub time: Duration,
    /// Most memory held at once, in bytes.
    pub peak_memory: Option<u64>,
    /// The run directory.
    pub directory: PathBuf,
}

/// Why a run cannot start, or has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FinetuneError {
    /// A split is not set although the recipe needs it.
    #[error("{key} is not set: it names {what}")]
    Unset {
        /// The key.
        key: &'static str,
        /// What it names.
        what: &'static str,
    },
    /// Data that cannot be read.
    #[error("{key}: {source}")]
    Data {
        /// The key that names it.
        key: &'static str,
        /// Why; it names file and row.
        source: SourceError,
    },
    /// The regions of two splits differ in size.
    #[error(
        "{key}: region features have {found} dimensions here but {expected} in the other splits"
    )]
    RegionDim {
        /// The split.
        key: &'static str,
        /// Its region size.
        found: usize,
        /// The others'.
        expected: usize,
    },
    /// Recipe or checkpoint.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
}

/// Opened and checked splits.
struct Splits<D> {
    train: Arc<D>,
    validation: Arc<D>,
    /// The split that is scored at the end, and its name.
    scored: (&'static str, D),
}

/// Fine-tunes as `config` says, and scores the best weights; `scored` is called with the number of
/// scored examples, and of all.
///
/// # Errors
///
/// If the recipe, the data, the start weights or the run directory cannot be used; the error names
/// the key, file or row. Checkpoints written before are kept.
pub fn finetune<B: TrainBackend, T: Learn + Score>(
    mut config: FinetuneConfig<T>,
    device: B::Device,
    options: RunOptions,
    scored: Arc<dyn Fn(usize, usize) + Send + Sync>,
) -> Result<FinetuneReport, FinetuneError> {
    let world = options.workers.world();
    divide_among_workers(world, &mut config.train, &mut config.optimizer)
        .map_err(TaskError::from)?;
    config.validate()?;
    let encoder = T::Family::new_encoder(
        config.data.vocab.as_deref(),
        config.init.directory().as_deref(),
        config.encoder.clone(),
        config.padding,
    )?;
    let splits = Splits::open(&config, &encoder)?;
    T::Family::adapt(&mut config.model, &encoder, splits.train.region_dim());
    let configured = config.task.configure(&mut config.model);
    configured.map_err(|source| FinetuneError::Data {
        key: "task",
        source,
    })?;
    let config = config.with_steps(splits.train.len());

    let done_before = match options.resume {
        true => options.run.list()?.last().map_or(0, |(step, _)| *step),
        false => 0,
    };
    let directory = options.run.path().to_path_buf();
    let trained = T::train::<B>(Job {
        checkpoint: Arc::new(TaskCheckpoint {
            model: config.model.clone(),
            task: config.task.clone(),
            encoder: Arc::new(encoder),
            encoder_config: config.encoder.clone(),
            padding: config.padding,
            extractor: splits.train.extractor(),
            path: directory.clone(),
        }),
        config: config.clone(),
        train: splits.train,
        validation: splits.validation,
        device: device.clone(),
        done_before,
        options,
    })?;

    let mut report = FinetuneReport {
        examples: (trained.outcome.step - done_before) * config.train.batch_size,
        outcome: trained.outcome,
        evaluation: None,
        predictions: None,
        parameters: trained.parameters,
        time: trained.time,
        peak_memory: peak_memory(),
        directory,
    };
    if report.outcome.leads && !report.outcome.interrupted {
        let options = EvaluateOptions {
            batch_size: config.train.batch_size / config.train.accumulation,
            progress: &*scored,
            cache: Some(&report.directory.join(CACHE)),
        };
        let (name, data) = splits.scored;
        let best = Opened::<T, B::InnerBackend>::open(&report.directory.join("best"), &device)?;
        let evaluation = T::score(&best, &data, &options).map_err(TaskError::Score)?;
        let predictions = write_predictions(&report.directory, name, &evaluation);
        report.predictions = predictions.map_err(TaskError::from)?;
        report.evaluation = Some(evaluation);
    }
    Ok(report)
}

impl<D: TaskData> Splits<D> {
    fn open<T: Task<Data = D>>(
        config: &FinetuneConfig<T>,
        encoder: &Encoder<T>,
    ) -> Result<Self, FinetuneError> {
        let data = &config.data;
        let open = |key: &'static str, split: &Option<T::Split>, role, what| {
            let split = split.as_ref().ok_or(FinetuneError::Unset { key, what })?;
            let opened = config.task.open(split, role, encoder);
            opened.map_err(|source| FinetuneError::Data { key, source })
        };
        let train = open("data.train", &data.train, Role::Train, "the training data")?;
        let validation = open(
            "data.validation",
            &data.validation,
            Role::Validate,
            "the data by which the best weights are chosen",
        )?;
        // Opened once more to be scored: training may leave out rows that scoring counts.
        let (name, key, split) = match &data.test {
            None => ("validation", "data.validation", &data.validation),
            test => ("test", "data.test", test),
        };
        let scored = open(key, split, Role::Evaluate, "the data to score")?;
        let expected = train.region_dim();
        for (key, data) in [("data.validation", &validation), (key, &scored)] {
            let found = data.region_dim();
            if found != expected {
                return Err(FinetuneError::RegionDim {
                    key,
                    found,
                    expected,
                });
            }
        }
        Ok(Self {
            train: Arc::new(train),
            validation: Arc::new(validation),
            scored: (name, scored),
        })
    }
}
