//! A fine-tuning run from recipe to scores.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use oscar_core::config::ConfigError;
use oscar_core::input::{InputError, SequenceEncoder, SourceError};
use oscar_core::ops::{OscarBackend, TrainBackend};

use crate::checkpoint::open_checkpoint;
use crate::{AnyTask, EvaluateOptions, Evaluation, FinetuneConfig, Job, Role};
use oscar_files::{FileError, write_file, write_json};
use oscar_train::Outcome;
use oscar_train::RunOptions;
use oscar_train::TrainError;
use oscar_train::divide_among_workers;
use oscar_train::open_vocabulary;
use oscar_train::peak_memory;

/// Directory in a run where what is slow to score is kept.
const CACHE: &str = "cache";

/// What a run came to.
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
    /// Where the run lies.
    pub directory: PathBuf,
}

/// What can be wrong with a run before it starts, or end it.
#[derive(Debug, thiserror::Error)]
pub enum FinetuneError {
    /// A key has no value although the recipe needs one.
    #[error("{key} is not set: {what}")]
    Unset {
        /// The key.
        key: &'static str,
        /// What it is for.
        what: &'static str,
    },
    /// A value is out of range.
    #[error(transparent)]
    Value(ConfigError),
    /// The `[model]` section.
    #[error("in [model]: {0}")]
    Model(ConfigError),
    /// Vocabulary, encoder or padding.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Data that cannot be read.
    #[error("{key}: {source}")]
    Data {
        /// The key that names it.
        key: &'static str,
        /// Why; it names file and row.
        source: SourceError,
    },
    /// The regions of two splits differ in size, or from the model's.
    #[error("{key}: its regions have {found} values, the others' {expected}")]
    RegionDim {
        /// The split.
        key: &'static str,
        /// Its region size.
        found: usize,
        /// The others'.
        expected: usize,
    },
    /// A directory that holds no weights of this task.
    #[error(
        "{}: {found}; give the `best` or `last` directory of a finished run of this task",
        path.display()
    )]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// A question that is none for the task.
    #[error("{found}")]
    Question {
        /// What is wrong with it, and what to give.
        found: String,
    },
    /// Scoring failed.
    #[error("cannot score: {0}")]
    Evaluate(#[source] SourceError),
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
}

