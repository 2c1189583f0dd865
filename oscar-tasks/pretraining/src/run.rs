//! A pre-training run from recipe to report.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oscar_core::checkpoint::{self, LoadReport, Parameter, RandomInit};
use oscar_core::input::{
    ContrastConfig, ExampleSource, PretrainBatch, PretrainBatcher, PretrainEncoder, Tokenizer,
};
use oscar_core::ops::TrainBackend;
use oscar_datasets::{JsonlCorpus, open_images};
use oscar_train::{
    BatchSource, Corpus, Describe, Fit, Interrupter, Outcome, RunDir, fit, peak_memory, write_json,
};

use crate::config::{CorpusConfig, PretrainConfig, PretrainError};
use crate::data::PretrainSource;
use crate::grounding::{Grounding, GroundingProbe};
use crate::task::{
    CONTRASTIVE_ACCURACY, CONTRASTIVE_LOSS, MLM_ACCURACY, MLM_LOSS, PretrainingTask,
};

/// The vocabulary of BERT base uncased (Apache-2.0), which every published recipe uses.
const BERT_BASE_UNCASED: &str = include_str!("../../../config/bert-base-uncased-vocab.txt");

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

/// What a run learned.
#[derive(Debug)]
pub struct PretrainReport {
    /// How the training ended.
    pub outcome: Outcome,
    /// What the model takes from images; `None` if it was not measured.
    pub grounding: Option<Grounding>,
    /// Classes of the contrastive head, for the chance level.
    pub contrast_classes: usize,
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

/// Opened and checked data of a run.
struct Data {
    tokenizer: Arc<Tokenizer>,
    train: Arc<dyn ExampleSource>,
    extra: Option<Arc<dyn ExampleSource>>,
    validation: Arc<dyn ExampleSource>,
    region_dim: usize,
}

/// Pre-trains as `config` says.
///
/// # Errors
///
/// If the recipe, the data, the start weights or the run directory cannot be used; the error names
/// the key, file or row. Checkpoints written before stay.
pub fn pretrain<B: TrainBackend>(
    mut config: PretrainConfig,
    device: B::Device,
    options: RunOptions,
) -> Result<PretrainReport, PretrainError> {
    config.validate()?;
    let data = Data::open(&config)?;
    config.model.vocab_size = data.tokenizer.vocab_size();
    config.model.img_feature_dim = data.region_dim;
    config.model.num_contrast_classes = config.encoder.num_contrast_classes();

    let encoder = |contrast: ContrastConfig| {
        PretrainEncoder::new(data.tokenizer.clone(), config.encoder_for(contrast)).map(Arc::new)
    };
    let main = encoder(config.encoder.contrast)?;
    let batcher = PretrainBatcher::new(&main, config.padding)?;
    let source = |corpus: &Arc<dyn ExampleSource>, encoder: &Arc<PretrainEncoder>| {
        PretrainSource::new(corpus.clone(), encoder.clone(), batcher, config.train.seed)
            .map(Arc::new)
    };

    let extra_weight = config.data.extra.as_ref().map_or(0.0, |extra| extra.weight);
    let mut corpora = vec![Corpus::<B, PretrainBatch<B>> {
        source: source(&data.train, &main)?,
        weight: 1.0 - extra_weight,
    }];
    if let (Some(extra), Some(corpus)) = (&config.data.extra, &data.extra) {
        let encoder = encoder(extra.contrast)?;
        corpora.push(Corpus {
            source: source(corpus, &encoder)?,
            weight: extra.weight,
        });
    }
    let validation: Arc<dyn BatchSource<B::InnerBackend, Batch = _>> =
        source(&data.validation, &main)?;
    let probe = GroundingProbe::new(
        &config.grounding,
        data.validation.clone(),
        main.clone(),
        batcher,
        config.train.seed,
    )?;

    let model = PretrainingTask::<B>::new(&config.model, &device);
    let done_before = match options.resume {
        true => options.run.list()?.last().map_or(0, |(step, _)| *step),
        false => 0,
    };
    // A run that goes on has weights of its own; those it started from may be gone by then.
    let model = match done_before {
        0 => start_weights(model, &config)?,
        _ => model,
    };
    // Counted without drawing any: `fit` draws them from the seed, or loads them.
    let parameters = checkpoint::parameters(&model)
        .iter()
        .map(Parameter::len)
        .sum();
    tracing::info!(
        "{parameters} parameters; {} training and {} validation examples; vocabulary of {}",
        data.train.len(),
        data.validation.len(),
        config.model.vocab_size,
    );

    let directory = options.run.path().to_path_buf();
    let started = Instant::now();
    let num_corpora = corpora.len();
    let (model, outcome) = fit(Fit {
        model,
        device: device.clone(),
        corpora,
        validation,
        train: config.train.clone(),
        optimizer: config.optimizer.clone(),
        run: options.run,
        resume: options.resume,
        metrics: vec![
            (MLM_LOSS, false),
            (CONTRASTIVE_LOSS, false),
            (MLM_ACCURACY, true),
            (CONTRASTIVE_ACCURACY, true),
        ],
        describe: describe(&config, &data.tokenizer),
        interrupter: options.interrupter,
        dashboard: options.dashboard,
        progress: options.progress,
    })?;
    let time = started.elapsed();

    let micro_batch = config.train.batch_size / config.train.accumulation;
    let grounding = match outcome.interrupted {
        true => None,
        false => probe.measure(model.model(), micro_batch, &device)?,
    };
    Ok(PretrainReport {
        examples: (outcome.step - done_before) * config.train.batch_size * num_corpora,
        outcome,
        grounding,
        contrast_classes: config.model.num_contrast_classes,
        parameters,
        time,
        peak_memory: peak_memory(),
        directory,
    })
}

impl Data {
    fn open(config: &PretrainConfig) -> Result<Self, PretrainError> {
        let train = config.data.train.as_ref().ok_or(PretrainError::Unset {
            key: "data.train",
            what: "the corpus (JSONL) and the region store to learn from",
        })?;
        let validation = config
            .data
            .validation
            .as_ref()
            .ok_or(PretrainError::Unset {
                key: "data.validation",
                what: "the corpus (JSONL) and the region store to validate on",
            })?;
        let (train, region_dim) = open_corpus(train)?;
        let same_dim =
            |key, (corpus, found): (Arc<dyn ExampleSource>, usize)| match found == region_dim {
                true => Ok(corpus),
                false => Err(PretrainError::RegionDim {
                    key,
                    found,
                    expected: region_dim,
                }),
            };
        let validation = same_dim("data.validation", open_corpus(validation)?)?;
        let extra = match &config.data.extra {
            None => None,
            Some(extra) => {
                let paths = CorpusConfig {
                    corpus: extra.corpus.clone(),
                    regions: extra.regions.clone(),
                };
                Some(same_dim("data.extra", open_corpus(&paths)?)?)
            }
        };
        let corpora: Vec<&dyn ExampleSource> =
            std::iter::once(&*train).chain(extra.as_deref()).collect();
        let tokenizer = Arc::new(open_vocabulary(config.data.vocab.as_deref(), &corpora)?);
        Ok(Self {
            tokenizer,
            train,
            extra,
            validation,
            region_dim,
        })
    }
}

fn open_corpus(paths: &CorpusConfig) -> Result<(Arc<dyn ExampleSource>, usize), PretrainError> {
    let images = open_images(&paths.regions)?;
    let region_dim = images.region_dim();
    let corpus = JsonlCorpus::open(&paths.corpus, images)?;
    Ok((Arc::new(corpus), region_dim))
}

fn open_vocabulary(
    vocab: Option<&str>,
    corpora: &[&dyn ExampleSource],
) -> Result<Tokenizer, PretrainError> {
    Ok(match vocab {
        None | Some("bert-base-uncased") => {
            Tokenizer::from_vocab(BERT_BASE_UNCASED.lines().map(String::from).collect())?
        }
        Some("corpus") => Tokenizer::from_corpora(corpora)?,
        Some(path) => Tokenizer::from_vocab_file(path)?,
    })
}

fn start_weights<B: TrainBackend>(
    model: PretrainingTask<B>,
    config: &PretrainConfig,
) -> Result<PretrainingTask<B>, PretrainError> {
    let Some(path) = &config.init.checkpoint else {
        return Ok(model);
    };
    let path = checkpoint::locate(path).map_err(|error| PretrainError::Train(error.into()))?;
    let random = match config.init.random.as_slice() {
        [] => RandomInit::Refuse,
        parts if parts.iter().any(|part| part == "all") => RandomInit::All,
        parts => RandomInit::Parts(parts.to_vec()),
    };
    let (model, report) = checkpoint::load(model, &path, &random)
        .map_err(|error| PretrainError::Train(error.into()))?;
    announce(&path, &report);
    Ok(model)
}

fn announce(path: &Path, report: &LoadReport) {
    tracing::info!(
        "{}: {} parameters loaded, {} tensors skipped",
        path.display(),
        report.loaded.len(),
        report.skipped.len()
    );
    for change in &report.changes {
        tracing::info!("{}: {change}", path.display());
    }
    for name in &report.skipped {
        tracing::debug!("skipped {name}: the model has no place for it");
    }
    for name in &report.missing {
        tracing::warn!("{name} is not in the file and starts random, as allowed");
    }
    for mismatch in &report.mismatched {
        tracing::warn!("{mismatch}; it starts random, as allowed");
    }
}

/// Puts configuration and vocabulary beside saved weights.
fn describe(config: &PretrainConfig, tokenizer: &Arc<Tokenizer>) -> Describe {
    let (model, encoder) = (config.model.clone(), config.encoder.clone());
    let tokenizer = tokenizer.clone();
    Arc::new(move |directory| {
        write_json(&directory.join("config.json"), &model)?;
        let task = serde_json::json!({ "task": "pretraining", "encoder": &encoder });
        write_json(&directory.join("task.json"), &task)?;
        tokenizer
            .save(directory.join("vocab.txt"))
            .map_err(|error| oscar_train::TrainError::Data(Box::new(error)))
    })
}
