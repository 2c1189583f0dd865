//! Oscar with a classifier on the pooled vector: of one sequence, or of several together.

use burn::module::Module;
use burn::tensor::{Int, Tensor, activation, backend::Backend};

use super::{Backbone, ClassifierHead};
use crate::checkpoint::Checkpointed;
use crate::config::{Classifier, LossReduction, ModelConfig};
use crate::input::OscarInput;
use crate::ops::{self, OscarBackend};

/// A classifier of sequences (VQA, GQA, retrieval: the official
/// `ImageBertForSequenceClassification`), or of several sequences together (NLVR2:
/// `ImageBertForMultipleChoice`).
///
/// ```
/// use std::sync::Arc;
///
/// use burn_flex::{Flex, FlexDevice};
/// use oscar_core::config::ModelConfig;
/// use oscar_core::input::{PaddingConfig, SequenceConfig, SequenceEncoder, Tokenizer};
/// use oscar_core::model::OscarClassifier;
///
/// let tokenizer = Arc::new(Tokenizer::bert_base_uncased()?);
/// let encoder =
///     SequenceEncoder::new(tokenizer, SequenceConfig::default(), PaddingConfig::default())?;
/// // A question, the tags of its image, and no regions.
/// let question = encoder.encode("here".into(), "is it red?", "car street", &[])?;
///
/// let config = ModelConfig { num_labels: 2, ..ModelConfig::tiny() };
/// let model = OscarClassifier::<Flex>::new(&config, &FlexDevice);
/// let logits = model.forward(encoder.batch(&[question], &FlexDevice)?)?;
/// assert_eq!(logits.dims(), [1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Module, Debug)]
pub struct OscarClassifier<B: Backend> {
    bert: Backbone<B>,
    classifier: ClassifierHead<B>,
    dropout: f64,
    /// Sequences per decision.
    joined: usize,
    #[module(skip)]
    loss_type: String,
    #[module(skip)]
    reduction: LossReduction,
}

/// Targets of a classification batch.
#[derive(Clone, Debug)]
pub enum ClassTargets<B: Backend> {
    /// One class per row, `[batch]`.
    Class(Tensor<B, 1, Int>),
    /// A score per class, `[batch, labels]`; need not sum to 1.
    Soft(Tensor<B, 2>),
    /// A probability per class, `[batch, labels]`, learned by the `kl` loss whatever the configuration
    /// says; need not sum to 1.
    Shares(Tensor<B, 2>),
}

/// Sequences that cannot be divided into decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a decision takes {joined} sequences, and {sequences} is not a multiple of that")]
pub struct IncompleteDecision {
    /// Number of sequences.
    pub sequences: usize,
    /// Sequences per decision.
    pub joined: usize,
}

impl<B: OscarBackend> OscarClassifier<B> {
    /// A model with fresh weights that decides on each sequence, among `config.num_labels` classes.
    pub fn new(config: &ModelConfig, device: &B::Device) -> Self {
        Self::with_head(config, 1, false, device)
    }

    /// A model with fresh weights that decides on `config.num_choice` sequences together: their
    /// pooled vectors are joined.
    pub fn joint(config: &ModelConfig, device: &B::Device) -> Self {
        Self::with_head(config, config.num_choice, config.use_img_layernorm, device)
    }

    /// `norm` puts a LayerNorm into the head, if that is an MLP.
    fn with_head(config: &ModelConfig, joined: usize, norm: bool, device: &B::Device) -> Self {
        let width = config.hidden_size * joined;
        Self {
            bert: Backbone::new(config, device),
            classifier: ClassifierHead::new(config, width, norm, device),
            dropout: match config.classifier {
                Classifier::Answer => 0.0,
                Classifier::Linear | Classifier::Mlp => config.hidden_dropout_prob,
            },
            joined,
            loss_type: config.loss_type.clone(),
            reduction: config.loss_reduction,
        }
    }

    /// The backbone.
    pub fn backbone(&self) -> &Backbone<B> {
        &self.bert
    }

    /// Number of sequences per decision.
    pub fn joined(&self) -> usize {
        self.joined
    }

    /// Logits `[decisions, labels]`; the sequences of a decision follow one another.
    ///
    /// # Errors
    ///
    /// The sequences cannot be divided into decisions.
    pub fn forward(&self, input: OscarInput<B>) -> Result<Tensor<B, 2>, IncompleteDecision> {
        self.classify(self.bert.forward(input).pooled)
    }

    /// As [`forward`](Self::forward), with region features that the backbone has
    /// [projected](Backbone::project_regions).
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_projected(
        &self,
        input: OscarInput<B>,
    ) -> Result<Tensor<B, 2>, IncompleteDecision> {
        self.classify(self.bert.forward_projected(input).pooled)
    }

    /// As [`forward`](Self::forward), of pooled vectors `[sequences, hidden]`.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    pub fn classify(&self, pooled: Tensor<B, 2>) -> Result<Tensor<B, 2>, IncompleteDecision> {
        let ([sequences, hidden], joined) = (pooled.dims(), self.joined);
        if !sequences.is_multiple_of(joined) {
            return Err(IncompleteDecision { sequences, joined });
        }
        let pooled = ops::dropout(pooled, self.dropout);
        let pooled = pooled.reshape([sequences / joined, hidden * joined]);
        Ok(self.classifier.forward(pooled))
    }

    /// The loss that the configuration names, `[1]`: `bce` and `kl` are summed over the labels, or
    /// averaged if `loss_reduction` says so, and averaged over rows; scores need not sum to 1. A model with a single label is a regression
    /// whatever the configuration says.
    pub fn loss(&self, logits: Tensor<B, 2>, targets: ClassTargets<B>) -> Tensor<B, 1> {
        let [batch, labels] = logits.dims();
        if labels == 1 {
            let targets = match targets {
                ClassTargets::Class(classes) => classes.float().reshape([batch, 1]),
                ClassTargets::Soft(scores) | ClassTargets::Shares(scores) => scores,
            };
            return (logits - targets).powi_scalar(2).mean();
        }
        let divisor = match self.reduction {
            LossReduction::Sum => batch as f64,
            LossReduction::Mean => (batch * labels) as f64,
        };
        match (targets, self.loss_type.as_str()) {
            (ClassTargets::Class(labels), _) => ops::cross_entropy(logits, labels, None),
            (ClassTargets::Soft(scores), "bce") => {
                // log(1 + e^-|x|) + max(x, 0) - x * t, which does not overflow for any x.
                let softplus = logits.clone().abs().neg().exp().log1p();
                let loss = softplus + activation::relu(logits.clone()) - logits * scores;
                loss.sum() / divisor
            }
            (ClassTargets::Soft(scores), "kl") | (ClassTargets::Shares(scores), _) => {
                ops::kl_divergence(logits, scores).sum() / divisor
            }
            (ClassTargets::Soft(scores), _) => (logits - scores).powi_scalar(2).mean(),
        }
    }
}

impl<B: Backend> Checkpointed<B> for OscarClassifier<B> {}
