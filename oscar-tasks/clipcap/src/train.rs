//! Training: batches, one step of it, one of validation.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn_train::{InferenceStep, TrainOutput, TrainStep};
use oscar_core::checkpoint::{Checkpointed, WeightFile};
use oscar_core::input::SourceError;
use oscar_core::ops::{OscarBackend, TrainBackend};
use oscar_task::{FinetuneError, Job, Learn, Parts, TaskData, TaskError, Trained};
use oscar_train::{BatchSource, ExampleRef, LOSS, StepOutput, TrainConfig, Weighted, train_output};

use crate::config::ClipCapConfig;
use crate::data::{Caption, CaptionData};
use crate::gpt2::Gpt2Tokenizer;
use crate::import::mapping_type;
use crate::model::{CaptionTargets, ClipCap};
use crate::scores::{CIDER, EXACT, References};
use crate::task::{Captioning, Generation};
use crate::write::{embeddings, write};

/// Names of the mapping network's weights.
const MAPPER: &str = "clip_project";

/// [`ClipCap`] as the training engine runs it.
#[derive(Module, Debug)]
pub struct ClipCapModel<B: Backend> {
    model: ClipCap<B>,
    #[module(skip)]
    settings: Arc<Settings>,
}

/// How a model is validated.
#[derive(Debug)]
struct Settings {
    tokenizer: Arc<Gpt2Tokenizer>,
    generation: Generation,
    references: Option<Arc<References>>,
}

/// Captions to learn, and the pictures they are of.
#[derive(Clone, Debug)]
pub struct CaptionBatch<B: Backend> {
    /// `[batch, embedding_dim]`
    pub embeddings: Tensor<B, 2>,
    /// The captions; in validations the first of each picture.
    pub targets: CaptionTargets<B>,
    /// Numbers of the pictures in their split.
    pub images: Vec<usize>,
    /// Tokens, padding aside.
    pub num_tokens: usize,
}

/// A split as the training engine reads it.
#[derive(Clone)]
pub struct CaptionSource {
    data: Arc<CaptionData>,
    prefix: usize,
    /// Most tokens of a caption; more are cut off.
    longest: usize,
    validation: bool,
}

impl CaptionSource {
    fn new(data: Arc<CaptionData>, config: &ClipCapConfig, validation: bool) -> Self {
        Self {
            data,
            prefix: config.prefix_length,
            longest: config.longest_caption(),
            validation,
        }
    }

    fn pick(&self, index: usize) -> Result<(usize, &Caption), SourceError> {
        if !self.validation {
            return Ok(self.data.caption(index));
        }
        let caption = self.data.images()[index].captions.first();
        let caption = caption.ok_or_else(|| format!("{} has no caption", self.data.name(index)))?;
        Ok((index, caption))
    }
}

impl<B: Backend> BatchSource<B> for CaptionSource {
    type Batch = CaptionBatch<B>;

    fn len(&self) -> usize {
        self.data.len()
    }

    fn name(&self, pick: ExampleRef) -> String {
        self.data.name(pick.index as usize)
    }

    fn batch(
        &self,
        picks: &[ExampleRef],
        device: &B::Device,
    ) -> Result<CaptionBatch<B>, SourceError> {
        let (mut rows, mut captions, mut images) = (Vec::new(), Vec::new(), Vec::new());
        for pick in picks {
            let (image, caption) = self.pick(pick.index as usize)?;
            let length = caption.ids.len().min(self.longest);
            rows.push(self.data.embedding(image)?);
            captions.push(&caption.ids[..length]);
            images.push(image);
        }
        let num_tokens = captions
            .iter()
            .map(|caption| caption.len() + self.prefix)
            .sum();
        Ok(CaptionBatch {
            embeddings: embeddings(&rows, device),
            targets: CaptionTargets::new(&captions, self.prefix, device),
            images,
            num_tokens,
        })
    }
}

impl<B: Backend> Checkpointed<B> for ClipCapModel<B> {
    fn is_bert(&self) -> bool {
        false
    }

    fn aliases(&self) -> &'static [(&'static str, &'static str)] {
        self.model.aliases()
    }
}

impl<B: TrainBackend> TrainStep for ClipCapModel<B> {
    type Input = Weighted<CaptionBatch<B>>;
    type Output = StepOutput<B::InnerBackend>;

    fn step(&self, input: Self::Input) -> TrainOutput<Self::Output> {
        let Weighted { batch, loss_weight } = input;
        let (examples, targets) = (batch.images.len(), batch.targets.count);
        let loss = self.model.loss(batch.embeddings, batch.targets);
        let statistics = vec![mean(LOSS, loss.clone().inner(), targets)];
        let item = StepOutput::new(statistics, examples, batch.num_tokens);
        train_output(self, loss, loss_weight, item)
    }
}

impl<B: OscarBackend> InferenceStep for ClipCapModel<B> {
    type Input = Weighted<CaptionBatch<B>>;
    type Output = StepOutput<B>;