/// Opened and checked splits.
struct Splits<D> {
    train: Arc<D>,
    validation: Arc<D>,
    /// What is scored at the end, and its name.
    scored: (&'static str, D),
    region_dim: usize,
}

/// Fine-tunes as `config` says, and scores the best weights; `scored` is told how many of how many
/// examples are scored.
///
/// # Errors
///
/// If the recipe, the data, the start weights or the run directory cannot be used; the error names
/// the key, file or row. Checkpoints written before stay.
pub fn finetune<B: TrainBackend, T: AnyTask>(
    mut config: FinetuneConfig<T>,
    device: B::Device,
    options: RunOptions,
    scored: Arc<dyn Fn(usize, usize) + Send + Sync>,
) -> Result<FinetuneReport, FinetuneError> {
    let world = options.workers.world();
    divide_among_workers(world, &mut config.train, &mut config.optimizer)
        .map_err(FinetuneError::Value)?;
    config.validate()?;
    let tokenizer = Arc::new(open_vocabulary(config.data.vocab.as_deref(), &config.init)?);
    let encoder = Arc::new(SequenceEncoder::new(
        tokenizer.clone(),
        config.encoder.clone(),
        config.padding,
    )?);
    let splits = Splits::open(&config, &encoder)?;
    config.model.vocab_size = tokenizer.vocab_size();
    // Texts alone leave the projection of regions as it is.
    if splits.region_dim > 0 {
        config.model.img_feature_dim = splits.region_dim;
    }
    config
        .task
        .shape(&mut config.model)
        .map_err(|source| FinetuneError::Data {
            key: "task",
            source,
        })?;
    let config = config.with_steps(T::size(&splits.train).0);

    let done_before = match options.resume {
        true => options.run.list()?.last().map_or(0, |(step, _)| *step),
        false => 0,
    };
    let directory = options.run.path().to_path_buf();
    let trained = T::train::<B>(Job {
        config: config.clone(),
        encoder,
        train: splits.train,
        validation: splits.validation,
        device: device.clone(),
        done_before,
        tokenizer,
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
        let (name, data) = (splits.scored.0, &splits.scored.1);
        score::<B::InnerBackend, T>(&mut report, (name, data), &config, &*scored, &device)?;
    }
    Ok(report)
}

/// Scores the best weights of the run and writes `predictions/NAME.*`.
fn score<B: OscarBackend, T: AnyTask>(
    report: &mut FinetuneReport,
    (name, data): (&str, &T::Data),
    config: &FinetuneConfig<T>,
    scored: &(dyn Fn(usize, usize) + Send + Sync),
    device: &B::Device,
) -> Result<(), FinetuneError> {
    let best = open_checkpoint::<T>(&report.directory.join("best"))?;
    let options = EvaluateOptions {
        encoder: &best.encoder,
        batch_size: config.train.batch_size / config.train.accumulation,
        progress: &|done, total| scored(done, total),
        model: &best.model,
        cache: Some(&report.directory.join(CACHE)),
    };
    let evaluation = best.task.judge::<B>(&best, data, &options, device)?;
    report.predictions = write_predictions(&report.directory, name, &evaluation)?;
    report.evaluation = Some(evaluation);
    Ok(())
}

/// Writes `predictions/NAME.EXTENSION` and the scores beside it, whole or not at all; gives the
/// place of the predictions, if there are any.
///
/// # Errors
///
/// If a file cannot be written.
pub fn write_predictions(
    directory: &Path,
    name: &str,
    evaluation: &Evaluation,
) -> Result<Option<PathBuf>, TrainError> {
    let directory = directory.join("predictions");
    std::fs::create_dir_all(&directory).map_err(FileError::io("create", &directory))?;
    write_json(&directory.join(format!("{name}.scores.json")), evaluation)?;
    for predictions in &evaluation.more_predictions {
        let path = directory.join(format!("{name}.{}", predictions.extension));
        write_file(&path, &predictions.content)?;
    }
    let Some(predictions) = &evaluation.predictions else {
        return Ok(None);
    };
    let path = directory.join(format!("{name}.{}", predictions.extension));
    write_file(&path, &predictions.content)?;
    Ok(Some(path))
}

impl<D> Splits<D> {
    fn open<T: AnyTask<Data = D>>(
        config: &FinetuneConfig<T>,
        encoder: &SequenceEncoder,
    ) -> Result<Self, FinetuneError> {
        let data = &config.data;
        let open = |key: &'static str, split: &Option<T::Split>, role, what| {
            let split = split.as_ref().ok_or(FinetuneError::Unset { key, what })?;
            let opened = config.task.open(split, role, encoder);
            opened.map_err(|source| FinetuneError::Data { key, source })
        };
        let train = open("data.train", &data.train, Role::Train, "what to learn from")?;
        let validation = open(
            "data.validation",
            &data.validation,
            Role::Validate,
            "what to choose the best weights by",
        )?;
        // Opened once more to be scored: training may leave out rows that scoring counts.
        let (name, key, split) = match &data.test {
            None => ("validation", "data.validation", &data.validation),
            test => ("test", "data.test", test),
        };
        let scored = open(key, split, Role::Evaluate, "what to score")?;
        let region_dim = T::size(&train).1;
        let others = [
            ("data.validation", T::size(&validation).1),
            (key, T::size(&scored).1),
        ];
        for (key, found) in others {
            if found != region_dim {
                return Err(FinetuneError::RegionDim {
                    key,
                    found,
                    expected: region_dim,
                });
            }
        }
        Ok(Self {
            train: Arc::new(train),
            validation: Arc::new(validation),
            scored: (name, scored),
            region_dim,
        })
    }
}
