//! Every task whose model is a classifier is trained, judged and asked in the same way.

use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::activation;
use oscar_core::config::{ConfigError, ModelConfig};
use oscar_core::input::{SequenceEncoder, SourceError};
use oscar_core::ops::{OscarBackend, TrainBackend};

use super::job::{Job, Parts, Trained};
use super::{
    ACCURACY, AnyTask, EvaluateOptions, Evaluation, FinetuneConfig, FinetuneError, FinetuneModel,
    FinetuneSource, Question, Role, Task, TaskCheckpoint, TaskData,
};

/// Part of every classifier that its start weights lack, and that may start random.
const HEAD: &str = "classifier";

impl<T: Task> AnyTask for T {
    const NAME: &'static str = <T as Task>::NAME;
    const ANSWERS: &'static str = "classes";
    type Split = <T as Task>::Split;
    type Data = <T as Task>::Data;

    fn validate(&self, config: &FinetuneConfig<Self>) -> Result<(), ConfigError> {
        Task::validate(self, config)
    }

    fn open(
        &self,
        split: &Self::Split,
        role: Role,
        encoder: &SequenceEncoder,
    ) -> Result<Self::Data, SourceError> {
        Task::open(self, split, role, encoder)
    }

    fn size(data: &Self::Data) -> (usize, usize) {
        (data.len(), data.region_dim())
    }

    fn shape(&self, model: &mut ModelConfig) -> Result<(), SourceError> {
        Task::shape(self, model)
    }

    fn files(&mut self) -> Vec<&mut PathBuf> {
        Task::files(self)
    }

    fn train<B: TrainBackend>(job: Job<B, Self>) -> Result<Trained, FinetuneError> {
        let config = &job.config;
        let source = |data: &Arc<Self::Data>, redraw| {
            Arc::new(FinetuneSource::new(
                data.clone(),
                job.encoder.clone(),
                config.model.num_labels,
                config.train.seed,
                redraw,
            ))
        };
        let judged_by = config.task.judged_by();
        let mut metrics = vec![(ACCURACY, true)];
        if judged_by != ACCURACY {
            metrics.push((judged_by, true));
        }
        let parts = Parts {
            model: FinetuneModel::<B>::new(&config.model, config.task.is_pair(), &job.device),
            train: source(&job.train, true),
            validation: source(&job.validation, false),
            head: Some(HEAD),
            metrics,
            validation_metrics: Vec::new(),
            judged_by,
        };
        job.fit(parts)
    }

    fn judge<B: OscarBackend>(
        &self,
        checkpoint: &TaskCheckpoint<Self>,
        data: &Self::Data,
        options: &EvaluateOptions<'_>,
        device: &B::Device,
    ) -> Result<Evaluation, FinetuneError> {
        let model = load::<B, T>(checkpoint, device)?;
        self.evaluate(model.model(), data, options, device)
            .map_err(FinetuneError::Evaluate)
    }

    fn answer<B: OscarBackend>(
        checkpoint: &TaskCheckpoint<Self>,
        question: &Question,
        device: &B::Device,
    ) -> Result<Vec<(String, f32)>, FinetuneError> {
        let wrong = |found: String| FinetuneError::Question { found };
        let Some(text) = &question.text else {
            return Err(wrong(
                "give --text: what is asked or said of the image".into(),
            ));
        };
        let names = checkpoint.task.class_names();
        let names = names.map_err(FinetuneError::Evaluate)?;
        let pair = checkpoint.task.is_pair();
        let choices = checkpoint.model.num_choice;
        let shown = &question.images;
        if pair && shown.len() != choices {
            let found = format!(
                "{} --image given; this model looks at {choices} images",
                shown.len()
            );
            return Err(wrong(found));
        }
        // A pair sees each image in a sequence of its own, other tasks all in one.
        let groups: Vec<&[_]> = match pair {
            true => shown.chunks(1).collect(),
            false => vec![&shown[..]],
        };
        let mut sequences = Vec::new();
        for group in groups {
            let tags: Vec<&str> = match &question.tags {
                Some(tags) if group.is_empty() => vec![tags],
                _ => group.iter().map(|(tags, _)| tags.as_str()).collect(),
            };
            let regions: Vec<_> = group.iter().map(|(_, regions)| regions.clone()).collect();
            let origin = "--text".to_string();
            let encoder = &checkpoint.encoder;
            sequences.push(encoder.encode(origin, text, &tags.join(" "), &regions)?);
        }
        let model = load::<B, T>(checkpoint, device)?;
        let input = checkpoint.encoder.batch(&sequences, device)?;
        let logits = model.model().forward(input);
        // A model with a single label gives the score itself.
        let probabilities = match names.len() {
            1 => logits,
            _ => activation::softmax(logits, 1),
        };
        let probabilities: Vec<f32> = probabilities.into_data().iter::<f32>().collect();
        let mut ranked: Vec<(String, f32)> = names.into_iter().zip(probabilities).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked.truncate(question.top);
        Ok(ranked)
    }
}

fn load<B: OscarBackend, T: Task>(
    checkpoint: &TaskCheckpoint<T>,
    device: &B::Device,
) -> Result<FinetuneModel<B>, FinetuneError> {
    let pair = checkpoint.task.is_pair();
    checkpoint.load(FinetuneModel::<B>::new(&checkpoint.model, pair, device))
}
