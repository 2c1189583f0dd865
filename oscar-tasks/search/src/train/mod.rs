//! Training: contrastive, and by distillation.

mod batch;
mod teacher;

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Int, Tensor};
use burn_train::{InferenceStep, TrainOutput, TrainStep};
use oscar_core::checkpoint::Checkpointed;
use oscar_core::config::{ConfigError, ModelConfig, require};
use oscar_core::model::OscarDualEncoder;
use oscar_core::model::dual_encoder::{Side, contrastive_loss, distillation_loss, without};
use oscar_core::ops::{self, OscarBackend, TrainBackend};
use oscar_task::{FinetuneError, Job, Learn, Parts, TaskData, Trained};
use oscar_train::{LOSS, StepOutput, TrainConfig, Weighted, train_output};

pub use batch::{SearchBatch, SearchSource};
use teacher::{Lesson, OpenedTeacher, Teacher};

use crate::Search;

/// The loss of texts among the images of a batch, and of images among its texts.
pub const CONTRASTIVE_LOSS: &str = "Contrastive loss";

/// The loss of what a teacher says of the hardest pairs.
pub const DISTILLATION_LOSS: &str = "Distillation loss";

/// Share of the texts whose image, and of the images whose text, is the closest of the batch.
const RECALL_IN_BATCH: &str = "R@1 in batch";

/// Module that start weights may lack.
const HEAD: &str = "dual";

/// An [`OscarDualEncoder`] that is trained.
#[derive(Module, Debug)]
pub struct SearchModel<B: Backend> {
    model: OscarDualEncoder<B>,
    #[module(skip)]
    teacher: Option<Teaching>,
}

/// A teacher and how much it counts.
#[derive(Clone, Debug)]
struct Teaching {
    teacher: Arc<dyn Teacher>,
    candidates: usize,
    weight: f64,
    temperature: f64,
}

/// What a batch gives.
struct Passed<B: Backend> {
    /// `[1]`.
    contrastive: Tensor<B, 1>,
    /// Of each pair, `[pairs, pairs]`.
    logits: Tensor<B, 2>,
    /// Texts and images whose own one is the closest, `[1]`, of twice the pairs.
    right: Tensor<B, 1>,
}

impl<B: OscarBackend> SearchModel<B> {
    /// A model with fresh weights, without a teacher.
    pub fn new(config: &ModelConfig, device: &B::Device) -> Self {
        Self {
            model: OscarDualEncoder::new(config, device),
            teacher: None,
        }
    }

    /// Contrastive loss, logits and recall of a batch.
    fn pass(&self, batch: &SearchBatch<B>) -> Passed<B> {
        let texts = self.model.embed(Side::Text, batch.texts.clone());
        let images = self.model.embed(Side::Image, batch.images.clone());
        let logits = self.model.logits(texts, images);
        Passed {
            contrastive: contrastive_loss(logits.clone(), batch.left_out.clone()),
            right: own_is_closest(without(logits.clone(), batch.left_out.clone())),
            logits,
        }
    }
}

/// How many rows and columns have their largest value on the diagonal, `[1]`.
fn own_is_closest<B: Backend>(logits: Tensor<B, 2>) -> Tensor<B, 1> {
    let [pairs, _] = logits.dims();
    let own = Tensor::<B, 1, Int>::arange(0..pairs as i64, &logits.device());
    let hits = |logits: Tensor<B, 2>| {
        let closest: Tensor<B, 1, Int> = logits.argmax(1).reshape([pairs]);
        let right: Tensor<B, 1, Bool> = closest.equal(own.clone());
        right.float().sum()
    };
    hits(logits.clone()) + hits(logits.transpose())
}

impl Teaching {
    /// The loss of distillation, `[1]`: the teacher scores for each text the images of the batch that the
    /// student ranks highest. Which these are is read from the device, the one wait of a step.
    fn loss<B: OscarBackend>(
        &self,
        logits: Tensor<B, 2>,
        left_out: Tensor<B, 2, Bool>,
        lesson: &Lesson,
    ) -> Tensor<B, 1> {
        let [texts, images] = logits.dims();
        let hardest = ops::top_k(
            without(logits.clone(), left_out),
            self.candidates.min(images),
        );
        let rows = hardest.rows().enumerate();
        let pairs: Vec<(usize, usize)> = rows
            .flat_map(|(text, row)| row.iter().map(move |(image, _)| (text, *image as usize)))
            .collect();
        let scores = self.teacher.scores(lesson, &pairs);
        // All that it reads is in memory, and was encoded when the batch was made.
        let scores = scores.unwrap_or_else(|error| panic!("the teacher failed: {error}"));
        let device = logits.device();
        let columns: Vec<i32> = pairs.iter().map(|(_, image)| *image as i32).collect();
        let shape = [texts, hardest.k];
        let columns = Tensor::<B, 1, Int>::from_ints(columns.as_slice(), &device).reshape(shape);
        let scores = Tensor::<B, 1>::from_floats(scores.as_slice(), &device).reshape(shape);
        distillation_loss(logits.gather(1, columns), scores, self.temperature)
    }
}

