//! A pre-training run from recipe to report.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use oscar_core::checkpoint::{self, Parameter};
use oscar_core::input::{
    ContrastConfig, ExampleSource, InputError, PretrainBatch, PretrainEncoder, Tokenizer,
};
use oscar_core::ops::TrainBackend;
use oscar_files::write_json;
use oscar_train::{
    BatchSource, Corpus, Describe, Fit, Outcome, RunOptions, SelectionMetric, TrainError,
    divide_among_workers, fit, peak_memory, start_weights,
};

use crate::config::{PretrainConfig, PretrainError};
use crate::corpora::Corpora;
use crate::data::PretrainSource;
use crate::grounding::{Grounding, GroundingProbe, OutOfDomain};
use crate::knowledge::Knowledge;
use crate::objective::Objective;
use crate::task::PretrainingTask;

/// What `task.json` of a checkpoint calls pre-training.
pub const TASK_NAME: &str = "pretraining";

/// What a run learned.
#[derive(Debug)]
pub struct PretrainReport {
    /// How the training ended.
    pub outcome: Outcome,
    /// What the model reads from images; `None` if it was not measured.
    pub grounding: Option<Grounding>,
    /// The same on `data.out_of_domain`; `None` if there is none, or it was not measured.
    pub out_of_domain: Option<OutOfDomain>,
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
    /// The run directory.
    pub directory: PathBuf,
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
    let world = options.workers.world();
    divide_among_workers(world, &mut config.train, &mut config.optimizer)
        .map_err(TrainError::from)?;
    config.validate()?;
    let data = Corpora::open(&config.data, &config.objective)?;
    config.model.vocab_size = data.tokenizer.vocab_size();
    config.model.img_feature_dim = data.region_dim;
    config.model.num_contrast_classes = config.num_contrast_classes();
    data.check_classes(&config.objective)?;
    size_region_head(&mut config, &*data.train)?;
    config.model.num_answers = data.answers.as_ref().map_or(0, |answers| answers.len());

    let sources = Sources::<B>::open(&config, &data)?;
    let probe = |corpus: &Arc<dyn ExampleSource>| {
        let (encoder, seed) = (sources.encoder.clone(), config.train.seed);
        GroundingProbe::new(&config.grounding, corpus.clone(), encoder, seed)
    };
    let validation_probe = probe(&data.validation)?;
    let other_probe = data.out_of_domain.as_ref().map(probe).transpose()?;

    let model = PretrainingTask::<B>::new(&config.model, config.objective.clone(), &device);
    let done_before = match options.resume {
        true => options.run.list()?.last().map_or(0, |(step, _)| *step),
        false => 0,
    };
    // A resumed run has weights of its own; those it started from may be gone by then.
    let model = match done_before {
        0 => start_weights(model, &config.init).map_err(TrainError::from)?,
        _ => model,
    };
    // Counted without initialising any: `fit` initialises them from the seed, or loads them.
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
    let num_corpora = sources.train.len();
    let (model, outcome) = fit(Fit {
        before_epoch: None,
        model,
        device: device.clone(),
        corpora: sources.train,
        validation: sources.validation,
        train: config.train.clone(),
        optimizer: config.optimizer.clone(),
        options,
        metrics: config.objective.metrics(),
        validation_metrics: Vec::new(),
        selection_metric: SelectionMetric::Loss,
        describe: describe(&config, &data.tokenizer),
    })?;
    let time = started.elapsed();

    let micro_batch = config.train.batch_size / config.train.accumulation;
    let model = model.model();
    let (mut grounding, mut out_of_domain) = (None, None);
    if !outcome.interrupted && outcome.leads {
        grounding = validation_probe.measure(model, micro_batch, &device)?;
        if let Some(probe) = other_probe {
            out_of_domain = probe.measure_with_pairs(model, micro_batch, &device)?;
        }
    }
    Ok(PretrainReport {
        examples: (outcome.step - done_before) * config.train.batch_size * num_corpora,
        outcome,
        grounding,
        out_of_domain,
        contrast_classes: config.model.num_contrast_classes,
        parameters,
        time,
        peak_memory: peak_memory(),
        directory,
    })
}

