//! Oscar for captioning (official `BertForImageCaptioning`): backbone and masked-token head.

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData, activation, backend::Backend};

use super::{Backbone, MlmHead};
use crate::checkpoint::Checkpointed;
use crate::config::ModelConfig;
use crate::input::{MaskedTargets, OscarInput};
use crate::ops::OscarBackend;

/// Predicts masked caption tokens under a sequence-to-sequence attention mask.
#[derive(Module, Debug)]
pub struct OscarForCaptioning<B: Backend> {
    pub(super) bert: Backbone<B>,
    cls: CaptioningHead<B>,
    tied: bool,
}

#[derive(Module, Debug)]
struct CaptioningHead<B: Backend> {
    predictions: MlmHead<B>,
}

/// The loss of masked caption tokens (official `BertCaptioningLoss`).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CaptionLoss {
    /// Probability that the target gives to all other tokens together; 0 for none.
    pub label_smoothing: f64,
    /// Share of the tokens that is ignored: those with the greatest loss, as in captions that do not
    /// describe the image.
    pub drop_worst: f64,
}

impl<B: OscarBackend> OscarForCaptioning<B> {
    /// A model with fresh weights; `config.tie_weights` shares the word embedding with the output.
    pub fn new(config: &ModelConfig, device: &B::Device) -> Self {
        Self {
            bert: Backbone::new(config, device),
            cls: CaptioningHead {
                predictions: MlmHead::new(config, config.tie_weights, device),
            },
            tied: config.tie_weights,
        }
    }

    /// The backbone.
    pub fn backbone(&self) -> &Backbone<B> {
        &self.bert
    }

    /// As [`for_inference`](super::for_inference), and with a copy of the output matrix in a layout that
    /// is faster for few rows.
    pub fn for_inference(mut self) -> Self {
        let words = self.bert.word_embeddings();
        self.cls.predictions = self.cls.predictions.for_inference(words);
        super::for_inference(self)
    }

    /// Vocabulary logits `[positions, vocab]` at `positions` `[positions]` of the flattened
    /// `[batch * seq]` sequence.
    pub fn forward(&self, input: OscarInput<B>, positions: Tensor<B, 1, Int>) -> Tensor<B, 2> {
        let sequence = self.bert.forward(input).sequence;
        let [batch, seq, hidden] = sequence.dims();
        let rows = sequence.reshape([batch * seq, hidden]).select(0, positions);
        self.logits(rows)
    }

    /// Vocabulary logits `[rows, vocab]` of hidden states `[rows, hidden]`.
    pub fn logits(&self, hidden: Tensor<B, 2>) -> Tensor<B, 2> {
        self.cls
            .predictions
            .forward(hidden, self.bert.word_embeddings())
    }
}

impl CaptionLoss {
    /// Mean loss of the tokens, `[1]`: how far the model's distribution is from the target's
    /// (Kullback-Leibler), which without smoothing is the cross entropy. 0 where there is no token.
    ///
    /// # Shapes
    ///
    /// - logits: `[targets, vocab]`
    pub fn forward<B: Backend>(
        &self,
        logits: Tensor<B, 2>,
        targets: MaskedTargets<B>,
    ) -> Tensor<B, 1> {
        let losses = self.per_token(logits, targets.labels);
        let (weights, count) = match self.drop_worst {
            0.0 => (targets.weights, targets.count),
            share => best(&losses, targets.count, share),
        };
        (losses * weights).sum() / count.max(1) as f64
    }

    fn per_token<B: Backend>(
        &self,
        logits: Tensor<B, 2>,
        labels: Tensor<B, 1, Int>,
    ) -> Tensor<B, 1> {
        let [rows, vocab] = logits.dims();
        let log_probs = activation::log_softmax(logits, 1);
        let gold = log_probs
            .clone()
            .gather(1, labels.reshape([rows, 1]))
            .reshape([rows]);
        let smoothing = self.label_smoothing;
        if smoothing == 0.0 {
            return gold.neg();
        }
        // The target distribution gives `other` to each token but the right one.
        let other = smoothing / (vocab - 1) as f64;
        let entropy = (1.0 - smoothing) * (1.0 - smoothing).ln() + smoothing * other.ln();
        let all = log_probs.sum_dim(1).reshape([rows]);
        let cross = gold.clone().mul_scalar(1.0 - smoothing) + (all - gold).mul_scalar(other);
        cross.neg().add_scalar(entropy)
    }
}

/// Weights `[rows]` of the `tokens` first rows without the `share` of them with the greatest loss, and
/// how many are left. Ranks the losses on the host.
fn best<B: Backend>(losses: &Tensor<B, 1>, tokens: usize, share: f64) -> (Tensor<B, 1>, usize) {
    let values: Vec<f32> = losses.clone().detach().into_data().iter::<f32>().collect();
    let mut order: Vec<usize> = (0..tokens).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    order.truncate(((tokens as f64 * (1.0 - share)) as usize).max(1));
    let mut weights = vec![0.0f32; values.len()];
    for row in &order {
        weights[*row] = 1.0;
    }
    let shape = [weights.len()];
    let weights = Tensor::from_data(TensorData::new(weights, shape), &losses.device());
    (weights, order.len())
}

impl<B: Backend> Checkpointed<B> for OscarForCaptioning<B> {
    fn aliases(&self) -> &'static [(&'static str, &'static str)] {
        match self.tied {
            true => super::TIED_DECODER,
            false => &[],
        }
    }
}
