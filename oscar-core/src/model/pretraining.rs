//! Oscar for pre-training: masked tokens and contrastive relation (`BertImgForPreTraining`).

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Int, Tensor, backend::Backend};

use super::{Backbone, BackboneOutput, MlmHead, init};
use crate::checkpoint::Checkpointed;
use crate::config::ModelConfig;
use crate::input::PretrainBatch;
use crate::ops::{self, OscarBackend};

/// Backbone, masked-token head with tied output matrix, and contrastive head (paper §3.1).
#[derive(Module, Debug)]
pub struct OscarForPretraining<B: Backend> {
    bert: Backbone<B>,
    cls: PretrainingHeads<B>,
}

#[derive(Module, Debug)]
struct PretrainingHeads<B: Backend> {
    predictions: MlmHead<B>,
    /// From the pooled vector to matched / polluted tags (/ polluted caption).
    seq_relationship: Linear<B>,
}

/// Losses and logits of a pre-training batch.
#[derive(Clone, Debug)]
pub struct PretrainOutput<B: Backend> {
    /// `mlm_loss + contrastive_loss`, `[1]`.
    pub loss: Tensor<B, 1>,
    /// Mean cross entropy of the masked tokens, `[1]`; 0 if the batch has none.
    pub mlm_loss: Tensor<B, 1>,
    /// Mean cross entropy of the relation, `[1]`.
    pub contrastive_loss: Tensor<B, 1>,
    /// `[masked, vocab]`
    pub mlm_logits: Tensor<B, 2>,
    /// `[batch, contrast_classes]`
    pub contrastive_logits: Tensor<B, 2>,
}

impl<B: OscarBackend> OscarForPretraining<B> {
    /// A model with fresh weights.
    pub fn new(config: &ModelConfig, device: &B::Device) -> Self {
        Self {
            bert: Backbone::new(config, device),
            cls: PretrainingHeads {
                predictions: MlmHead::new(config, true, device),
                seq_relationship: init::linear(
                    config.hidden_size,
                    config.num_contrast_classes,
                    config.initializer_range,
                    device,
                ),
            },
        }
    }

    /// The backbone.
    pub fn backbone(&self) -> &Backbone<B> {
        &self.bert
    }

    /// Both losses of a batch, with unit weights as in the official code.
    pub fn forward(&self, batch: &PretrainBatch<B>) -> PretrainOutput<B> {
        let encoded = self.bert.forward(batch.input.clone());
        let mlm_logits = self.predict_tokens(&encoded, batch.masked.positions.clone());
        let contrastive_logits = self.predict_relation(&encoded);

        let mlm_loss = ops::cross_entropy(
            mlm_logits.clone(),
            batch.masked.labels.clone(),
            Some(batch.masked.weights.clone()),
        );
        let contrastive_loss =
            ops::cross_entropy(contrastive_logits.clone(), batch.relation.clone(), None);
        PretrainOutput {
            loss: mlm_loss.clone() + contrastive_loss.clone(),
            mlm_loss,
            contrastive_loss,
            mlm_logits,
            contrastive_logits,
        }
    }

    /// Vocabulary logits `[positions, vocab]` at `positions` `[positions]` of the flattened
    /// `[batch * seq]` sequence.
    pub fn predict_tokens(
        &self,
        encoded: &BackboneOutput<B>,
        positions: Tensor<B, 1, Int>,
    ) -> Tensor<B, 2> {
        let [batch, seq, hidden] = encoded.sequence.dims();
        let rows = encoded
            .sequence
            .clone()
            .reshape([batch * seq, hidden])
            .select(0, positions);
        self.cls
            .predictions
            .forward(rows, self.bert.word_embeddings())
    }

    /// Relation logits `[batch, contrast_classes]`; class 0 is "matched".
    pub fn predict_relation(&self, encoded: &BackboneOutput<B>) -> Tensor<B, 2> {
        ops::linear(&self.cls.seq_relationship, encoded.pooled.clone())
    }
}

impl<B: Backend> Checkpointed<B> for OscarForPretraining<B> {
    fn aliases(&self) -> &'static [(&'static str, &'static str)] {
        super::TIED_DECODER
    }
}
