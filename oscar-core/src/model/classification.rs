//! Oscar with a classifier on the pooled vector: one image, or one per choice.

use burn::module::Module;
use burn::tensor::{Int, Tensor, activation, backend::Backend};

use super::{Backbone, ClassifierHead};
use crate::checkpoint::Checkpointed;
use crate::config::ModelConfig;
use crate::input::OscarInput;
use crate::ops::{self, OscarBackend};

/// VQA, GQA and retrieval (official `ImageBertForSequenceClassification`).
///
/// ```
/// use std::sync::Arc;
///
/// use burn_flex::{Flex, FlexDevice};
/// use oscar_core::config::ModelConfig;
/// use oscar_core::input::{PaddingConfig, SequenceConfig, SequenceEncoder, Tokenizer};
/// use oscar_core::model::OscarForSequenceClassification;
///
/// let tokenizer = Arc::new(Tokenizer::bert_base_uncased()?);
/// let encoder =
///     SequenceEncoder::new(tokenizer, SequenceConfig::default(), PaddingConfig::default())?;
/// // A question, the tags of its image, and no regions.
/// let question = encoder.encode("here".into(), "is it red?", "car street", &[])?;
///
/// let tiny = ModelConfig::preset("tiny").expect("there is one");
/// let config = ModelConfig { num_labels: 2, ..tiny };
/// let model = OscarForSequenceClassification::<Flex>::new(&config, &FlexDevice);
/// let logits = model.forward(encoder.batch(&[question], &FlexDevice)?);
/// assert_eq!(logits.dims(), [1, 2]);
/// # Ok::<(), oscar_core::input::InputError>(())
/// ```
#[derive(Module, Debug)]
pub struct OscarForSequenceClassification<B: Backend> {
    bert: Backbone<B>,
    classifier: ClassifierHead<B>,
    dropout: f64,
    #[module(skip)]
    loss_type: String,
}

/// Targets of a classification batch.
#[derive(Clone, Debug)]
pub enum ClassTargets<B: Backend> {
    /// One class per row, `[batch]`.
    Class(Tensor<B, 1, Int>),
    /// A score per class, `[batch, labels]`; need not sum to 1.
    Soft(Tensor<B, 2>),
}

impl<B: OscarBackend> OscarForSequenceClassification<B> {
    /// A model with fresh weights and `config.num_labels` classes.
    pub fn new(config: &ModelConfig, device: &B::Device) -> Self {
        Self {
            bert: Backbone::new(config, device),
            classifier: ClassifierHead::new(
                config,
                config.hidden_size,
                config.num_labels,
                false,
                device,
            ),
            dropout: config.hidden_dropout_prob,
            loss_type: config.loss_type.clone(),
        }
    }

    /// Logits `[batch, labels]`.
    pub fn forward(&self, input: OscarInput<B>) -> Tensor<B, 2> {
        self.classify(self.bert.forward(input).pooled)
    }

    /// Logits `[batch, labels]` of pooled vectors `[batch, hidden]`.
    fn classify(&self, pooled: Tensor<B, 2>) -> Tensor<B, 2> {
        self.classifier.forward(ops::dropout(pooled, self.dropout))
    }

    /// As [`forward`](Self::forward), of region features that
    /// [`project_regions`](Self::project_regions) gave.
    pub fn forward_projected(&self, input: OscarInput<B>) -> Tensor<B, 2> {
        self.classify(self.bert.forward_projected(input).pooled)
    }

    /// Region features `[batch, regions, dim]` to `[batch, regions, hidden]`.
    pub fn project_regions(&self, regions: Tensor<B, 3>) -> Tensor<B, 3> {
        self.bert.project_regions(regions)
    }

    /// The loss the configuration names, `[1]`: `bce` is summed over labels, `kl` is the mean over
    /// rows of scores that need not sum to 1. A model with a single label is a regression whatever
    /// the configuration says.
    pub fn loss(&self, logits: Tensor<B, 2>, targets: ClassTargets<B>) -> Tensor<B, 1> {
        class_loss(logits, targets, &self.loss_type)
    }
}

/// The loss called `loss_type` of logits `[batch, labels]`, `[1]`.
fn class_loss<B: Backend>(
    logits: Tensor<B, 2>,
    targets: ClassTargets<B>,
    loss_type: &str,
) -> Tensor<B, 1> {
    let [batch, labels] = logits.dims();
    if labels == 1 {
        let targets = match targets {
            ClassTargets::Class(classes) => classes.float().reshape([batch, 1]),
            ClassTargets::Soft(scores) => scores,
        };
        return (logits - targets).powi_scalar(2).mean();
    }
    match (targets, loss_type) {
        (ClassTargets::Class(labels), _) => ops::cross_entropy(logits, labels, None),
        (ClassTargets::Soft(scores), "bce") => {
            // log(1 + e^-|x|) + max(x, 0) - x * t, which no x overflows.
            let softplus = logits.clone().abs().neg().exp().log1p();
            let loss = softplus + activation::relu(logits.clone()) - logits * scores;
            loss.sum() / batch as f64
        }
        (ClassTargets::Soft(scores), "kl") => {
            let log_probabilities = activation::log_softmax(logits, 1);
            // t log t, with 0 log 0 = 0.
            let entropy = scores.clone() * scores.clone().clamp_min(f32::MIN_POSITIVE).log();
            (entropy - scores * log_probabilities).sum() / batch as f64
        }
        (ClassTargets::Soft(scores), _) => (logits - scores).powi_scalar(2).mean(),
    }
}

