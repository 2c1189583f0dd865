//! A captioner as Burn's learner sees it: one step of training, one of validation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::module::{AutodiffModule, Module};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn_train::{InferenceStep, TrainOutput, TrainStep};
use oscar_core::checkpoint::Checkpointed;
use oscar_core::config::ModelConfig;
use oscar_core::decode::{GenerationConfig, Hypothesis, beam_search, greedy};
use oscar_core::input::{CaptionBatch, Tokenizer};
use oscar_core::model::{CaptionLoss, CaptionSteps, OscarForCaptioning};
use oscar_core::ops::{OscarBackend, TrainBackend};
use oscar_train::{LOSS, StepOutput, Weighted, train_output};

use crate::batch::{Batch, Content, ImageBatch, ValidationBatch};
use crate::scores::{EXACT, References};
use crate::scst::{self, Reward, ScstSection};

/// Mean CIDEr of generated captions.
pub(crate) const CIDER: &str = "CIDEr";
/// Mean CIDEr-D of the sampled captions.
pub(crate) const REWARD: &str = "CIDEr-D";

/// [`OscarForCaptioning`] as the training engine runs it.
#[derive(Module, Debug)]
pub struct CaptionModel<B: Backend> {
    model: OscarForCaptioning<B>,
    #[module(skip)]
    settings: Arc<Settings>,
    /// Batches trained on so far.
    #[module(skip)]
    batches: Arc<AtomicUsize>,
}

/// How a captioner is trained and validated.
#[derive(Debug)]
pub struct Settings {
    /// The loss; [`drop_worst`](CaptionLoss::drop_worst) applies after
    /// [`drop_worst_after`](Self::drop_worst_after).
    pub loss: CaptionLoss,
    /// Batches before any token is ignored.
    pub drop_worst_after: usize,
    /// Decodes generated ids.
    pub tokenizer: Arc<Tokenizer>,
    /// How validation captions are generated.
    pub generation: GenerationConfig,
    /// Training by reward.
    pub scst: ScstSection,
    /// Reference captions of the validation images.
    pub references: Option<Arc<References>>,
}

impl<B: OscarBackend> CaptionModel<B> {
    /// A model with fresh weights; `batches` were trained on before.
    pub fn new(
        config: &ModelConfig,
        settings: Settings,
        batches: usize,
        device: &B::Device,
    ) -> Self {
        Self {
            model: OscarForCaptioning::new(config, device),
            settings: Arc::new(settings),
            batches: Arc::new(AtomicUsize::new(batches)),
        }
    }

    /// The captioner itself.
    pub fn model(&self) -> &OscarForCaptioning<B> {
        &self.model
    }

    fn loss(&self, batch: CaptionBatch<B>, loss: CaptionLoss) -> (Tensor<B, 1>, usize) {
        let masked = batch.masked;
        let logits = self.model.forward(batch.input, masked.positions.clone());
        let tokens = masked.count;
        (loss.forward(logits, masked), tokens)
    }

    /// Captions of validation images.
    fn describe(&self, images: &ImageBatch<B>) -> Vec<Hypothesis> {
        let settings = &self.settings;
        let special = settings.tokenizer.special();
        let context = images.context.clone();
        let mut steps = CaptionSteps::new(&self.model, context, special.mask);
        match settings.generation.num_beams {
            1 => greedy(&mut steps, &settings.generation, special),
            _ => beam_search(&mut steps, &settings.generation, special)
                .into_iter()
                .map(|found| found.into_iter().next().unwrap_or_default())
                .collect(),
        }
    }
}

impl<B: Backend> Checkpointed<B> for CaptionModel<B> {
    fn aliases(&self) -> &'static [(&'static str, &'static str)] {
        self.model.aliases()
    }
}

impl<B: TrainBackend> TrainStep for CaptionModel<B> {
    type Input = Weighted<Batch<B>>;
    type Output = StepOutput<B::InnerBackend>;

    fn step(&self, input: Self::Input) -> TrainOutput<Self::Output> {
        let Weighted { batch, loss_weight } = input;
        let done = self.batches.fetch_add(1, Ordering::Relaxed);
        let size = (batch.num_examples, batch.num_tokens);
        let (loss, statistics) = match batch.content {
            Content::Captions(captions) => {
                let mut loss = self.settings.loss;
                if done < self.settings.drop_worst_after {
                    loss.drop_worst = 0.0;
                }
                let (loss, tokens) = self.loss(captions, loss);
                let statistics = vec![mean(LOSS, loss.clone().inner(), tokens)];
                (loss, statistics)
            }
            Content::Images(images, reward) => self.step_by_reward(&images, &reward),
        };
        let item = StepOutput::new(statistics, size.0, size.1);
        train_output(self, loss, loss_weight, item)
    }
}

impl<B: TrainBackend> CaptionModel<B> {
    /// Loss and statistics of captions sampled for `images`.
    fn step_by_reward(
        &self,
        images: &ImageBatch<B>,
        reward: &Reward,
    ) -> (Tensor<B, 1>, Vec<Entry<B::InnerBackend>>) {
        let settings = &self.settings;
        let inner = self.model.valid();
        let step = scst::step(
            (&self.model, &inner),
            images,
            &settings.scst,
            settings.generation.max_length,
            (reward, settings.tokenizer.special()),
            |ids| settings.tokenizer.decode(ids),
        );
        let rows = step.rewards.len();
        let total: f64 = step.rewards.iter().sum();
        let statistics = vec![
            mean(LOSS, step.loss.clone().inner(), rows),
            host(REWARD, total, rows, &step.loss.device()),
        ];
        (step.loss, statistics)
    }
}

impl<B: OscarBackend> InferenceStep for CaptionModel<B> {
    type Input = Weighted<ValidationBatch<B>>;
    type Output = StepOutput<B>;

    fn step(&self, input: Self::Input) -> Self::Output {
        let ValidationBatch {
            captions,
            images,
            num_tokens,
        } = input.batch;
        let (loss, tokens) = self.loss(captions, CaptionLoss::default());
        let mut statistics = vec![mean(LOSS, loss, tokens)];
        if let Some(references) = &self.settings.references {
            let captions = self.describe(&images);
            let device = images.context.input_ids.device();
            let generated = images.images.iter().zip(&captions);
            let exact = generated
                .clone()
                .filter(|(image, caption)| references.is_exact(**image, &caption.ids));
            let exact = exact.count() as f64;
            let texts = generated
                .map(|(image, caption)| (*image, self.settings.tokenizer.decode(&caption.ids)));
            let cider: f64 = references.cider(&texts.collect::<Vec<_>>()).iter().sum();
            statistics.push(host(CIDER, cider, captions.len(), &device));
            statistics.push(host(EXACT, exact, captions.len(), &device));
        }
        StepOutput::new(statistics, images.images.len(), num_tokens)
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