/// Gives the model a head for masked regions if an objective needs one, with the classes that the
/// regions of `corpus` have.
fn size_region_head(
    config: &mut PretrainConfig,
    corpus: &dyn ExampleSource,
) -> Result<(), PretrainError> {
    let (model, objectives) = (&mut config.model, &config.objective);
    model.region_head = objectives.mask_regions();
    let first = corpus
        .get(0)
        .map_err(|source| InputError::Row { row: 0, source })?;
    let names = first.regions.label_names().unwrap_or_default();
    for (objective, kind, name, classes, size) in [
        (
            Objective::RegionObjects,
            "object",
            "region_objects",
            names.objects.len(),
            &mut model.num_object_classes,
        ),
        (
            Objective::RegionAttributes,
            "attribute",
            "region_attributes",
            names.attributes.len(),
            &mut model.num_attribute_classes,
        ),
    ] {
        *size = 0;
        if objectives.contain(objective) {
            if classes == 0 {
                return Err(PretrainError::NoClasses {
                    kind,
                    objective: name,
                });
            }
            *size = classes;
        }
    }
    Ok(())
}

/// Batches of the corpora of a recipe.
struct Sources<B: TrainBackend> {
    /// Encodes the main corpus.
    encoder: Arc<PretrainEncoder>,
    train: Vec<Corpus<B, PretrainBatch<B>>>,
    validation: Arc<dyn BatchSource<B::InnerBackend, Batch = PretrainBatch<B::InnerBackend>>>,
}

impl<B: TrainBackend> Sources<B> {
    fn open(config: &PretrainConfig, data: &Corpora) -> Result<Self, PretrainError> {
        let purpose = config.objective.purpose();
        let unprepared = |contrast: ContrastConfig| {
            let (tokenizer, padding) = (data.tokenizer.clone(), config.padding);
            let encoder = PretrainEncoder::new(tokenizer, config.encoder_for(contrast), padding)?;
            let encoder = encoder.with_purpose(purpose);
            Ok::<_, InputError>(encoder.with_answers(data.answers.clone()))
        };
        let plain = unprepared(config.encoder.contrast)?;
        let corpora: Vec<&dyn ExampleSource> = [&*data.train, &*data.validation]
            .into_iter()
            .chain(data.extra.as_deref())
            .collect();
        let masking = plain.config().masking.clone();
        let knowledge = Knowledge::open(&masking, &plain, &*data.train, &corpora)?;
        let encoder =
            |contrast| unprepared(contrast).map(|encoder| Arc::new(knowledge.given_to(encoder)));
        let source = |corpus: &Arc<dyn ExampleSource>, encoder: &Arc<PretrainEncoder>| {
            PretrainSource::new(corpus.clone(), encoder.clone(), config.train.seed)
        };
        // Before the contrast starts, every triple is matched.
        let started = |source: PretrainSource, contrast: ContrastConfig| {
            let matched = ContrastConfig {
                polluted: 0.0,
                ..contrast
            };
            Ok::<_, InputError>(match contrast.start_step {
                0 => source,
                step => source.with_early(step, encoder(matched)?),
            })
        };
        let main = encoder(config.encoder.contrast)?;
        let extra_weight = config.data.extra.as_ref().map_or(0.0, |extra| extra.weight);
        let of_train = source(&data.train, &main)?.with_portions(data.portions.clone());
        let mut train = vec![Corpus {
            source: Arc::new(started(of_train, config.encoder.contrast)?) as _,
            weight: 1.0 - extra_weight,
        }];
        if let (Some(extra), Some(corpus)) = (&config.data.extra, &data.extra) {
            let of_extra = source(corpus, &encoder(extra.contrast)?)?;
            train.push(Corpus {
                source: Arc::new(started(of_extra, extra.contrast)?) as _,
                weight: extra.weight,
            });
        }
        Ok(Self {
            validation: Arc::new(source(&data.validation, &main)?),
            encoder: main,
            train,
        })
    }
}

/// Puts configuration and vocabulary beside saved weights.
fn describe(config: &PretrainConfig, tokenizer: &Arc<Tokenizer>) -> Describe {
    let (model, encoder) = (config.model.clone(), config.encoder.clone());
    let tokenizer = tokenizer.clone();
    Arc::new(move |directory| {
        write_json(&directory.join("config.json"), &model)?;
        let task = serde_json::json!({ "task": TASK_NAME, "encoder": &encoder });
        write_json(&directory.join("task.json"), &task)?;
        tokenizer
            .save(directory.join("vocab.txt"))
            .map_err(|error| oscar_train::TrainError::Data(Box::new(error)))
    })
}