impl<B: Backend> Checkpointed<B> for OscarForSequenceClassification<B> {}

/// NLVR2: each choice is encoded on its own, the pooled vectors are joined (official
/// `ImageBertForMultipleChoice`).
#[derive(Module, Debug)]
pub struct OscarForMultipleChoice<B: Backend> {
    bert: Backbone<B>,
    classifier: ClassifierHead<B>,
    dropout: f64,
    num_choice: usize,
    #[module(skip)]
    loss_type: String,
}

impl<B: OscarBackend> OscarForMultipleChoice<B> {
    /// A model with fresh weights for `config.num_choice` images per statement.
    pub fn new(config: &ModelConfig, device: &B::Device) -> Self {
        Self {
            bert: Backbone::new(config, device),
            classifier: ClassifierHead::new(
                config,
                config.hidden_size * config.num_choice,
                config.num_labels,
                config.use_img_layernorm,
                device,
            ),
            dropout: config.hidden_dropout_prob,
            num_choice: config.num_choice,
            loss_type: config.loss_type.clone(),
        }
    }

    /// Logits `[batch, labels]` of an input whose rows are `[batch * choices]`, the choices of one
    /// statement side by side.
    pub fn forward(&self, input: OscarInput<B>) -> Tensor<B, 2> {
        self.classify(self.bert.forward(input).pooled)
    }

    /// Logits `[batch, labels]` of pooled vectors `[batch * choices, hidden]`.
    fn classify(&self, pooled: Tensor<B, 2>) -> Tensor<B, 2> {
        let pooled = ops::dropout(pooled, self.dropout);
        let [rows, hidden] = pooled.dims();
        let joined = pooled.reshape([rows / self.num_choice, hidden * self.num_choice]);
        self.classifier.forward(joined)
    }

    /// The loss the configuration names, `[1]`; see [`OscarForSequenceClassification::loss`].
    pub fn loss(&self, logits: Tensor<B, 2>, targets: ClassTargets<B>) -> Tensor<B, 1> {
        class_loss(logits, targets, &self.loss_type)
    }
}

impl<B: Backend> Checkpointed<B> for OscarForMultipleChoice<B> {}

/// VCR: each choice of a question is encoded and judged on its own, right or wrong (official
/// `OscarForMultipleChoice`, which is another model than the one of that name here).
#[derive(Module, Debug)]
pub struct OscarForEachChoice<B: Backend> {
    bert: Backbone<B>,
    classifier: ClassifierHead<B>,
    dropout: f64,
    #[module(skip)]
    loss_type: String,
}

impl<B: OscarBackend> OscarForEachChoice<B> {
    /// A model with fresh weights. It has two classes whatever `config.num_labels` says, and never
    /// a LayerNorm in its head.
    pub fn new(config: &ModelConfig, device: &B::Device) -> Self {
        Self {
            bert: Backbone::new(config, device),
            classifier: ClassifierHead::new(config, config.hidden_size, 2, false, device),
            dropout: config.hidden_dropout_prob,
            loss_type: config.loss_type.clone(),
        }
    }

    /// Logits `[batch * choices, 2]`, the second one for right, of an input whose rows are
    /// `[batch * choices]`.
    pub fn forward(&self, input: OscarInput<B>) -> Tensor<B, 2> {
        let pooled = self.bert.forward(input).pooled;
        self.classifier.forward(ops::dropout(pooled, self.dropout))
    }

    /// The loss the configuration names, `[1]`, over all choices (`bxe` is cross entropy); see
    /// [`OscarForSequenceClassification::loss`].
    pub fn loss(&self, logits: Tensor<B, 2>, targets: ClassTargets<B>) -> Tensor<B, 1> {
        class_loss(logits, targets, &self.loss_type)
    }
}

impl<B: Backend> Checkpointed<B> for OscarForEachChoice<B> {}

/// A classifier of either kind: what fine-tuning trains and evaluation runs.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum OscarClassifier<B: Backend> {
    /// One sequence per decision.
    Sequence(OscarForSequenceClassification<B>),
    /// Several images, each in a sequence of its own, per decision.
    Pair(OscarForMultipleChoice<B>),
}

impl<B: OscarBackend> OscarClassifier<B> {
    /// The backbone.
    pub fn backbone(&self) -> &Backbone<B> {
        match self {
            Self::Sequence(model) => &model.bert,
            Self::Pair(model) => &model.bert,
        }
    }

    /// Logits `[decisions, labels]`; a pair's sequences follow one another in `input`.
    pub fn forward(&self, input: OscarInput<B>) -> Tensor<B, 2> {
        match self {
            Self::Sequence(model) => model.forward(input),
            Self::Pair(model) => model.forward(input),
        }
    }

    /// As [`forward`](Self::forward), of the pooled vectors that the [backbone](Self::backbone) gave.
    pub fn classify(&self, pooled: Tensor<B, 2>) -> Tensor<B, 2> {
        match self {
            Self::Sequence(model) => model.classify(pooled),
            Self::Pair(model) => model.classify(pooled),
        }
    }

    /// The configured loss, `[1]`.
    pub fn loss(&self, logits: Tensor<B, 2>, targets: ClassTargets<B>) -> Tensor<B, 1> {
        match self {
            Self::Sequence(model) => model.loss(logits, targets),
            Self::Pair(model) => model.loss(logits, targets),
        }
    }
}

impl<B: Backend> Checkpointed<B> for OscarClassifier<B> {}
