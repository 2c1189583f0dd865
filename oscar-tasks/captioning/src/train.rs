//! Training a captioner, on masked captions or by reward.

use std::sync::Arc;

use oscar_core::config::{ConfigError, require};
use oscar_core::decode::GenerationConfig;
use oscar_core::model::CaptionLoss;
use oscar_core::ops::TrainBackend;
use oscar_task::{FinetuneError, Job, Learn, Parts, Trained};
use oscar_train::TrainConfig;

use crate::batch::{CaptionSource, ValidationSource};
use crate::model::{CIDER, CaptionModel, REWARD, Settings};
use crate::scores::EXACT;
use crate::scst::Reward;
use crate::task::Captioning;

impl Learn for Captioning {
    fn validate_training(&self, train: &TrainConfig) -> Result<(), ConfigError> {
        require(
            !(self.scst.enabled && train.gradient_checkpointing),
            "train.gradient_checkpointing",
            true,
            "must be false with task.scst.enabled = true: captions are sampled word by word",
        )
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
            tokenizer: job.checkpoint.encoder.tokenizer().clone(),
            generation: GenerationConfig {
                num_beams: task.validation_beams,
                num_keep_best: 1,
                ..task.generation.clone()
            },
            scst: task.scst.clone(),
            references: job.validation.references().cloned(),
        };
        let done = job.done_before * job.batches_per_step();
        let seed = config.train.seed;
        let longest = task.generation.max_length;
        let validation = CaptionSource::new(job.validation.clone(), longest, seed, None);
        let metrics = match reward {
            Some(_) => vec![(REWARD, true)],
            None => Vec::new(),
        };
        let parts = Parts {
            model: CaptionModel::<B>::new(&config.model, settings, done, &job.device),
            train: Arc::new(CaptionSource::new(job.train.clone(), longest, seed, reward)),
            validation: Arc::new(ValidationSource(validation)),
            head: None,
            metrics,
            validation_metrics: vec![(CIDER, true), (EXACT, true)],
            selection_metric: CIDER,
        };
        job.fit(parts)
    }
}