    fn step(&self, input: Self::Input) -> Self::Output {
        let batch = input.batch;
        let settings = &self.settings;
        let (examples, targets) = (batch.images.len(), batch.targets.count);
        let device = batch.embeddings.device();
        let loss = self.model.loss(batch.embeddings.clone(), batch.targets);
        let mut statistics = vec![mean(LOSS, loss, targets)];
        if let Some(references) = &settings.references {
            let tokenizer = &settings.tokenizer;
            let (images, generation) = (&batch.images, &settings.generation);
            let found = write(&self.model, batch.embeddings, images, generation, tokenizer);
            let texts = images.iter().zip(found).map(|(image, captions)| {
                let best = captions.first().map_or(&[][..], |caption| &caption.ids);
                (*image, tokenizer.decode(best))
            });
            let scores = references.of_each(&texts.collect::<Vec<_>>());
            let cider: f64 = scores.iter().map(|(cider, _)| cider).sum();
            let exact = scores.iter().filter(|(_, exact)| *exact).count() as f64;
            statistics.push(host(CIDER, cider, examples, &device));
            statistics.push(host(EXACT, exact, examples, &device));
        }
        StepOutput::new(statistics, examples, batch.num_tokens)
    }
}

type Entry<B> = (&'static str, Tensor<B, 1>, Tensor<B, 1>);

/// A mean over `count` things.
fn mean<B: Backend>(name: &'static str, value: Tensor<B, 1>, count: usize) -> Entry<B> {
    let weight = Tensor::full([1], count as f32, &value.device());
    (name, value * weight.clone(), weight)
}

/// A sum that was computed on the host.
fn host<B: Backend>(name: &'static str, sum: f64, count: usize, device: &B::Device) -> Entry<B> {
    let one = |value: f64| Tensor::full([1], value as f32, device);
    (name, one(sum), one(count as f64))
}

impl Learn for Captioning {
    fn validate_training(
        &self,
        train: &TrainConfig,
    ) -> Result<(), oscar_core::config::ConfigError> {
        oscar_core::config::require(
            !train.gradient_checkpointing,
            "train.gradient_checkpointing",
            true,
            "must be false: it is not implemented for clipcap",
        )
    }

    fn train<B: TrainBackend>(job: Job<B, Self>) -> Result<Trained, FinetuneError> {
        let config = &job.config;
        let start = match job.done_before {
            0 => config.init.checkpoint.as_deref(),
            _ => None,
        };
        let has_mapper = match start {
            None => false,
            Some(path) => check_mapper(path, &config.model)?,
        };
        warn_of_captions(
            &job.train,
            &config.model,
            &job.checkpoint.encoder,
            &config.task,
        );
        let settings = Settings {
            tokenizer: job.checkpoint.encoder.clone(),
            generation: Generation {
                method: config.task.validation_method,
                num_keep_best: 1,
                ..config.task.generation.clone()
            },
            references: job.validation.references().cloned(),
        };
        let source = |data: &Arc<CaptionData>, validation| {
            Arc::new(CaptionSource::new(data.clone(), &config.model, validation))
        };
        let parts = Parts {
            model: ClipCapModel::<B> {
                model: ClipCap::new(&config.model, &job.device),
                settings: Arc::new(settings),
            },
            train: source(&job.train, false),
            validation: source(&job.validation, true),
            // Weights of GPT-2 alone have no mapping network; those of a ClipCap must have this one.
            head: (!has_mapper).then_some(MAPPER),
            metrics: Vec::new(),
            validation_metrics: vec![(CIDER, true), (EXACT, true)],
            selection_metric: CIDER,
        };
        job.fit(parts)
    }
}

/// Whether start weights have a mapping network, which must then be of the configured type.
fn check_mapper(path: &std::path::Path, config: &ClipCapConfig) -> Result<bool, FinetuneError> {
    let file = WeightFile::open_official(path).map_err(TaskError::from)?;
    let Some(found) = mapping_type(&file) else {
        return Ok(false);
    };
    match found == config.mapping_type {
        true => Ok(true),
        false => Err(FinetuneError::Data {
            key: "init.checkpoint",
            source: format!(
                "{} has a mapping network of the type {}, but model.mapping_type is {}; give weights of \
                 the same type, or of GPT-2 alone",
                file.path().display(),
                found.name(),
                config.mapping_type.name()
            )
            .into(),
        }),
    }
}

/// Warns of captions that are cut off, and of those after which the model would not learn to stop.
fn warn_of_captions(
    data: &CaptionData,
    config: &ClipCapConfig,
    tokenizer: &Gpt2Tokenizer,
    task: &Captioning,
) {
    let longest = config.longest_caption();
    let stop = tokenizer.encode(&task.generation.stop);
    let (mut long, mut open) = (0, 0);
    for index in 0..data.len() {
        let (_, caption) = data.caption(index);
        long += usize::from(caption.ids.len() > longest);
        open += usize::from(caption.ids.last() != stop.first());
    }
    let path = data.path().display();
    if long > 0 {
        tracing::warn!(
            "{path}: {long} of {} captions have more than {longest} tokens (positions of GPT-2 less the \
             prefix); of these the first {longest} are learned",
            data.len()
        );
    }
    if open > 0 {
        tracing::warn!(
            "{path}: {open} of {} captions do not end in {:?}, at which the model stops; where it learns \
             many of them, it writes on to the longest caption",
            data.len(),
            task.generation.stop
        );
    }
}