impl<B: Backend> Checkpointed<B> for SearchModel<B> {}

/// Loss and statistics of a batch.
fn output<B: Backend>(
    loss: Tensor<B, 1>,
    (contrastive, distillation): (Tensor<B, 1>, Option<Tensor<B, 1>>),
    right: Tensor<B, 1>,
    (pairs, tokens): (usize, usize),
) -> StepOutput<B> {
    let weight = Tensor::full([1], pairs as f32, &loss.device());
    let mean = |name, value: Tensor<B, 1>| (name, value * weight.clone(), weight.clone());
    let mut statistics = vec![mean(LOSS, loss), mean(CONTRASTIVE_LOSS, contrastive)];
    statistics.extend(distillation.map(|value| mean(DISTILLATION_LOSS, value)));
    statistics.push((RECALL_IN_BATCH, right, weight.clone().mul_scalar(2.0)));
    StepOutput::new(statistics, pairs, tokens)
}

impl<B: TrainBackend> TrainStep for SearchModel<B> {
    type Input = Weighted<SearchBatch<B>>;
    type Output = StepOutput<B::InnerBackend>;

    fn step(&self, input: Self::Input) -> TrainOutput<Self::Output> {
        let Weighted { batch, loss_weight } = input;
        let passed = self.pass(&batch);
        let distillation = self.teacher.as_ref().zip(batch.lesson.as_ref());
        let distillation = distillation.map(|(teaching, lesson)| {
            let loss = teaching.loss(passed.logits, batch.left_out, lesson);
            (loss, teaching.weight)
        });
        let loss = match &distillation {
            None => passed.contrastive.clone(),
            Some((own, weight)) => passed.contrastive.clone() + own.clone().mul_scalar(*weight),
        };
        let item = output(
            loss.clone().inner(),
            (
                passed.contrastive.inner(),
                distillation.map(|(own, _)| own.inner()),
            ),
            passed.right.inner(),
            (batch.num_pairs, batch.num_tokens),
        );
        train_output(self, loss, loss_weight, item)
    }
}

impl<B: OscarBackend> InferenceStep for SearchModel<B> {
    type Input = Weighted<SearchBatch<B>>;
    type Output = StepOutput<B>;

    fn step(&self, input: Self::Input) -> Self::Output {
        let batch = input.batch;
        let passed = self.pass(&batch);
        output(
            passed.contrastive.clone(),
            (passed.contrastive, None),
            passed.right,
            (batch.num_pairs, batch.num_tokens),
        )
    }
}

impl Learn for Search {
    fn validate_training(&self, train: &TrainConfig) -> Result<(), ConfigError> {
        let each = train.batch_size / train.accumulation.max(1);
        require(
            each >= 2,
            "train.batch_size",
            train.batch_size,
            &format!(
                "must be at least {}, so that each of train.accumulation = {} batches has two pairs: \
                 the others of its batch are the negatives of a pair",
                2 * train.accumulation,
                train.accumulation
            ),
        )
    }

    fn train<B: TrainBackend>(job: Job<B, Self>) -> Result<Trained, FinetuneError> {
        let (config, task) = (&job.config, &job.config.task);
        let mut model = SearchModel::<B>::new(&config.model, &job.device);
        let mut teacher = None;
        if let Some(path) = &task.teacher {
            let opened = OpenedTeacher::<B::InnerBackend>::open(path, &job.device)?;
            opened.check_regions(job.train.region_dim())?;
            let opened: Arc<dyn Teacher> = Arc::new(opened);
            model.teacher = Some(Teaching {
                teacher: opened.clone(),
                candidates: task.teacher_candidates,
                weight: task.teacher_weight,
                temperature: task.teacher_temperature,
            });
            teacher = Some(opened);
        }
        let mut metrics = vec![(CONTRASTIVE_LOSS, false), (RECALL_IN_BATCH, true)];
        if teacher.is_some() {
            metrics.insert(1, (DISTILLATION_LOSS, false));
        }
        let parts = Parts {
            model,
            train: Arc::new(SearchSource::new(job.train.clone(), teacher)),
            validation: Arc::new(SearchSource::new(job.validation.clone(), None)),
            head: Some(HEAD),
            metrics,
            validation_metrics: Vec::new(),
            selection_metric: RECALL_IN_BATCH,
        };
        job.fit(parts)
    }
}
