//! `[task]` and the splits of a captioning recipe.

use std::path::PathBuf;
use std::sync::Arc;

use oscar_core::config::{ConfigError, ModelConfig, require};
use oscar_core::input::{CaptionMasking, SequenceEncoder, SourceError};
use oscar_core::model::CaptionLoss;
use oscar_core::ops::{OscarBackend, TrainBackend};
use oscar_task::exhibit::{Choice, Exhibit};
use oscar_task::{
    AnyTask, EvaluateOptions, Evaluation, FinetuneConfig, FinetuneError, Job, Parts, Question,
    Role, TaskCheckpoint, Trained,
};
use serde::{Deserialize, Serialize};

use crate::batch::CaptionSource;
use crate::data::CaptionData;
use crate::exhibit;
use crate::generate::{self, Generator};
use crate::judge;
use crate::model::{CIDER, CaptionModel, EXACT, REWARD, Settings};
use crate::scst::{Reward, ScstSection};
use oscar_core::decode::GenerationConfig;

/// `[task]` of a captioning recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Captioning {
    /// Most tokens of a caption to learn, `[CLS]` and `[SEP]` included. Tags follow at this
    /// position, so that it stays the same for a model's life.
    pub max_caption_length: usize,
    /// Share of a caption's tokens that is to be learned at a time.
    pub mask_prob: f64,
    /// Most tokens of a caption that are to be learned at a time.
    pub max_masked_tokens: usize,
    /// Probability that the target gives to all wrong tokens together.
    pub label_smoothing: f64,
    /// Share of a batch's tokens that is left out, those with the greatest loss.
    pub drop_worst_ratio: f64,
    /// Steps before any is left out.
    pub drop_worst_after: usize,
    /// The output matrix is the word embedding.
    pub tie_weights: bool,
    /// The word embedding (and a tied output matrix) stays as it is.
    pub freeze_embedding: bool,
    /// Which captions are searched for when scoring.
    pub generation: GenerationConfig,
    /// Beams of validations; 1 takes the best word each time, which is faster.
    pub validation_beams: usize,
    /// Training by what captions are worth.
    pub scst: ScstSection,
    /// Words that captions are to have when scoring.
    pub constraints: ConstraintSection,
    /// When scoring, also judge what says nothing of the image: captions made from another image's
    /// regions, and those of the nearest image among the split's `neighbours`.
    pub compare: bool,
}

/// `[task.constraints]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConstraintSection {
    /// Ask for the names of detected objects.
    pub enabled: bool,
    /// So many of them a caption must have, if there are as many.
    pub min_satisfied: usize,
    /// As the official code does, mistakes included: the first words of a batch are chosen as for
    /// its first image; no box hides another; ways back to where a constraint was left.
    pub official: bool,
}

impl Default for ConstraintSection {
    fn default() -> Self {
        Self {
            enabled: false,
            min_satisfied: 2,
            official: false,
        }
    }
}

impl Default for Captioning {
    /// COCO as published for Oscar.
    fn default() -> Self {
        Self {
            max_caption_length: 40,
            mask_prob: 0.15,
            max_masked_tokens: 3,
            label_smoothing: 0.0,
            drop_worst_ratio: 0.0,
            drop_worst_after: 0,
            tie_weights: false,
            freeze_embedding: false,
            generation: GenerationConfig::default(),
            validation_beams: 1,
            scst: ScstSection::default(),
            constraints: ConstraintSection::default(),
            compare: false,
        }
    }
}

impl Captioning {
    pub(crate) fn masking(&self) -> CaptionMasking {
        CaptionMasking {
            probability: self.mask_prob,
            most: self.max_masked_tokens,
        }
    }
}

/// A split: captions, and the images they describe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Split {
    /// Captions: the official YAML file or captions' JSON, COCO's or NoCaps' JSON, or rows of
    /// `{"image", "caption"}` or `{"image", "captions": [..]}`.
    pub captions: PathBuf,
    /// Region store or official features; those of the YAML file if it is not set.
    pub regions: PathBuf,
    /// Captions of other images: see `task.compare`.
    pub neighbours: PathBuf,
    /// The regions of these.
    pub neighbour_regions: PathBuf,
    /// Detected boxes, for constraints; the YAML file's `cbs_box`.
    pub constraint_boxes: PathBuf,
    /// Class hierarchy; the YAML file's `cbs_hierarchy`.
    pub constraint_hierarchy: PathBuf,
    /// Words of class names as word pieces; the YAML file's `cbs_constraint`.
    pub constraint_tokens: PathBuf,
    /// Forms of word pieces; the YAML file's `cbs_tokenforms`.
    pub constraint_forms: PathBuf,
}

impl oscar_task::Split for Split {
    fn new(data: PathBuf, store: PathBuf) -> Self {
        Self {
            captions: data,
            regions: store,
            ..Self::default()
        }
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        vec![
            &mut self.captions,
            &mut self.regions,
            &mut self.neighbours,
            &mut self.neighbour_regions,
            &mut self.constraint_boxes,
            &mut self.constraint_hierarchy,
            &mut self.constraint_tokens,
            &mut self.constraint_forms,
        ]
    }
}

impl AnyTask for Captioning {
    const NAME: &'static str = "captioning";
    const ANSWERS: &'static str = "captions";
    type Split = Split;
    type Data = CaptionData;

    fn validate(&self, config: &FinetuneConfig<Self>) -> Result<(), ConfigError> {
        let generation = self.generation.validate();
        generation.map_err(|error| error.in_section("task.generation"))?;
        let share = |key, value: f64| {
            let allowed = "must be at least 0 and below 1";
            require((0.0..1.0).contains(&value), key, value, allowed)
        };
        share("task.mask_prob", self.mask_prob)?;
        share("task.label_smoothing", self.label_smoothing)?;
        share("task.drop_worst_ratio", self.drop_worst_ratio)?;
        require(
            self.max_masked_tokens >= 1,
            "task.max_masked_tokens",
            self.max_masked_tokens,
            "must be at least 1",
        )?;
        let longest = config.encoder.max_seq_length;
        require(
            (3..=longest).contains(&self.max_caption_length),
            "task.max_caption_length",
            self.max_caption_length,
            &format!("must be from 3 to encoder.max_seq_length = {longest}"),
        )?;
        let tags = longest - self.max_caption_length;
        let positions = config.model.max_position_embeddings;
        require(
            self.generation.max_length + tags <= positions,
            "task.generation.max_length",
            self.generation.max_length,
            &format!(
                "with {tags} tags it must be at most model.max_position_embeddings = {positions}"
            ),
        )?;
        require(
            (1..=64).contains(&self.validation_beams),
            "task.validation_beams",
            self.validation_beams,
            "must be from 1 to 64",
        )?;
        require(
            !(self.scst.enabled && config.train.gradient_checkpointing),
            "train.gradient_checkpointing",
            true,
            "must be false with task.scst.enabled = true: captions are drawn word by word",
        )?;
        self.scst.validate()
    }

    fn open(
        &self,
        split: &Split,
        role: Role,
        encoder: &SequenceEncoder,
    ) -> Result<CaptionData, SourceError> {
        CaptionData::open(split, role, self, encoder.clone())
    }

    fn size(data: &CaptionData) -> (usize, usize) {
        (data.num_examples(), data.region_dim())
    }

    fn shape(&self, model: &mut ModelConfig) -> Result<(), SourceError> {
        model.tie_weights = self.tie_weights;
        model.freeze_embedding = self.freeze_embedding;
        Ok(())
    }

    fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.scst.document_frequencies]
    }

    fn train<B: TrainBackend>(job: Job<B, Self>) -> Result<Trained, FinetuneError> {
        let config = &job.config;
        let task = &config.task;
        let reward = match task.scst.enabled {
            false => None,
            true => {
                let reward = Reward::new(&task.scst, &job.train);
                Some(Arc::new(reward.map_err(|source| FinetuneError::Data {
                    key: "task.scst",
                    source,
                })?))
            }
        };
        let settings = Settings {
            loss: CaptionLoss {
                label_smoothing: task.label_smoothing,
                drop_worst: task.drop_worst_ratio,
            },
            drop_worst_after: task.drop_worst_after * job.batches_per_step(),
            tokenizer: job.encoder.tokenizer().clone(),
            generation: GenerationConfig {
                num_beams: task.validation_beams,
                num_keep_best: 1,
                ..task.generation.clone()
            },
            scst: task.scst.clone(),
            reward,
            references: job.validation.references().cloned(),
        };
        let done = job.done_before * job.batches_per_step();
        let seed = config.train.seed;
        let longest = task.generation.max_length;
        let source = |data| Arc::new(CaptionSource::new(data, longest, seed));
        let metrics = match task.scst.enabled {
            true => vec![(REWARD, true)],
            false => Vec::new(),
        };
        let parts = Parts {
            model: CaptionModel::<B>::new(&config.model, settings, done, &job.device),
            train: source(job.train.clone()),
            validation: source(job.validation.clone()),
            head: None,
            metrics,
            validation_metrics: vec![(CIDER, true), (EXACT, true)],
            judged_by: CIDER,
        };
        job.fit(parts)
    }

    fn judge<B: OscarBackend>(
        &self,
        checkpoint: &TaskCheckpoint<Self>,
        data: &CaptionData,
        options: &EvaluateOptions<'_>,
        device: &B::Device,
    ) -> Result<Evaluation, FinetuneError> {
        let model = generate::load::<B>(checkpoint, device)?;
        let generator = Generator {
            model: &model,
            generation: &self.generation,
            constraints: &self.constraints,
            batch_size: options.batch_size,
            progress: options.progress,
        };
        judge::judge(&generator, data, self, device).map_err(FinetuneError::Evaluate)
    }

    fn answer<B: OscarBackend>(
        checkpoint: &TaskCheckpoint<Self>,
        question: &Question,
        device: &B::Device,
    ) -> Result<Vec<(String, f32)>, FinetuneError> {
        generate::answer::<B>(checkpoint, question, device)
    }

    fn exhibit<B: OscarBackend>(
        checkpoint: &TaskCheckpoint<Self>,
        data: &CaptionData,
        choice: &Choice,
        device: &B::Device,
    ) -> Result<Vec<Exhibit>, FinetuneError> {
        exhibit::exhibit::<B>(checkpoint, data, choice, device)
    }
}
